"""All units by status, as one bar."""

from __future__ import annotations

from collections.abc import Mapping

from prealloc.report.html import svg

HEIGHT = 26
_ROOM = 0.012
"""Of the width, for each letter of a word in a segment."""


def strip(census: Mapping[str, int]) -> svg.Svg:
    """A segment for each status that units have, in the order given."""
    units = sum(census.values())
    parts: list[svg.Svg] = []
    left = 0.0
    for status, count in census.items():
        if not count:
            continue
        share = count / units
        x, width = svg.percent(left), svg.percent(share)
        parts.append(svg.tag("rect", x=x, y=0, width=width, height=HEIGHT, class_=f"part s-{status}"))
        text = f"{status} {count:,}"
        if share > _ROOM * (len(text) + 4):
            parts.append(svg.label(svg.percent(left + share / 2), 17, text, anchor="middle", class_=f"on-{status}"))
        left += share
    said = ", ".join(f"{status} {count:,}" for status, count in census.items() if count) or "no units"
    return svg.picture("strip", "Units by status", said, ("100%", HEIGHT), parts)
