"""From any format into any other: the same tasks, and so the same plans."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import Mistake, OptionsError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.base import Library, Progress, Record, Writer
from prealloc.library.duplicate_ids import refuse_duplicates_among, sorted_positions
from prealloc.library.formats import FORMATS, LibraryFormat
from prealloc.library.naming import is_ours
from prealloc.library.open import json_file, read_library
from prealloc.library.packed.table import ColumnsBuilder, Span
from prealloc.library.rows import row_types
from prealloc.library.storing.new_file import Writable, new_file
from prealloc.library.text.batches import Batch, batches
from prealloc.library.text.sources import file_source
from prealloc.library.unpack import PACKED_NAME
from prealloc.model.fields import COMMON, Fields

_STEP = 1 << 16
# Positions that are asked for at once. Parts and row groups at either end of a step are read twice.

_TOLD = 64
_BATCH = 4096


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """What `convert` wrote."""

    path: str
    format: str
    tasks: int
    bytes: int


def convert(
    source: Any,
    out: str | Path,
    *,
    to: str | None = None,
    force: bool = False,
    difficulty: str | None = None,
    fields: Fields = COMMON,
    notes: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Writes the tasks of a library in another format, whole or not at all.

    The format is the one that the name of `out` ends in, or `to`, one of the names in FORMATS. Every field of a task
    goes along; JSON is compacted, and strings and numbers keep their spelling. `progress` is called with
    (bytes read, in all) of a JSON file, with (tasks written, in all) otherwise.

    Raises OptionsError for a name without a format, LibraryError for what is not a library, InputError if `out` is
    there (unless `force`) or cannot be made, CannotGoOn if the disk fails; a file that is there stays as it was.
    """
    target, path = _target(Path(out), to), Path(out)
    seen = _Seen(str(source))
    with target.new(path, force=force) as writer:
        for record in _records(source, difficulty, fields, notes, progress):
            seen.note(record)
            writer.add(record)
        seen.refuse_twice()
    return Converted(path=str(path), format=target.name, tasks=len(seen.columns), bytes=size_of(path))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.iterdir())
    return path.stat().st_size


class _Seen:
    """The ids that went by, so that one which is there twice is told like everywhere."""

    def __init__(self, where: str) -> None:
        self.columns = ColumnsBuilder()
        self._where = where
        self._ids: list[str] = []

    def note(self, record: Record) -> None:
        self._ids.append(record.id)
        if len(self._ids) == _BATCH:
            self._add_batch()

    def _add_batch(self) -> None:
        nothing = [Span(0, 0, b"")] * len(self._ids)  # only the ids count here
        self.columns.add(self._ids, [""] * len(self._ids), nothing)
        self._ids = []

    def refuse_twice(self) -> None:
        self._add_batch()
        hashes = self.columns.hash
        refuse_duplicates_among(hashes, sorted_positions(hashes), self.columns.id, self._where)


def _target(out: Path, to: str | None) -> LibraryFormat:
    names = ", ".join(target.name for target in FORMATS)
    said = next((target for target in FORMATS if target.fits(out.name)), None)
    if to is None:
        if said is not None:
            return said
        hint = f"end it in .json, .jsonl, .db, .parts, .parquet or .pool, or give ‹to› with one of {names}"
        raise OptionsError([Mistake(str(out), "its name does not say its format", hint)])
    asked = next((target for target in FORMATS if target.name == to), None)
    if asked is None:
        raise OptionsError([Mistake("‹to›", f"there is no format {to!r}", f"give one of {names}")])
    # A name that tells something else than the file holds: readers go by content, people by the name.
    if said is not None and said is not asked:
        hint = "omit ‹to›, or give the file another ending"
        raise OptionsError([Mistake("‹to›", f"{to} contradicts {out.name}, whose ending says {said.name}", hint)])
    if not asked.packs and (packed := re.search(rf"{PACKED_NAME}\Z", out.name, re.IGNORECASE)):
        hint = f"leave {packed[0]} out"
        raise OptionsError([Mistake("‹to›", f"{to} contradicts {out.name}: only JSON can be packed", hint)])
    return asked


def _records(
    source: Any,
    difficulty: str | None,
    fields: Fields,
    notes: Callable[[str], None] | None,
    progress: Progress | None,
) -> Iterator[Record]:
    """The tasks of a library in its order, however large it is."""
    file = json_file(source, difficulty)
    if file is not None and fields == COMMON and is_ours(_first_task(file)):
        yield from _records_of_json(file, progress)
    else:
        # Tasks that are named otherwise are written as ours are, and how is known when all were seen.
        yield from _records_of(read_library(source, difficulty=difficulty, fields=fields, notes=notes), progress)


def _first_task(file: Path) -> bytes:
    first: list[bytes] = []

    def shapes(batch: Batch) -> tuple[type, ...]:
        first.append(b"{}" if batch.key is not None else batch.first())
        return (msgspec.Raw,)

    with closing(batches(file_source(file), shapes, lambda piece: None)) as found:
        next(found, None)
    return first[0] if first else b""


def _records_of_json(file: Path, progress: Progress | None) -> Iterator[Record]:
    for batch in batches(file_source(file), lambda first: row_types(()), lambda piece: None, progress):
        ids, types = batch.names()
        for place, text in enumerate(batch.texts()):
            try:
                yield Record(ids[place], types[place], compact(text))
            except StrictJsonError as error:
                raise batch.diagnosis().of_task(place, error) from None


def _records_of(library: Library, progress: Progress | None) -> Iterator[Record]:
    order = library.order()
    for start in range(0, len(order), _STEP):
        positions = order[start : start + _STEP]
        for done, (position, text) in enumerate(zip(positions, library.objects(positions), strict=True), start + 1):
            yield Record(library.ids[position], library.types[position], text)
            if progress and (done % _TOLD == 0 or done == len(order)):
                progress(done, len(order))


class _JsonWriter:
    """Objects one behind the other, with what stands before, between and behind them."""

    def __init__(self, file: Writable, before: bytes, between: bytes, behind: bytes) -> None:
        self._file = file
        self._next = before
        self._between = between
        self._behind = behind

    def add(self, record: Record) -> None:
        self._file.write(self._next + record.text)
        self._next = self._between

    def finish(self) -> None:
        self._file.write(self._behind)


@contextmanager
def new_json(out: Path, *, force: bool = False) -> Iterator[Writer]:
    """`{"tasks": [...]}`, compact, one task a line; packed if the name ends so."""
    with new_file(out, force=force) as file:
        writer = _JsonWriter(file, b'{"tasks":[\n', b",\n", b"\n]}\n")
        yield writer
        writer.finish()


@contextmanager
def new_lines(out: Path, *, force: bool = False) -> Iterator[Writer]:
    """JSON lines; packed if the name ends so."""
    with new_file(out, force=force) as file:
        writer = _JsonWriter(file, b"", b"\n", b"\n")
        yield writer
        writer.finish()
