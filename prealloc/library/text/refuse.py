"""What is refused by its first bytes, all that is not the text of a library; and commands that make one of it."""

from __future__ import annotations

import codecs
import os
import re
import shlex
from pathlib import Path

from prealloc.errors import LibraryError
from prealloc.files.strict_json import encoding_problem
from prealloc.library.unpack import PACKED_NAME

HEAD = 512
"""Bytes by which a file is told from others."""

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
    (b"version https://git-lfs", "a pointer of Git LFS in place of the file", "get the file: git lfs pull"),
    *((mark, "a page of HTML", "fetch the file itself") for mark in (b"<!doctype", b"<!DOCTYPE", b"<html", b"<HTML")),
)
_SPECIAL = r'["$`\\!]'
# What double quotes do not hide from a shell.
_UNPACK = {".gz": "zcat", ".zst": "zstdcat", ".bz2": "bzcat", ".xz": "xzcat"}


def rewrite(where: str, program: str, ending: str = "") -> str:
    """A command that writes what `program` makes of a file beside it, with this ending if it becomes another kind."""
    path = Path(where if os.path.isfile(where) else "FILE")
    name = re.sub(rf"{PACKED_NAME}\Z", "", path.name, flags=re.IGNORECASE)
    new = str(path.with_name(f"fixed-{Path(name).stem if ending else name}{ending}"))
    unpack = _UNPACK.get(path.suffix.lower())
    given, new = shlex.quote(str(path)), shlex.quote(new)
    return f"{unpack} {given} | {program} > {new}" if unpack else f"{program} < {given} > {new}"


def python(code: str) -> str:
    """A command that runs some Python."""
    return f"python3 -c {shlex.quote(code)}" if re.search(_SPECIAL, code) else f'python3 -c "{code}"'


def rewrite_json(where: str, expression: str) -> str:
    """The same of a JSON file, of whose value `d` the new file gets what a Python expression says."""
    code = f"import json, sys; d = json.load(sys.stdin); json.dump({expression}, sys.stdout)"
    return rewrite(where, python(code), ".json")


def refuse_binary(head: bytes, where: str) -> None:
    """Raises LibraryError, with what a file is, if it begins as no text in UTF-8 does."""
    for magic, kind, hint in _KINDS:
        if head.startswith(magic):
            raise LibraryError(f"this is {kind}", where=where, hint=f"{hint}; prealloc reads {_READ}")
    problem = encoding_problem(head[:4])
    if problem and not head.startswith(codecs.BOM_UTF8):
        code = "UTF-32" if b"\0\0" in head[:4] else "UTF-16BE" if head[:1] == b"\0" else "UTF-16"
        hint = f"save it as UTF-8: {rewrite(where, f'iconv -f {code} -t UTF-8')}"
        raise LibraryError(f"the file {problem}", where=where, hint=hint)
    if head[257:262] == b"ustar":
        raise LibraryError("this is a tar archive", where=where, hint=f"{_INSIDE}; prealloc reads {_READ}")


def not_utf8(where: str) -> str:
    """What to do about a byte that UTF-8 does not have."""
    command = rewrite(where, "iconv -f ISO-8859-1 -t UTF-8")
    return f"save the file as UTF-8, or fix that byte; if it is Latin-1: {command}"


def no_tasks(where: str) -> LibraryError:
    """The error of a library with nothing in it."""
    return LibraryError("the library has no tasks", where=where, hint="give a library with at least one task")
