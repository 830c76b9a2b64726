"""Tasks by cells: a square for each, filled where it was solved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from prealloc.report.html import svg

STEP, SIZE, LEFT = 16, 12, 250
_LETTERS = 36
_TOP_LETTERS = 26
_LETTER = 6.6
"""The width of a letter, about."""


class Line(NamedTuple):
    """A task, and how it came out in each column: always, never, flaky, undecided or none."""

    name: str
    solved: Sequence[str]
    said: str


def tasks(columns: Sequence[str], lines: Sequence[Line], description: str) -> svg.Svg:
    """Rows are tasks. All squares of one kind are one path."""
    slanted = any(len(name) * _LETTER > STEP for name in columns)
    longest = max((min(len(name), _TOP_LETTERS) for name in columns), default=0)
    top = 12 + (int(longest * _LETTER * 0.8) if slanted else 12)
    right = 60 + (int(longest * _LETTER * 0.7) if slanted else 0)
    parts: list[svg.Svg] = []
    for place, name in enumerate(columns):
        x = LEFT + STEP * place + STEP / 2
        turn = f"rotate(-50 {svg.number(x)} {top - 6})" if slanted else None
        text = svg.short(name, _TOP_LETTERS)
        parts.append(svg.tag("text", text, x=x, y=top - 6, transform=turn, text_anchor=None if slanted else "middle"))
    paths: dict[str, list[str]] = {}
    for row, line in enumerate(lines):
        y = top + STEP * row
        parts.append(svg.label(LEFT - 8, y + SIZE - 1, svg.short(line.name, _LETTERS), anchor="end"))
        for column, solved in enumerate(line.solved):
            paths.setdefault(solved, []).append(_SHAPES[solved](LEFT + STEP * column + 2, y + 1))
        parts.append(svg.label(LEFT + STEP * len(columns) + 8, y + SIZE - 1, line.said, class_="faint"))
    parts += [svg.tag("path", d="".join(found), class_=f"task t-{solved}") for solved, found in sorted(paths.items())]
    size = (LEFT + STEP * len(columns) + right, top + STEP * len(lines) + 4)
    return svg.picture("tasks", "Tasks by cells", description, size, parts)


def _square(x: int, y: int) -> str:
    return f"M{x} {y}h{SIZE}v{SIZE}h-{SIZE}z"


def _half(x: int, y: int) -> str:
    """A square of which the lower right half is filled."""
    return f"M{x} {y + SIZE}h{SIZE}v-{SIZE}z"


def _dot(x: int, y: int) -> str:
    middle = SIZE // 2
    return f"M{x + middle - 2} {y + middle - 2}h4v4h-4z"


_SHAPES: Mapping[str, Callable[[int, int], str]] = {
    "always": _square,
    "never": _square,
    "flaky": _half,
    "undecided": _dot,
    "none": lambda x, y: "",
}
