"""gzip, bzip2, xz and zstd, recognised by their first bytes, unpacked within bounds.

A bomb is a small file that unpacks without end: what comes out is counted while it comes, and the input
is fed in pieces so small that one of them cannot unpack to much.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import chain
from typing import Any, NamedTuple

from prealloc.errors import LibraryError

MAX_BYTES_OUT = 64 << 30
MAX_RATIO = 200
SMALL = 64 << 20
"""Bytes out that are fine at any ratio: a file of blanks and little else is not yet a bomb."""

_PACKED = (".gz", ".zst", ".bz2", ".xz")

_PIECE = 512
# zstd packs 128 KB of one byte into 4 bytes: one piece of input unpacks to 16 MB at the very worst.

_MOST_AT_ONCE = 1 << 20
# bzip2 packs 46 MB of one byte into 40. It and xz can be asked for a part of what a piece of input unpacks to.


class NameParts(NamedTuple):
    """A file's name in parts, the endings in small letters: `tasks`, `.json` and `.gz` of `tasks.JSON.gz`."""

    stem: str
    ending: str
    packed: str


def name_parts(name: str) -> NameParts:
    """What the name of a file says of what is in it, and of how it is packed."""
    stem, ending = _cut(name)
    return NameParts(*_cut(stem), ending) if ending in _PACKED else NameParts(stem, ending, "")


def _cut(name: str) -> tuple[str, str]:
    stem, dot, ending = name.rpartition(".")
    return (stem, f".{ending.lower()}") if dot else (name, "")


def unpack_stream(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """The bytes inside a packed file (any number of members or frames), in pieces as it comes; other bytes as they are.

    Raises LibraryError for data that is truncated, damaged, followed by something else, or unpacks to more than
    MAX_BYTES_OUT, or any beginning of it to more than MAX_RATIO times its size (unless that is at most SMALL bytes):
    the verdict does not depend on how it is read.
    """
    head = b""
    while len(head) < 4 and (piece := next(pieces, b"")):
        head += piece
    source = chain([head], pieces)
    kind = packing(head[:4])
    if kind is None:
        yield from source
        return
    out = 0
    for taken, piece in _unpacked(source, kind, where):
        out += len(piece)
        too_much = f"it unpacks to more than {MAX_BYTES_OUT:,} bytes" if out > MAX_BYTES_OUT else None
        if is_dense(taken, out):
            a_bomb = f"{'an' if kind == 'xz' else 'a'} {kind} bomb"
            too_much = f"{taken:,} bytes of it unpack to {out:,} and more: this looks like {a_bomb}"
        if too_much is not None:
            hint = "if you trust the file, unpack it yourself and give the result"
            raise LibraryError(too_much, where=where, hint=hint)
        for at in range(0, len(piece), _MOST_AT_ONCE):
            yield piece[at : at + _MOST_AT_ONCE]


def is_dense(packed: int, out: int) -> bool:
    """Whether a file of which `packed` bytes unpack to `out` looks like a bomb."""
    return out > max(SMALL, MAX_RATIO * packed)


def packing(head: bytes) -> str | None:
    """How a file is packed that begins with these four bytes; None if it is not."""
    return next((kind for kind, (magic, _) in _PACKINGS.items() if head[: len(magic)] == magic), None)


def _unpacked(pieces: Iterator[bytes], kind: str, where: str) -> Iterator[tuple[int, bytes]]:
    """Pairs: how many bytes were fed so far, and what the last of them gave."""
    magic, new = _PACKINGS[kind]
    unpacker, taken, fed, has_more = new(), 0, False, False
    at_once = (_MOST_AT_ONCE,) if hasattr(unpacker, "needs_input") else ()
    for piece in (whole[at : at + _PIECE] for whole in pieces for at in range(0, len(whole), _PIECE)):
        while piece or has_more:
            if not fed and not piece.startswith(magic[: len(piece)]):
                raise _damaged(kind, where, taken, "something else follows the compressed data")
            try:
                out = unpacker.decompress(piece, *at_once)
            except Exception as error:
                if not isinstance(error, zlib.error | lzma.LZMAError | OSError) and type(error).__name__ != "ZstdError":
                    raise
                raise _damaged(kind, where, taken, f"the compressed data is damaged ({error})") from None
            rest = unpacker.unused_data if unpacker.eof else b""
            taken += len(piece) - len(rest)
            piece, fed = rest, not unpacker.eof
            has_more = fed and not getattr(unpacker, "needs_input", True)
            if not fed:
                unpacker = new()
            yield taken, out
    if fed:
        raise _damaged(kind, where, taken, "the compressed data ends too early")


_PACKINGS: dict[str, tuple[bytes, Callable[[], Any]]] = {
    "gzip": (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    # zstandard is imported only for such a file.
    "zstd": (b"\x28\xb5\x2f\xfd", lambda: import_module("zstandard").ZstdDecompressor().decompressobj()),
    "bzip2": (b"BZh", bz2.BZ2Decompressor),
    "xz": (b"\xfd7zX", lzma.LZMADecompressor),
}
"""How each kind begins, and what unpacks one member, stream or frame of it: `decompress`, `eof`, `unused_data`."""


def _damaged(kind: str, where: str, position: int, problem: str) -> LibraryError:
    hint = f"make the file again, or check it with `{kind} --test`"
    return LibraryError(f"{problem}, near byte {position} of the {kind} file", where=where, hint=hint)
