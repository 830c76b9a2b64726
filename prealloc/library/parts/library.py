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

from prealloc.errors import InputError, LibraryError
from prealloc.files.atomic import new_folder, refuse_strangers, refuse_taken, writing
from prealloc.files.regular import Unusable, read_regular
from prealloc.library.base import Library, Record, info_of
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
from prealloc.library.storing.stored import checked_names
from prealloc.library.unpack import is_dense

PART_BYTES = 8 << 20
_LEVEL = 3

_name = msgspec.json.Decoder(tuple[Any, Any])


@contextlib.contextmanager
def new_parts(out: Path, *, force: bool, part_bytes: int = PART_BYTES) -> Iterator[PartsWriter]:
    """A new folder of parts, see `LibraryFormat.new`.

    A part has about `part_bytes` bytes before it is packed, and always at least one task.
    """
    replace = _refuse_no_parts if force else None
    with writing(out, InputError):
        refuse_taken(out, replace)
        with new_folder(out, replace=replace) as folder:
            writer = PartsWriter(folder, out, part_bytes)
            yield writer
            writer.finish()


def _refuse_no_parts(folder: Path) -> None:
    """Raises InputError unless a folder is a library of parts and nothing else."""
    if not is_ours(folder):
        raise InputError(
            "it holds no library of parts, so ‹force› leaves it alone", where=str(folder), hint="name another one"
        )
    refuse_strangers(folder, is_file_of_ours, InputError, "library of parts")


class PartsWriter:
    """See `new_parts`. Holds one part in memory, and the names."""

    def __init__(self, folder: Path, out: Path, part_bytes: int) -> None:
        self._folder = folder
        self._out = out
        self._part_bytes = part_bytes
        self._counts = Counts(0, 0, 0)
        self._names = bytearray()
        self._part = bytearray()
        self._types: Counter[str] = Counter()
        self._parts: list[Part] = []

    def add(self, record: Record) -> None:
        self._counts.add([record.row])
        self._names += msgspec.json.encode((record.id, record.type)) + b"\n"
        self._part += record.text + b"\n"
        self._types[record.type] += 1
        if len(self._part) >= self._part_bytes:
            self._end_part()

    def finish(self) -> None:
        if self._part:
            self._end_part()
        types = sum((Counter(part.types) for part in self._parts), Counter[str]())
        index = Index(
            **msgspec.structs.asdict(self._counts),
            types=dict(sorted(types.items())),
            names=File(**self._write(NAMES, self._names)),
            parts=self._parts,
        )
        (self._folder / INDEX).write_bytes(index.to_json())

    def _end_part(self) -> None:
        file = self._write(part_name(len(self._parts)), self._part)
        types = dict(sorted(self._types.items()))
        self._parts.append(Part(**file, tasks=self._types.total(), types=types))
        self._part = bytearray()
        self._types = Counter()

    def _write(self, file: str, raw: bytearray) -> dict[str, Any]:
        """What a `File` says of the packed file."""
        import zstandard

        packed = zstandard.ZstdCompressor(level=_LEVEL).compress(raw)
        if is_dense(len(packed), len(raw)):
            raise LibraryError(
                f"{len(raw):,} bytes pack to {len(packed):,}, and would be taken for a zstd bomb when they are read",
                where=str(self._out / file),
                hint="choose another format",
            )
        (self._folder / file).write_bytes(packed)
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
        ids, types = checked_names(_pairs(lines, where), where=where, row="line", hint=FORMAT.again)
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
    raw = _unpacked(packed, file.raw_bytes)
    if raw is None or not raw.endswith(b"\n"):
        raise FORMAT.damaged(f"it does not unpack to {file.raw_bytes:,} bytes", str(path))
    lines = raw[:-1].split(b"\n")
    if len(lines) != count:
        raise FORMAT.damaged(f"it has {len(lines):,} tasks in place of {count:,}", str(path))
    return lines


def _unpacked(packed: bytes, size: int) -> bytes | None:
    """The `size` bytes in one zstd frame; None if there are more or fewer."""
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
            raw = reader.read(size + 1)
    except zstandard.ZstdError:
        return None
    return raw if len(raw) == size else None


def _pairs(lines: list[bytes], where: str) -> Iterator[tuple[Any, Any]]:
    for place, line in enumerate(lines):
        try:
            yield _name.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise FORMAT.damaged('it is not ["id","type"]', f"{where}, line {place} (counted from 0)") from None
