"""An axis of time without the hours in which nothing ran."""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from prealloc.report.html import svg

GAP_SHARE = 0.05
"""A pause longer than this share of the busy time is cut out."""
GAP_PIXELS = 26.0


class Piece(NamedTuple):
    """A stretch of time that is shown, and where."""

    start: float
    end: float
    left: float
    right: float


class Axis:
    """Places of times. `spans` are (start, end) of all that ran."""

    def __init__(self, spans: Iterable[tuple[float, float]], left: float, right: float) -> None:
        self._left, self._right = left, right
        busy = _merged(spans)
        total = sum(end - start for start, end in busy) or 1.0
        joined: list[list[float]] = []
        for start, end in busy:
            if joined and start - joined[-1][1] <= GAP_SHARE * total:
                joined[-1][1] = end
            else:
                joined.append([start, end])
        room = max(1.0, right - left - GAP_PIXELS * (len(joined) - 1))
        shown = sum(end - start for start, end in joined) or 1.0
        self.pieces: list[Piece] = []
        x = left
        for start, end in joined:
            width = room * (end - start) / shown
            self.pieces.append(Piece(start, end, x, x + width))
            x += width + GAP_PIXELS
        self._starts = [piece.start for piece in self.pieces]

    def x(self, at: float, *, begins: bool = False) -> float:
        """A time that is not shown is at the end of what was before it; if it `begins` something, at the next start."""
        if not self.pieces:
            return 0.0
        place = max(0, bisect_right(self._starts, at) - 1)
        if begins and at > self.pieces[place].end and place + 1 < len(self.pieces):
            place += 1
        piece = self.pieces[place]
        share = (at - piece.start) / (piece.end - piece.start) if piece.end > piece.start else 0.0
        return piece.left + (piece.right - piece.left) * min(1.0, max(0.0, share))

    def ends(self, y: float) -> list[svg.Svg]:
        """When it begins and ends, in words."""
        if not self.pieces:
            return []
        return [
            svg.label(self._left, y, utc(self.pieces[0].start), class_="faint"),
            svg.label(self._right, y, utc(self.pieces[-1].end), anchor="end", class_="faint"),
        ]

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """(place of its middle, seconds) of what is cut out."""
        pairs = zip(self.pieces, self.pieces[1:], strict=False)
        return [((one.right + other.left) / 2, other.start - one.end) for one, other in pairs]


def utc(at: float | None) -> str:
    """A moment as people write it, the same wherever the page is made and read."""
    if at is None:
        return "-"
    try:
        return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return "-"


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found
