"""What holds for every stored format: what was written is what is read, or it is refused."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from stored import (
    FORMATS,
    NO_WORKFLOW,
    PROVED,
    RECORDS,
    Format,
    all_of,
    full_places,
    is_refused_or_the_same,
    some_records,
    spoiled,
    write_all,
)

from examples import EVERY, examples
from prealloc.errors import InputError, LibraryError
from prealloc.library.base import Record
from prealloc.library.packed.index import FORMAT, Indexed, TaskIndex
from prealloc.library.packed.table import Columns, Head
from prealloc.library.parquet.library import META_KEY

OTHERS = [Record(one.id, one.type, one.text.replace(b",1.50,", b",2.50,")) for one in RECORDS]
PLACES = 250


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param]


@pytest.fixture
def path(tmp_path: Path, format: Format) -> Path:
    return format.write(tmp_path / "library")


class Whole(NamedTuple):
    """A good library that may be spoiled, the bytes that prove it, and what it says."""

    format: Format
    path: Path
    files: dict[Path, bytes]
    said: tuple[Any, ...]

    def is_refused(self, file: Path, content: bytes) -> bool:
        """Whether the library was refused with this in place of the file; else it said the same."""
        overwrite(file, content)
        try:
            return is_refused_or_the_same(lambda: self.format.open(self.path), self.said)
        finally:
            overwrite(file, self.files[file])


def overwrite(file: Path, content: bytes) -> None:
    """As write_bytes, but the file is never empty: ext4 writes one that was to the disk at once."""
    with file.open("r+b") as there:
        there.write(content)
        there.truncate()


@pytest.fixture(scope="module", params=PROVED)
def whole(request: pytest.FixtureRequest) -> Iterator[Whole]:
    format = PROVED[request.param]
    with tempfile.TemporaryDirectory() as folder:
        path = format.write(Path(folder) / "library")
        files = {file: file.read_bytes() for file in format.proof(path)}
        yield Whole(format, path, files, all_of(format.open(path)))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def in_order(library: Any, records: list[Record] | tuple[Record, ...]) -> list[int]:
    """The position of each record."""
    places = library.places([one.id for one in records])
    return [places[one.id] for one in records]


# -- what was written is read -----------------------------------------------------------------------------------


def test_what_was_written_is_read(path: Path, format: Format) -> None:
    """Law: ids, types, counts and every text come back in their order, byte for byte, kept fields too."""
    library = format.open(path)
    order = list(range(len(library)))
    assert [library.ids[at] for at in order] == [one.id for one in RECORDS]
    assert [library.types[at] for at in order] == [one.type for one in RECORDS]
    assert (library.counts.without_workflow, library.counts.two_ids) == (NO_WORKFLOW, len(RECORDS))
    assert list(library.texts(order)) == list(library.objects(order)) == [one.text for one in RECORDS]
    task = library.task(order[3])
    assert task.workflow_json == RECORDS[3].split()[0]
    assert task.extra_json == b'{"note":[3,1.50,"\\u00e9"]}'
    info = library.info
    assert (info.path, info.name) == (str(path), path.name)
    assert (info.tasks, info.types) == (len(RECORDS), {f"type {i}": len(RECORDS) // 3 for i in range(3)})
    size = sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
    assert info.bytes == size


@examples(40, allow=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(some_records(), st.data())
def test_any_tasks_are_read_as_written(format: Format, records: list[Record], data: st.DataObject) -> None:
    """Law: the same for any ids, types, workflows and fields, in any order, as often as they are asked for."""
    with tempfile.TemporaryDirectory() as folder:
        library = format.open(format.write(Path(folder) / "x", records))
        asked = data.draw(st.lists(st.sampled_from(records), max_size=30))
        for chosen in (records, asked):
            positions = in_order(library, chosen)
            assert list(library.texts(positions)) == [one.text for one in chosen]
            found = [(library.ids[at], library.types[at]) for at in positions]
            assert found == [(task.id, task.type) for task in library.tasks(positions)]
            assert found == [(one.id, one.type) for one in chosen]


@examples(30)
@given(positions=st.lists(st.integers(0, len(RECORDS) - 1), max_size=30))
def test_tasks_come_in_the_order_asked_for(whole: Whole, positions: list[int]) -> None:
    """Law: any order, and any task as often as it is asked for, wherever a part or a row group ends."""
    texts = whole.said[6]
    assert list(whole.format.open(whole.path).texts(positions)) == [texts[at] for at in positions]


def test_the_same_tasks_give_the_same_bytes(tmp_path: Path, path: Path, format: Format) -> None:
    """Law: what is stored is a function of its tasks."""
    before = contents(tmp_path)
    library = path.read_bytes() if path.is_file() else b""
    format.write(path, OTHERS)
    assert contents(tmp_path) != before
    format.write(path)
    if format is PROVED["index"]:  # it says of which file it is
        assert path.read_bytes() == library
    else:
        assert contents(tmp_path) == before


def open_files() -> set[tuple[str, str]]:
    """What this process has open, by its number and name. It may become less: what others have left is collected."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listdir itself had open
            found.add((name, os.readlink(f"/proc/self/fd/{name}")))
    return found


def test_reading_needs_no_right_to_write_and_holds_no_file(path: Path, format: Format) -> None:
    """Law: reading makes no file, and after it none is open, also where the texts were not read to their end."""
    before, opened = contents(path.parent), open_files()
    for file in path.parent.rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    path.parent.chmod(0o555)
    try:
        library = format.open(path)
        texts = library.texts([0, 1, 2])
        next(texts)
        del texts
        assert len(library.tasks([0])) == 1
        if hasattr(library, "close"):
            library.close()
        assert open_files() <= opened
        assert contents(path.parent) == before
    finally:
        for folder in (path.parent, path):
            folder.chmod(0o755)


def test_odd_names_are_names(tmp_path: Path, format: Format) -> None:
    """Law: whatever stands in a name, it is the file of that name that is written and read."""
    names = ["a?mode=rwc", "a#b", "50%25", "é ü", "a&b=c", "a\nb", os.fsdecode(b"\xff")]
    for name in names:
        assert len(format.open(format.write(tmp_path / name)).tasks([0])) == 1
    assert {name.removesuffix(".index") for name in os.listdir(tmp_path)} == set(names)


def test_what_is_there_stays(path: Path, format: Format) -> None:
    """Law: without force nothing is replaced; with it the old library stays until the new one is whole."""
    before = contents(path.parent)
    with pytest.raises(InputError, match="already exists"):
        write_all(format.new(path, force=False), RECORDS)
    with pytest.raises(ZeroDivisionError):
        format.write(path, RECORDS[:1], ZeroDivisionError())
    assert contents(path.parent) == before


GOLDEN = Path(__file__).parents[1] / "golden" / "stored_v1"


@pytest.mark.parametrize("name", PROVED)
def test_what_was_stored_once_is_read_for_ever(tmp_path: Path, name: str) -> None:
    """Law: a library of version 1 is read by every later prealloc, and has the fingerprint that it had."""
    path = GOLDEN / f"library.{name}"
    texts = (GOLDEN / "library.jsonl").read_bytes().splitlines()
    if name == "index":  # the file that it is of has another inode in every checkout
        path = GOLDEN / "library.jsonl"
        raw = path.with_name("library.jsonl.index").read_bytes()
        columns = Columns.read(raw, FORMAT, "index", Head[Indexed], end=len(raw))
        library: Any = TaskIndex(path, columns, os.open(path, os.O_RDONLY), keep=(), cache_bytes=0)
    else:
        library = PROVED[name].open(path)
    assert list(library.texts(range(len(library)))) == texts
    order = range(len(library))
    records = [Record(library.ids[at], library.types[at], text) for at, text in zip(order, texts, strict=True)]
    again = PROVED[name].write(tmp_path / path.name, records)
    if name in ("database", "index", "pool"):  # no other library has a say in their fingerprints
        assert PROVED[name].open(again).info.sha256 == library.info.sha256
    if name == "pool":
        assert again.read_bytes() == path.read_bytes()


def test_nothing_is_made_where_no_file_can_be(tmp_path: Path, format: Format) -> None:
    """Law: a path that no file can have, and a folder that is not there, are refused, and no folder is made."""
    for place, problem in (("a\0b", "zero character"), ("missing/library", "can be made there")):
        with pytest.raises(InputError, match=problem), format.new(tmp_path / place, force=False):
            raise AssertionError("the block is not entered")
    assert os.listdir(tmp_path) == []


def test_the_umask_counts(tmp_path: Path, format: Format) -> None:
    """Law: what is made has the permissions that the umask leaves, and no others."""
    for mask in (0o077, 0o022, 0o002):
        before = os.umask(mask)
        try:
            made = format.write(tmp_path / str(mask))
        finally:
            os.umask(before)
        for path in {made, *format.proof(made)}:
            assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask


# -- what was not written is refused ----------------------------------------------------------------------------


@examples(300, allow=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_spoiled_library_is_refused_or_says_the_same(whole: Whole, data: st.DataObject) -> None:
    """Law: bytes of any file changed, cut off, cut out or added give the same tasks or a LibraryError."""
    file = data.draw(st.sampled_from(sorted(whole.files)))
    whole.is_refused(file, data.draw(spoiled(whole.files[file])))


def test_every_region_is_guarded(whole: Whole) -> None:
    """Law: the same for a byte changed in every part of every file; and what cannot say the same is refused."""
    spoilt = refused = 0
    for file, good in whole.files.items():
        places = full_places(good)
        for at in places[:: 1 if EVERY else len(places) // PLACES + 1]:
            refused += whole.is_refused(file, good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            spoilt += 1
    # Free space is what SQLite has most of, and nobody reads the statistics of a Parquet file.
    share = {"database": 0.5, "parquet": 0.75}
    name = next(name for name, format in PROVED.items() if format is whole.format)
    assert refused >= spoilt * share.get(name, 1)


def test_another_in_its_place_is_refused_or_not_looked_at(path: Path, format: Format) -> None:
    """Law: what is read is of the library that was opened, even if what lies there now is sound."""
    library, said = format.open(path), all_of(format.open(path))
    format.write(path, OTHERS)
    is_refused_or_the_same(lambda: library, said)


def newer(name: str, path: Path) -> None:
    """Makes a library say that its version is 2, and something that version 1 does not know."""
    if name == "database":
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE meta SET value = 2 WHERE key = 'version'")
            connection.execute("INSERT INTO meta VALUES ('more', 1)")
    elif name == "parquet":
        table, meta = pq.read_table(path), pq.ParquetFile(path).metadata.metadata[META_KEY]
        with pq.ParquetWriter(path, table.schema, store_schema=False) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({META_KEY: meta.replace(b'"version":1', b'"version":2,"more":1')})
    else:
        (file,) = [file for file in PROVED[name].proof(path) if b'"version":' in file.read_bytes()]
        old = b'"version": 1' if name == "parts" else b'"version":1'
        file.write_bytes(file.read_bytes().replace(old, old[:-1] + b'2,"more":1'))


@pytest.mark.parametrize("name", PROVED)
def test_a_newer_version_is_told(tmp_path: Path, name: str) -> None:
    """Law: the version is looked at first: what a newer one has besides is no damage."""
    path = PROVED[name].write(tmp_path / "library")
    newer(name, path)
    with pytest.raises(LibraryError, match=r"it has version '?2'?, this prealloc reads version 1") as caught:
        PROVED[name].open(path)
    assert caught.value.where
    assert caught.value.hint


def test_what_is_no_library_is_told(tmp_path: Path, format: Format) -> None:
    """Law: another file, an empty one, a folder, a FIFO and nothing at all are refused, and nothing waits."""
    for name, content in (("text", b"{}"), ("empty", b""), ("marks", b"PAR1PAR1")):
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "fifo")
    problems = {"none": "there is no such file", "fifo": "FIFO"}
    if format is PROVED["parts"]:  # a folder
        problems |= {"none": "it does not exist", "fifo": "it is not a folder"}
    for name in ("text", "empty", "marks", "", "a\0b", *problems):
        with pytest.raises(LibraryError, match=problems.get(name, ".")) as caught:
            format.open(tmp_path / name)
        assert caught.value.where
        assert caught.value.hint
