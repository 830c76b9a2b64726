"""Differences with their intervals, one below the other: left of zero is worse, right of it better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from prealloc.report.html import svg

WIDTH, LEFT, RIGHT = 980, 240, 250
ROW, HEAD, TOP, BOTTOM = 26, 22, 14, 34
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
_LETTERS = 36


class Line(NamedTuple):
    """One difference. Shares: 0.05 is five points."""

    group: str
    """Lines of one group stand together below its name; empty: there are no groups."""
    name: str
    value: float | None
    low: float
    high: float
    kind: str
    """better, worse or open: its mark."""
    said: str
    """The verdict in words."""


def forest(id: str, title: str, lines: Sequence[Line], margin: float | None) -> svg.Svg:
    """A row for each line on a common axis in points; a band where a loss is within the margin."""
    most = max((abs(end) for line in lines if line.value is not None for end in (line.low, line.high)), default=0.1)
    most = min(1.0, max(most * 1.05, 0.02, 1.5 * (margin or 0.0)))
    room = WIDTH - LEFT - RIGHT
    groups = sum(1 for n, line in enumerate(lines) if line.group and (n == 0 or lines[n - 1].group != line.group))
    height = TOP + ROW * len(lines) + HEAD * groups + BOTTOM
    floor = height - BOTTOM + 4

    def x(share: float) -> float:
        return LEFT + room * (min(max(share, -most), most) + most) / (2 * most)

    parts: list[svg.Svg] = []
    if margin is not None:
        box = {"x": x(-margin), "width": x(0.0) - x(-margin), "y": TOP - 8, "height": floor - TOP + 8}
        parts.append(svg.tag("rect", class_="band", **box))
    for tick in _ticks(most):
        parts.append(svg.line(x(tick), TOP - 8, x(tick), floor, "zero" if tick == 0 else "grid"))
        parts.append(svg.label(x(tick), floor + 14, f"{tick * 100:+g}" if tick else "0", anchor="middle"))
    parts.append(svg.label(x(-most), floor + 28, "← worse", class_="faint"))
    parts.append(svg.label(x(most), floor + 28, "better, points →", anchor="end", class_="faint"))
    y, group = TOP - ROW / 2, ""
    for line in lines:
        if line.group != group:
            group = line.group
            y += HEAD
            parts.append(svg.label(4, y + ROW / 2, svg.short(group, _LETTERS), class_="strong"))
        y += ROW
        parts.append(svg.label(LEFT - 10, y + 4, svg.short(line.name, _LETTERS), anchor="end"))
        parts.append(svg.label(WIDTH - RIGHT + 10, y + 4, svg.short(line.said, _LETTERS + 4)))
        if line.value is not None:
            parts.append(svg.line(x(line.low), y, x(line.high), y, f"whisker v-{line.kind}"))
            parts += [svg.line(x(end), y - 5, x(end), y + 5, f"whisker v-{line.kind}") for end in (line.low, line.high)]
            parts.append(_mark(x(line.value), y, line.kind))
    said = "; ".join(f"{' '.join(filter(None, (line.group, line.name)))}: {line.said}" for line in lines[:20])
    return svg.picture(id, title, said, (WIDTH, height), parts)


def _mark(x: float, y: float, kind: str) -> svg.Svg:
    """A triangle that points to the better or the worse side; a ring where nothing is shown."""
    if kind == "open":
        return svg.tag("circle", cx=x, cy=y, r=5, class_="mark v-open")
    tip = 7 if kind == "better" else -7
    back = -tip * 0.8
    corners = ((x + tip, y), (x + back, y - 7), (x + back, y + 7))
    points = " ".join(f"{svg.number(a)},{svg.number(b)}" for a, b in corners)
    return svg.tag("polygon", points=points, class_=f"mark v-{kind}")


def _ticks(most: float) -> list[float]:
    step = next((step for step in _STEPS if most / step <= 4), _STEPS[-1])
    count = math.floor(most / step + 1e-9)
    return [step * n for n in range(-count, count + 1)]
