"""Law 1: no worker opens the task library. A planted one that tries is refused and counted."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from pathlib import Path

import agents
import pytest
from harness import Stage

from examples import in_laws

pytestmark = [pytest.mark.fault, pytest.mark.fresh]


def test_planted_workers(stage: Stage) -> None:
    """Every way into the file at Python level is refused, and the run counts each, in its events and in its summary."""
    spies = {f"spy-{how}": {"do": "open_library", "how": how, "path": str(stage.library)} for how in agents.WAYS}
    stage.make_plan({**spies, "t": {"do": "ok"}})
    (stage.root / "library.json.symlink").symlink_to(stage.library)
    os.link(stage.library, stage.root / "library.json.hardlink")
    session = stage.start()
    session.wait()
    told = [json.loads(line) for line in session.acknowledged.read_text().splitlines()]
    got = {each["event"]["task"]: json.loads(each["line"])["result"].get("got") for each in told}
    assert got == {**dict.fromkeys(spies, 0), "t": None}, "it got at the library"
    assert session.of("run_ended")[0]["library_opens"] == len(spies)
    assert all(Path(opened["path"]).name.startswith("library.json") for opened in session.of("library_opened"))
    shown = stage.command("status", str(stage.run))
    shown.wait()
    assert f'"library_opens":{len(spies)}' in shown.output()
    stage.check(session)


def test_an_honest_run_says_0(stage: Stage) -> None:
    """And a worker that opens other files is left alone."""
    stage.make_plan({"t": {"do": "open_library", "how": "pathlib", "path": str(stage.root / "other.json")}})
    (stage.root / "other.json").write_text("{}" * 10)
    session = stage.start()
    assert session.wait() == 0
    assert session.of("run_ended")[0]["library_opens"] == 0


@pytest.mark.parametrize("swallow", [in_laws(False), True])
def test_a_module_that_opens_it_when_imported(stage: Stage, swallow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the process that forks workers too: refused before anything starts, or at the least counted."""
    stage.make_plan(2)
    body = f"open({str(stage.library)!r}).read()"
    body = f"try:\n    {body}\nexcept Exception:\n    pass" if swallow else body
    (stage.root / "spy_on_import.py").write_text(f"{body}\nfrom agents import act\n")
    monkeypatch.setenv("PYTHONPATH", str(stage.root))
    session = stage.start(worker="spy_on_import:act")
    code = session.wait()
    if code == 2:
        assert "opens the task library" in session.output()
        assert not stage.run.exists()
    else:
        assert swallow
        assert session.of("run_ended")[0]["library_opens"] >= 1


def test_nobody_has_it_open(stage: Stage) -> None:
    """Seen from outside: while a run goes on, no process of it ever holds or maps the library.

    And its time of last reading does not move, where the file system keeps one.
    """
    stage.make_plan({f"t{n}": {"do": "ok", "s": 0.05} for n in range(40)}, shards=4)
    os.utime(stage.library, (1, 1))  # relatime: the next read would set it
    seen: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for pid in stage.alive():
                seen.extend(opened_by(pid, stage.library))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    session = stage.start("-c", "2")
    code = session.wait()
    done.set()
    watcher.join()
    assert code == 0
    assert seen == []
    assert stage.library.stat().st_atime == 1
    # The means themselves see something: a reader moves the time, if any file here has one.
    probe = stage.root / "probe"
    probe.write_text("x")
    with probe.open() as held:
        assert opened_by(os.getpid(), probe)
        held.read()
    stage.check(session)


def opened_by(pid: int, file: Path) -> list[str]:
    """How a process holds a file: its descriptors and its mappings."""
    found = []
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") == str(file):
                    found.append(f"{pid} holds it as {descriptor}")
            except OSError:
                continue
        if str(file) in Path(f"/proc/{pid}/maps").read_text():
            found.append(f"{pid} maps it")
    except OSError:
        pass
    return found


def test_resume_and_run_without_the_library(stage: Stage) -> None:
    """The strongest form: the library is gone, and the run and its resume do not notice."""
    stage.make_plan({"a": {"do": "ok"}, "b": {"do": "gate"}})
    stage.library.unlink()
    session = stage.start("-c", "2")
    session.wait_for("attempt_ended")
    session.kill()
    stage.let_go()
    stage.finish()


if shutil.which("strace"):

    def test_strace_sees_no_open_but_the_planners(stage: Stage) -> None:
        """The same below Python: of planning and running, only the planner's process opens the library."""
        stage.make_plan({f"t{n}": {"do": "ok"} for n in range(6)}, shards=3)
        shutil.rmtree(stage.plan)
        trace = stage.root / "trace"
        strace = ("strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", str(trace))
        plan = stage.command(
            "plan", str(stage.library), "--all", "--shards", "3", "--out", str(stage.plan),
            "--set", f"signals={stage.signals}", wrap=strace,
        )  # fmt: skip
        assert plan.wait() == 0
        opened = re.findall(rf'"[^"]*{stage.library.name}"', trace.read_text())
        assert opened  # strace works, and sees the planner
        trace.unlink()
        words = ("run", str(stage.plan), "--worker", "agents:act", "--out", str(stage.run))
        run = stage.command(*words, wrap=strace)
        assert run.wait() == 0, run.output()
        text = trace.read_text()
        assert str(stage.plan.name) in text
        assert len(set(re.findall(r"^(\d+) ", text, re.MULTILINE))) >= 5  # master, fork server, three workers
        assert f'{stage.library.name}"' not in text
