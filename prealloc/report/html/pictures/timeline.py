"""What ran when: a bar for each attempt, by lane and shard; of many, how many ran at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prealloc.report import human
from prealloc.report.html import svg
from prealloc.report.html.pictures.axis import Axis

WIDTH, LEFT, RIGHT = 1080, 230, 20
ROW, HEAD, TOP, BOTTOM = 16, 20, 8, 62
LEVELS = 3
AREA = 160
MOST_BARS, MOST_ROWS = 2000, 150
_LETTERS = 34


class Bar(NamedTuple):
    """An attempt. `kind` is its status, or `again` where it decided nothing."""

    start: float
    end: float
    kind: str


class Row(NamedTuple):
    """A shard with its attempts."""

    lane: str
    name: str
    bars: Sequence[Bar]


class Moment(NamedTuple):
    """A mark: a session's start, or a lane that halted."""

    at: float
    name: str
    begins: bool = False
    """What it begins comes after it; where nothing ran at that time, it stands before the next that did."""


def timeline(rows: Sequence[Row], moments: Sequence[Moment], description: str) -> svg.Svg:
    """Rows are in the order given; those of a lane stand together below its name."""
    bars = [bar for row in rows for bar in row.bars]
    axis = Axis([(bar.start, bar.end) for bar in bars], LEFT, WIDTH - RIGHT)
    if len(bars) > MOST_BARS or len(rows) > MOST_ROWS:
        parts, floor = _area(bars, axis)
    else:
        parts, floor = _rows(rows, axis)
    marks = _marks(moments, axis, floor)
    marks += [svg.label(x, floor - 2, "≈", anchor="middle") for x, _ in axis.gaps]
    size = {"y": TOP - 4, "width": 12, "height": floor - TOP + 4}
    gaps = [svg.tag("rect", x=x - 6, class_="gap", **size) for x, _ in axis.gaps]
    inside = [*gaps, *marks, *parts, *axis.ends(floor + BOTTOM - 4)]
    return svg.picture("timeline", "What ran when", description, (WIDTH, floor + BOTTOM), inside)


def _marks(moments: Sequence[Moment], axis: Axis, floor: int) -> list[svg.Svg]:
    """A line each; the names stand on levels, so that none lies over another. One without room has none."""
    marks: list[svg.Svg] = []
    free = [0.0] * LEVELS
    for x, name in sorted((axis.x(moment.at, begins=moment.begins), moment.name) for moment in moments):
        marks.append(svg.line(x, TOP - 4, x, floor + 4, "moment"))
        name = svg.short(name, 24)
        width = 6 * len(name) + 6
        left = x - 3 - width if x + width > WIDTH else x + 3
        level = next((level for level, taken in enumerate(free) if left >= taken), None)
        if level is not None:
            free[level] = left + width
            marks.append(svg.label(left, floor + 15 + 12 * level, name, class_="faint small"))
    return marks


def gaps_said(bars: Sequence[Bar]) -> str:
    """What the axis leaves out, in words; nothing if that is nothing."""
    gaps = Axis([(bar.start, bar.end) for bar in bars], LEFT, WIDTH - RIGHT).gaps
    if not gaps:
        return ""
    return (
        f"≈ cuts out {human.count(len(gaps), 'pause')} in which nothing ran: {human.duration(sum(s for _, s in gaps))}"
    )


def _rows(rows: Sequence[Row], axis: Axis) -> tuple[list[svg.Svg], int]:
    parts: list[svg.Svg] = []
    paths: dict[str, list[str]] = {}
    y, lane = TOP, None
    for row in rows:
        if row.lane != lane:
            lane = row.lane
            if lane:
                parts.append(svg.label(4, y + 14, svg.short(f"lane {lane}", _LETTERS + 4), class_="strong"))
                y += HEAD
        parts.append(svg.label(LEFT - 8, y + 12, svg.short(row.name, _LETTERS), anchor="end"))
        for bar in row.bars:
            # What went well is thin; what did not is as high as its row.
            top, height = (y + 5, 6) if bar.kind == "ok" else (y + 2, 12)
            x = axis.x(bar.start)
            width = svg.number(max(1.5, axis.x(bar.end) - x))
            paths.setdefault(bar.kind, []).append(f"M{svg.number(x)} {top}h{width}v{height}h-{width}z")
        y += ROW
    parts += [svg.tag("path", d="".join(found), class_=f"bar s-{kind}") for kind, found in sorted(paths.items())]
    return parts, y + 4


def _area(bars: Sequence[Bar], axis: Axis) -> tuple[list[svg.Svg], int]:
    """Attempts at once: of each column of pixels the most (light) and the fewest (dark)."""
    steps = sorted([(bar.start, 1) for bar in bars] + [(bar.end, -1) for bar in bars])
    columns: dict[int, tuple[int, int]] = {}
    at_once, before = 0, LEFT
    for at, change in steps:
        column = int(axis.x(at))
        for each in range(before, column + 1):
            low, high = columns.get(each, (at_once, at_once))
            columns[each] = (min(low, at_once), max(high, at_once))
        at_once += change
        low, high = columns.get(column, (at_once, at_once))
        columns[column] = (min(low, at_once), max(high, at_once))
        before = column
    most = max((high for _, high in columns.values()), default=0) or 1
    floor = TOP + 12 + AREA
    scale = AREA / most
    parts = []
    for place, class_ in ((1, "area-most"), (0, "area-least")):
        tops = "".join(f"V{svg.number(floor - scale * both[place])}h1" for _, both in sorted(columns.items()))
        if columns:
            parts.append(svg.tag("path", d=f"M{min(columns)} {floor}{tops}V{floor}z", class_=class_))
    parts.append(svg.label(LEFT - 8, TOP + 16, f"{most:,} at once", anchor="end"))
    parts.append(svg.label(LEFT - 8, floor, "0", anchor="end"))
    parts.append(svg.line(LEFT, floor, WIDTH - RIGHT, floor, "grid"))
    return parts, floor
