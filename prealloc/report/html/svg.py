"""SVG as text. What is not made here is escaped here; geometry and classes are attributes, styles are in report.css."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from prealloc.report.visible import visible

Number = int | float


class Svg(str):
    """SVG text that was made here."""

    __slots__ = ()


def tag(name: str, *inside: str, **attributes: str | Number | None) -> Svg:
    """An element. `class_` is the attribute class, `text_anchor` text-anchor; None leaves an attribute out."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    content = "".join(each if isinstance(each, Svg) else escape(visible(each)) for each in inside)
    return Svg(f"<{name}{said}>{content}</{name}>" if content else f"<{name}{said}/>")


def picture(id: str, title: str, description: str, size: tuple[str | Number, Number], inside: Sequence[Svg]) -> Svg:
    """A picture that says what it shows to those who do not see it. `size` is width and height."""
    return tag(
        "svg",
        tag("title", title, id=f"{id}-title"),
        tag("desc", description, id=f"{id}-desc"),
        *inside,
        role="img",
        aria_labelledby=f"{id}-title",
        aria_describedby=f"{id}-desc",
        width=size[0],
        height=size[1],
        class_="picture",
    )


def label(x: str | Number, y: Number, text: str, *, anchor: str = "start", class_: str | None = None) -> Svg:
    """A line of text; `y` is its baseline."""
    return tag("text", text, x=x, y=y, text_anchor=None if anchor == "start" else anchor, class_=class_)


def line(x1: str | Number, y1: Number, x2: str | Number, y2: Number, class_: str) -> Svg:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def number(value: Number) -> str:
    """A number with at most two digits behind the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def percent(share: float) -> str:
    """A length as a part of the picture's width."""
    return f"{number(100 * share)}%"


def short(text: str, most: int) -> str:
    """The text, its middle cut out if it is longer."""
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def _value(value: str | Number) -> str:
    return escape(visible(value)) if isinstance(value, str) else number(float(value))
