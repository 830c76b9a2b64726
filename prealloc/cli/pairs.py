"""Options of the form NAME=VALUE and lists with commas. Mistakes are gathered, not raised one by one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from prealloc.errors import Mistake


def parse_quotas(texts: Sequence[str], mistakes: list[Mistake]) -> dict[str, int]:
    """`TYPE=N`, repeated, as {type: n}."""
    quotas: dict[str, int] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        if not equals or not name or not number.strip().isdecimal():
            mistakes.append(Mistake(f"--quota {text}", "it is not TYPE=N", "write it like data_pipeline=8"))
        elif name in quotas:
            mistakes.append(Mistake(f"--quota {text}", f"{name} has a quota already", "give one per type"))
        else:
            quotas[name] = int(number)
    return quotas


def parse_settings(texts: Sequence[str], mistakes: list[Mistake]) -> dict[str, Any]:
    """`NAME=VALUE`, repeated, as {name: value}. A value that is JSON is that value, anything else is text."""
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            mistakes.append(Mistake(f"--set {text}", "it is not NAME=VALUE", "write it like model=qwen2.5-7b"))
        elif name in settings:
            mistakes.append(Mistake(f"--set {text}", f"{name} is set already", "set it once"))
        else:
            try:
                settings[name] = msgspec.json.decode(value)
            except (msgspec.DecodeError, UnicodeError):
                settings[name] = value
    return settings


def split_names(texts: Sequence[str]) -> tuple[str, ...]:
    """`a,b` and repeated options as one tuple of names."""
    return tuple(name.strip() for text in texts for name in text.split(","))


def parse_bytes(where: str, text: str, mistakes: list[Mistake]) -> int | None:
    """Bytes as a number; `none` is no limit. Units may follow: 512MB, 2GB (powers of 1024), with or without B."""
    if text.strip().lower() == "none":
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", text.strip().upper())
    if found is None:
        mistakes.append(Mistake(where, f"{text!r} is no size", "write bytes, or 512MB, 2GB, or none"))
        return 2**40  # any value that is not a mistake of its own
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " "))


def parse_seconds(where: str, text: str, mistakes: list[Mistake]) -> float | None:
    """Seconds as a number; `none` is no limit. Units may follow: 90s, 10m, 2h."""
    if text.strip().lower() == "none":
        return None
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:].lower())
    try:
        seconds = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        seconds = float("nan")
    if seconds != seconds or seconds in (float("inf"), float("-inf")):
        mistakes.append(Mistake(where, f"{text!r} is no time", "write seconds, or 90s, 10m, 2h, or none"))
        return 1.0  # any value that is not a mistake of its own
    return seconds
