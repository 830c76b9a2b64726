"""Commands that are told to end while they write: with real signals, at the places where it could leave something."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from harness import wait_until
from zygote import command_environment, run_command, zygote

from examples import in_laws
from prealloc.files.faultpoint import VARIABLE

pytestmark = pytest.mark.fault

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
PATIENCE_S = 40.0
RUN = ("run", "plan", "--worker", "prealloc.agents.simulate:run", "--out", "new")
MEMORY = ("memory", "tasks.json", "--workers", "1", "-n", "2", "--seconds", "0.1", "--ways", "whole")
FORCE = ("plan", "tasks.json", "--shards", "4", "-n", "2", "--seed", "9", "--out", "plan", "--force")


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    """A folder with a library and a plan of it."""
    tasks = [{"id": f"t{n}", "task_type": "a", "workflow": {"n": n}} for n in range(30)]
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": tasks}))
    assert typed(tmp_path, "plan", "tasks.json", "--shards", "3", "-n", "2", "--out", "plan").returncode == 0
    return tmp_path


def typed(ground: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_command(words, ground)


def signalled(ground: Path, words: tuple[str, ...], point: str, *numbers: int) -> tuple[int, str]:
    """The exit code and stderr of a command that is stopped at a point, and finds these signals when it goes on."""
    environment = command_environment({VARIABLE: f"{point}:1:stop"})
    with tempfile.TemporaryFile() as errors:
        command = zygote().start(words, ground, environment, errors)
        assert command.stdout is not None
        try:
            wait_until(lambda: command.poll() is not None or is_stopped(command.pid), f"stop at {point}")
            assert command.returncode is None, f"it never came to {point}"
            for number in (*numbers, signal.SIGCONT):
                command.send_signal(number)
            code = command.wait(PATIENCE_S)
        finally:
            command.kill()
            command.stdout.close()
        errors.seek(0)
        return code, errors.read().decode()


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def tree(folder: Path) -> Mapping[str, bytes | None]:
    """All that lies in a folder, hidden or not."""

    def found() -> Iterator[tuple[str, bytes | None]]:
        for path in sorted(folder.rglob("*")):
            yield str(path.relative_to(folder)), path.read_bytes() if path.is_file() else None

    return dict(found())


@pytest.mark.parametrize("number", [INT, in_laws(TERM), in_laws(HUP)], ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("words", "point"),
    [
        (("plan", "tasks.json", "--shards", "3", "-n", "2", "--out", "new"), "plan.manifest"),
        (FORCE, "folder.exchange"),
        (RUN, "folder.copy"),
        (("library", "convert", "tasks.json", "new.db"), "file.write"),
        (("library", "index", "tasks.json"), "file.rename"),
    ],
    ids=lambda each: each[-1] if isinstance(each, tuple) else each,
)
def test_a_signal_leaves_everything_as_it_was(
    ground: Path, words: tuple[str, ...], point: str, number: signal.Signals
) -> None:
    """Told to end while it writes, a command ends with 128 + signal, says so, and the folder is as it was."""
    before = tree(ground)
    code, errors = signalled(ground, words, point, number)
    assert (code, errors) == (128 + number, "note: nothing was written\n")
    assert tree(ground) == before


@pytest.mark.parametrize(
    ("words", "point"),
    [
        (("plan", "tasks.json", "--out", "new"), "plan.slice"),
        (("plan", "tasks.json", "--out", "new"), "folder.rename"),
        (("plan", "tasks.json", "--out", "below/new"), "plan.file"),
        (("library", "convert", "tasks.json", "new.parts"), "folder.rename"),
        (("library", "sample", "new.jsonl.gz", "--tasks", "3"), "file.rename"),
        ((*MEMORY, "--json-file", "new.json"), "file.rename"),
        (("doctor",), "folder.make"),
    ],
    ids=lambda each: each[-1] if isinstance(each, tuple) else each,
)
def test_more_signals_do_not_stop_the_putting_away(ground: Path, words: tuple[str, ...], point: str) -> None:
    """A terminal that closes sends several: the first decides, and still nothing is left."""
    before = tree(ground)
    code, errors = signalled(ground, words, point, HUP, TERM, HUP)
    assert code in (128 + HUP, 128 + TERM)
    assert errors.endswith("note: nothing was written\n")
    assert tree(ground) == before


def test_what_was_written_already_is_told(ground: Path) -> None:
    """After the new plan is in its place, and before the old one is gone: not "nothing was written"."""
    code, errors = signalled(ground, FORCE, "folder.remove", TERM)
    assert (code, errors) == (143, "note: written whole: plan\n")
    assert sorted(path.name for path in ground.iterdir()) == ["plan", "tasks.json"]
    assert typed(ground, "verify", "plan").returncode == 0
    assert len(list((ground / "plan" / "shards").iterdir())) == 4
