"""From any format into any other: the same tasks, and so the same plans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import Mistake, OptionsError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.base import Add, Library, Record, refused
from prealloc.library.disk import Notes, Progress
from prealloc.library.formats import FORMATS, LibraryFormat, format_named
from prealloc.library.naming import Naming
from prealloc.library.new_file import new_file
from prealloc.library.open import read_library, text_source
from prealloc.library.packed.table import ColumnsBuilder
from prealloc.library.text.batch import Batch
from prealloc.library.text.library import read_tasks
from prealloc.library.unpack import name_parts
from prealloc.model.fields import COMMON, Fields
from prealloc.model.spelling import EVERY_FIELD

_STEP = 1 << 16
# Positions that are asked for at once. Parts and row groups at either end of a step are read twice.

_TOLD = 64


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
    notes: Notes | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Writes the tasks of a library in another format, whole or not at all.

    The format is the one that the name of `out` ends in, or `to`, one of the names in FORMATS. Every field of a task
    goes along; JSON is compacted, and strings and numbers keep their spelling. `progress` is called with
    (bytes read, in all) of a text, with (tasks written, in all) otherwise.

    Raises OptionsError for a name without a format, LibraryError for what is not a library, InputError if `out` is
    there (unless `force`) or cannot be made, CannotGoOn if the disk fails; a file that is there stays as it was.
    """
    target, path, tell = _target(Path(out), to), Path(out), notes or (lambda note: None)
    with target.new(path, force=force) as add:
        text = text_source(source, difficulty, fields, keep=(EVERY_FIELD,))  # nothing may be left out
        if text is not None:
            # Tasks that are named otherwise get names as ours have: known when all were seen, so it is read twice.
            read = read_tasks(text, partial(_Copies, add), fields=fields, progress=progress, named_first=True)
            for note in filter(None, (*text.took, read.note)):
                tell(note)
            tasks = read.info.tasks
        else:
            library = read_library(source, difficulty=difficulty, fields=fields, keep=(EVERY_FIELD,), notes=tell)
            tasks = _copy(library, add, progress)
    files = path.iterdir() if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    return Converted(path=str(path), format=target.name, tasks=tasks, bytes=size)


def _target(out: Path, to: str | None) -> LibraryFormat:
    names = ", ".join(target.name for target in FORMATS)
    said = format_named(out.name)
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
    if not asked.packs and (packed := name_parts(out.name).packed):
        hint = f"leave {packed} out"
        raise OptionsError([Mistake("‹to›", f"{to} contradicts {out.name}: only JSON can be packed", hint)])
    return asked


class _Copies(ColumnsBuilder):
    """Takes the tasks of a text in its order, holds no more of them than their ids, and passes them on."""

    def __init__(self, give: Add, naming: Naming | None) -> None:
        super().__init__()
        self._give = give
        self._naming = naming

    def add(self, ids: Sequence[str], types: Sequence[str], batch: Batch) -> None:
        self.extend(ids)
        for place, (id, type, raw) in enumerate(zip(ids, types, batch.texts, strict=True)):
            try:
                text = compact(raw if self._naming is None else self._naming.own(raw, id, type))
            except StrictJsonError as error:
                if self._naming is not None:
                    error.offset = None  # it is not that of the text as it lies there
                raise refused(error, batch.place(place, error.offset or 0)) from None
            self._give(Record(id, type, text))


def _copy(library: Library, add: Add, progress: Progress | None) -> int:
    tasks = len(library)
    for start in range(0, tasks, _STEP):
        positions = range(start, min(start + _STEP, tasks))
        for position, text in zip(positions, library.objects(positions), strict=True):
            add(Record(library.ids[position], library.types[position], text))
            if progress and (position % _TOLD == _TOLD - 1 or position == tasks - 1):
                progress(position + 1, tasks)
    return tasks


@contextmanager
def _new_text(out: Path, *, force: bool = False, before: bytes, between: bytes, behind: bytes) -> Iterator[Add]:
    """Objects one behind the other, with what stands before, between and behind them; packed if the name ends so."""
    with new_file(out, force=force) as write:
        lead = before

        def add(record: Record) -> None:
            nonlocal lead
            write(lead + record.text)
            lead = between

        yield add
        write(behind)


new_json = partial(_new_text, before=b'{"tasks":[\n', between=b",\n", behind=b"\n]}\n")
"""`{"tasks": [...]}`, compact, one task a line."""

new_lines = partial(_new_text, before=b"", between=b"\n", behind=b"\n")
"""JSON lines."""
