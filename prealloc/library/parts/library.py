"""Task libraries as a folder of packed JSON lines: for object stores and file servers, where whole files are cheap.

index.json          what there is, see `index`
names.jsonl.zst     ["id", "type"] of every task, one a line, in order
part-00000.jsonl.zst, ...   the tasks, one object a line, in order
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from prealloc.errors import InputError, LibraryError
from prealloc.files.atomic import new_folder, refuse_strangers, refuse_taken, writing
from prealloc.files.regular import Unusable, read_regular
from prealloc.library.base import Add, Library, Record, info_of
from prealloc.library.parts.index import (
    FORMAT,
    INDEX,
    NAMES,
    File,
    Index,
    Part,
    is_file_of_ours,
    is_ours,
    part_name,
    read_index,
)
from prealloc.library.rows import Counts
from prealloc.library.storing.boxes import in_asked_order
from prealloc.library.storing.stored import StoredRow, checked_names
from prealloc.library.unpack import is_dense

PART_BYTES = 8 << 20
_LEVEL = 3

_name = msgspec.json.Decoder(tuple[Any, Any])


@contextlib.contextmanager
def new_parts(out: Path, *, force: bool, part_bytes: int = PART_BYTES) -> Iterator[Add]:
    """A new folder of parts, see `LibraryFormat.new`.

    A part, which is held in memory as the names are, has about `part_bytes` bytes before it is packed, and always at
    least one task.
    """
    replace = _refuse_no_parts if force else None
    counts, names, parts, all_types = Counts(0, 0, 0), bytearray(), list[Part](), Counter[str]()
    lines, types = bytearray(), Counter[str]()

    def add(record: Record) -> None:
        nonlocal names, lines
        counts.add([record.row])
        names += msgspec.json.encode((record.id, record.type)) + b"\n"
        lines += record.text + b"\n"
        types[record.type] += 1
        if len(lines) >= part_bytes:
            end_part()

    def end_part() -> None:
        file = _write(folder, out, part_name(len(parts)), lines)
        parts.append(Part(**file, tasks=types.total(), types=dict(sorted(types.items()))))
        all_types.update(types)
        lines.clear()
        types.clear()

    with writing(out, InputError):
        refuse_taken(out, replace)
        with new_folder(out, replace=replace) as folder:
            yield add
            if lines:
                end_part()
            index = Index(
                **msgspec.structs.asdict(counts),
                types=dict(sorted(all_types.items())),
                names=File(**_write(folder, out, NAMES, names)),
                parts=parts,
            )
            (folder / INDEX).write_bytes(index.to_json())


def _refuse_no_parts(folder: Path) -> None:
    """Raises InputError unless a folder is a library of parts and nothing else."""
    if not is_ours(folder):
        raise InputError(
            "it holds no library of parts, so ‹force› leaves it alone", where=str(folder), hint="name another one"
        )
    refuse_strangers(folder, is_file_of_ours, InputError, "library of parts")


def _write(folder: Path, out: Path, file: str, raw: bytearray) -> dict[str, Any]:
    """Packs a file into the folder that will be `out`, and gives what a `File` says of it."""
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(raw)
    if is_dense(len(packed), len(raw)):
        raise LibraryError(
            f"{len(raw):,} bytes pack to {len(packed):,}, and would be taken for a zstd bomb when they are read",
            where=str(out / file),
            hint="choose another format",
        )
    (folder / file).write_bytes(packed)
    return {"file": file, "sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed), "raw_bytes": len(raw)}


class PartsLibrary(Library):
    """The task library in a folder of parts: reads its index and its names, and no part.

    `info.sha256` is that of `index.json`, which proves all other files; `info.bytes` is the size of all of them.
    Raises LibraryError for a folder that is not such a library, newer, damaged or cannot be read.
    """

    way = "parts"

    def __init__(self, folder: Path, *, keep: tuple[str, ...]) -> None:
        index, raw = read_index(folder)
        where = str(folder / NAMES)
        lines = _lines(folder, index.names, index.tasks)
        ids, types = checked_names(_rows(lines, where), FORMAT, where=where, row="line")
        self._folder = folder
        self._parts = index.parts
        self._starts = list(accumulate((part.tasks for part in index.parts), initial=0))[:-1]
        self._refuse_other_types(index, types, str(folder / INDEX))
        size = len(raw) + index.names.bytes + sum(part.bytes for part in index.parts)
        info = info_of(folder, size=size, sha256=hashlib.sha256(raw).hexdigest(), types=index.types)
        super().__init__(info, ids, types, Counts(index.tasks, index.without_workflow, index.two_ids), keep)

    def _refuse_other_types(self, index: Index, types: list[str], where: str) -> None:
        """The counts are for those who read the index alone, and must not tell them anything else."""
        for part, start in zip(index.parts, self._starts, strict=True):
            if part.types != Counter(types[start : start + part.tasks]):
                raise FORMAT.damaged(f"the types of {part.file} are not those in {NAMES}", where)
        if index.types != Counter(types):
            raise FORMAT.damaged(f"its types are not those in {NAMES}", where)

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        return in_asked_order(positions, self._starts, self._read)

    def _read(self, number: int, positions: list[int]) -> dict[int, bytes]:
        part = self._parts[number]
        lines = _lines(self._folder, part, part.tasks)
        return {position: lines[position - self._starts[number]] for position in positions}


def _lines(folder: Path, file: File, count: int) -> list[bytes]:
    """The lines in a file of the folder, proved to be what was written. Raises LibraryError."""
    path = folder / file.file
    try:
        packed = read_regular(path, inside=folder, most=file.bytes)
    except Unusable as error:
        raise FORMAT.damaged(str(error), str(path)) from None
    if len(packed) != file.bytes or hashlib.sha256(packed).hexdigest() != file.sha256:
        raise FORMAT.damaged(f"it is not what {INDEX} says it is", str(path))
    raw = b""
    with contextlib.suppress(zstandard.ZstdError), zstandard.ZstdDecompressor().stream_reader(packed) as reader:
        raw = reader.read(file.raw_bytes + 1)  # the one byte more shows that there are more
    lines = raw.split(b"\n")
    if len(raw) != file.raw_bytes or lines.pop() != b"":
        raise FORMAT.damaged(f"it does not unpack to {file.raw_bytes:,} bytes", str(path))
    if len(lines) != count:
        raise FORMAT.damaged(f"it has {len(lines):,} tasks in place of {count:,}", str(path))
    return lines


def _rows(lines: list[bytes], where: str) -> Iterator[StoredRow]:
    for place, line in enumerate(lines):
        try:
            id, type = _name.decode(line)
            yield id, type, None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise FORMAT.damaged('it is not ["id","type"]', f"{where}, line {place} (counted from 0)") from None
