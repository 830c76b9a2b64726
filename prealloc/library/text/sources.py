"""Where the text of a library comes from: a file, standard input, a table, many files, or Python itself.

All of them give JSON, piece by piece: other formats become JSON lines on the way.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.disk import Progress, head_of, open_library_file, pieces_of
from prealloc.library.formats import PARTS, LibraryFormat, binary_format, loaded
from prealloc.library.text.other_formats import MARKUP, TABLES, as_json, refuse_alike
from prealloc.library.text.refuse import HEAD, refuse_binary
from prealloc.library.unpack import name_parts, unpack_stream
from prealloc.model.fields import COMMON, Fields
from prealloc.model.json_value import MOST_DEPTH, NoJson, check_json
from prealloc.model.spelling import EVERY_FIELD
from prealloc.model.words import shown

_ARROW = (b"ARROW1", b"\xff\xff\xff\xff")
# A file, and a stream as `datasets` saves it.
IN_PYTHON = "tasks in Python"
_ROWS = 1_000


class Proof:
    """The size and the sha256 of a source: gets all its bytes, as they are where it comes from."""

    def __init__(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self.hexdigest = self._sha256.hexdigest

    def __call__(self, piece: bytes) -> None:
        self.size += len(piece)
        self._sha256.update(piece)

    def begin(self, name: str, size: int) -> None:
        """A file of this name and size comes next: which bytes are whose is proved too."""
        self._sha256.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))


class Source(NamedTuple):
    """A text, read from its beginning at each time."""

    path: Path | str
    """What a plan calls it: a text where it is not a file."""
    where: str
    """The same for messages."""
    read: Callable[[Proof, Progress | None], Generator[bytes]]
    """Gives the text. Raises LibraryError."""
    format: LibraryFormat | None = None
    """What opens it without reading it as a text; None if it is one."""
    made: Literal["lines", "document"] | None = None
    """As what JSON it was made of something else, which has its tasks at other places."""
    once: bool = False
    """Whether it is gone when it has been read."""
    took: Sequence[str] = ()
    """Which files of a folder it is, and what was odd when they were read; empty where there was no choice."""
    tasks_field: str | None = None
    """Where in a document the tasks are, if somebody said it."""
    file_of: Callable[[int], Path] | None = None
    """Of many files, that of a task, by its number among those that were read."""

    def task(self, number: int, id: str | None = None) -> str:
        """`task 17 (id 'x')`; of many files, in which."""
        told = f"task {number}" if id is None else f"task {number} (id {shown(id)})"
        return told if self.file_of is None else f"{told}, in {self.file_of(number)}"

    def number(self, task: int) -> str:
        """`17`; of many files, in which: `17 (a.jsonl)`."""
        return str(task) if self.file_of is None else f"{task} ({self.file_of(task)})"

    def line_of(self, byte: int) -> int:
        """How many line breaks are before a byte. Reads it all again: for a message."""
        lines = 0
        with contextlib.closing(self.read(Proof(), None)) as pieces:
            for piece in pieces:
                lines += piece.count(b"\n", 0, byte)
                byte -= len(piece)
                if byte <= 0:
                    break
        return lines


def file_source(
    path: Path, descriptor: int | None = None, *, fields: Fields = COMMON, keep: tuple[str, ...] = ()
) -> Source:
    """A file: JSON or a table, plain or packed, or rows in a binary format; with a descriptor the file that it is of.

    `fields` and `keep` say what must be JSON of rows.
    """
    where, head, ending = str(path), head_of(path), name_parts(path.name).ending
    format, is_arrow = PARTS if os.path.isdir(path) else binary_format(head), head.startswith(_ARROW)

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        file = open_library_file(path) if descriptor is None else os.dup(descriptor)
        # The pieces are closed first: they have a thread that reads.
        with open(file, "rb"), contextlib.closing(pieces_of(file, where, proof, progress)) as pieces:
            if format or is_arrow:
                deque(pieces, maxlen=0)  # for those who count and hash them
            if format:
                yield from (row + b"\n" for row in format.lines(path, keep=keep, fields=fields))
            elif is_arrow:
                lines_of_arrow = loaded("parquet.library:lines_of_arrow", where)
                yield from (row + b"\n" for row in lines_of_arrow(file, where, fields, keep))
            else:
                yield from as_json(_unpacked(pieces, where), ending, where)

    is_rows = format or is_arrow or ending in TABLES
    return Source(path, where, read, format, "lines" if is_rows else "document" if ending in MARKUP else None)


def _unpacked(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """The text in a file, packed or not. Raises LibraryError if it begins as no text does."""
    text, head = unpack_stream(pieces, where), b""
    while len(head) < HEAD and (piece := next(text, b"")):
        head += piece
    refuse_binary(head, where)
    yield head
    yield from text


def _read_stdin(proof: Proof, progress: Progress | None) -> Generator[bytes]:
    with contextlib.suppress(OSError):  # closed: reading it tells
        os.set_blocking(0, True)  # whoever shares it may have set it otherwise
    yield from _unpacked(pieces_of(0, "standard input", proof, progress), "standard input")


STDIN = Source("-", "standard input", _read_stdin, once=True)


def python_source(tasks: Any, needed: frozenset[str]) -> Source:
    """An iterable of mappings; a `datasets.Dataset`, a pandas or polars frame, an Arrow table.

    Only the values of fields that are `needed` have to be JSON. Another value that is not JSON is left out of its task.
    """

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        for place, task in enumerate(_rows(tasks)):
            line = _line(task, f"{IN_PYTHON}, task {place}", needed)
            proof(line)
            yield line

    return Source(IN_PYTHON, IN_PYTHON, read, made="lines", once=True)


def _rows(tasks: Any) -> Iterator[Any]:
    if hasattr(tasks, "iter_rows"):  # polars
        yield from tasks.iter_rows(named=True)
    elif hasattr(tasks, "to_dict") and hasattr(tasks, "columns"):  # pandas
        yield from tasks.to_dict("records")
    elif hasattr(tasks, "to_batches"):  # Arrow, of which a batch may be all
        refuse_alike(tasks.schema.names, IN_PYTHON)
        for batch in tasks.to_batches():
            for at in range(0, batch.num_rows, _ROWS):
                yield from batch.slice(at, _ROWS).to_pylist()
    elif isinstance(tasks, Iterable) and not isinstance(tasks, Mapping | bytes | bytearray):
        yield from tasks
    else:
        problem = f"a task library is a path or an iterable of mappings, not {type(tasks).__name__}"
        raise LibraryError(problem, where=IN_PYTHON, hint="give a list of dicts")


def _line(task: Any, where: str, needed: frozenset[str]) -> bytes:
    if not isinstance(task, Mapping):
        raise LibraryError(f"the task is not a mapping but {type(task).__name__}", where=where, hint="give dicts")
    fields = {}
    for name, value in task.items():
        try:
            plain = value.tolist() if hasattr(value, "tolist") else value  # of numpy: as Python has it
            check_json({name: plain}, "task", MOST_DEPTH + 1)
            fields[name] = plain
        except NoJson as error:
            if name in needed or EVERY_FIELD in needed:
                hint = "make it JSON: text, numbers, lists and dicts; or keep other fields"
                raise LibraryError(str(error), where=where, hint=hint) from None
    return msgspec.json.encode(fields) + b"\n"
