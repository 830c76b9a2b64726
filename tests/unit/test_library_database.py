"""Task libraries in SQLite: what only they have. What holds for every format: contract/test_formats.py."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import zlib
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import PROVED, RECORDS, record, write_all

from prealloc.errors import CannotGoOn, InputError, LibraryError
from prealloc.library.database import MOST_BYTES, new_database, sqlar_pack, sqlar_unpack

written, opened = PROVED["database"].write, PROVED["database"].open


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "library.db")


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path, path: Path) -> None:
    """Law: the same tasks in the same order have one fingerprint, whatever SQLite made of the file; no others have."""
    sha256 = opened(path).info.sha256
    change(path, "PRAGMA page_size = 512", "CREATE TABLE notes (text)")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
    assert opened(path).info.sha256 == sha256
    others = (RECORDS[::-1], RECORDS[1:], [*RECORDS[:-1], record(RECORDS[-1].id, RECORDS[-1].type, "[]")])
    assert len({opened(written(tmp_path / "other.db", one)).info.sha256 for one in others} | {sha256}) == 4


def test_only_the_rows_asked_for_are_read(path: Path) -> None:
    """Law: a task that is damaged does not hinder others, and is refused itself."""
    change(path, "UPDATE bodies SET workflow = x'00' WHERE position = 3")
    library = opened(path)
    assert library.task(4).workflow_json == RECORDS[4].split()[0]
    with pytest.raises(LibraryError, match="cannot be unpacked") as caught:
        library.tasks([4, 3])
    assert caught.value.where == f"{path}, task 3 (id {RECORDS[3].id!a})"


def test_the_view_shows_the_texts(path: Path) -> None:
    """Law: with SQLite's own `sqlar_uncompress` the view `texts` shows every task as text."""

    def uncompress(blob: bytes | None, size: int | None) -> bytes | None:
        return blob if blob is None or not size or size == len(blob) else zlib.decompress(blob)

    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("sqlar_uncompress", 2, uncompress)
        rows = connection.execute("SELECT id, type, workflow, fields FROM texts ORDER BY position").fetchall()
    expected = [(one.id, one.type, *one.split()) for one in RECORDS]
    assert rows == [(id, type, flow and flow.decode(), rest.decode()) for id, type, flow, rest in expected]


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="there is no sqlite3 shell")
def test_the_shell_shows_the_texts(path: Path) -> None:
    """Law: the plain `sqlite3` shell shows a workflow, with nothing to install."""
    query = "SELECT workflow FROM texts ORDER BY position LIMIT 1 OFFSET 7"
    shown = subprocess.run(["sqlite3", str(path), query], capture_output=True, text=True, timeout=30, check=False)
    if "no such function" in shown.stderr:
        pytest.skip("this shell was built without sqlar")
    workflow = RECORDS[7].split()[0]
    assert workflow is not None
    assert shown.stdout == workflow.decode() + "\n"


SPOIL = {
    "an id": "UPDATE tasks SET id = 'other' WHERE position = 1",
    "a type": "UPDATE tasks SET type = 'other' WHERE position = 1",
    "a digest": "UPDATE tasks SET digest = zeroblob(16) WHERE position = 1",
    "a short digest": "UPDATE tasks SET digest = x'00' WHERE position = 1",
    "an id that is a number": "UPDATE tasks SET id = x'31' WHERE position = 1",
    "a task less": "DELETE FROM tasks WHERE position = 8",
    "a hole": "DELETE FROM tasks WHERE position = 1",
    "a task more": "INSERT INTO tasks VALUES (9, 'more', 'type 0', zeroblob(16))",
    "no tasks": "DELETE FROM tasks",
    "a count": "UPDATE meta SET value = value + 1 WHERE key = 'without_workflow'",
    "a count that is huge": "UPDATE meta SET value = 9223372036854775807 WHERE key = 'two_ids'",
    "a count below zero": "UPDATE meta SET value = -1 WHERE key = 'two_ids'",
    "a count that is text": "UPDATE meta SET value = 'nine' WHERE key = 'tasks'",
    "a count that is a blob": "UPDATE meta SET value = x'09' WHERE key = 'tasks'",
    "a count missing": "DELETE FROM meta WHERE key = 'tasks'",
    "a key more": "INSERT INTO meta VALUES ('more', 1)",
    "another fingerprint": "UPDATE meta SET value = '00' WHERE key = 'sha256'",
    "an empty fingerprint": "UPDATE meta SET value = '' WHERE key = 'sha256'",
    "no fingerprint": "DELETE FROM meta WHERE key = 'sha256'",
    "another format": "UPDATE meta SET value = 'other' WHERE key = 'format'",
    "a column more": "ALTER TABLE tasks ADD COLUMN more",
    "a table less": "DROP TABLE bodies",
}


@pytest.mark.parametrize("what", SPOIL)
def test_what_sqlite_itself_was_made_to_change_is_refused(path: Path, what: str) -> None:
    """Law: a database that is sound, but not the one that was written, is refused when it is opened."""
    change(path, SPOIL[what])
    with pytest.raises(LibraryError) as caught:
        opened(path)
    assert caught.value.where is not None
    assert caught.value.where.startswith(str(path))
    assert caught.value.hint


BODIES = {
    "missing": "DELETE FROM bodies WHERE position = 7",
    "another task's": "UPDATE bodies SET workflow = (SELECT workflow FROM bodies WHERE position = 8),"
    " workflow_bytes = (SELECT workflow_bytes FROM bodies WHERE position = 8) WHERE position = 7",
    "none": "UPDATE bodies SET workflow = NULL, workflow_bytes = NULL WHERE position = 7",
    "half none": "UPDATE bodies SET workflow_bytes = NULL WHERE position = 7",
    "text": "UPDATE bodies SET workflow = 'text' WHERE position = 7",
    "a size of text": "UPDATE bodies SET workflow_bytes = 'many' WHERE position = 7",
    "a size too small": "UPDATE bodies SET workflow_bytes = workflow_bytes - 1 WHERE position = 7",
    "a size too large": "UPDATE bodies SET workflow_bytes = workflow_bytes + 1 WHERE position = 7",
    "a size below zero": "UPDATE bodies SET workflow_bytes = -1 WHERE position = 7",
    "a size beyond all": "UPDATE bodies SET workflow_bytes = 9223372036854775807 WHERE position = 7",
    "more behind it": "UPDATE bodies SET workflow = CAST(workflow || x'00' AS BLOB) WHERE position = 7",
    "other fields": "UPDATE bodies SET fields = '{}', fields_bytes = 2 WHERE position = 7",
}


@pytest.mark.parametrize("what", BODIES)
def test_another_text_is_refused_when_it_is_read(path: Path, what: str) -> None:
    """Law: a text that is not the one written is refused, and the task is named."""
    change(path, BODIES[what])
    library = opened(path)
    with pytest.raises(LibraryError) as caught:
        library.task(7)
    assert f"task 7 (id {ascii(RECORDS[7].id)[:80]})" in str(caught.value.where)


def test_a_view_in_place_of_a_table_is_never_asked(path: Path) -> None:
    """Law: no query of the file's own is run: a view may count to the end of time."""
    change(
        path,
        "DROP TABLE tasks",
        "CREATE VIEW tasks AS WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n)"
        " SELECT x AS position, 'a' AS id, 'b' AS type, zeroblob(16) AS digest FROM n WHERE x < 0",
    )
    with pytest.raises(LibraryError, match="its tables are not as prealloc makes them"):
        opened(path)


def test_what_is_not_ours_is_told(tmp_path: Path) -> None:
    """Law: another file and another database are two messages."""
    foreign, text = tmp_path / "foreign.db", tmp_path / "text.db"
    change(foreign, "CREATE TABLE tasks (id, type)")
    text.write_text("{}")
    for place, problem in (
        (foreign, "a SQLite database, but not a task library that prealloc wrote"),
        (text, "not a database"),
    ):
        with pytest.raises(LibraryError, match=problem) as caught:
            opened(place)
        assert caught.value.hint


def test_the_same_id_twice_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    """Law: two tasks of one id are a LibraryError, and no file is left."""
    twice = [record("a", "t", "1"), record("a", "t", "2")]
    with pytest.raises(LibraryError, match="1 id is there more than once: 'a' in tasks 0, 1"):
        write_all(new_database(tmp_path / "x.db", force=False), twice)
    assert os.listdir(tmp_path) == []


class _Full(sqlite3.OperationalError):
    sqlite_errorcode = sqlite3.SQLITE_FULL


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (_Full("database or disk is full"), CannotGoOn),
        (sqlite3.DataError("string or blob too big"), LibraryError),
        (OverflowError("BLOB longer than INT_MAX bytes"), LibraryError),
        (sqlite3.OperationalError("odd"), InputError),
    ],
)
def test_what_sqlite_says_when_it_writes(tmp_path: Path, error: Exception, becomes: type[Exception]) -> None:
    """Law: a full disk is CannotGoOn, a task too large is LibraryError, and nothing is left of the file."""
    with pytest.raises(becomes) as caught, new_database(tmp_path / "x.db", force=False):
        raise error
    assert type(caught.value) is becomes
    assert os.listdir(tmp_path) == []


def test_a_bomb_unpacks_to_no_more_than_it_says() -> None:
    """Law: unpacking makes no more bytes than stated, and a size that cannot be is refused before."""
    bomb = zlib.compress(bytes(1 << 24))
    for size in (len(bomb) + 1, 1 << 20, MOST_BYTES + 1, -1, 0):
        with pytest.raises(ValueError, match=r"cannot hold|does not unpack"):
            sqlar_unpack(bomb, size)


@given(st.binary(max_size=300) | st.integers(0, 300).map(bytes))
def test_packing_never_makes_a_text_longer(text: bytes) -> None:
    """Law: what is packed unpacks to the same; it is as long as the text only if it is the text."""
    packed = sqlar_pack(text)
    assert len(packed) <= len(text)
    assert (len(packed) < len(text)) or packed == text
    assert sqlar_unpack(packed, len(text)) == text
