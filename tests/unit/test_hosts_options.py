"""What engines beyond one machine are told: mistakes are found before anything starts; code is packed the same way."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import pytest

import prealloc
from prealloc.api.doctor import diagnose_engine
from prealloc.engines.hosts.options import own_options
from prealloc.engines.hosts.ship import MOST_BYTES, packed, refuse_unfit
from prealloc.engines.hosts.spec import HostSpec, read_spec, write_spec
from prealloc.engines.registry import engine_options_of
from prealloc.errors import OptionsError, RunFolderError
from prealloc.testing import make_plan, scripted


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """Options of hosts, of their engine, of keys and of code: each is told, and no run folder is made."""
    with pytest.raises(OptionsError) as caught:
        prealloc.run(
            make_plan(1),
            scripted,
            tmp_path / "run",
            engine="process",
            hosts=0,
            engine_option=["speed=9", "plain"],
            pass_env=["NOT_SET_ANYWHERE"],
            ship=str(tmp_path / "nothing.py"),
            lease_s="1s",
        )
    told = "\n".join(str(mistake) for mistake in caught.value.mistakes)
    for each in ("hosts", "'plain' has no =", "NOT_SET_ANYWHERE", "nothing.py", "lease_s"):
        assert each in told
    assert not (tmp_path / "run").exists()


def test_options_of_an_engine_are_given_one_by_one() -> None:
    """Values may have commas, so nothing is split; a text that names a second option is a mistake, and says how."""
    found = engine_options_of("ray", {"engine_option": ("resources=a=1,b=2", "num_cpus=2")})
    assert found is not None
    assert own_options(found) == {"resources": "a=1,b=2", "num_cpus": "2"}
    for one in ("mem=100,poll=0.5", "mem=100, poll=0.5", "mem=1,spool=/shared"):
        with pytest.raises(OptionsError, match=f"{one!r} names several options") as caught:
            engine_options_of("slurm", {"engine_option": (one,)})
        assert "‹engine_option› mem=1" in caught.value.mistakes[0].hint


def test_options_of_hosts_are_of_engines_that_have_them(tmp_path: Path) -> None:
    """The engines of one machine refuse them, and name those that do not."""
    with pytest.raises(OptionsError, match="this engine has none"):
        prealloc.run(make_plan(1), scripted, tmp_path / "run", engine="local", hosts=2)
    assert engine_options_of("local", {}) is None


def test_the_doctor_asks_hosts_alone() -> None:
    """An engine without hosts is named as such, not an option that nobody has given."""
    with pytest.raises(OptionsError, match="local has no hosts"):
        diagnose_engine("local")


def test_code_is_packed_the_same_way(tmp_path: Path) -> None:
    """The same files give the same bytes, whatever their times; what is made from them is left out."""
    for name in ("one", "two"):
        (tmp_path / name / "inner" / "__pycache__").mkdir(parents=True)
        (tmp_path / name / "agent.py").write_text("x = 1\n")
        (tmp_path / name / "inner" / "data.json").write_text("{}")
        (tmp_path / name / "inner" / "__pycache__" / "agent.pyc").write_text(name)
    assert packed(tmp_path / "one") == packed(tmp_path / "two")
    assert refuse_unfit(tmp_path / "one") == []
    assert "no Python file" in refuse_unfit(tmp_path / "one" / "inner")[0].problem
    (tmp_path / "one" / "large.py").write_bytes(b"#" * (MOST_BYTES + 1))
    assert "16 MiB" in refuse_unfit(tmp_path / "one")[0].problem


def test_who_may_read_how_to_join(tmp_path: Path) -> None:
    """Its owner alone; it reads as it was written, and anything else is refused without a trace of its content."""
    spec = HostSpec(name="host-1", addresses=("::1",), port=1, certificate="PEM", token="secret", lease_s=9.0)
    write_spec(tmp_path / "join", spec)
    assert (tmp_path / "join").stat().st_mode & 0o777 == 0o600
    assert read_spec((tmp_path / "join").read_bytes(), "join") == spec
    for raw in (b"", b"{}", spec.encoded().replace(b"9.0", b"[]"), spec.encoded().replace(b"prealloc.host", b"other")):
        with pytest.raises(RunFolderError) as caught:
            read_spec(raw, "join")
        assert "secret" not in str(caught.value)


def test_a_host_loads_neither_rich_nor_typer() -> None:
    """It runs on many machines at once."""
    code = "import sys, prealloc.engines.hosts.host; print(*{'rich', 'typer', 'jinja2', 'scipy'} & {*sys.modules})"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
