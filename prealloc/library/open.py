"""From a path to a scanned library: the steps in their order."""

from __future__ import annotations

import codecs
import gc
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from prealloc.errors import LibraryError, Mistake, OptionsError
from prealloc.files.strict_json import encoding_problem
from prealloc.library.cursor import Damage
from prealloc.library.diagnose import Diagnosis
from prealloc.library.disk import Buffer, Progress, Reading
from prealloc.library.folder import choose
from prealloc.library.formats import Format, choose_format
from prealloc.library.rows import AnyRow, is_name, named, row_types
from prealloc.library.structure import said_twice
from prealloc.library.unpack import unpack
from prealloc.model.plan import LibraryInfo
from prealloc.model.spelling import IN_EVERY_SLICE

if TYPE_CHECKING:
    from prealloc.library.scanned import ScannedLibrary

_UTF8_STEP = 1 << 20


def read_library(
    path: str | Path,
    *,
    difficulty: str | None = None,
    keep: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> ScannedLibrary:
    """Reads the task library at `path` once: every id and type, and where each workflow lies.

    A library is `{"tasks": [...], ...}`, a bare `[...]`, or JSON lines, each also in gzip or zstd, told by
    content (a name in .jsonl or .ndjson decides where the content leaves it open). A task is an object with
    `id` or `instance_id`, `task_type` or `type` (of two, the first named wins), and a `workflow` that may be
    any JSON value, null or missing.

    In a folder, `difficulty` picks `*_<difficulty>_with_workflows.json`, then `*_<difficulty>.json`. `keep`
    names further fields of the tasks to take along. `progress` is called with (bytes read, bytes in all).

    Raises LibraryError, with file, place and mend, for whatever is no task library (duplicate ids and keys,
    bad UTF-8, truncation, ...). The inside of a workflow is checked when its task is asked for.
    Raises OptionsError if `keep` names a field that every task has anyway, or one with quotes or the like.
    """
    keep = _checked(keep)
    file, took = choose(Path(path), difficulty)
    where = str(file)
    reading = Reading(file, progress)
    # Not at the top: this loads pydantic, which takes as long as the file takes to be read, and so is free here.
    from prealloc.library.scanned import ScannedLibrary

    packed = reading.buffer()
    text = unpack(packed, where)
    _refuse_encoding(text, where)
    fmt = choose_format(text, file.name)
    diagnosis = Diagnosis(fmt, text, where)
    _refuse_bad_utf8(text, diagnosis)
    collecting = gc.isenabled()
    gc.disable()  # a million rows: nothing among them is garbage
    try:
        rows = _rows(fmt, text, keep, diagnosis)
        ids, types = _names(rows, diagnosis)
        _refuse_twice(fmt, text, rows, keep, diagnosis)
    finally:
        if collecting:
            gc.enable()
    info = LibraryInfo(
        path=str(file.absolute()),
        name=file.name,
        bytes=len(packed),
        sha256=reading.sha256(),
        tasks=len(ids),
        types=dict(sorted(Counter(types).items())),
        difficulty=difficulty,
    )
    return ScannedLibrary(info=info, ids=ids, types=types, rows=rows, keep=keep, took=took, blame=diagnosis.of_value)


def _checked(keep: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    taken = ", ".join(sorted(IN_EVERY_SLICE & set(keep)))
    if taken:
        found.append(Mistake("--keep", f"{taken} is in every slice already", f"leave {taken} out"))
    # msgspec finds fields by their spelling in the file; these characters have several.
    odd = ", ".join(ascii(name) for name in sorted(set(keep)) if re.search(r'["\\\x00-\x1f]', name))
    if odd:
        found.append(Mistake("--keep", f"{odd} has a quote, backslash or control character", "rename the field"))
    if found:
        raise OptionsError(found)
    return tuple(sorted(set(keep)))


def _refuse_encoding(text: Buffer, where: str) -> None:
    problem = encoding_problem(bytes(text[:4])) if text else "is empty"
    if problem is None and re.search(rb"[^ \t\n\r]", text) is None:
        problem = "holds nothing but whitespace"
    if problem:
        mend = "write the tasks into it" if "UTF" not in problem else "save it as UTF-8 without a byte order mark"
        raise LibraryError(f"the file {problem}", where=where, mend=mend)


def _refuse_bad_utf8(text: Buffer, diagnosis: Diagnosis) -> None:
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
        except msgspec.ValidationError:  # ids or types that are no strings, perhaps such as do not count
            rows = fmt.tasks(text, loose)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise diagnosis.of_text(loose) from None
    if not rows:
        raise LibraryError(
            "the library has no tasks", where=diagnosis.where, mend="give a library with at least one task"
        )
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
    if len(set(ids)) < len(ids):
        raise diagnosis.of_duplicate_ids(ids)
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
