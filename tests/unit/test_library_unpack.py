"""gzip, zstd, bzip2 and xz within bounds."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable

import pytest
import zstandard

from examples import in_laws
from prealloc.errors import LibraryError
from prealloc.library.unpack import unpack_stream

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
}
TEXT = bytes(range(256)) * 400


def unpack(packed: bytes, where: str) -> bytes:
    return b"".join(unpack_stream(iter([packed]), where))


@pytest.mark.parametrize("kind", PACK)
def test_what_was_packed_comes_out(kind: str) -> None:
    """Law: unpacking gives the bytes that were packed, from one part or several."""
    pack = PACK[kind]
    assert unpack(pack(TEXT), "f") == TEXT
    assert unpack(pack(TEXT) + pack(b"") + pack(TEXT), "f") == TEXT + TEXT


def test_other_bytes_stay() -> None:
    """Law: what is not packed is given back as it is."""
    assert unpack(TEXT, "f") == TEXT


@pytest.mark.parametrize("kind", PACK)
def test_truncated_at_every_length(kind: str) -> None:
    """Law: no cut of a packed file passes for the whole."""
    packed = PACK[kind](b'[{"id":"a","type":"b"}]' * 3)
    for length in range(5, len(packed)):
        with pytest.raises(LibraryError, match=r"ends too early|damaged") as caught:
            unpack(packed[:length], "some/file")
        assert caught.value.where == "some/file"
        assert caught.value.hint == f"make the file again, or check it with `{kind} --test`"


@pytest.mark.parametrize("kind", PACK)
def test_damage_is_told(kind: str) -> None:
    """Law: damaged data and trailing garbage are refused with their place."""
    packed = PACK[kind](TEXT)
    with pytest.raises(LibraryError, match=f"near byte [0-9]+ of the {kind} file"):
        unpack(packed[:20] + b"\xff\xff\xff\xff" + packed[24:-8] + b"\0" * 8, "f")
    with pytest.raises(LibraryError, match=f"something else follows the compressed data, near byte {len(packed)} "):
        unpack(packed + b"garbage", "f")


@pytest.mark.parametrize("kind", ["gzip", "zstd", in_laws("bzip2"), in_laws("xz")])
def test_bombs(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Law: no more than the ratio comes out, and in small pieces until then; the hint is to unpack it oneself."""
    bomb = PACK[kind](b" " * 80_000_000)
    sizes: list[int] = []
    with pytest.raises(LibraryError, match=f"this looks like an? {kind} bomb") as caught:
        sizes.extend(map(len, unpack_stream(iter([bomb]), "f")))
    assert max(sizes) <= 16 << 20
    assert caught.value.hint == "if you trust the file, unpack it yourself and give the result"
    monkeypatch.setattr("prealloc.library.unpack.MAX_RATIO", 1)
    monkeypatch.setattr("prealloc.library.unpack.SMALL", 1000)
    assert unpack(PACK[kind](b" " * 1000), "f") == b" " * 1000
    with pytest.raises(LibraryError, match="bomb"):
        unpack(PACK[kind](b" " * 1001), "f")


@pytest.mark.parametrize("kind", PACK)
def test_more_than_a_library_may_have(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """However well a file is packed: what comes out has an end."""
    monkeypatch.setattr("prealloc.library.unpack.MAX_BYTES_OUT", 9_999)
    with pytest.raises(LibraryError, match="more than 9,999 bytes"):
        unpack(PACK[kind](bytes(10_000)), "x")
