"""A rate with its interval on a line from 0 to 100%."""

from __future__ import annotations

from prealloc.report.html import svg

HEIGHT = 12


def interval(id: str, rate: float | None, low: float | None, high: float | None, said: str) -> svg.Svg:
    """`said` is the same in words."""
    middle = HEIGHT / 2

    def x(share: float) -> str:
        return svg.percent(0.03 + 0.94 * share)  # room for the point at both ends

    parts = [svg.line(x(0.0), middle, x(1.0), middle, "track")]
    if low is not None and high is not None:
        box = {"x": x(low), "width": svg.percent(0.94 * (high - low))}
        parts.append(svg.tag("rect", y=middle - 2, height=4, class_="range", **box))
    if rate is not None:
        parts.append(svg.tag("circle", cx=x(rate), cy=middle, r=4, class_="point"))
    return svg.picture(id, "Rate and interval", said, ("100%", HEIGHT), parts)
