"""gzip and zstd, told by their first bytes, unpacked within bounds.

A bomb is a small file that unpacks without end: what comes out is counted while it comes, and the input
is fed in pieces so small that one of them cannot unpack to much.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol

from prealloc.errors import LibraryError
from prealloc.library.disk import Buffer

MAX_BYTES_OUT = 64 << 30
MAX_RATIO = 200
SMALL = 1 << 20
"""Bytes out that are fine at any ratio: a file of blanks and little else is no bomb yet."""

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

SMALL_STREAM = 64 << 20
"""The same where the file comes in pieces: how well the rest of it is packed is not known yet."""

_PIECE = 512
# zstd packs 128 KB of one byte into 4 bytes: one piece of input unpacks to 16 MB at the very worst.


class _Unpacker(Protocol):
    """One gzip member or one zstd frame."""

    def decompress(self, data: bytes, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


def unpack(
    packed: Buffer,
    where: str,
    *,
    max_bytes: int = MAX_BYTES_OUT,
    max_ratio: int = MAX_RATIO,
    small: int = SMALL,
) -> Buffer:
    """The bytes inside a gzip or zstd file (any number of members or frames); other bytes as they are.

    Raises LibraryError for data that is truncated, damaged, followed by something else, unpacks to more
    than `max_bytes`, or to more than `max_ratio` times its size (unless that is at most `small` bytes).
    """
    if packing(packed[:4]) is None:
        return packed
    most = max(small, max_ratio * len(packed))
    out = bytearray()
    for piece in _unpacked(iter([packed]), packed[:4], where):
        out += piece
        if len(out) > min(max_bytes, most):
            raise _bomb(packing(packed[:4]) or "", where, len(packed), max_bytes, most)
    return out


def unpack_stream(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """The same for a file that comes in pieces. Nothing of it is held, so only its ratio is bounded."""
    taken = out = 0

    def counted() -> Iterator[bytes]:
        nonlocal taken
        for piece in pieces:
            taken += len(piece)
            yield piece

    source = counted()
    head = b""
    while len(head) < 4 and (piece := next(source, b"")):
        head += piece
    source = chain([head], source)
    kind = packing(head[:4])
    if kind is None:
        yield from source
        return
    for piece in _unpacked(source, head[:4], where):
        out += len(piece)
        if out > max(SMALL_STREAM, MAX_RATIO * taken):
            raise _bomb(kind, where, taken, out, MAX_RATIO * taken)
        yield piece


def packing(head: Buffer) -> str | None:
    """How a file is packed that begins with these four bytes; None if it is not."""
    if head[:2] == GZIP:
        return "gzip"
    return "zstd" if head[:4] == ZSTD else None


def _unpacked(pieces: Iterator[Buffer], head: Buffer, where: str) -> Iterator[bytes]:
    kind, new, magic = ("gzip", _gzip, GZIP) if head[:2] == GZIP else ("zstd", _zstd(), ZSTD)
    unpacker, position, fed = new(), 0, False
    for whole in pieces:
        at = 0
        while at < len(whole):
            piece = bytes(whole[at : at + _PIECE])
            if not fed and not piece.startswith(magic[: len(piece)]):
                raise _damaged(kind, where, position + at, "something else follows the compressed data")
            try:
                out = unpacker.decompress(piece)
            except Exception as error:
                if not isinstance(error, zlib.error) and type(error).__name__ != "ZstdError":
                    raise
                raise _damaged(kind, where, position + at, f"the compressed data is damaged ({error})") from None
            at += len(piece)
            fed = True
            if unpacker.eof:
                at -= len(unpacker.unused_data)
                unpacker, fed = new(), False
            yield out
        position += len(whole)
    if fed:
        raise _damaged(kind, where, position, "the compressed data ends too early")


def _gzip() -> _Unpacker:
    return zlib.decompressobj(wbits=31)


def _zstd() -> Callable[[], _Unpacker]:
    import zstandard  # only who has such a file pays for the import

    return zstandard.ZstdDecompressor().decompressobj


def _damaged(kind: str, where: str, position: int, problem: str) -> LibraryError:
    return LibraryError(
        f"{problem}, near byte {position} of the {kind} file",
        where=where,
        mend=f"make the file again, or check it with `{'gzip' if kind == 'gzip' else 'zstd'} --test`",
    )


def _bomb(kind: str, where: str, packed: int, max_bytes: int, max_by_ratio: int) -> LibraryError:
    if max_bytes < max_by_ratio:
        problem = f"it unpacks to more than {max_bytes:,} bytes"
    else:
        problem = f"its {packed:,} bytes unpack to more than {max_by_ratio:,}: this looks like a {kind} bomb"
    return LibraryError(problem, where=where, mend="if you trust the file, unpack it yourself and give the result")
