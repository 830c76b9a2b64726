"""Units that failed alike, and where they have that in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from prealloc.model.outcome import ErrorInfo, Status
from prealloc.store.totals import first_line

EXAMPLES = 3
LEAST_UNITS = 3
"""Fewer have nothing in common that would not be chance."""
LEAST_EXCESS = 0.3
"""By so much the share of a value among the failed units must be above its share of all units."""

_MASKED = re.compile(
    r"""(?x)
      (?P<uuid> \b [0-9a-fA-F]{8} (?: -[0-9a-fA-F]{4} ){3} -[0-9a-fA-F]{12} \b )
    | (?P<url>  \b [a-z][a-z0-9+.-]{1,15} :// [^\s"'<>]+ )
    | (?P<text> "(?: [^"\\] | \\. )*" | `[^`]*` | (?<! \w ) '(?: [^'\\] | \\. )*' (?! \w ) )
    | (?P<path> (?<! [\w.] ) (?: ~ | \.{1,2} )? (?: / [\w.@+-]+ ){2,} /? )
    | (?P<hex>  \b 0x[0-9a-fA-F]+ \b | \b (?=[0-9a-fA-F]*[0-9]) (?=[0-9a-fA-F]*[a-fA-F]) [0-9a-fA-F]{6,} \b )
    | (?P<n>    (?<! [A-Za-z_] ) \d+ (?: [.,:]\d+ )* )
    """
)

T = TypeVar("T")


def template(message: str) -> str:
    """The first line of a message, with what differs from one unit to the next masked: `no task <n> in <path>`."""
    return _MASKED.sub(lambda found: f"<{found.lastgroup}>", first_line(message))


class Concentration(msgspec.Struct, frozen=True, kw_only=True):
    """What most units of a cluster have in common, and most others have not."""

    key: str
    value: Any
    units: int
    share: float
    """Of the cluster's units."""
    share_of_all: float
    """Of all units of the run."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Units that ended with the same status, error type and template of the message."""

    status: Status
    type: str
    template: str
    units: int
    share: float
    """Of all units that are not ok."""
    concentrations: tuple[Concentration, ...]
    """The strongest first."""
    places: tuple[int, ...]
    """Of its units among those that were given, in their order."""

    @property
    def examples(self) -> tuple[int, ...]:
        """The first of `places`."""
        return self.places[:EXAMPLES]


class Ended(NamedTuple):
    """How a unit ended, as far as clusters look at it."""

    status: Status
    error: ErrorInfo | None


def clusters(items: Sequence[T], ended: Callable[[T], Ended], keys: Mapping[str, Callable[[T], Any]]) -> list[Cluster]:
    """The units that are not ok, by how they ended; the largest cluster first.

    `keys` give what units may have in common, such as a factor's value or the lane. Units that were not run are one
    cluster without a message.
    """
    found: dict[tuple[Status, str, str], list[int]] = {}
    templates: dict[str, str] = {}
    for place, item in enumerate(items):
        status, error = ended(item)
        if status is Status.OK:
            continue
        message = error.message if error is not None else ""
        if message not in templates:
            templates[message] = template(message)
        kind = (status, error.type if error is not None else "", templates[message])
        found.setdefault(kind, []).append(place)
    not_ok = sum(map(len, found.values()))
    texts = {name: [_text(of(item)) for item in items] for name, of in keys.items()}
    every = {name: Counter(values) for name, values in texts.items()}
    made = [
        Cluster(
            status=status,
            type=type,
            template=message,
            units=len(places),
            share=len(places) / not_ok,
            concentrations=_concentrations(places, texts, every, len(items)),
            places=tuple(places),
        )
        for (status, type, message), places in found.items()
    ]
    return sorted(made, key=lambda each: (-each.units, each.status, each.type, each.template))


def _concentrations(
    places: Sequence[int], texts: Mapping[str, Sequence[str]], every: Mapping[str, Counter[str]], units: int
) -> tuple[Concentration, ...]:
    if len(places) < LEAST_UNITS:
        return ()
    found = []
    for name, values in texts.items():
        text, count = _most(values[place] for place in places)
        share, of_all = count / len(places), every[name][text] / units
        if share - of_all >= LEAST_EXCESS:
            value = msgspec.json.decode(text)
            found.append(Concentration(key=name, value=value, units=count, share=share, share_of_all=of_all))
    return tuple(sorted(found, key=lambda each: each.share_of_all - each.share))


def _most(values: Iterable[str]) -> tuple[str, int]:
    counted = Counter(values)
    return min(counted.items(), key=lambda item: (-item[1], item[0]))


def _text(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
