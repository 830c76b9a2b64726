"""Options of the form NAME=VALUE and lists with commas. Mistakes are gathered, not raised one by one."""

from __future__ import annotations

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
