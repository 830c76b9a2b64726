"""What is refused by its first bytes: everything that is not the text of a library."""

from __future__ import annotations

import codecs

from prealloc.errors import LibraryError
from prealloc.files.strict_json import encoding_problem

_READ = "JSON, JSON lines, CSV, TSV, Parquet, SQLite and what `prealloc library convert` writes"
_INSIDE = "unpack it, and give the file inside"
_SAVED = "save it to a file, and give that"
_PARQUET = "write it as Parquet with pyarrow, or Dataset.to_parquet(OUT)"
_LINES = "write its tasks as JSON lines"
_KINDS = (
    (b"PK\x03\x04", "a zip archive", _INSIDE),
    (b"PAR1", "Parquet, which cannot be read from a pipe", _SAVED),
    (b"SQLite format 3", "a SQLite database, which cannot be read from a pipe", _SAVED),
    (b"ARROW1", "an Arrow file", _PARQUET),
    (b"\xff\xff\xff\xff", "an Arrow stream", _PARQUET),
    *((b"\x80" + bytes([protocol]), "a pickle, which prealloc never opens", _LINES) for protocol in (2, 3, 4, 5)),
    (b"\x89HDF", "an HDF5 file", _LINES),
    (b"%PDF", "a PDF", _LINES),
    (b"7z\xbc\xaf", "a 7z archive", _INSIDE),
)


def refuse_binary(head: bytes, where: str) -> None:
    """Raises LibraryError, with what a file is, if it begins as no text in UTF-8 does."""
    for magic, kind, hint in _KINDS:
        if head.startswith(magic):
            raise LibraryError(f"this is {kind}", where=where, hint=f"{hint}; prealloc reads {_READ}")
    problem = encoding_problem(head[:4])
    if problem and not head.startswith(codecs.BOM_UTF8):
        raise LibraryError(f"the file {problem}", where=where, hint="save it as UTF-8 without a byte order mark")


def nothing_in_it(where: str, *, blank: bool) -> LibraryError:
    """The error of a text without anything, or of nothing but whitespace."""
    problem = f"the file {'holds nothing but whitespace' if blank else 'is empty'}"
    return LibraryError(problem, where=where, hint="write the tasks into it, or give another file")


def no_tasks(where: str) -> LibraryError:
    """The error of a library with nothing in it."""
    return LibraryError("the library has no tasks", where=where, hint="give a library with at least one task")
