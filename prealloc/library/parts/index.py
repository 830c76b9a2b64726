"""The `index.json` of a folder of parts: which files there are, and what they must hold."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.regular import Missing, Unusable, read_regular, refuse_foreign_folder
from prealloc.files.strict_json import StrictJsonError, loads
from prealloc.library.storing.stored import StoredFormat
from prealloc.library.unpack import is_dense
from prealloc.model.words import shown

FORMAT = StoredFormat("prealloc-library-parts", 1)
INDEX = "index.json"
NAMES = "names.jsonl.zst"

MOST_INDEX_BYTES = 64 * 2**20

_PART = re.compile(r"part-[0-9]{5,9}\.jsonl\.zst")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A packed file of lines. `bytes` and `sha256` are those of the file, `raw_bytes` is what it unpacks to."""

    file: str
    sha256: str
    bytes: int
    raw_bytes: int


class Part(File, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part. `types` counts its tasks of each type."""

    tasks: int
    types: dict[str, int]


class Index(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`index.json`, behind its format. `check` is the sha256 of this document, compact, with an empty `check`."""

    check: str = ""
    tasks: int
    without_workflow: int
    two_ids: int
    types: dict[str, int]
    names: File
    parts: list[Part]

    def to_json(self) -> bytes:
        """The document, with its check."""
        return msgspec.json.format(FORMAT.encode(FORMAT.sealed(self, "check")), indent=1) + b"\n"


def part_name(number: int) -> str:
    return f"part-{number:05d}.jsonl.zst"


def is_file_of_ours(name: str) -> bool:
    """Whether a file of this name is a part of such a library."""
    return name in (INDEX, NAMES) or _PART.fullmatch(name) is not None


def is_ours(folder: Path) -> bool:
    """Whether there is a library of parts in the folder, of whichever version; a damaged one is one too."""
    try:
        value = loads(read_regular(folder / INDEX, inside=folder, most=MOST_INDEX_BYTES), what=INDEX)
    except (Unusable, StrictJsonError):
        return os.path.isfile(folder / NAMES)
    return isinstance(value, dict) and value.get("format") == FORMAT.name


def read_index(folder: Path) -> tuple[Index, bytes]:
    """The index of the library in `folder`, and its bytes. Raises LibraryError."""
    path = folder / INDEX
    try:
        refuse_foreign_folder(folder, inside=folder)
        raw = read_regular(path, inside=folder, most=MOST_INDEX_BYTES)
    except Missing as error:
        raise LibraryError(
            str(error), where=str(path), hint="give a folder that prealloc library convert made"
        ) from None
    except Unusable as error:
        raise FORMAT.damaged(str(error), str(path)) from None
    index = FORMAT.decode(raw, Index, str(path))
    if problem := _problem(index):
        raise FORMAT.damaged(problem, str(path))
    return index, raw


def _problem(index: Index) -> str | None:
    """What is wrong with an index, if anything is. A check that is right was made by a prealloc, or by somebody."""
    if index != FORMAT.sealed(index, "check"):
        return "it is not what was written: its checksum is wrong"
    if not index.tasks:
        return "the library has no tasks"
    if index.names.file != NAMES:
        return f"the file of names cannot be called {shown(index.names.file)}"
    for number, part in enumerate(index.parts):
        if part.file != part_name(number):
            return f"part {number} cannot lie in {shown(part.file)}"
        if part.tasks < 1:
            return f"{part.file} has {part.tasks} tasks"
    for file in (index.names, *index.parts):
        if file.raw_bytes <= 0 or is_dense(file.bytes, file.raw_bytes):
            return f"{file.file} has {file.bytes:,} bytes and cannot hold {file.raw_bytes:,}"
        if not _SHA256.fullmatch(file.sha256):
            return f"the sha256 of {file.file} is not a sha256"
    if index.tasks != sum(part.tasks for part in index.parts):
        return f"its parts do not add up to {index.tasks:,} tasks"
    if not (0 <= index.without_workflow <= index.tasks and 0 <= index.two_ids <= index.tasks):
        return "its counts are impossible"
    return None
