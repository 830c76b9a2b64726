"""JSON libraries that are read whole: from the bytes of a file to a scanned library, the steps in their order."""

from __future__ import annotations

import codecs
import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.library.base import info_of
from prealloc.library.disk import Buffer, Progress, Reading
from prealloc.library.duplicate_ids import refuse_duplicate_ids
from prealloc.library.naming import is_ours
from prealloc.library.rows import AnyRow, is_name, named, row_types
from prealloc.library.text.cursor import Damage
from prealloc.library.text.diagnose import Diagnosis
from prealloc.library.text.document import first_task
from prealloc.library.text.formats import Format, choose_format
from prealloc.library.text.refuse import refuse_unread
from prealloc.library.text.structure import said_twice
from prealloc.library.unpack import unpack

if TYPE_CHECKING:
    from prealloc.library.text.scanned import ScannedLibrary

_UTF8_STEP = 1 << 20


def read_text(
    file: Path, *, difficulty: str | None, keep: tuple[str, ...], progress: Progress | None = None
) -> ScannedLibrary | None:
    """Reads a JSON library at once: `{"tasks": [...]}`, `[...]` or JSON lines, plain or packed.

    None if its tasks are not spelled as ours are. Raises LibraryError, with file, place and hint, for whatever is none.
    """
    where = str(file)
    reading = Reading(file, progress)
    # Not at the top: this loads pydantic, which takes as long as the file takes to be read, and so is free here.
    from prealloc.library.text.scanned import ScannedLibrary

    packed = reading.buffer()
    text = unpack(packed, where)
    if text[: len(codecs.BOM_UTF8)] == codecs.BOM_UTF8:
        return None
    refuse_unread(text, where)
    fmt = choose_format(text, file.name)
    if not is_ours(first_task(fmt, text)):
        return None
    diagnosis = Diagnosis(fmt, text, where)
    refuse_bad_utf8(text, diagnosis)
    collecting = gc.isenabled()
    gc.disable()  # a million rows: nothing among them is garbage
    try:
        rows, ids, types = scan(fmt, text, keep, diagnosis)
    finally:
        if collecting:
            gc.enable()
    if not rows:
        raise no_tasks(where)
    refuse_duplicate_ids(ids, where)
    return ScannedLibrary(
        info=info_of(file, size=len(packed), sha256=reading.sha256(), types=Counter(types), difficulty=difficulty),
        ids=ids,
        types=types,
        rows=rows,
        keep=keep,
        took=None,
        diagnosis=diagnosis,
        texts=partial(whole_texts, fmt, text),
    )


def scan(
    fmt: Format, text: Buffer, keep: tuple[str, ...], diagnosis: Diagnosis
) -> tuple[Sequence[AnyRow], list[str], list[str]]:
    """The rows of all tasks in a text, their ids and their types. Raises LibraryError, also for keys said twice.

    Whether an id is there twice is left to the caller: the text may be a part of a library.
    """
    rows = _rows(fmt, text, keep, diagnosis)
    ids, types = _names(rows, diagnosis)
    _refuse_twice(fmt, text, rows, keep, diagnosis)
    return rows, ids, types


def whole_texts(fmt: Format, text: Buffer, positions: Sequence[int]) -> Iterator[bytes]:
    """The object of each of these tasks with all its fields, as it lies in the text.

    A second pass over the text finds them. It costs what the scan did, and no scan pays for it that needs none.
    """
    tasks = fmt.tasks(text, Raw)
    chosen = [tasks[position] for position in positions]
    del tasks  # a view for every task of the library: as much as all of its ids take
    yield from map(bytes, chosen)


def no_tasks(where: str) -> LibraryError:
    """The error of a library with nothing in it."""
    return LibraryError("the library has no tasks", where=where, hint="give a library with at least one task")


def refuse_bad_utf8(text: Buffer, diagnosis: Diagnosis) -> None:
    # msgspec leaves the text of skipped values alone. Decoding piece by piece costs 5 ms for 60 MB.
    at = 0
    with memoryview(text) as view:
        while at < len(view):
            piece = view[at : at + _UTF8_STEP]
            try:
                at += codecs.utf_8_decode(piece, "strict", at + len(piece) == len(view))[1]
            except UnicodeDecodeError as error:
                raise diagnosis.of_encoding(at + error.start, error.reason) from None


def _rows(fmt: Format, text: Buffer, keep: tuple[str, ...], diagnosis: Diagnosis) -> Sequence[AnyRow]:
    strict, loose = row_types(keep)
    try:
        try:
            rows: Sequence[AnyRow] = fmt.tasks(text, strict)
        except msgspec.ValidationError:  # ids or types that are not strings, perhaps ones that do not count
            rows = fmt.tasks(text, loose)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise diagnosis.of_text(loose) from None
    return rows


def _names(rows: Sequence[AnyRow], diagnosis: Diagnosis) -> tuple[list[str], list[str]]:
    ids, types = [], []
    one_of: dict[str, str] = {}  # one string object per type, not one per task
    for row in rows:
        task_id, task_type = named(row)
        if not (is_name(task_id) and is_name(task_type)):
            raise diagnosis.of_names(rows)
        ids.append(task_id)
        types.append(one_of.setdefault(task_type, task_type))
    return ids, types


def _refuse_twice(
    fmt: Format, text: Buffer, rows: Sequence[AnyRow], keep: tuple[str, ...], diagnosis: Diagnosis
) -> None:
    try:
        found = said_twice(fmt, text, rows, keep)
    except Damage:  # found in what is left without the workflows: the place is another one in the file
        raise diagnosis.of_text(row_types(keep)[1]) from None
    if found:
        raise diagnosis.of_key_twice(*found)
