"""What a case is, and the ways of spoiling that several kinds of files share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ground import WORKER, Ground

Words = tuple[str, ...]

PLAN: Words = ("plan", "tasks.json", "--out", "new")
VERIFY: Words = ("verify", "plan")
SHOW: Words = ("show", "plan")
SHOW_SHARD: Words = ("show", "plan", "shard-00")
DIFF: Words = ("diff", "plan", "plan")
RUN: Words = ("run", "plan", "--worker", WORKER, "--engine", "inline", "--out", "new")
RUN_LOCAL: Words = ("run", "plan", "--worker", WORKER, "--out", "new")
STATUS: Words = ("status", "run")
RESULTS: Words = ("results", "run")
UNITS: Words = ("results", "run", "--units")
RESUME: Words = ("resume", "run")
REUSE: Words = (*RUN, "--reuse", "run")

ON_PLAN = (VERIFY, SHOW, DIFF, RUN)
ON_RUN = (STATUS, RESULTS, UNITS, RESUME, REUSE)


class Case(NamedTuple):
    """One hostile file among good ones."""

    name: str
    spoil: Callable[[Ground], Any]
    commands: tuple[Words, ...]
    """Each of them must refuse."""
    says: str
    """A part of the message."""
    file: str
    """The name that the message must have."""
    code: int = 2
    good_bytes: int = 0
    """What a good file of that size takes at least: its bytes are read, and held once more in compact form."""


def put(pattern: str, content: bytes | str | Callable[[], bytes]) -> Callable[[Ground], None]:
    """The file holds this instead. What takes its time to make is a function, called for the case alone."""

    def spoil(ground: Ground) -> None:
        raw = content() if callable(content) else content
        _write(ground.path(pattern), raw.encode() if isinstance(raw, str) else raw)

    return spoil


def swap(pattern: str, old: bytes, new: bytes) -> Callable[[Ground], None]:
    """The first `old` in the file is `new`."""

    def change(ground: Ground) -> None:
        path = ground.path(pattern)
        raw = path.read_bytes()
        assert old in raw, (pattern, old)
        _write(path, raw.replace(old, new, 1))

    return change


def edit(pattern: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Ground], None]:
    """The JSON document in the file, changed."""

    def spoil(ground: Ground) -> None:
        path = ground.path(pattern)
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document))

    return spoil


def set_in(pattern: str, *steps: str | int, to: Any) -> Callable[[Ground], None]:
    """One value of the JSON document, changed."""

    def change(document: Any) -> None:
        for step in steps[:-1]:
            document = document[step]
        document[steps[-1]] = to

    return edit(pattern, change)


def _write(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)


def _pickle() -> bytes:
    import pickle

    return pickle.dumps({"format": "prealloc.plan", "version": 1})


NO_DOCUMENTS: dict[str, bytes] = {
    "pickle": _pickle(),
    "empty": b"",
    "blank": b" \n\t ",
    "truncated": b'{"format": "prealloc',
    "null": b"null",
    "list": b"[]",
    "BOM": b'\xef\xbb\xbf{"version": 1}',
    "UTF-16": '{"version": 1}'.encode("utf-16"),
    "bad UTF-8": b'{"version": "\xff\xfe"}',
    "lone surrogate": b'{"version": "\\ud800"}',
    "key twice": b'{"version": 1, "version": 1}',
    "NaN": b'{"version": NaN}',
    "Infinity": b'{"version": -Infinity}',
    "1e999": b'{"version": 1e999}',
    "65 bits": b'{"version": 18446744073709551616}',
    "5000 digits": b'{"version": ' + b"9" * 5000 + b"}",
    "100,000 brackets": b"[" * 100_000,
    "100,000 braces": b'{"a":' * 100_000,
    "two documents": b"{}{}",
    "zeros": b"\0" * 100_000,
    "another format": b'{"format": "tar", "version": 1}',
}
"""What no document of ours is, whichever was expected."""
