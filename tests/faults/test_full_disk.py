"""Row 15 on a disk that is really full, beside the named points of test_fault_points.py."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import checker
import pytest
from harness import Stage

from examples import in_laws

pytestmark = pytest.mark.fault

TASKS = 200
SMALL, LARGE = "size=96k", "size=16m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 96 KB. Only root may make one; who may not is told so, and has the test of a limit below."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", SMALL, "none", disk], capture_output=True).returncode:
        pytest.skip("only root may mount a tmpfs; test_a_file_that_may_not_grow shows the same with a limit")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize(("do", "concurrency"), [("ok", 4), in_laws("talk", 1), ("talk", 4)])
def test_a_full_disk(stage: Stage, small_disk: Path, do: str, concurrency: int) -> None:
    """It stops with 3 and the reason; nothing is ok that was not saved, and no task pays for it.

    A task that prints meets the full disk itself: that is no failure of the agent's. With space again, resume ends ok.
    """
    stage.make_plan({f"t{n:03}": {"do": do, "kb": 1} for n in range(TASKS)}, shards=2)
    stage.run = small_disk / "run"
    session = stage.start("-c", str(concurrency))
    assert session.wait() == 3, session.output()[-2000:]
    assert "No space left on device" in session.output()
    assert "df -h" in session.output()
    stage.check(session)
    broken: list[str] = []
    outcomes = checker.accepted(checker.planned_units(stage.run), [*checker.journal(stage.run, broken)], broken)
    assert set(outcomes.values()) <= {"ok", "not_run"}, "a task was judged by what the disk did"
    assert not broken

    stuck = stage.resume()  # still full
    assert stuck.wait() == 3, stuck.output()[-2000:]
    assert "Traceback" not in stuck.output()

    subprocess.run(["mount", "-o", f"remount,{LARGE}", small_disk], check=True)
    second = stage.resume()
    assert second.wait() == 0, second.output()[-2000:]
    assert second.census == {"ok": TASKS}
    stage.check(second)


def test_a_run_folder_on_a_full_disk(stage: Stage, small_disk: Path) -> None:
    """A run that cannot even be made: 3, the reason, and nothing of it is left."""
    stage.make_plan(3)
    (small_disk / "filler").write_bytes(b"x" * 96 * 1024)
    stage.run = small_disk / "run"
    session = stage.start()
    assert session.wait() == 3, session.output()
    assert "No space left on device" in session.output()
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_a_disk_without_inodes(stage: Stage, small_disk: Path) -> None:
    """Row 34: there is space, but no file can be made any more. It is said which of the two it is."""
    stage.make_plan(3)
    subprocess.run(["mount", "-o", f"remount,{LARGE},nr_inodes=200", small_disk], check=True)
    for number in range(195):
        (small_disk / str(number)).touch()
    stage.run = small_disk / "run"
    session = stage.start()
    assert session.wait() == 3, session.output()
    assert "No space left on device" in session.output()
    assert "short of inodes, not of space: see `df -i`" in session.output()


def test_a_file_that_may_not_grow(stage: Stage) -> None:
    """A limit on the size of files (ulimit -f) refuses in the middle of a line, as a full disk does."""
    prlimit = shutil.which("prlimit")
    assert prlimit, "util-linux has it"
    stage.make_plan({f"t{n:03}": {"do": "ok"} for n in range(TASKS)}, shards=2)
    limit = [prlimit, "--fsize=20000"]
    session = stage.command("run", str(stage.plan), "--worker", "agents:act", "--out", str(stage.run), wrap=limit)
    assert session.wait() == 3
    assert "File too large" in session.output()
    stage.check(session)
    second = stage.resume()
    assert second.wait() == 0
    assert second.census == {"ok": TASKS}
    stage.check(second)


def test_too_many_open_files(stage: Stage) -> None:
    """A limit on open files (ulimit -n) that is too low for one worker is told by its name, wherever it is met.

    Which limit that is, the Python version decides. Resume goes on without it.
    """
    stage.make_plan({"t": {"do": "ok"}}, shards=3, strategy="paired")
    for files in (14, 13, 12, 11):
        words = f"run {stage.plan} --worker agents:act --out {stage.root / f'run{files}'} --workers 3"
        session = stage.command(*words.split(), wrap=["prlimit", f"--nofile={files}"])
        if session.wait() != 0:
            break
    assert session.exit_code == 3, session.output()[-2000:]
    assert "Too many open files" in session.output()
    assert "`ulimit -n`" in session.output()
    assert "Traceback" not in session.output()
    stage.run = session.run
    stage.check(session)
    stage.finish()


def test_standard_output_on_a_full_disk(stage: Stage) -> None:
    """Who cannot be told any more is no reason to stop: the results are safe in the journal."""
    stage.make_plan(8)
    words = f"run {stage.plan} --worker agents:act --out {stage.run}"
    session = stage.command(*words.split(), wrap=["/bin/sh", "-c", 'exec "$@" > /dev/full', "sh"])
    assert session.wait() == 0
    broken: list[str] = []
    outcomes = checker.accepted(checker.planned_units(stage.run), [*checker.journal(stage.run, broken)], broken)
    assert set(outcomes.values()) == {"ok"}
