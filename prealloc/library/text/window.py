"""The part of a text that is held while it goes by, and where it lies in the whole."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from functools import partial

from prealloc.library.text.cursor import Cursor
from prealloc.library.text.diagnose import Origin
from prealloc.library.text.sources import Source

SPACE = b" \t\n\r"
HEAD = 16


class Window(Cursor):
    """Some of a text, and a cursor in it, whose steps take in as much of the text as they need.

    What is held is proved to be UTF-8: the scan does not look into the text of what it steps over.
    """

    def __init__(self, pieces: Iterator[bytes], source: Source) -> None:
        super().__init__(b"")
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._source = source
        self._lines = 0
        """Line breaks that were dropped, of a text that cannot be read again to count them."""
        self.head = b""
        """The first bytes of the whole, UTF-8 or not."""
        self._held = [b""]
        self.dropped = 0
        self.ended = False
        self.bad_utf8: str | None = None
        """Why nothing is held from here on, if that is so."""

    def __len__(self) -> int:
        return sum(map(len, self._held))

    @property
    def text(self) -> bytes:
        """What is held."""
        if len(self._held) > 1:
            self._held = [b"".join(self._held)]
        return self._held[0]

    @property
    def view(self) -> memoryview:
        return memoryview(self.text)

    @property
    def last(self) -> bytes:
        """The end of what is held, as much as came at once: `text` copies it all."""
        return self._held[-1]

    def grow(self) -> bool:
        """Takes in more of the text, at least as much again as there is. False: that is all of it."""
        before = len(self)
        self.fill(max(2 * before, 1))
        return len(self) > before

    def fill(self, size: int) -> None:
        """Takes in more until so many bytes are held, or all that is left."""
        held = len(self)
        while held < size and not self.ended:
            piece = next(self._pieces, None)
            self.ended = piece is None
            self.head += (piece or b"")[: HEAD - len(self.head)]
            if self._decoder.getstate()[0] or not (piece or b"").isascii():
                piece = self._check_utf8(piece or b"")
            if piece:
                self._held.append(piece)
                held += len(piece)

    def _check_utf8(self, piece: bytes) -> bytes:
        """The piece, as far as it is UTF-8: behind that, nothing is read."""
        held, _ = self._decoder.getstate()
        try:
            self._decoder.decode(piece, self.ended)
        except UnicodeDecodeError as error:
            self.ended, self.bad_utf8 = True, f"byte 0x{error.object[error.start]:02x} ({error.reason})"
            good = error.start - len(held)
            if good < 0:  # the character began in a piece before
                self._held = [self.text[:good]]
            return piece[: max(good, 0)]
        return piece

    def drop(self, size: int) -> None:
        """Lets go of the first bytes."""
        if self._source.once:
            self._lines += self.text.count(b"\n", 0, size)
        self.dropped += size
        while len(self._held) > 1 and size >= len(self._held[0]):
            size -= len(self._held.pop(0))
        self._held[0] = self._held[0][size:]

    def array(self, size: int) -> bytes:
        """The first bytes, as an array."""
        behind = size - (len(self) - len(self.last))
        if behind < 0:
            return b"".join((b"[", memoryview(self.text)[:size], b"]"))
        return b"".join((b"[", *self._held[:-1], memoryview(self.last)[:behind], b"]"))

    def drop_space(self, at: int) -> None:
        """Lets go of all up to `at`, and of the whitespace behind it, however much it is."""
        self.drop(at)
        while True:
            text = self.text
            found = len(text) - len(text.lstrip())  # four times quicker than a pattern, and takes these two too:
            for other in (b"\v", b"\f"):
                found = text.find(other, 0, found) if other in text[:found] else found
            self.drop(found)
            if found < len(text) or not self.grow():
                return

    def origin(self, at: int, lead: int = 0) -> Origin:
        """Where a text begins that has `lead` bytes of ours in front of what lies at `at`."""
        byte = self.dropped + at
        if self._source.is_made:
            return Origin(0, byte - lead, None)
        if not self._source.once:
            return Origin(0, byte - lead, partial(self._source.line_of, byte))
        lines = self._lines + self.text.count(b"\n", 0, at)
        return Origin(0, byte - lead, lambda: lines)
