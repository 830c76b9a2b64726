"""Row 14: what a kill or a power cut may leave at the end of a journal file, and what it may not."""

from __future__ import annotations

import shutil

import pytest
from harness import Stage, worker_file

from examples import in_laws
from prealloc.api.status import status
from prealloc.errors import JournalError

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def finished_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    stage = Stage(tmp_path_factory.mktemp("finished"))
    stage.make_plan({f"t{n}": {"do": "ok"} for n in range(5)})
    assert stage.start().wait() == 0
    stage.clean_up()
    return stage


@pytest.fixture
def finished(finished_stage: Stage, stage: Stage) -> Stage:
    """A stage with a finished run of five units."""
    shutil.copytree(finished_stage.run, stage.run)
    return stage


@pytest.mark.parametrize("step", [3, in_laws(1)])
def test_cut_at_bytes_of_the_last_line(finished: Stage, step: int) -> None:
    """The tail is dropped with a warning; the four lines before it count, whatever is left of the fifth."""
    path = worker_file(finished)
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in (*range(start, len(whole) - 2, step), len(whole) - 2, len(whole) - 1, len(whole)):
        path.write_bytes(whole[:end])
        found = status(finished.run)
        ended = 5 if end == len(whole) else 4
        assert (found.census["ok"], found.census["not_run"]) == (ended, 5 - ended), f"cut at {end}"
        assert bool(found.warnings) == (start < end < len(whole)), f"cut at {end}"


@pytest.mark.parametrize("zeros", [8, 100_000, in_laws(1), in_laws(4096)])
def test_zeros_at_every_place_of_the_last_line(finished: Stage, zeros: int) -> None:
    """A block that the system had not written yet reads as zeros, from any byte on."""
    path = worker_file(finished)
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(whole), 7):
        path.write_bytes(whole[:end] + b"\0" * zeros)
        found = status(finished.run)
        assert (found.census["ok"], found.census["not_run"]) == (4, 1), f"zeros from {end}"
        assert found.warnings
    path.write_bytes(whole + b"\0" * zeros)
    assert status(finished.run).census["ok"] == 5


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_resume_after_a_cut(finished: Stage, kept: float) -> None:
    """A resume runs the unit of the cut line and nothing else, and says what it dropped."""
    path = worker_file(finished)
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    path.write_bytes(whole[: start + int((len(whole) - start) * kept)] + b"\0" * 10)
    before = path.read_bytes()
    session = finished.resume()
    assert session.wait() == 0
    assert len(session.of("attempt_ended")) == 1
    assert any("unfinished" in note["text"] for note in session.of("note"))
    assert path.read_bytes() == before  # nothing is ever rewritten
    finished.check(session)


DAMAGE = {
    "a byte gone": lambda line: line[:10] + line[11:],
    "cut in the middle": lambda line: line[: len(line) // 2],
    "zeros": lambda line: b"\0" * len(line),
    "zeros inside": lambda line: line[:20] + b"\0" * 4 + line[24:],
    "empty": lambda line: b"",
    "bad UTF-8": lambda line: line.replace(b'"score"', b'"sc\xff\xfere"'),
    "another's unit": lambda line: line.replace(b'"task":"t', b'"task":"x'),
    "another's shard": lambda line: line.replace(b'"shard":"shard-00"', b'"shard":"shard-01"'),
    "a repeat that was not planned": lambda line: line.replace(b'"repeat":0', b'"repeat":1'),
    "a field too many": lambda line: line[:-1] + b',"more":1}',
    "no such status": lambda line: line.replace(b'"status":"ok"', b'"status":"fine"'),
    "no object": lambda line: b"[]",
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("number", [1, 3])
def test_damage_in_the_middle(finished: Stage, how: str, number: int) -> None:
    """Refused, naming file and line; nothing is run, and nothing is changed."""
    path = worker_file(finished)
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = DAMAGE[how](lines[number - 1])
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(JournalError) as caught:
        status(finished.run)
    assert str(path) in str(caught.value)
    assert f"line {number} " in str(caught.value)
    assert caught.value.hint


def test_resume_of_a_damaged_journal(finished: Stage) -> None:
    """The same through the command line: exit code 3, file and line named, no traceback, the journal as it was."""
    path = worker_file(finished)
    path.write_bytes(path.read_bytes().replace(b"}\n", b"\n", 1))
    before = {each.name: each.read_bytes() for each in (finished.run / "journal").iterdir()}
    session = finished.resume()
    assert session.wait() == 3
    assert "line 1 is damaged" in session.output()
    assert path.name in session.output()
    assert "Traceback" not in session.output()
    after = {each.name: each.read_bytes() for each in (finished.run / "journal").iterdir()}
    # The session's own file may have been opened; what was there is as it was.
    assert {name: after[name] for name in before} == before


def test_a_stranger_in_the_journal_folder(finished: Stage) -> None:
    """A file that no writer of ours made is named, not guessed at."""
    (finished.run / "journal" / "notes.txt").write_text("hello")
    with pytest.raises(JournalError, match=r"notes\.txt"):
        status(finished.run)
