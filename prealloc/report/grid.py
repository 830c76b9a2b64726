"""Columns that fit: a table that gives up columns rather than wrap a line.

rich's own tables shrink every column alike and fold what is too long; on a narrow terminal that turns a calm
table into confetti. Here each column says what it is worth.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from prealloc.report import human

GAP = 2
MOST_NAMES = 500
"""Of more rows the names are cut as any text: to compare them all would take seconds."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, its cells from top to bottom, and what may be done to it when space is short."""

    title: str
    cells: Sequence[Text]
    right: bool = True
    short: str | None = None
    """The title to use when the full ones do not fit."""
    least: int | None = None
    """May be shortened to this many characters; None: never."""
    drop: int = 0
    """0 stays whatever happens; of the others the highest goes first."""
    reserve: int = 0
    """Characters kept free from the start, so that growing numbers do not move the table."""
    middle: bool = False
    """Shorten in the middle: the ends of shard ids tell them apart."""
    names: bool = False
    """Its cells name the rows: while there is room, they are shortened only as far as they stay different."""
    make: Callable[[int], Sequence[Text]] | None = None
    """Makes the cells anew for a width, where shortening is not cutting: bars."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A column that has its place: which it is, under which title, how wide."""

    column: Column
    title: str
    width: int


def fit(columns: Sequence[Column], width: int | None) -> list[Fitted]:
    """The columns that find place in `width` characters, in their order; None is all the place there is."""
    if width is None:
        return [Fitted(c, c.title, _natural(c, c.title)) for c in columns]
    titles = {id(c): c.title for c in columns}
    # No more titles are short than must be, those first that give most room.
    for column in sorted((c for c in columns if c.short), key=_saved, reverse=True):
        if _needed(columns, titles) > width:
            titles[id(column)] = column.short or column.title
    kept = list(columns)
    while _needed(kept, titles) > width and (droppable := [c for c in kept if c.drop]):
        kept.remove(max(droppable, key=lambda c: c.drop))
    told_apart = _needed(kept, titles) <= width
    spare = width - _needed(kept, titles, told_apart=told_apart)
    fitted = []
    for column in kept:
        natural = _natural(column, titles[id(column)])
        least = _least(column, titles[id(column)], told_apart=told_apart)
        grown = min(natural, least + max(0, spare))
        spare -= grown - least
        fitted.append(Fitted(column, titles[id(column)], grown))
    return fitted


def left_out(columns: Sequence[Column], width: int | None) -> list[Text]:
    """A line that names the columns which `fit` gives up in this width; none if all have their place."""
    kept = {id(each.column) for each in fit(columns, width)}
    lost = [column.title for column in columns if id(column) not in kept and column.title]
    columns_are = "1 column is" if len(lost) == 1 else f"{len(lost)} columns are"
    text = f"too narrow, {columns_are} left out: {', '.join(lost)}"
    return [Text(text, style="dim", overflow="fold")] if lost else []


def draw(fitted: Sequence[Fitted], *, titles: bool = True) -> list[Text]:
    """The table as lines of equal width: a dim line of titles, then one line per cell."""
    drawn = [[_place(Text(f.title, style="dim"), f) for f in fitted]] if titles else []
    cells = [f.column.make(f.width) if f.column.make else f.column.cells for f in fitted]
    rows = max(map(len, cells), default=0)
    drawn += [[_place(cells[i][row], f) for i, f in enumerate(fitted)] for row in range(rows)]
    return [Text(" " * GAP).join(cells) for cells in drawn]


def table(columns: Sequence[Column], width: int | None) -> list[Text]:
    """The columns that find place, drawn, and a line that names the others."""
    return [*draw(fit(columns, width)), *left_out(columns, width)]


def known(text: str, style: str = "") -> Text:
    """A cell, dim where it says nothing: 0, or a dash."""
    return Text(text, "dim" if text in ("0", human.NOTHING) else style)


def cut(text: str, width: int, *, middle: bool = False) -> str:
    """The text in at most `width` columns, an ellipsis where something is missing."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    if not middle:
        return set_cell_size(text, width - 1).rstrip() + "…"
    tail = (width - 1) // 2
    return set_cell_size(text, width - 1 - tail) + "…" + _tail(text, tail)


@functools.lru_cache(maxsize=128)
def still_different(texts: tuple[str, ...], least: int, *, middle: bool = False) -> int:
    """The fewest columns, `least` or more, in which texts that are different are so when they are cut."""
    different, longest = len(set(texts)), max(map(cell_len, texts), default=0)
    for width in range(least, longest):
        if len({cut(text, width, middle=middle) for text in texts}) == different:
            return width
    return max(least, longest)


def _tail(text: str, width: int) -> str:
    start = len(text)
    while start > 0 and cell_len(text[start - 1 :]) <= width:
        start -= 1
    return text[start:]


def _place(cell: Text, fitted: Fitted) -> Text:
    column, width = fitted.column, fitted.width
    placed = cell.copy()
    if placed.cell_len > width:
        if column.middle:
            placed = Text(cut(cell.plain, width, middle=True), style=cell.style)
        else:
            placed.truncate(width, overflow="ellipsis")
    placed.align("right" if column.right else "left", width)
    return placed


def _natural(column: Column, title: str) -> int:
    widest = max((cell.cell_len for cell in column.cells), default=0)
    return max(cell_len(title), column.reserve, widest)


def _saved(column: Column) -> int:
    return _least(column, column.title) - _least(column, column.short or column.title)


def _least(column: Column, title: str, *, told_apart: bool = True) -> int:
    natural = _natural(column, title)
    if column.least is None:
        return natural
    least = max(column.least, 1)
    if told_apart and column.names and len(column.cells) <= MOST_NAMES:
        least = still_different(tuple(cell.plain for cell in column.cells), least, middle=column.middle)
    return min(natural, least)


def _needed(columns: Sequence[Column], titles: dict[int, str], *, told_apart: bool = True) -> int:
    return sum(_least(c, titles[id(c)], told_apart=told_apart) for c in columns) + GAP * max(0, len(columns) - 1)
