"""The doctor's screens, and its command as a user types it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len

from prealloc.cli import main
from prealloc.doctor.finding import Diagnosis, Finding, Level, Repaired, ok, problem, warning
from prealloc.report.doctor_view import FIRST_PIECES, FIRST_UNITS, render_diagnosis
from prealloc.store.repair import Moved

SCREENS = Path(__file__).parents[1] / "golden" / "screens"
HOSTILE = "[red]x[/red]\x1b[31m\r\u202e\udcff"


def diagnosis(repair: Repaired | None = None, **groups: tuple[Finding, ...]) -> Diagnosis:
    """Of a run folder, with these findings."""
    fields = {"machine": (), "files": (), "run": (), **groups}
    return Diagnosis(folder="runs/prompt-study-7", repair=repair, **fields)


def found(repair: Repaired | None = None) -> Diagnosis:
    """Findings of every level, short and long."""
    return diagnosis(
        repair,
        machine=(
            ok("python", "CPython 3.11.7, /usr/bin/python3"),
            ok("death signal", "a worker was gone 2 ms after its fork server was killed"),
            problem(
                "open files",
                "256 allowed, enough for 55 workers at once; 64 need 292",
                "ulimit -n 4096; or run with --workers 55",
            ),
            warning(
                "memory",
                "60.0 of 64.0 GB available; the control group /sys/fs/cgroup/job allows 1.0 GB, 0.5 of it free: 23 "
                "workers, and runs do not look at it",
                "run with --workers 23, less with large slices; or raise the group's limit",
            ),
        ),
        files=(ok("lock", "it keeps a second process out, and ends with its owner"),),
        run=(
            problem(
                "journal",
                "damaged line (of gpt-4o.easy.001/task_005#0): JSON is malformed: invalid character (byte 17)",
                "prealloc doctor runs/prompt-study-7 --repair",
                where="runs/prompt-study-7/journal/gpt-4o.easy.001.0001.0002.jsonl:38",
            ),
            problem(
                "strays",
                "no master lives, but these do: 4711 (python -c import sys): it writes to logs/gpt-4o.easy.001.log",
                "kill -9 4711",
            ),
        ),
    )


def repaired(pieces: int = 2, units: int = 2) -> Repaired:
    moved = [
        Moved(
            file=f"gpt-4o.easy.{n:03}.0001.0002.jsonl",
            line=38 if n else 0,
            lines=n,
            bytes=412 * (n + 1),
            aside=f"runs/prompt-study-7/journal-aside/gpt-4o.easy.{n:03}.0001.0002.jsonl.1",
            why="JSON is malformed: invalid character (byte 17)" if n else "it was not written by prealloc",
        )
        for n in range(pieces)
    ]
    again = [f"gpt-4o.easy.001/task_{n:03}#0" for n in range(units)]
    return Repaired(moved=tuple(moved), again=tuple(again), resume="prealloc resume runs/prompt-study-7")


def check(name: str, text: str) -> None:
    path = SCREENS / f"{name}.txt"
    if os.environ.get("PREALLOC_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 200])
def test_screens(width: int) -> None:
    """Findings of every level and a repair look exactly so; no line is wider than the terminal but for a path in it."""
    text = render_diagnosis(found(repaired())).text(width)
    assert max(cell_len(line) for line in text.splitlines() if "/journal" not in line) <= width
    check(f"doctor-{width}", text)


def test_off_a_terminal_a_finding_is_a_line() -> None:
    """No wrapping: `grep problem` finds whole sentences."""
    text = render_diagnosis(found()).text()
    assert "problem  open files       256 allowed, enough for 55 workers at once; 64 need 292\n" in text
    assert text.endswith("\n3 problems, 1 warning\n")


def test_nothing_is_lost_on_a_narrow_terminal() -> None:
    """Every word of every finding and hint is there, whatever the width; paths are broken, not cut."""
    for width in (45, 60, 80):
        text = render_diagnosis(found()).text(width)
        squeezed = "".join(text.split())
        for finding in found().findings:
            for told in (finding.seen, finding.where or "", finding.hint or ""):
                assert "".join(told.split()) in squeezed, (width, told)
        assert "…" not in text


def test_commands_are_copied_in_one_piece() -> None:
    """A command that is too long for the terminal stands on one line all the same: the terminal breaks it."""
    kill = "kill -9 " + " ".join(map(str, range(1000, 1100)))
    text = render_diagnosis(diagnosis(run=(problem("strays", "many", kill),))).text(80)
    assert f"hint           {kill}\n" in text


def test_what_a_repair_says() -> None:
    """Nothing to do is said; of many pieces and units the first are shown, and how many more there are."""
    assert "nothing to repair" in render_diagnosis(diagnosis(repaired(0, 0))).text()
    many = render_diagnosis(diagnosis(repaired(FIRST_PIECES + 5, FIRST_UNITS + 7))).text()
    assert "… 5 more\n" in many
    assert "  … 7 more\n" in many
    assert "to run them: prealloc resume runs/prompt-study-7\n" in many
    assert "no unit runs again" in render_diagnosis(diagnosis(repaired(1, 0))).text()
    assert render_diagnosis(diagnosis(machine=(ok("a", "b"),))).text().endswith("all fine\n")


def test_no_foreign_text_reaches_the_terminal_raw() -> None:
    """File names, commands and messages are shown as escapes where they do not print."""
    finding = Finding(name=HOSTILE, level=Level.PROBLEM, seen=HOSTILE, where=HOSTILE, hint=HOSTILE)
    moved = Moved(file=HOSTILE, line=1, lines=1, bytes=1, aside=HOSTILE, why=HOSTILE)
    done = Repaired(moved=(moved,), again=(HOSTILE,), resume=HOSTILE)
    for width in (None, 80):
        text = render_diagnosis(msgspec.structs.replace(diagnosis(done, run=(finding,)), folder=HOSTILE)).text(width)
        assert all(line.isprintable() for line in text.splitlines())
        assert "[red]x[/red]\\x1b[31m" in text


# -- the command --------------------------------------------------------------------------------------------


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["prealloc", *words])
    return main()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--repair"], "no run is named"),
        (["run", "--folder", "."], "omit --folder or the run"),
        (["--folder", "gone"], "no such folder"),
        (["gone"], "no such folder"),
        (["."], "not a run folder"),
        ([".", "--repair"], "not a run folder"),
    ],
)
def test_bad_input(
    words: list[str],
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Exit code 2 with the hint, and nothing was made."""
    monkeypatch.chdir(tmp_path)
    assert typed(monkeypatch, "doctor", *words) == 2
    # The error is wrapped to the width of wherever this runs.
    assert part in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_json_is_one_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With --json stdout is one object: the four groups, the repair, the exit code."""
    monkeypatch.chdir(tmp_path)
    code = typed(monkeypatch, "doctor", "--json")
    found = json.loads(capsys.readouterr().out)
    assert code == found["exit_code"]
    assert list(found) == ["exit_code", "folder", "machine", "files", "run", "hosts", "repair"]
    assert found["run"] == []
    assert found["repair"] is None
    assert set(found["machine"][0]) == {"name", "level", "seen", "where", "hint"}
