"""The `index.json` of a folder of parts: which files there are, and what they must hold."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import msgspec

from prealloc.files.regular import Unusable, read_regular, refuse_foreign_folder
from prealloc.files.strict_json import StrictJsonError, loads
from prealloc.library.packed.table import Columns, Head
from prealloc.library.storing.stored import StoredFormat
from prealloc.library.unpack import is_dense

FORMAT = StoredFormat("prealloc-library-parts", 1, ("start", "length"))
INDEX = "index.json"
NAMES = "names.table"

MOST_INDEX_BYTES = 64 * 2**20

_PART = re.compile(r"part-[0-9]{5,9}\.jsonl\.zst")


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A packed file of lines: `tasks`, of which `types` counts those of each type.

    `bytes` and `sha256` are those of the file, `raw_bytes` is what it unpacks to.
    """

    file: str
    sha256: str
    bytes: int
    raw_bytes: int
    tasks: int
    types: dict[str, int]


def part_name(number: int) -> str:
    return f"part-{number:05d}.jsonl.zst"


def is_file_of_ours(name: str) -> bool:
    """Whether a file of this name is a part of such a library."""
    return name in (INDEX, NAMES) or _PART.fullmatch(name) is not None


def is_parts(folder: Path) -> bool:
    """Whether this is a folder with a library of parts, of whichever version; a damaged one is one too."""
    try:
        value = loads(read_regular(folder / INDEX, inside=folder, most=MOST_INDEX_BYTES), what=INDEX)
    except (Unusable, StrictJsonError):
        return os.path.isfile(folder / NAMES)
    return isinstance(value, dict) and value.get("format") == FORMAT.name


def read_table(folder: Path) -> tuple[Columns[list[Part]], int]:
    """The table of the library in `folder`, and the bytes of all its files. Raises LibraryError."""
    where, raw = str(folder / INDEX), read_inside(folder, INDEX, MOST_INDEX_BYTES)
    head = FORMAT.decode(raw, Head[list[Part]], where)
    for number, part in enumerate(head.texts):
        fits = part.tasks > 0 and part.raw_bytes > 0 and not is_dense(part.bytes, part.raw_bytes)
        if part.file != part_name(number) or not fits:
            raise FORMAT.damaged(f"part {number} cannot be a file of this name and size", where)
    if sum(part.tasks for part in head.texts) != head.tasks:
        raise FORMAT.damaged(f"its parts do not add up to {head.tasks:,} tasks", where)
    names = read_inside(folder, NAMES, sys.maxsize)
    size = len(raw) + len(names) + sum(part.bytes for part in head.texts)
    columns = Columns(head, memoryview(names), FORMAT, str(folder / NAMES))
    columns.refuse_other_hashes()
    return columns, size


def read_inside(folder: Path, name: str, most: int) -> bytes:
    """A file of the folder. Raises LibraryError."""
    try:
        refuse_foreign_folder(folder, inside=folder)
        return read_regular(folder / name, inside=folder, most=most)
    except Unusable as error:
        raise FORMAT.damaged(str(error), str(folder / name)) from None
