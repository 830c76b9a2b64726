"""Pictures of one line: all units by status, and a rate with its interval."""

from __future__ import annotations

from collections.abc import Mapping

from prealloc.report.html import svg

STRIP_HEIGHT, INTERVAL_HEIGHT = 26, 12
_ROOM = 0.012
"""Of the width, for each letter of a word in a segment."""


def strip(census: Mapping[str, int]) -> svg.Svg:
    """All units by status, as one bar: a segment for each status that units have, in the order given."""
    units = sum(census.values())
    parts: list[svg.Svg] = []
    left = 0.0
    for status, count in census.items():
        if not count:
            continue
        share = count / units
        x, width = svg.percent(left), svg.percent(share)
        parts.append(svg.tag("rect", x=x, y=0, width=width, height=STRIP_HEIGHT, class_=f"part s-{status}"))
        text = f"{status} {count:,}"
        if share > _ROOM * (len(text) + 4):
            parts.append(svg.label(svg.percent(left + share / 2), 17, text, anchor="middle", class_=f"on-{status}"))
        left += share
    said = ", ".join(f"{status} {count:,}" for status, count in census.items() if count) or "no units"
    return svg.picture("strip", "Units by status", said, ("100%", STRIP_HEIGHT), parts)


def interval(id: str, rate: float | None, low: float | None, high: float | None, said: str) -> svg.Svg:
    """A rate with its interval on a line from 0 to 100%; `said` is the same in words."""
    middle = INTERVAL_HEIGHT / 2

    def x(share: float) -> str:
        return svg.percent(0.03 + 0.94 * share)  # room for the point at both ends

    parts = [svg.line(x(0.0), middle, x(1.0), middle, "track")]
    if low is not None and high is not None:
        box = {"x": x(low), "width": svg.percent(0.94 * (high - low))}
        parts.append(svg.tag("rect", y=middle - 2, height=4, class_="range", **box))
    if rate is not None:
        parts.append(svg.tag("circle", cx=x(rate), cy=middle, r=4, class_="point"))
    return svg.picture(id, "Rate and interval", said, ("100%", INTERVAL_HEIGHT), parts)
