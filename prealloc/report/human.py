"""Numbers as people read them. One module, so that the same number looks the same everywhere."""

from __future__ import annotations

import math

from prealloc.model import words

NOTHING = "-"
"""Stands for a number that is not known."""


def size(count: int | None) -> str:
    """Bytes, in powers of 1000: `812 B`, `9.4 kB`, `412 MB`."""
    return NOTHING if count is None else words.size(count)


def duration(seconds: float | None) -> str:
    """A span of time in its two largest units: `35 ms`, `4.2 s`, `12 s`, `4 min 10 s`, `3 h 20 min`, `2 d 4 h`."""
    if seconds is None:
        return NOTHING
    if 0 < seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.00095 else "<1 ms"
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for large, large_s, small, small_s in (
        ("d", 86_400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= large_s:
            rest = whole % large_s // small_s
            return f"{whole // large_s} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def clock(seconds: float | None) -> str:
    """A span of time that keeps its width while it runs: `0:06`, `12:05`, `3:20:05`, `2d04h`."""
    if seconds is None:
        return NOTHING
    # An hour more or less is nothing to somebody who waits for days.
    whole = max(0, math.ceil(min(seconds, 1e9)))
    if whole >= 86_400:
        return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}"


def rate(per_s: float | None) -> str:
    """How often: per second, or per minute or hour where that would be a fraction: `28.3/s`, `4.2/min`."""
    if per_s is None:
        return NOTHING
    if per_s <= 0:
        return "0/s"
    for factor, unit in ((1, "s"), (60, "min")):
        if per_s * factor >= 0.0995:
            return f"{_short(per_s * factor)}/{unit}"
    return f"{_short(per_s * 3600)}/h"


def percent(part: int, whole: int, digits: int = 0) -> str:
    """A share: `87%`. Only all is 100% and only none is 0%, however near the others come."""
    return share(part / whole if whole else None, digits)


def share(value: float | None, digits: int = 1) -> str:
    """A share that is already a quotient: 0.875 is `87.5%`."""
    if value is None:
        return NOTHING
    step = 10**-digits
    number = 100 * value
    if 0 < value < 1:
        number = min(max(number, step), 100 - step)
    return f"{number:.{digits}f}%"


def at_once(least: int, most: int | None) -> str:
    """How many at once, where shards may differ: 4, or 2-8."""
    return str(least) if most is None else f"{least}-{most}"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: `1 shard`, `1,200 shards`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def error(type: str, message: str) -> str:
    """An error on one line: `ValueError: no such tool`."""
    return f"{type}: {message}" if message else type


def tokens(number: int | None) -> str:
    """Tokens: `812`, `9.4k`, `1.2M`."""
    if number is None:
        return NOTHING
    for unit, least in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= least:
            return f"{_short(number / least)}{unit}"
    return str(number)


def dollars(amount: float | None) -> str:
    """An amount of money: `$12.40`, `$1,240`; of small ones two digits that say something: `$0.0031`."""
    if amount is None:
        return NOTHING
    if amount >= 1000:
        return f"${amount:,.0f}"
    if amount >= 0.1 or amount == 0:
        return f"${amount:.2f}"
    return f"${amount:.{1 - math.floor(math.log10(amount))}f}"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
