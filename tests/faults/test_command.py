"""`--command`: an outside program per shard. Its results survive it, the master and each other."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import Session, Stage, wait_until

import prealloc

pytestmark = pytest.mark.fault

RUNNER = f"{sys.executable} {Path(__file__).parent / 'outside_runner.py'} --manifest {{manifest}}"


def start(stage: Stage, *options: str, command: str = RUNNER) -> Session:
    return stage.command("run", str(stage.plan), "--command", command, "--out", str(stage.run), *options)


def test_once_per_shard_with_its_manifest(stage: Stage) -> None:
    """Each program gets its shard's manifest; its output is in the shard's log, its results are the run's."""
    stage.make_plan({f"t{n}": {} for n in range(9)}, shards=3, repeats=2)
    session = start(stage)
    assert session.wait() == 0, session.output()
    assert session.census == {"ok": 18}
    assert len(session.of("shard_started")) == 3
    for shard in ("shard-00", "shard-01", "shard-02"):
        assert (stage.run / "logs" / f"{shard}.log").read_text() == f"running {shard} 3\n"
    assert all(event["success"] is True for event in session.of("attempt_ended"))
    stage.check(session)


def test_success_is_what_the_program_says(stage: Stage) -> None:
    """1 and 0 are yes and no; any other success is counted as unknown, and its result is kept."""
    told: list[Any] = [{"success": 1}, {"success": 0}, {"success": "no"}, {"passed": False}, None]
    stage.make_plan({f"t{n}": {"do": "say", "result": result} for n, result in enumerate(told)})
    session = start(stage)
    assert session.wait() == 0, session.output()
    (ended,) = session.of("run_ended")
    assert (ended["rate"], ended["success"]["unknown"], ended["success"]["unclear"]) == (0.5, 3, 1)
    said = {event["task"]: (event["success"], event["unclear"]) for event in session.of("attempt_ended")}
    assert said == {
        "t0": (True, None),
        "t1": (False, None),
        "t2": (None, '"no"'),
        "t3": (None, None),
        "t4": (None, None),
    }
    kept = {each.task: each.read() for each in prealloc.outcomes(stage.run)}
    assert [kept[f"t{n}"].result for n in range(5)] == told


def test_a_result_with_nan_in_it_is_failed_and_the_rest_kept(stage: Stage) -> None:
    """Python's json writes NaN: the field is named and null, the unit `failed`, and what was paid for is there."""
    stage.make_plan({"a": {"do": "nan"}, "b": {}})
    session = start(stage)
    assert session.wait() == 1, session.output()
    assert session.census == {"ok": 1, "failed": 1}
    (failed,) = [each for each in prealloc.outcomes(stage.run) if each.status == "failed"]
    assert failed.error is not None
    assert failed.error.message == "result.score: nan is not a JSON number; make it null or a string"
    assert failed.read().result == {"success": True, "score": None, "text": "kept"}
    stage.check(session)


def test_outcomes_in_the_programs_words(stage: Stage) -> None:
    """A status and an error that the program tells are the unit's."""
    stage.make_plan({"a": {}, "c": {"do": "fail"}})
    session = start(stage)
    assert session.wait() == 1
    assert session.census == {"ok": 1, "failed": 1}
    (failed,) = session.of("attempt_ended", status="failed")
    assert (failed["error"]["type"], failed["error"]["message"]) == ("AgentError", "no luck")
    stage.check(session)


def test_resume_hands_a_manifest_of_the_rest(stage: Stage) -> None:
    """A program that exits in the middle: its log and code are named; the next one gets only what is left."""
    stage.make_plan({"a": {}, "x": {"do": "exit"}, "b": {}}, first="a")
    session = start(stage)
    assert session.wait() == 1
    assert "exited with code 3" in session.output()
    told = session.census["ok"]
    assert session.census == {"ok": told, "not_run": 3 - told}
    stage.check(session)
    before = {task: stage.attempts(task) for task in "ab"}
    second = stage.resume()
    assert second.wait() == 1
    rest = list((stage.run / "rest").rglob("shard-00.json"))
    assert len(rest) == 1
    ran_again = [task for task in "ab" if stage.attempts(task) > before[task]]
    assert len(ran_again) <= 3 - told - 1
    stage.check(second)


def test_a_program_that_hangs(stage: Stage) -> None:
    """No result for --timeout: its whole tree is killed, what it told before is kept; others are not affected."""
    stage.make_plan({f"t{n}": {"do": "hang" if n == 3 else "ok"} for n in range(8)}, shards=2)
    session = start(stage, "--timeout", "1.5")
    assert session.wait() == 1
    assert session.census["ok"] >= 4
    assert "no result within the timeout" in session.output()
    stage.check(session)  # nothing of the tree is alive


def test_sigkill_of_the_master(stage: Stage) -> None:
    """The program dies with it; what it told and the master had not come to is taken in by resume, not run again."""
    stage.make_plan({"a": {}, "x": {"do": "gate"}, "b": {}, "c": {}, "d": {}}, first="a")
    first = start(stage)
    stage.wait_for_start("a", "x")
    first.kill()
    stage.check(first)
    left = [task for task in "bcd" if not stage.attempts(task)]
    assert left, "all were run before x"
    results = next((stage.run / "results").iterdir())
    with results.open("a") as file:  # the last line without a line feed
        file.write("\n".join(f'{{"task":"{task}","result":{{"told":"at the last moment"}}}}' for task in left))
    stage.let_go()
    second = stage.resume()
    assert second.wait() == 0, second.output()
    assert [stage.attempts(task) for task in left] == [0] * len(left)
    assert stage.attempts("a") == 1
    assert second.census == {"ok": 5}
    stage.check(second)
    third = stage.resume("--failed")
    assert third.wait() == 0
    assert third.of("attempt_ended") == []
    stage.check(third)


def test_lines_that_are_no_results(stage: Stage) -> None:
    """Told with their place, and nothing else comes of them; a second result for a unit is kept as evidence."""
    stage.make_plan({"a": {"do": "rubbish"}, "b": {"do": "twice"}})
    session = start(stage)
    assert session.wait() == 0, session.output()
    notes = " ".join(event["text"] for event in session.of("note"))
    for part in ("expected a key or }", "'nobody'", "repeat 99", "splendid"):
        assert part in notes
    assert all(event["success"] for event in session.of("attempt_ended"))
    stage.check(session)


def test_programs_that_tell_badly(stage: Stage) -> None:
    """Each is told by its cause, with the hint, and costs nobody else anything; what can be read of it counts.

    A last line without a line feed; an array, in one line or in many; something else than a file, which nobody waits
    for or follows; too much memory. The next session waits for none of it either.
    """
    tasks = {
        "cut": {"do": "no line feed"},
        "array": {"do": "array", "by": None},
        "lines": {"do": "array", "by": 2},
        "hoard": {"do": "hoard"},
        **{kind: {"do": kind} for kind in ("FIFO", "folder", "link")},
        "fine": {},
    }
    stage.make_plan(tasks, shards=len(tasks))
    session = start(stage, "--memory", "256MB", "--workers", str(len(tasks)))
    assert session.wait() == 1, session.output()
    assert session.census == {"ok": 2, "not_run": 6}
    assert {event["task"] for event in session.of("attempt_ended")} == {"cut", "fine"}
    notes = [event["text"] for event in session.of("note")]
    for part, times in {
        "begins an array; write each result as a line of its own: file.write(json.dumps(result)": 2,
        "further lines are not results": 1,
        "exited with code 0, 1 of its units are without a final outcome; see": 2,
        "not a file but a FIFO, 1 of": 1,
        "not a file but a folder, 1 of": 1,
        "a link that leads out of the folder, 1 of": 1,
        "MB, more than the memory limit, 1 of": 1,
    }.items():
        assert sum(part in note for note in notes) == times, (part, notes)
    stage.check(session)
    second = stage.resume()
    assert second.wait() == 1
    assert second.census == {"ok": 2, "not_run": 6}
    assert second.of("attempt_ended") == []
    assert sum("results of an earlier program are left out" in event["text"] for event in second.of("note")) == 3
    stage.check(second)


def test_a_program_that_fails(stage: Stage) -> None:
    """Its last line of output is told, of this session and not of an earlier one; and that it told no result."""
    stage.make_plan({"a": {"do": "exit"}})
    session = start(stage)
    assert session.wait() == 1
    (note,) = session.of("note")
    for part in ("exited with code 3", "giving up: a", "it has written no result", "PREALLOC_RESULTS"):
        assert part in note["text"]
    log = stage.run / "logs/shard-00.log"
    log.write_text(log.read_text() + "of an earlier session")
    runner = stage.run / "run.json"
    runner.write_text(runner.read_text().replace(RUNNER, "/bin/false {manifest}"))
    second = stage.resume()
    assert second.wait() == 1
    (note,) = second.of("note")
    assert "exited with code 1" in note["text"]
    assert "earlier session" not in note["text"]


def test_a_program_opens_neither_the_library_nor_a_copy(stage: Stage) -> None:
    """By inode and by content; its slice is free, and so is another file of that size. The first place is told.

    The same goes for the rest of a shard, whose manifest does not lie in the plan.
    """
    copy, other = stage.root / "copy.json", stage.root / "other.json"
    peek = {"do": "peek", "paths": [str(copy), str(other)], "then": str(stage.library)}
    stage.make_plan({"a": peek, "b": peek}, lanes=[prealloc.Lane(name="k", requests_per_minute=7)])
    shutil.copy(stage.library, copy)
    other.write_text("x" * copy.stat().st_size)
    (sliced,) = (stage.plan / "slices").iterdir()
    for begin, code in ((lambda: start(stage), 1), (stage.resume, 0)):
        session = begin()
        assert session.wait() == code, session.output()
        (note,) = session.of("note")
        assert f"{stage.library}: a worker may not open the task library (first opened at " in note["text"]
        assert note["text"].count("outside_runner.py") >= 2
        assert "in peek, called from " in note["text"]
        stage.check(session)
    told = [each.read().result for each in prealloc.outcomes(stage.run)]
    read = ["refused", f"{copy.stat().st_size} bytes", f"{sliced.stat().st_size} bytes"]
    assert told == [{"read": [*read[:2], each["read"][2]], "lane": 7} for each in told]
    assert read[2] in {each["read"][2] for each in told}


def test_resume_runs_the_command_where_it_was_started(stage: Stage) -> None:
    """A program with a path that begins in that folder is found, and finds its files; without the folder, 2."""
    stage.make_plan({"a": {}})
    folder = stage.root / "here"
    folder.mkdir()
    program = folder / "program"
    program.write_text("#!/bin/sh\npwd > where\ntest ! -e fail\n")
    program.chmod(0o755)
    words = ("run", str(stage.plan), "--command", "./program {manifest}", "--out", str(stage.run))
    session = stage.command(*words, wrap=("/bin/sh", "-c", f'cd "{folder}" && exec "$@"', "sh"))
    assert session.wait() == 1, session.output()
    where = folder / "where"
    assert where.read_text() == f"{folder}\n"
    where.unlink()
    second = stage.resume()
    assert second.wait() == 1, second.output()
    assert where.read_text() == f"{folder}\n"
    folder.rename(stage.root / "elsewhere")
    third = stage.resume()
    assert third.wait() == 2
    assert "the folder that the run was started in is gone" in third.output()
    stage.check(third)


def test_ctrl_c_gives_the_program_its_time(stage: Stage) -> None:
    """Within --drain it may end by itself; then it is killed, 130, and resume goes on."""
    stage.make_plan({"a": {}, "x": {"do": "gate"}}, first="a")
    session = start(stage, "--drain", "1")
    stage.wait_for_start("x")
    wait_until(lambda: session.of("attempt_ended"), "result of a")
    session.signal(2)
    assert session.wait() == 130
    stage.check(session)
    stage.let_go()
    second = stage.resume()
    assert second.wait() == 0
    assert stage.attempts("a") == 1
    stage.check(second)


def test_a_program_has_its_grace(stage: Stage) -> None:
    """SIGTERM, once, and SIGKILL only after --grace: it can clean up. --cleanup is for functions, and is refused."""
    stage.make_plan({"a": {"do": "tidy"}})
    session = start(stage, "--drain", "60", "--grace", "20")
    wait_until((stage.signals / "ready").exists, "its handler")
    for number in range(2):
        session.signal(2)
        session.wait_for("stopping", number + 1)
    assert session.wait() == 130
    assert (stage.signals / "tidied").exists()
    assert len(list(stage.signals.glob("terminated.*"))) == 1
    stage.check(session)
    refused = stage.command(
        "run", str(stage.plan), "--command", RUNNER, "--cleanup", "cleaning:sweep", "--out", str(stage.root / "other")
    )
    assert refused.wait() == 2
    assert "SIGTERM" in refused.output()


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("no-such-program-anywhere {manifest}", "there is no program"),
        (f"{sys.executable} x.py", "{manifest} is missing from it"),
        ("'", "it is not a command"),
        (" ", "the command is empty"),
    ],
)
def test_a_command_that_cannot_be_run(stage: Stage, command: str, problem: str) -> None:
    """Exit code 2 before anything starts, with the hint."""
    stage.make_plan(2)
    session = start(stage, command=command)
    assert session.wait() == 2
    assert problem in session.output()
    assert not stage.run.exists()
