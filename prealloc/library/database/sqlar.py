"""Texts packed as SQLite's archives are (sqlite.org/sqlar.html), so that `sqlar_uncompress(blob, bytes)` shows them."""

from __future__ import annotations

import zlib

MOST_BYTES = 1_000_000_000
"""The longest text: what SQLite itself allows in a row, unless it was built for more."""


def pack(text: bytes) -> bytes:
    """The text in zlib's format, or as it is where that is not smaller: a blob as long as the text is the text."""
    packed = zlib.compress(text)
    return packed if len(packed) < len(text) else text


def unpack(blob: object, size: object) -> bytes:
    """The text of `size` bytes in the blob. Raises ValueError. Never makes more than `size` + 1 bytes."""
    if not isinstance(blob, bytes) or not isinstance(size, int):
        raise ValueError("it is not a blob with a size")
    if len(blob) == size:
        return blob
    if not len(blob) < size <= MOST_BYTES:
        raise ValueError(f"{len(blob):,} bytes cannot hold {size:,}")
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(blob, size + 1)
    except zlib.error as error:
        raise ValueError(f"it is damaged ({error})") from None
    if len(text) != size or not unpacker.eof or unpacker.unused_data:
        raise ValueError(f"it does not unpack to {size:,} bytes")
    return text
