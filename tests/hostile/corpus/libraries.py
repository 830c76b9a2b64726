"""Task libraries: the packed ones, and a few of each other kind.

What is wrong inside JSON is told in every detail in test_hostile_library.py.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import json
import lzma
import pickle
from collections.abc import Callable, Iterator

import zstandard
from ground import Ground

from corpus.case import PLAN, Case, Words, put, swap

PLAN_LINES: Words = ("plan", "tasks.jsonl", "--out", "new")
VERIFY_LIBRARY: Words = ("verify", "plan", "--library", "tasks.json")
ON_LIBRARY = (PLAN, VERIFY_LIBRARY)

GOOD = json.dumps({"tasks": [{"id": f"t{i}", "type": "a", "workflow": {"n": i}} for i in range(30)]}).encode()
ONE = b'{"tasks": [{"id": "t", "type": "a", "workflow": %b}]}'


def _one(workflow: bytes) -> bytes:
    return ONE % workflow


def _bomb(pack: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return lambda: pack(b'{"tasks": [' + b" " * (80 << 20))


def _members() -> bytes:
    """A bomb in many small members, each within bounds."""
    return gzip.compress(b" " * (1 << 20), 9) * 80


def cases() -> Iterator[Case]:
    """Each is a whole library file."""
    texts: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
        "pickle": (pickle.dumps([{"id": "t", "type": "a"}]), ""),
        "empty": (b"", "empty"),
        "two BOMs": (b"\xef\xbb\xbf" * 2 + GOOD, "neither a JSON object nor an array"),
        "zip": (b"PK\x03\x04" + GOOD, "a zip archive"),
        "Arrow": (b"ARROW1\0\0" + GOOD, "an Arrow file"),
        "xz bomb": (_bomb(functools.partial(lzma.compress, preset=0)), "looks like an xz bomb"),
        "xz cut": (lzma.compress(GOOD)[:-9], "ends too early"),
        "bzip2 damaged": (bz2.compress(GOOD)[:40] + b"\xff" * 400, ""),
        "no names": (b'[{"question": 1}, {"question": 2}]', "task 0 has no id"),
        "numbers and names": (b'[{"uid": 1}, {"uid": "a"}]', "task 1 has 'a' in uid, where those before have numbers"),
        "a key of others twice": (b'[{"uid": "a", "x": 1, "x": 2}]', "twice"),
        "other ids twice": (b'[{"uid": "a"}, {"uid": "a"}]', "more than once"),
        "an id of others is half a pair": (b'[{"uid": "\\ud800"}]', "lone surrogate"),
        "several lists": (b'{"a": [{"id": "x"}], "b": [{"id": "y"}]}', "several lists"),
        "brackets of others": (b'{"a": [{"uid": ' + b"[" * 100_000, ""),
        "others cut": (b'{"examples": [{"uid": "a"}, {"uid"', "the text ends"),
        "UTF-16": (GOOD.decode().encode("utf-16"), "byte order mark"),
        "bad UTF-8": (GOOD.replace(b'"t3"', b'"t\xff"'), "not UTF-8"),
        "truncated": (GOOD[:-20], "the text ends"),
        "brackets": (b"[" * 100_000, "nested deeper"),
        "key twice": (GOOD.replace(b'"id": "t3"', b'"id": "t3", "id": "t3"'), "twice"),
        "id twice": (GOOD.replace(b'"t3"', b'"t4"'), "more than once"),
        "id NUL": (GOOD.replace(b'"t3"', b'"t\\u0000"'), "zero character"),
        "id of half a pair": (GOOD.replace(b'"t3"', b'"\\ud800"'), "lone surrogate"),
        "NaN": (_one(b"NaN"), "NaN"),
        "Infinity": (_one(b"[-Infinity]"), "Infinity"),
        "1e999": (_one(b"1e999"), "not finite"),
        "65 bits": (_one(b"18446744073709551616"), "64 bits"),
        "workflow of brackets": (_one(b"[" * 600 + b"]" * 600), "nested deeper"),
        "workflow with a key twice": (_one(b'{"a": {"b": 1, "b": 2}}'), "twice"),
        "workflow with half a pair": (_one(b'"\\udc00"'), "lone surrogate"),
        "gzip bomb": (_bomb(gzip.compress), "looks like a gzip bomb"),
        "zstd bomb": (_bomb(zstandard.ZstdCompressor().compress), "looks like a zstd bomb"),
        "gzip bomb in members": (_members, "looks like a gzip bomb"),
        "gzip cut": (gzip.compress(GOOD)[:-9], "ends too early"),
        "gzip checksum": (gzip.compress(GOOD)[:-8] + b"\0" * 8, "damaged"),
        "gzip and more": (gzip.compress(GOOD) + b"more", "something else follows"),
        "gzip in gzip": (gzip.compress(gzip.compress(GOOD)), ""),
        "zstd cut": (zstandard.ZstdCompressor().compress(GOOD)[:-3], "ends too early"),
        "zstd damaged": (zstandard.ZstdCompressor().compress(GOOD)[:20] + b"\xff" * 400, ""),
        "zstd of gigabytes, it says": (b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8 + b"\x01\x00\x00", ""),
    }
    for name, (raw, says) in texts.items():
        wide = ("plan", "tasks.json", "--all", "--out", "new")
        yield Case(f"library: {name}", put("tasks.json", raw), (wide,), says, "tasks.json")
    yield Case("library: no tasks", put("tasks.json", b'{"tasks": []}'), ON_LIBRARY, "no tasks", "tasks.json")
    yield Case("jsonl: a line cut", lambda ground: _cut(ground), (PLAN_LINES,), "", "tasks.jsonl")
    yield Case(
        "jsonl: a line that is no task",
        swap("tasks.jsonl", b"\n", b"\n5\n"),
        (PLAN_LINES,),
        "not a JSON object",
        "tasks.jsonl",
    )
    stranger = put("tasks.json", GOOD)
    yield Case("library: other tasks", stranger, (VERIFY_LIBRARY,), "no longer in it", "tasks.json")


def _cut(ground: Ground) -> None:
    path = ground.path("tasks.jsonl")
    path.write_bytes(path.read_bytes()[:-30])
