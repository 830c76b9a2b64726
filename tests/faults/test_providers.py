"""A provider lives in a process of its own: what it is asked, what it tells, and what becomes of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from stand_in import await_end, await_news, gone, lives, spec, stand_in, started, within, written

from prealloc.engines.hosts.providers import base
from prealloc.engines.hosts.providers.client import ProviderProcess
from prealloc.engines.hosts.providers.messages import Gone, ProviderLost
from prealloc.errors import OptionsError

pytestmark = pytest.mark.fault
TESTS = Path(__file__).parents[1]


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[ProviderProcess]:
    found = ProviderProcess("process", {"python": stand_in(tmp_path)})
    yield found
    found.close()


def test_a_host_gets_its_spec_and_its_end_is_told(provider: ProviderProcess, tmp_path: Path) -> None:
    """The spec arrives byte for byte, by no argument; a host that is killed or has ended is told with its reason."""
    given = spec(tmp_path / "one")
    provider.start("one", given)
    provider.start("two", spec(tmp_path / "two", ends=3, says="no route"))
    assert await_news(provider, gone("two")) == Gone("two", "exit code 3; the last that it printed: no route")
    host = written(tmp_path / "one")
    assert host["spec"].encode() == given
    assert str(tmp_path / "one") not in " ".join(host["argv"])
    os.kill(host["pid"], signal.SIGKILL)
    assert await_news(provider, gone("one")) == Gone("one", "killed by SIGKILL")


def test_what_is_stopped_ends_even_if_it_is_frozen(provider: ProviderProcess, tmp_path: Path) -> None:
    """A stop reaches a host that hears nothing any more."""
    provider.start("one", spec(tmp_path / "one"))
    host = written(tmp_path / "one")
    os.kill(host["pid"], signal.SIGSTOP)
    provider.stop("one")
    await_news(provider, gone("one"))
    assert not lives(host["pid"])


def test_it_leaves_no_host_when_it_closes(provider: ProviderProcess, tmp_path: Path) -> None:
    """Neither a host nor its own process. Closing twice is nothing."""
    files = [tmp_path / f"host-{n}" for n in range(8)]
    for file in files:
        provider.start(file.name, spec(file))
    await_news(provider, started(files[-1].name))
    hosts = [written(file)["pid"] for file in files]
    provider.close()
    provider.close()
    assert not any(map(lives, [*hosts, provider.pid]))


def test_an_executor_leaves_no_semaphore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor any process. The tracker that would remove what is left of them is one of those."""
    (tmp_path / "with_a_lock.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "lock = get_context('spawn').Lock()\n"
        "make = lambda: ThreadPoolExecutor(1)\n"
    )
    monkeypatch.chdir(tmp_path)
    options = {"factory": "with_a_lock:make", "python": stand_in(tmp_path)}
    with closing(ProviderProcess("futures", options)) as provider:
        provider.start("one", spec(tmp_path / "one"))
        host = written(tmp_path / "one")["pid"]
        made = set(re.findall(r" (\d+) +/dev/shm/sem\.", Path(f"/proc/{provider.pid}/maps").read_text()))
        assert made & names_of_memory()
    assert not made & names_of_memory()
    assert not any(map(lives, [host, provider.pid]))


def names_of_memory() -> set[str]:
    """The inode of each name in shared memory."""
    with os.scandir("/dev/shm") as entries:
        return {str(entry.inode()) for entry in entries}


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_with_its_master(tmp_path: Path, busy: bool) -> None:
    """A master that is killed takes the provider and its hosts along, also while the provider is stopped in a call."""
    code = (
        f"import sys; sys.path[:0] = [{str(TESTS)!r}]\n"
        "import signal\n"
        "from pathlib import Path\n"
        "from stand_in import *\n"
        "from prealloc.engines.hosts.providers.client import ProviderProcess\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "provider = ProviderProcess('process', {'python': stand_in(folder)})\n"
        "provider.start('one', spec(folder / 'one'))\n"
        "print(provider.pid, flush=True)\n"
        "written(folder / 'one')\n"
        "print('runs', flush=True)\n"
        "signal.pause()\n"
    )
    master = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with master:
        assert master.stdout is not None
        pid = int(master.stdout.readline())
        assert master.stdout.readline() == "runs\n"
        host = written(tmp_path / "one")["pid"]
        if busy:
            os.kill(pid, signal.SIGSTOP)
        master.kill()
    if busy:
        os.kill(pid, signal.SIGCONT)
    await_end(pid, 10)
    await_end(host, 10)


def test_a_provider_that_dies_is_told_once_with_what_it_printed(provider: ProviderProcess) -> None:
    """Its death is news, not an exception; afterwards the engine may go on asking, and nothing happens."""
    os.kill(provider.pid, signal.SIGKILL)
    lost = await_news(provider, lambda news: isinstance(news, ProviderLost))
    assert isinstance(lost, ProviderLost)
    assert "killed by SIGKILL" in lost.reason
    assert not provider.alive
    provider.start("late", b"{}")
    provider.stop("late")
    assert provider.news() == []


def test_a_frozen_provider_does_not_hold_its_master(provider: ProviderProcess, tmp_path: Path) -> None:
    """However much it is asked meanwhile, more than a pipe holds: it does all of it when it thaws."""
    os.kill(provider.pid, signal.SIGSTOP)
    names = [f"host-{n}" for n in range(40)]
    for name in names:
        provider.start(name, spec(tmp_path / name, ends=0))
    assert provider.news() == []
    os.kill(provider.pid, signal.SIGCONT)
    told: set[str] = set()

    def all_told() -> bool | None:
        told.update(each.name for each in provider.news() if isinstance(each, Gone))
        return True if told == set(names) else None

    within(all_told, "the end of all hosts")


def test_a_refusal_is_told_in_the_engine_s_words(tmp_path: Path) -> None:
    """Asking for another host would be refused likewise, so that is said apart."""
    provider = ProviderProcess("process", {"python": str(tmp_path / "missing")})
    try:
        provider.start("one", b"{}")
        told = await_news(provider, gone("one"))
        assert told == Gone("one", f"{tmp_path}/missing cannot be started: No such file or directory", refused=True)
    finally:
        provider.close()


def test_unknown_providers_and_options_are_refused_with_those_there_are() -> None:
    """All of them at once, before a process is started."""
    with pytest.raises(OptionsError, match=r"there is no provider 'cloud'\n  hint: use one of .*process"):
        ProviderProcess("cloud", {})
    with pytest.raises(OptionsError) as caught:
        ProviderProcess("process", {"nodes": "3", "queue": "q", "python": "python3"})
    assert [mistake.problem for mistake in caught.value.mistakes] == [
        "process has no option 'nodes'",
        "process has no option 'queue'",
    ]


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The import fails in the provider's process; the user reads what to install, and sees no traceback."""
    (tmp_path / "needs_a_package.py").write_text(
        "class Needs:\n"
        "    options, cannot, extra, poll_s = {}, '', 'cloud', 1.0\n"
        "    def __init__(self, options): import no_such_package\n"
    )
    (tmp_path / "sitecustomize.py").write_text(
        "from prealloc.engines.hosts.providers import base\nbase.PROVIDERS['needs'] = 'needs_a_package:Needs'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(base.PROVIDERS, "needs", "needs_a_package:Needs")
    with pytest.raises(OptionsError) as caught, closing(ProviderProcess("needs", {})) as provider:
        provider.await_ready()
    (mistake,) = caught.value.mistakes
    assert mistake.problem == "needs: its package cannot be imported (No module named 'no_such_package')"
    assert mistake.hint == "pip install 'prealloc[cloud]'"


def test_what_an_engine_s_package_prints_is_not_taken_for_news(provider: ProviderProcess, tmp_path: Path) -> None:
    """A host inherits the provider's standard output; what it prints there is kept apart."""
    program = tmp_path / "prints"
    program.write_text('#!/bin/sh\necho \'{"type":"gone","name":"x","reason":"y"}\'\n')
    program.chmod(0o755)
    other = ProviderProcess("process", {"python": str(program)})
    try:
        other.start("one", b"{}")
        assert await_news(other, lambda news: isinstance(news, Gone)) == Gone("one", "exit code 0")
    finally:
        other.close()
