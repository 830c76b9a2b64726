"""Config files and environment: every ready config loads, every mistake is told with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from prealloc.errors import InputError, OptionsError
from prealloc.model.plan import PlanSpec
from prealloc.model.policy import RunPolicy
from prealloc.settings import from_environment, load_config

CONFIGS = sorted((Path(__file__).parents[2] / "config").glob("*.toml"))


def test_there_are_ready_configs() -> None:
    """The test below has something to look at."""
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_ready_config_loads_and_makes_a_spec_and_a_policy(path: Path) -> None:
    """A config that ships is one that works."""
    experiment = load_config(path)
    assert PlanSpec.checked(**experiment.sampling).shards >= 1
    policy = {key: value for key, value in experiment.run.items() if key not in ("worker", "engine")}
    assert RunPolicy.checked(**policy).concurrency >= 1


def test_all_mistakes_of_a_file_are_told_together_with_their_keys(tmp_path: Path) -> None:
    """Unknown sections and keys, wrong values in both sections: one error names them all."""
    path = tmp_path / "bad.toml"
    path.write_text(
        "colour = 1\n[library]\npath = 3\n[sampling]\nshrads = 2\nseed = -1\nrepeats = 0\n[run]\nretries = -1\n"
    )
    with pytest.raises(OptionsError) as caught:
        load_config(path)
    text = str(caught.value)
    for part in ("colour", "path: 3 has the wrong type", "did you mean shards?", "--seed", "--repeats", "--retries"):
        assert part in text
    assert len(caught.value.mistakes) == 6


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[run", b"a = {" * 5000], ids=["not UTF-8", "cut", "nested"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    """Bad input is an InputError that names the file, never a traceback of the parser's."""
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"config file|nested") as caught:
        load_config(path)
    assert caught.value.where == str(path)


def test_a_library_path_counts_from_the_config_file(tmp_path: Path) -> None:
    """An experiment folder can be moved as a whole."""
    path = tmp_path / "a.toml"
    path.write_text('[library]\npath = "tasks.json"\n')
    assert load_config(path).library["path"] == str(tmp_path / "tasks.json")


def test_the_environment_sets_run_options_and_is_checked() -> None:
    """PREALLOC_WORKERS and PREALLOC_ENGINE are options like any other."""
    assert from_environment({"PREALLOC_WORKERS": "3", "PREALLOC_ENGINE": "inline"}) == {
        "workers": 3,
        "engine": "inline",
    }
    assert from_environment({}) == {}
    with pytest.raises(OptionsError, match="PREALLOC_WORKERS"):
        from_environment({"PREALLOC_WORKERS": "many"})
