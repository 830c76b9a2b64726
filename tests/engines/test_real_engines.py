"""What every provider promises, on real engines: hosts are started with their spec, told of, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from labs import Lab
from slurm_lab import SlurmLab
from stand_in import await_end, await_news, gone, lives, parent, spec, stand_in, started, written

from prealloc.engines.hosts.providers.client import ProviderProcess
from prealloc.engines.hosts.providers.messages import Gone
from prealloc.errors import EngineError

pytestmark = pytest.mark.engine


@pytest.fixture
def provider(lab: Lab, tmp_path: Path) -> Iterator[ProviderProcess]:
    found = ProviderProcess(lab.engine, _options(lab, tmp_path))
    yield found
    found.close()


def _options(lab: Lab, folder: Path) -> dict[str, str]:
    """Those that start a stand-in, on the lab's machines."""
    python = stand_in(folder)
    if "python" in lab.options and lab.machines is not None:
        python = lab.machines.program(folder / "on-a-machine", python)
    return {**lab.options, "python": python}


def test_hosts_start_and_their_end_is_told(lab: Lab, provider: ProviderProcess, tmp_path: Path) -> None:
    """Each gets its spec byte for byte and in no argument, and on a cluster they are not all on one machine."""
    names = ["one", "two", "three"]
    for name in names:
        provider.start(name, spec(tmp_path / name))
    hosts = {name: written(tmp_path / name) for name in names}
    assert all(host["spec"].encode() == spec(tmp_path / name) for name, host in hosts.items())
    assert not any("filling" in " ".join(host["argv"]) for host in hosts.values())
    assert not any("filling" in value for host in hosts.values() for value in host["environment"].values())
    if lab.machines is not None:
        assert {host["host"] for host in hosts.values()} <= {lab.machines.name(i) for i in lab.machines.numbers}
    os.kill(hosts["two"]["pid"], signal.SIGKILL)
    told = await_news(provider, gone("two"))
    assert isinstance(told, Gone)
    assert not told.refused
    assert told.reason
    assert all(lives(hosts[name]["pid"]) for name in ("one", "three"))


def test_a_host_that_ends_by_itself_is_told_with_its_exit(lab: Lab, provider: ProviderProcess, tmp_path: Path) -> None:
    """How it ended is in the reason, as far as the engine tells."""
    provider.start("ends", spec(tmp_path / "ends", ends=3, says="the reason why"))
    told = await_news(provider, gone("ends"))
    assert isinstance(told, Gone)
    assert ("FAILED" in told.reason and "the reason why" in told.reason) or "exit code 3" in told.reason


def test_a_host_ends_with_the_engine_s_worker(lab: Lab, provider: ProviderProcess, tmp_path: Path) -> None:
    """The process that runs it for the engine is killed: nothing of the host is left, and it is told."""
    provider.start("one", spec(tmp_path / "one"))
    host = written(tmp_path / "one")["pid"]
    os.kill(parent(host), signal.SIGKILL)
    await_end(host)
    if lab.engine == "process":
        return  # that was the provider
    if lab.engine != "slurm":  # where the job stays RUNNING: the lease has to tell
        await_news(provider, gone("one"))
    provider.start("next", spec(tmp_path / "next"))
    assert lives(written(tmp_path / "next")["pid"])


def test_what_is_stopped_or_closed_ends(lab: Lab, provider: ProviderProcess, tmp_path: Path) -> None:
    """As far as an engine can. Where it cannot, it says so, and a host ends by itself when its master is gone."""
    for name in ("one", "two"):
        provider.start(name, spec(tmp_path / name))
    hosts = {name: written(tmp_path / name)["pid"] for name in ("one", "two")}
    if lab.engine in ("slurm", "ray", "process"):
        provider.stop("one")
        await_end(hosts["one"])
        await_news(provider, gone("one"))
        assert lives(hosts["two"])
    provider.close()
    if lab.engine != "dask":
        await_end(hosts["two"])
    else:
        for pid in hosts.values():
            os.kill(pid, signal.SIGKILL)


def test_more_hosts_than_there_is_room_for_wait(lab: Lab, provider: ProviderProcess, tmp_path: Path) -> None:
    """The engine's queue holds them: they are told as started, not as gone, and start when there is room."""
    names = [f"host-{n}" for n in range(16)]
    for name in names:
        provider.start(name, spec(tmp_path / name))
    await_news(provider, started(names[-1]))
    told: list[str] = []
    while len(told) < len(names):
        for name in [name for name in names if name not in told and (tmp_path / name).exists()]:
            os.kill(written(tmp_path / name)["pid"], signal.SIGKILL)
            told.append(name)
        if lab.engine == "futures" and told:
            return  # the first death has broken the executor
        assert not [each for each in provider.news() if isinstance(each, Gone) and each.name not in told]


def test_a_cluster_that_is_not_there_is_told_before_anything_runs(lab: Lab) -> None:
    """With the engine's own words, where it has an address to be wrong."""
    if lab.engine in ("ray", "dask"):
        address = f"tls://{lab.here}:1" if lab.engine == "dask" else f"{lab.here}:1"
        with (
            pytest.raises(EngineError, match=r"cannot be reached|has ended"),
            closing(ProviderProcess(lab.engine, {**lab.options, "address": address})) as provider,
        ):
            provider.await_ready()
    elif lab.engine == "futures":
        with (
            pytest.raises(EngineError, match="its factory raised: RuntimeError: no room here"),
            closing(ProviderProcess(lab.engine, {"factory": "loky_lab:refuses"})) as provider,
        ):
            provider.await_ready()
    elif lab.engine == "slurm":
        provider = ProviderProcess(lab.engine, {**lab.options, "partition": "nowhere"})
        provider.start("one", b"{}")
        told = await_news(provider, gone("one"))
        assert isinstance(told, Gone)
        assert told.refused
        assert "invalid partition specified: nowhere" in told.reason
        provider.close()


SETTINGS = {
    "slurm": "KillWait 3 sec, SlurmdTimeout 10 sec",
    "dask": "distributed.scheduler.allowed-failures 0",
    "ray": "4 nodes with 6 CPU",
    "futures": "made by loky_lab:make_executor",
}


def test_the_engines_own_settings_are_told(lab: Lab) -> None:
    """What the doctor says of them is the cluster's, not a default of what is installed here."""
    with contextlib.closing(ProviderProcess(lab.engine, lab.options, look=True)) as provider:
        provider.await_ready()
        told = [what for what, _ in provider.settings]
        assert any(SETTINGS[lab.engine] in what for what in told) if lab.engine in SETTINGS else not told, told
        assert not any(hint for _, hint in provider.settings)


def test_no_key_is_written_to_a_disk(
    lab: Lab, provider: ProviderProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Slurm writes to its disk holds no key of an API; what holds the host's own is its owner's alone to read."""
    if lab.engine != "slurm":
        return
    provider.close()
    monkeypatch.setenv("SOME_API_KEY", "sk-planted-in-the-environment")
    monkeypatch.setenv("SOME_SETTING", "kept")
    other = ProviderProcess(lab.engine, _options(lab, tmp_path))
    try:
        other.start("one", spec(tmp_path / "one"))
        host = written(tmp_path / "one")
        assert host["environment"]["SOME_SETTING"] == "kept"
        assert "SOME_API_KEY" not in host["environment"]
        assert stat.S_IMODE(os.stat(host["join"]).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(Path(host["join"]).parent).st_mode) == 0o700
        assert isinstance(lab.cluster, SlurmLab)
        saved = [file for file in (lab.cluster.folder / "state").rglob("*") if file.is_file()]
        assert saved
        assert not any(b"planted" in file.read_bytes() for file in saved)
    finally:
        other.close()
    assert not Path(host["join"]).exists()
