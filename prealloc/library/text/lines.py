"""JSON lines: one task a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from prealloc.library.disk import Buffer
from prealloc.library.text.cursor import Cursor

T = TypeVar("T")


class Lines:
    """One JSON object after the other, each on its line; empty lines are skipped."""

    def tasks(self, text: Buffer, row: type[T]) -> list[T]:
        return msgspec.json.Decoder(row).decode_lines(text)

    def starts(self, text: memoryview) -> Iterator[int]:
        cursor = Cursor(text)
        at = cursor.skip_space(0)
        while at < len(text):
            yield at
            at = cursor.after(at)
