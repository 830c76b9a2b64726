"""The journal's writer and reader, and the fold, without processes."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from run_events import attempt_line

from examples import examples
from prealloc.errors import JournalError
from prealloc.files.paths import JournalName, RunPaths, parse_journal_name
from prealloc.model.events import AttemptEnded
from prealloc.model.outcome import FINAL, AttemptInfo, ErrorInfo, Status, verdict
from prealloc.model.plan import Unit
from prealloc.model.usage import Tokens
from prealloc.store import journal as module
from prealloc.store.fold import fold
from prealloc.store.journal import JournalFile, journal_files, read_lines
from prealloc.store.journal_lines import AttemptLine, AttemptLost, SessionStarted, SoloDeath
from prealloc.store.journal_writer import JournalWriter

UNITS = [Unit("shard-00", task, 0) for task in ("a", "b")]


def attempt(task: str = "a", number: int = 1, status: Status = Status.OK, **fields: Any) -> AttemptLine:
    result = msgspec.Raw(msgspec.json.encode(fields.pop("result", {"n": number})))
    return attempt_line(
        **{"shard": "shard-00", "task": task, "status": status, "attempt": number, "result": result} | fields
    )


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    paths = RunPaths(tmp_path)
    paths.journal.mkdir()
    return paths


def write(path: Path, *lines: Any) -> None:
    writer = JournalWriter(path)
    for line in lines:
        writer.append(line)
    writer.close()


def lines_of(path: Path) -> list[Any]:
    return [line.content for line in read_lines(JournalFile(path, JournalName(1, "shard-00", 1)))]


def test_an_event_says_all_that_a_line_says() -> None:
    """But for the result, and the traceback of an error."""
    said = {
        "success": False,
        "score": 0.5,
        "unclear": '"no"',
        "usage": {"m": Tokens(input=1)},
        "lane": "l",
        "host": "h",
    }
    error = ErrorInfo(type="E", message="m", traceback="t", http_status=500)
    line = attempt(status=Status.FAILED, error=error, started_at=1.0, waiting_s=2.0, queued_s=3.0, peak_rss=4, **said)
    told = msgspec.structs.asdict(AttemptEnded.of(line, "easy"))
    fields = {name: getattr(line, name) for name in AttemptInfo.__struct_fields__}
    assert told == {**fields, "error": error.brief(), "type": "easy", "outcome": True, "first": True}
    assert None not in told.values()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@examples(100, allow=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.integers(1, 9)), max_size=5)
)
def test_lines_come_back_as_they_were(tmp_path: Path, entries: list[tuple[str, int]]) -> None:
    """Whatever stands in ids, results and errors: line feeds, zeros, U+2028 are escaped or harmless."""
    path = tmp_path / "shard-00.0001.0001.jsonl"
    path.unlink(missing_ok=True)
    error = ErrorInfo(type="E", message="\r\n\0\x85\u2028")
    written = [attempt(task or "x", number, result=[task], error=error) for task, number in entries]
    write(path, *written)
    assert lines_of(path) == written
    for line in read_lines(JournalFile(path, JournalName(1, "shard-00", 1))):
        assert module.read_line(path, line.offset, line.length) == line.content


def test_each_line_is_one_write(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between two lines leaves whole lines: each goes out in one system call, before append returns."""
    sizes: list[int] = []
    write_ = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: sizes.append(len(data)) or write_(fd, data))
    path = run.worker_journal("shard-00", 1, 1)
    writer = JournalWriter(path)
    for number in range(3):
        writer.append(attempt(number=number + 1))
        assert path.stat().st_size == sum(sizes)
    assert len(sizes) == 3
    writer.close()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(5, "Input/output error")])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_disk_that_fails_is_told(run: RunPaths, monkeypatch: pytest.MonkeyPatch, call: str, error: OSError) -> None:
    """Row 15: never ok unsaved. Whoever appends gets JournalError, with the file and the hint."""
    writer = JournalWriter(run.worker_journal("shard-00", 1, 1), fsync=True)

    def fail(*arguments: Any) -> int:
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(JournalError, match=error.strerror) as caught:
        writer.append(attempt())
    monkeypatch.undo()
    writer.close()
    assert caught.value.where == str(run.worker_journal("shard-00", 1, 1))
    assert caught.value.hint


def test_short_writes_are_gone_on_with(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write may take a part only (a signal, a full pipe): the rest follows."""
    write_ = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write_(fd, bytes(data[:7])))
    path = run.worker_journal("shard-00", 1, 1)
    write(path, attempt())
    monkeypatch.undo()
    assert lines_of(path) == [attempt()]


def test_no_writer_takes_over_a_file(run: RunPaths) -> None:
    """Each writer has a file of its own: one that is there is refused."""
    path = run.worker_journal("shard-00", 1, 1)
    write(path)
    with pytest.raises(JournalError):
        JournalWriter(path)


def test_32_writers(run: RunPaths) -> None:
    """Row 17: n of n kept, with a file each; and many threads on one file too."""

    def work(incarnation: int) -> None:
        write(run.worker_journal("shard-00", 1, incarnation), *(attempt(number=n + 1) for n in range(20)))

    shared = JournalWriter(run.worker_journal("shard-00", 2, 1))
    threads = [threading.Thread(target=work, args=(n + 1,)) for n in range(32)]
    threads += [
        threading.Thread(target=lambda: [shared.append(attempt(result="y" * 5000)) for _ in range(20)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared.close()
    files = journal_files(run)
    assert len(files) == 33
    assert sum(len(list(read_lines(file))) for file in files) == 32 * 20 + 8 * 20


@pytest.mark.parametrize(
    ("name", "writer"),
    [
        ("supervisor.0001.jsonl", JournalName(1, None, 0)),
        ("shard-00.0002.0013.jsonl", JournalName(2, "shard-00", 13)),
        ("a.b.0001.0001.jsonl", JournalName(1, "a.b", 1)),
        ("shard-00.12345.0001.jsonl", JournalName(12345, "shard-00", 1)),
        ("shard-00.0001.jsonl", None),
        ("SHARD.0001.0001.jsonl", None),
        ("shard-00.0001.0001.jsonl~", None),
        (".shard-00.0001.0001.jsonl.swp", None),
    ],
)
def test_names_tell_the_writer(name: str, writer: JournalName | None) -> None:
    """And what is none of ours is told apart."""
    assert parse_journal_name(name) == writer


def test_late_lines_are_evidence(run: RunPaths) -> None:
    """I3 and row 24: the first is accepted, the late one is fenced and kept, whichever comes first in the files."""
    write(run.worker_journal("shard-00", 1, 1), attempt(status=Status.OK, late=True))
    write(run.worker_journal("shard-00", 1, 2), attempt(number=2, status=Status.TIMEOUT))
    state = fold(run, UNITS).units[UNITS[0]]
    assert (state.status, state.open) == (Status.TIMEOUT, False)


def test_a_line_after_the_decision_changes_nothing(run: RunPaths) -> None:
    """Row 24 across sessions: a worker that outlived its master by a moment cannot overturn what was accepted."""
    write(run.supervisor_journal(1), SessionStarted(session=1, reopen_failed=False))
    write(run.worker_journal("shard-00", 1, 1), attempt(status=Status.FAILED))
    write(run.supervisor_journal(2), SessionStarted(session=2, reopen_failed=False))
    write(run.worker_journal("shard-00", 2, 1), attempt(number=2))
    state = fold(run, UNITS).units[UNITS[0]]
    assert (state.status, state.attempts) == (Status.FAILED, 2)


_FIRST_DIES = AttemptLost(shard="shard-00", task="a", repeat=0, attempt=1, reason="killed")
_INFRA = Status.INFRA


@pytest.mark.parametrize(
    ("first", "second", "lost"),
    [
        ([attempt()], [], False),
        ([attempt(status=_INFRA, again=True, retry="infra"), attempt(number=2)], [], True),
        ([attempt(status=_INFRA, again=True, retry="lane"), attempt(number=2)], [], False),
        ([attempt(status=_INFRA), attempt(number=2)], [], False),  # its lane turned it away, another one took it
        ([_FIRST_DIES, attempt(number=2)], [], True),
        ([attempt(status=_INFRA)], [attempt(number=2)], True),
        ([attempt(status=Status.CANCELLED)], [attempt(number=2)], False),
        ([attempt(status=Status.FAILED)], [attempt(number=2, status=_INFRA, again=True), attempt(number=3)], False),
    ],
)
def test_what_infrastructure_has_cost_a_try(run: RunPaths, first: list[Any], second: list[Any], lost: bool) -> None:
    """Infrastructure or a worker that died, before the first outcome: neither a lane, nor a user, nor a later rerun."""
    for session, lines in ((1, first), (2, second)):
        if lines:
            write(run.supervisor_journal(session), SessionStarted(session=session, reopen_failed=True))
            write(run.worker_journal("shard-00", session, 1), *lines)
    assert fold(run, UNITS).units[UNITS[0]].lost_a_try is lost


def test_resume_failed_opens_from_its_session_on(run: RunPaths) -> None:
    """First and latest are both kept; what is ok stays closed; deaths begin anew."""
    write(run.supervisor_journal(1), SoloDeath(shard="shard-00", task="a", repeat=0, attempt=1, reason="r"))
    write(run.worker_journal("shard-00", 1, 1), attempt(number=2, status=Status.FAILED), attempt("b"))
    write(run.supervisor_journal(2), SessionStarted(session=2, reopen_failed=True))
    reopened = fold(run, UNITS).units
    assert (reopened[UNITS[0]].open, reopened[UNITS[0]].deaths, reopened[UNITS[0]].attempts) == (True, 0, 2)
    assert not reopened[UNITS[1]].open
    write(run.worker_journal("shard-00", 2, 1), attempt(number=3))
    state = fold(run, UNITS).units[UNITS[0]]
    assert state.first is not None
    assert state.latest is not None
    assert (state.first.attempt.status, state.latest.attempt.status) == (Status.FAILED, Status.OK)


def test_an_attempt_that_is_tried_again_is_no_outcome(run: RunPaths) -> None:
    """`infra` means that the retries are used up: a unit in backoff is as undecided as one that never ran."""
    write(run.worker_journal("shard-00", 1, 1), attempt(status=Status.INFRA, again=True))
    waiting = fold(run, UNITS)
    assert (waiting.census()["not_run"], waiting.census()["infra"]) == (2, 0)
    assert (waiting.units[UNITS[0]].open, waiting.units[UNITS[0]].attempts) == (True, 1)
    write(run.worker_journal("shard-00", 1, 2), attempt(number=2, status=Status.INFRA))
    assert fold(run, UNITS).units[UNITS[0]].status is Status.INFRA


@given(st.permutations([(1, "infra"), (2, "infra"), (3, "cancelled"), (4, "ok")]), st.data())
@examples(100, allow=[HealthCheck.function_scoped_fixture])
def test_the_order_of_files_does_not_matter(tmp_path: Path, order: list[tuple[int, str]], data: st.DataObject) -> None:
    """Within a session the attempts of a unit may lie in any files, in any order: attempt numbers decide."""
    kept = order[: data.draw(st.integers(1, 4))]
    paths = RunPaths(Path(tempfile.mkdtemp(dir=tmp_path)))
    paths.journal.mkdir()
    for incarnation, (number, status) in enumerate(kept, start=1):
        write(paths.worker_journal("shard-00", 1, incarnation), attempt(number=number, status=Status(status)))
    state = fold(paths, UNITS).units[UNITS[0]]
    last = max(kept)
    final = [status for _, status in kept if Status(status) in FINAL]
    assert state.status == (final[0] if final else last[1])
    assert state.attempts == last[0]


def test_the_census_is_the_plans(run: RunPaths) -> None:
    """Law 5: without a line every unit is not_run; a line nobody planned is damage."""
    assert fold(run, UNITS).census()["not_run"] == 2
    write(run.worker_journal("shard-00", 1, 1), attempt("c"))
    with pytest.raises(JournalError, match="the plan has no unit shard-00/c#0"):
        fold(run, UNITS)


def test_a_journal_that_went_through_windows(run: RunPaths) -> None:
    """Line ends of two characters are blanks to JSON: each line counts, and is found again at its place."""
    path = run.worker_journal("shard-00", 1, 1)
    write(path, attempt("a"), attempt("b"))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    for state in fold(run, UNITS).units.values():
        assert state.latest is not None
        assert state.latest.read().result == {"n": 1}


@pytest.mark.parametrize("size", [100, module._PIECE, 3 * module._PIECE])
def test_lines_of_every_size_are_found_at_their_places(run: RunPaths, size: int) -> None:
    """A file is read piece by piece: lines may end anywhere in a piece, or span several."""
    path = run.worker_journal("shard-00", 1, 1)
    written = [attempt(number=number + 1, result="x" * (size + number)) for number in range(5)]
    write(path, *written)
    file = JournalFile(path, JournalName(1, "shard-00", 1))
    found = list(read_lines(file))
    assert [line.content for line in found] == written
    assert [module.read_line(path, line.offset, line.length) for line in found] == written


def test_a_long_tail_is_a_tail_and_a_long_line_is_damage(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros without end are what a power cut leaves; a line that ends, and is longer than any of ours, is not."""
    monkeypatch.setattr(module, "MOST_LINE_BYTES", 1000)
    monkeypatch.setattr(module, "_PIECE", 100)
    path = run.worker_journal("shard-00", 1, 1)
    write(path, attempt("a"))
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 5000)
    warnings: list[str] = []
    assert [line.number for line in read_lines(JournalFile(path, JournalName(1, "shard-00", 1)), warnings)] == [1]
    assert "5000 bytes" in warnings[0]
    path.write_bytes(whole + b"\0" * 5000 + b"\n")
    with pytest.raises(JournalError, match="line 2 is damaged"):
        lines_of(path)


def test_a_journal_that_is_gone_is_not_an_empty_one(run: RunPaths) -> None:
    """Everything would seem not to have run, and would run again."""
    run.journal.rmdir()
    with pytest.raises(JournalError, match="cannot be read"):
        fold(run, UNITS)


def test_nothing_is_written_behind_half_a_line(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 15: once a line could not be written, none is: behind its half it would be damage in the middle."""
    really = os.write

    def full(descriptor: int, content: memoryview) -> int:
        really(descriptor, content[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = run.worker_journal("shard-00", 1, 1)
    writer = JournalWriter(path)
    writer.append(attempt("t0"))
    whole = path.stat().st_size
    monkeypatch.setattr("prealloc.store.journal_writer.os.write", full)
    with pytest.raises(JournalError, match="No space left"):
        writer.append(attempt("t1"))
    monkeypatch.undo()  # somebody has freed space
    with pytest.raises(JournalError, match="No space left"):
        writer.append(attempt("t2"))
    writer.close()
    assert path.stat().st_size == whole + 20


def test_lines_of_several_threads_stay_whole(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that takes several writes is not mixed with another thread's."""
    really = os.write

    def short(descriptor: int, content: memoryview) -> int:
        time.sleep(0.0001)  # lets the other thread in
        return really(descriptor, content[:50])

    path = run.worker_journal("shard-00", 1, 1)
    writer = JournalWriter(path)
    monkeypatch.setattr("prealloc.store.journal_writer.os.write", short)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(writer.append, [attempt(f"t{number}") for number in range(20)]))
    writer.close()
    assert sorted(json.loads(line)["task"] for line in path.read_bytes().splitlines()) == sorted(
        f"t{number}" for number in range(20)
    )


def test_a_fold_believes_what_a_line_says_of_its_result(run: RunPaths) -> None:
    """A result is not decoded to learn its success again: that was done once, where the attempt ended."""
    path = run.worker_journal("shard-00", 1, 1)
    write(
        path, attempt("a", success=False, score=0.5, result={"success": True}), attempt("b", result={"success": True})
    )
    found = [state.latest.attempt for state in fold(run, UNITS).units.values() if state.latest]
    assert [(each.success, each.score) for each in found] == [(False, 0.5), (None, None)]


@pytest.mark.parametrize("result", [{"success": 1, "score": 2}, {"success": "no"}, {"n": 1}, "text", None])
def test_lines_of_the_first_version_are_judged_when_they_are_read(run: RunPaths, result: Any) -> None:
    """They wrote every field, and left what the result says of the agent to the reader."""
    path = run.worker_journal("shard-00", 1, 1)
    write(path, attempt("a", result=result), attempt("b"))
    fields = [json.loads(line) for line in path.read_text().splitlines()]
    old = {"error": None, "late": False, "again": False, "reused": None}
    path.write_text("".join(json.dumps(each | old, separators=(",", ":")) + "\n" for each in fields))
    expected = verdict(result)
    latest = fold(run, UNITS).units[UNITS[0]].latest
    assert latest is not None
    for found in (latest.attempt, latest.line(), latest.read()):
        assert (found.success, found.score, found.unclear) == expected
    assert latest.read().result == result


@pytest.mark.parametrize(
    ("result", "when"),
    [(b'{"n":1,"n":2}', "read"), (b'"\xff"', "folded"), (b'"\\q"', "folded"), (b"[01]", "folded"), (b"[1", "folded")],
)
def test_a_result_that_is_not_strict_json_is_damage(run: RunPaths, result: bytes, when: str) -> None:
    """A fold finds what is not JSON; that a key is there twice is found by whoever reads the result."""
    path = run.worker_journal("shard-00", 1, 1)
    write(path, attempt("a"))
    path.write_bytes(path.read_bytes().replace(b'{"n":1}', result))
    if when == "folded":
        with pytest.raises(JournalError, match="line 1 is damaged"):
            fold(run, UNITS)
        return
    latest = fold(run, UNITS).units[UNITS[0]].latest
    assert latest is not None
    with pytest.raises(JournalError):
        latest.read()


def test_a_line_has_no_more_than_it_must(run: RunPaths) -> None:
    """What is as usual is left out: a journal is written for every attempt, and kept."""
    path = run.worker_journal("shard-00", 1, 1)
    write(path, attempt("a", result=True, success=True, lane="key-1"))
    assert json.loads(path.read_text()).keys() == {
        *("shard", "task", "repeat", "attempt", "status", "started_at", "queued_s", "waiting_s", "working_s"),
        *("peak_rss", "success", "lane", "result"),
    }
