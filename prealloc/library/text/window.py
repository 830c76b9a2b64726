"""The part of a text that is held while it goes by, and where it lies in the whole."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from functools import partial

from prealloc.library.text.batch import Origin
from prealloc.library.text.cursor import Cursor, space_at
from prealloc.library.text.sources import Source

SPACE = b" \t\n\r"


class Window(Cursor):
    """Some of a text, and a cursor in it, whose steps take in as much of the text as they need.

    What is held is proved to be UTF-8: the scan does not look into the text of what it steps over.
    """

    def __init__(self, pieces: Iterator[bytes], source: Source) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._source = source
        self._lines = 0
        """Line breaks that were taken in, of a text that cannot be read again to count them."""
        self.tasks = 0
        """In what was dropped."""
        self.text: bytearray = bytearray()
        self.dropped = 0
        self.ended = False
        self.bad_utf8: str | None = None
        """Why nothing is held from here on, if that is so."""

    def grow(self) -> bool:
        """Takes in more of the text, at least as much again as there is. False: that is all of it."""
        before = len(self.text)
        self.fill(max(2 * before, 1))
        return len(self.text) > before

    def fill(self, size: int) -> None:
        """Takes in more until so many bytes are held, or all that is left."""
        while len(self.text) < size and not self.ended:
            piece = next(self._pieces, None)
            self.ended = piece is None
            piece, before = piece or b"", len(self.text)
            self.text += piece
            if self._decoder.getstate()[0] or not piece.isascii():
                del self.text[self._end_of_utf8(piece, len(self.text)) :]
            if self._source.once:
                self._lines += self.text.count(b"\n", before)

    def _end_of_utf8(self, piece: bytes, end: int) -> int:
        """Where what ends at `end` with this piece ceases to be UTF-8: behind that, nothing is read."""
        before = self._decoder.getstate()[0]
        try:
            self._decoder.decode(piece, self.ended)
        except UnicodeDecodeError as error:
            self.ended, self.bad_utf8 = True, f"byte 0x{error.object[error.start]:02x} ({error.reason})"
            return end - len(piece) - len(before) + error.start
        return end

    def drop(self, size: int) -> bytearray:
        """Lets go of the first bytes, and gives them."""
        self.dropped += size
        if size < len(self.text) - size:  # the smaller part is copied
            gone = self.text[:size]
            del self.text[:size]
        else:
            gone, self.text = self.text, self.text[size:]
            del gone[size:]
        return gone

    def put_back(self, text: bytearray) -> None:
        """Takes in what was dropped last, or as many bytes."""
        self.dropped -= len(text)
        self.text = text + self.text

    def drop_space(self, at: int) -> None:
        """Lets go of all up to `at`, and of the whitespace behind it, however much it is."""
        self.drop(at)
        while self.byte(0) and (blank := space_at(self.text, 0)):
            self.drop(blank)

    def open_array(self, at: int) -> None:
        """Lets go of all before the task behind `at`, but for one byte: a bracket takes its place."""
        self.drop(at)
        while self.byte(1) and (blank := space_at(self.text, 1)) > 1:
            self.drop(blank - 1)
        self.text[:1] = b"["

    def origin(self, at: int, lead: int = 0) -> Origin:
        """Where a text begins that has `lead` bytes of ours in front of what lies at `at`."""
        byte = self.dropped + at
        lines = self._lines - self.text.count(b"\n", at) if self._source.once else 0
        line = (lambda: lines) if self._source.once else partial(self._source.line_of, byte)
        return Origin(self._source, self.tasks, byte - lead, None if self._source.made else line)
