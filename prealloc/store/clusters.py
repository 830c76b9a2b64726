"""Units that failed alike, and where they have that in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from prealloc.model.json_value import canonical
from prealloc.model.outcome import Status
from prealloc.statistics.difference import unpaired
from prealloc.store.comparison import Member
from prealloc.store.totals import first_line

EXAMPLES = 3
LEAST_UNITS = 3
"""Fewer have nothing in common that would not be chance."""
CHANCE = 0.05
"""What is said beside the strongest must be less likely than this to come about by chance (Fisher's exact test)."""
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
    """Of all units of the run; from the second one on, of those that have the former values too."""


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


def clusters(members: Sequence[Member], keys: Mapping[str, Callable[[Member], Any]]) -> list[Cluster]:
    """The units that are not ok, by how they ended; the largest cluster first.

    `keys` give what units may have in common, such as a factor's value or the lane. Units that were not run are one
    cluster without a message.
    """
    found: dict[tuple[Status, str, str], list[int]] = {}
    templates: dict[str, str] = {}
    for place, member in enumerate(members):
        status, error = member.unit.status, member.unit.error
        if status is Status.OK:
            continue
        message = error.message if error is not None else ""
        if message not in templates:
            templates[message] = template(message)
        kind = (status, error.type if error is not None else "", templates[message])
        found.setdefault(kind, []).append(place)
    not_ok = sum(map(len, found.values()))
    texts = {name: [canonical(of(member)) for member in members] for name, of in keys.items()}
    every = {name: Counter(values) for name, values in texts.items()}
    made = [
        Cluster(
            status=status,
            type=type,
            template=message,
            units=len(places),
            share=len(places) / not_ok,
            concentrations=_concentrations(places, texts, every, members),
            places=tuple(places),
        )
        for (status, type, message), places in found.items()
    ]
    return sorted(made, key=lambda each: (-each.units, each.status, each.type, each.template))


def _concentrations(
    places: Sequence[int],
    texts: Mapping[str, Sequence[str]],
    every: Mapping[str, Counter[str]],
    members: Sequence[Member],
) -> tuple[Concentration, ...]:
    """The strongest first; each further one among the units that have the former values too.

    Else a model whose shards waited for a sick lane would stand beside the lane, as if it had failed by itself.
    """
    found: list[Concentration] = []
    left, units = dict(texts), len(members)
    inside: Sequence[int] | None = None
    while len(places) >= LEAST_UNITS:
        there = units if inside is None else len(inside)
        best: Concentration | None = None
        for name, values in left.items():
            text, count = _most(values[place] for place in places)
            of_all = every[name][text] if inside is None else sum(values[place] == text for place in inside)
            share, share_of_all = count / len(places), of_all / there
            if share - share_of_all >= (LEAST_EXCESS if best is None else best.share - best.share_of_all + 1e-9):
                if inside is not None and not _more_than_chance(places, inside, values, text, members):
                    continue
                value = msgspec.json.decode(text)
                best = Concentration(key=name, value=value, units=count, share=share, share_of_all=share_of_all)
        if best is None:
            break
        found.append(best)
        values, text = left.pop(best.key), canonical(best.value)
        places = [place for place in places if values[place] == text]
        inside = [place for place in (range(units) if inside is None else inside) if values[place] == text]
        for name, same in list(left.items()):  # nothing tells them apart: both may be the cause
            other = same[inside[0]]
            if every[name][other] == len(inside) and all(same[place] == other for place in inside):
                found.append(msgspec.structs.replace(best, key=name, value=msgspec.json.decode(other)))
                del left[name]
    return tuple(found)


def _more_than_chance(
    places: Sequence[int], inside: Sequence[int], values: Sequence[str], text: str, members: Sequence[Member]
) -> bool:
    """Whether units with this value have such failures more often than the others there.

    Where the value is one of whole shards, a shard is one observation: it ran together, on one lane. Else a task is.
    """
    shards = [(member.unit.run, member.unit.shard) for member in members]
    by_shard = len({(shards[place], values[place]) for place in inside}) == len({shards[place] for place in inside})
    of = shards if by_shard else [member.unit.task for member in members]
    failed, there = ({(of[place], values[place]) for place in each} for each in (places, inside))
    (mine, of_mine), (others, of_others) = (
        (sum((value == text) is has for _, value in failed), sum((value == text) is has for _, value in there))
        for has in (True, False)
    )
    return of_others > 0 and unpaired(mine, of_mine, others, of_others).p <= CHANCE


def _most(values: Iterable[str]) -> tuple[str, int]:
    counted = Counter(values)
    return min(counted.items(), key=lambda item: (-item[1], item[0]))
