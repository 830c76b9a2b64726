"""Task libraries as a folder of packed JSON lines: for object stores and file servers, where whole files are cheap.

index.json                  the head of a packed table (packed/table.py): which parts there are, and what they must hold
names.table                 its columns: whose the tasks are, and where each lies in its part, unpacked
part-00000.jsonl.zst, ...   the tasks, one object a line, in order; only the parts that are needed are read
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import msgspec
import zstandard

from prealloc.errors import InputError, LibraryError
from prealloc.files.atomic import new_folder, refuse_strangers, refuse_taken, writing
from prealloc.files.regular import Unusable, read_regular, refuse_foreign_folder
from prealloc.files.strict_json import StrictJsonError, loads
from prealloc.library.base import Add, Record
from prealloc.library.packed.library import PackedLibrary, filling, in_asked_order
from prealloc.library.packed.table import Columns, ColumnsBuilder, Head, StoredFormat
from prealloc.library.unpack import is_dense

FORMAT = StoredFormat("prealloc-library-parts", 1, ("start", "length"))
INDEX = "index.json"
NAMES = "names.table"
PART_BYTES = 8 << 20

_MOST_INDEX_BYTES = 64 << 20
_OURS = re.compile(rf"part-[0-9]{{5,9}}\.jsonl\.zst|{re.escape(INDEX)}|{re.escape(NAMES)}")
_LEVEL = 3


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


def _part_name(number: int) -> str:
    return f"part-{number:05d}.jsonl.zst"


@contextlib.contextmanager
def new_parts(out: Path, *, force: bool, part_bytes: int = PART_BYTES) -> Iterator[Add]:
    """A new folder of parts, see `LibraryFormat.new`.

    A part, which is held in memory as the names are, has about `part_bytes` bytes before it is packed, and always at
    least one task.
    """
    replace = _refuse_no_parts if force else None
    columns, parts = ColumnsBuilder(), list[Part]()

    def write(records: list[Record]) -> None:
        file, texts = _part_name(len(parts)), [record.text for record in records]
        starts = accumulate((len(text) + 1 for text in texts[:-1]), initial=0)
        columns.take(records, start=starts, length=map(len, texts))
        lines = b"\n".join([*texts, b""])
        packed = zstandard.ZstdCompressor(level=_LEVEL).compress(lines)
        if is_dense(len(packed), len(lines)):
            problem = f"{len(lines):,} bytes pack to {len(packed):,}, and would be taken for a zstd bomb"
            raise LibraryError(problem, where=str(out / file), hint="choose another format")
        (folder / file).write_bytes(packed)
        parts.append(
            Part(
                file=file,
                sha256=hashlib.sha256(packed).hexdigest(),
                bytes=len(packed),
                raw_bytes=len(lines),
                tasks=len(records),
                types=dict(sorted(Counter(record.type for record in records).items())),
            )
        )

    with writing(out, InputError):
        refuse_taken(out, replace)
        with new_folder(out, replace=replace) as folder:
            with filling(write, part_bytes) as add:
                yield add
            head, names = columns.pack(FORMAT, parts)
            (folder / NAMES).write_bytes(b"".join(names))
            (folder / INDEX).write_bytes(msgspec.json.format(FORMAT.encode(head), indent=1) + b"\n")


def is_ours(folder: Path) -> bool:
    """Whether there is a library of parts in the folder, of whichever version; a damaged one is one too."""
    try:
        value = loads(read_regular(folder / INDEX, inside=folder, most=_MOST_INDEX_BYTES), what=INDEX)
    except (Unusable, StrictJsonError):
        return os.path.isfile(folder / NAMES)
    return isinstance(value, dict) and value.get("format") == FORMAT.name


def _refuse_no_parts(folder: Path) -> None:
    """Raises InputError unless a folder is a library of parts and nothing else."""
    if not is_ours(folder):
        raise InputError(
            "it holds no library of parts, so ‹force› leaves it alone", where=str(folder), hint="name another one"
        )
    refuse_strangers(folder, lambda name: _OURS.fullmatch(name) is not None, InputError, "library of parts")


class PartsLibrary(PackedLibrary):
    """The task library in a folder of parts: reads its index and its names, and no part.

    `info.bytes` is the size of all its files. Raises LibraryError for a folder that is not such a library, newer,
    damaged or cannot be read.
    """

    way = "parts"

    def __init__(self, folder: Path, *, keep: tuple[str, ...]) -> None:
        where, raw = str(folder / INDEX), _file(folder, INDEX, _MOST_INDEX_BYTES)
        head = FORMAT.decode(raw, Head[list[Part]], where)
        parts = head.texts
        for number, part in enumerate(parts):
            fits = part.tasks > 0 and part.raw_bytes > 0 and not is_dense(part.bytes, part.raw_bytes)
            if part.file != _part_name(number) or not fits:
                raise FORMAT.damaged(f"part {number} cannot be a file of this name and size", where)
        self._starts = [*accumulate((part.tasks for part in parts), initial=0)]
        if self._starts.pop() != head.tasks:
            raise FORMAT.damaged(f"its parts do not add up to {head.tasks:,} tasks", where)
        names = _file(folder, NAMES, sys.maxsize)
        columns = Columns(head, memoryview(names), FORMAT, str(folder / NAMES))
        columns.refuse_other_hashes()
        # The counts are for those who read the index alone, and must not tell them anything else.
        for part, start in zip(parts, self._starts, strict=True):
            numbers = columns.type_number[start : start + part.tasks]
            if part.types != Counter(map(head.types.__getitem__, numbers)):
                raise FORMAT.damaged(f"the types of {part.file} are not those in {NAMES}", where)
        super().__init__(columns, folder, keep, size=len(raw) + len(names) + sum(part.bytes for part in parts))

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        return in_asked_order(positions, self._starts, self._read)

    def _read(self, number: int, positions: list[int]) -> list[bytes]:
        """The texts at these positions in a part, which is what was written. Raises LibraryError."""
        part = self.columns.head.texts[number]
        packed, where = _file(self.path, part.file, part.bytes), str(self.path / part.file)
        if len(packed) != part.bytes or hashlib.sha256(packed).hexdigest() != part.sha256:
            raise FORMAT.damaged(f"it is not what {INDEX} says it is", where)
        raw = b""
        with contextlib.suppress(zstandard.ZstdError), zstandard.ZstdDecompressor().stream_reader(packed) as reader:
            raw = reader.read(part.raw_bytes + 1)  # the one byte more shows that there are more
        if len(raw) != part.raw_bytes:
            raise FORMAT.damaged(f"it does not unpack to {part.raw_bytes:,} bytes", where)
        return [raw[start : start + length] for start, length in map(self.columns.place, positions)]


def _file(folder: Path, name: str, most: int) -> bytes:
    """The bytes of a file of the folder. Raises LibraryError."""
    try:
        refuse_foreign_folder(folder, inside=folder)
        return read_regular(folder / name, inside=folder, most=most)
    except Unusable as error:
        raise FORMAT.damaged(str(error), str(folder / name)) from None
