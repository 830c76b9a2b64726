"""Task libraries as a folder of packed JSON lines: for object stores and file servers, where whole files are cheap.

index.json                  the head of a packed table: what there is, see `index` and packed/table.py
names.table                 its columns: whose the tasks are, and where each lies in its part, unpacked
part-00000.jsonl.zst, ...   the tasks, one object a line, in order
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import msgspec
import zstandard

from prealloc.errors import InputError, LibraryError
from prealloc.files.atomic import new_folder, refuse_strangers, refuse_taken, writing
from prealloc.library.base import Add, Record
from prealloc.library.packed.library import PackedLibrary
from prealloc.library.packed.table import ColumnsBuilder
from prealloc.library.parts.index import (
    FORMAT,
    INDEX,
    NAMES,
    Part,
    is_file_of_ours,
    is_parts,
    part_name,
    read_inside,
    read_table,
)
from prealloc.library.storing.boxes import filling, in_asked_order
from prealloc.library.unpack import is_dense

PART_BYTES = 8 << 20
_LEVEL = 3


@contextlib.contextmanager
def new_parts(out: Path, *, force: bool, part_bytes: int = PART_BYTES) -> Iterator[Add]:
    """A new folder of parts, see `LibraryFormat.new`.

    A part, which is held in memory as the names are, has about `part_bytes` bytes before it is packed, and always at
    least one task.
    """
    replace = _refuse_no_parts if force else None
    columns, parts = ColumnsBuilder(), list[Part]()

    def write(records: list[Record]) -> None:
        file, texts = part_name(len(parts)), [record.text for record in records]
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


def _refuse_no_parts(folder: Path) -> None:
    """Raises InputError unless a folder is a library of parts and nothing else."""
    if not is_parts(folder):
        raise InputError(
            "it holds no library of parts, so ‹force› leaves it alone", where=str(folder), hint="name another one"
        )
    refuse_strangers(folder, is_file_of_ours, InputError, "library of parts")


class PartsLibrary(PackedLibrary):
    """The task library in a folder of parts: reads its index and its names, and no part.

    `info.bytes` is the size of all its files. Raises LibraryError for a folder that is not such a library, newer,
    damaged or cannot be read.
    """

    way = "parts"

    def __init__(self, folder: Path, *, keep: tuple[str, ...]) -> None:
        columns, size = read_table(folder)
        self._starts = [*accumulate((part.tasks for part in columns.head.texts), initial=0)][:-1]
        super().__init__(columns, folder, keep, size=size)
        # The counts are for those who read the index alone, and must not tell them anything else.
        for part, start in zip(columns.head.texts, self._starts, strict=True):
            numbers = columns.type_number[start : start + part.tasks]
            if part.types != Counter(map(columns.head.types.__getitem__, numbers)):
                raise FORMAT.damaged(f"the types of {part.file} are not those in {NAMES}", str(folder / INDEX))

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        return in_asked_order(positions, self._starts, self._read)

    def _read(self, number: int, positions: list[int]) -> dict[int, bytes]:
        raw, places = self._unpacked(self.columns.head.texts[number]), map(self.columns.place, positions)
        return {
            position: raw[start : start + length] for position, (start, length) in zip(positions, places, strict=True)
        }

    def _unpacked(self, part: Part) -> bytes:
        """The lines in a part, which is what was written. Raises LibraryError."""
        packed = read_inside(self.path, part.file, part.bytes)
        where = str(self.path / part.file)
        if len(packed) != part.bytes or hashlib.sha256(packed).hexdigest() != part.sha256:
            raise FORMAT.damaged(f"it is not what {INDEX} says it is", where)
        raw = b""
        with contextlib.suppress(zstandard.ZstdError), zstandard.ZstdDecompressor().stream_reader(packed) as reader:
            raw = reader.read(part.raw_bytes + 1)  # the one byte more shows that there are more
        if len(raw) != part.raw_bytes:
            raise FORMAT.damaged(f"it does not unpack to {part.raw_bytes:,} bytes", where)
        return raw
