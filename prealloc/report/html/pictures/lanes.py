"""Lanes over time: requests beside their limit, answers with 429, the pauses that servers asked for, and halts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prealloc.report.html import svg
from prealloc.report.html.pictures.axis import Axis

WIDTH, LEFT, RIGHT = 1080, 230, 20
ROW, TOP, BOTTOM = 46, 8, 22
_LETTERS = 34


class Track(NamedTuple):
    """One lane. Times are seconds since 1970."""

    name: str
    limits: Sequence[tuple[float, float]]
    """(time, requests per minute) from each change on."""
    pauses: Sequence[tuple[float, float]]
    """(start, end)."""
    halts: Sequence[float]
    said: str
    requests: Sequence[tuple[float, float, float]] = ()
    """(start, end, requests per minute) of each interval."""
    refused: Sequence[float] = ()
    """Ends of intervals with answers 429."""


def lanes(tracks: Sequence[Track], spans: Sequence[tuple[float, float]], description: str) -> svg.Svg:
    """`spans` are those of all attempts: the axis is that of the timeline."""
    axis = Axis(spans, LEFT, WIDTH - RIGHT)
    height = TOP + ROW * len(tracks) + BOTTOM
    parts: list[svg.Svg] = []
    for place, track in enumerate(tracks):
        top = TOP + ROW * place
        floor = top + ROW - 8
        parts.append(svg.label(LEFT - 8, top + 16, svg.short(track.name, _LETTERS), anchor="end"))
        said = svg.short(track.said, _LETTERS + 4)
        parts.append(svg.label(LEFT - 8, top + 30, said, anchor="end", class_="faint small"))
        parts.append(svg.line(LEFT, floor, WIDTH - RIGHT, floor, "grid"))
        for start, end in track.pauses:
            x = axis.x(start)
            box = {"x": x, "width": max(2.0, axis.x(end) - x), "y": floor - 8, "height": 8}
            parts.append(svg.tag("rect", class_="pause", **box))
        rates = [rate for *_, rate in track.requests]
        most = max([*(limit for _, limit in track.limits), *rates, 1e-9])
        if any(rates):
            parts.append(svg.tag("path", d=_area(track, axis, floor, (ROW - 12) / most), class_="requests"))
        if track.limits:
            steps = [(axis.x(at), floor - (ROW - 12) * limit / most) for at, limit in track.limits]
            path = f"M{svg.number(steps[0][0])} {svg.number(steps[0][1])}" + "".join(
                f"H{svg.number(x)}V{svg.number(y)}" for x, y in steps[1:]
            )
            parts.append(svg.tag("path", d=f"{path}H{WIDTH - RIGHT}", class_="limit"))
        if track.refused:
            places = sorted({round(axis.x(at)) for at in track.refused})  # no more than there are pixels
            marks = "".join(f"M{x} {floor - 7}l4 7h-8z" for x in places)
            parts.append(svg.tag("path", d=marks, class_="refused"))
        for at in track.halts:
            x = axis.x(at)
            parts.append(svg.tag("path", d=f"M{svg.number(x - 5)} {floor - 14}l10 10m0 -10l-10 10", class_="halt"))
            parts.append(svg.label(x - 8, floor - 5, "halted", anchor="end", class_="small"))
    return svg.picture("lanes", "Lanes over time", description, (WIDTH, height), [*parts, *axis.ends(height - 4)])


def _area(track: Track, axis: Axis, floor: float, scale: float) -> str:
    """Steps from interval to interval; of those in one pixel the highest."""
    columns: dict[int, tuple[float, float]] = {}
    for start, end, rate in track.requests:
        left, right = axis.x(start, begins=True), axis.x(end)
        before = columns.get(int(left), (right, 0.0))
        columns[int(left)] = max(before[0], right), max(before[1], rate)
    steps = ((left, svg.number(max(right, left + 1.0)), rate) for left, (right, rate) in sorted(columns.items()))
    return "".join(
        f"M{left} {floor}V{svg.number(floor - scale * rate)}H{end}V{floor}z" for left, end, rate in steps if rate
    )
