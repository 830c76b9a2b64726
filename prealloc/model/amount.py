"""How many tasks a plan asks for: one value, made from the options that say it; and which of them go together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import gcd
from typing import Any

import msgspec

from prealloc.errors import Mistake
from prealloc.model.options import one_or_several

DEFAULT_NUM_INSTANCES = 20
MAX_TASKS = 2**32


class Tasks(msgspec.Struct, frozen=True):
    """So many tasks."""

    n: int
    in_proportion: bool = False
    """With the library's proportions of types."""


class PerType(msgspec.Struct, frozen=True):
    """So many tasks of each type."""

    n: int
    types: tuple[str, ...] = ()
    """The types, where they are named; otherwise only the library can tell."""


class Quotas(msgspec.Struct, frozen=True):
    """So many tasks of each of these types."""

    by_type: Mapping[str, int]


class All(msgspec.Struct, frozen=True):
    """Every task of the library."""

    in_proportion: bool = False


What = Tasks | PerType | Quotas | All


class Amount(msgspec.Struct, frozen=True):
    """What each shard gets; or with `per_cell` each cell, whose shards share it."""

    what: What
    per_cell: bool = False

    @property
    def by_type(self) -> bool:
        """Whether each type is chosen from on its own."""
        match self.what:
            case Tasks(in_proportion=by_type) | All(in_proportion=by_type):
                return by_type
            case _:
                return True

    @property
    def total(self) -> int | None:
        """How many tasks these are; None if only the library can tell."""
        match self.what:
            case Tasks(n):
                return n
            case Quotas(by_type):
                return sum(by_type.values())
            case PerType(n, types) if types:
                return n * len(types)
            case _:
                return None

    def most(self, stratum: str) -> int:
        """The most tasks that can be taken at once of a type, or of all tasks where types do not count."""
        match self.what:
            case Quotas(by_type):
                return by_type.get(stratum, 0)
            case Tasks(n) | PerType(n):
                return n
            case All():
                return MAX_TASKS


def amount_of(options: Mapping[str, Any]) -> Amount:
    """The amount that these options of a plan ask for, by their fields in PlanSpec; those left out have defaults."""
    of_cell = options.get("num_instances_per_cell")
    n = options.get("num_instances") if of_cell is None else of_cell
    n = n if isinstance(n, int) else DEFAULT_NUM_INSTANCES  # a share is known when the tasks have been counted
    in_proportion = options.get("stratify", False)
    what: What = Tasks(n, in_proportion)
    if options.get("quotas"):
        what = Quotas(options["quotas"])
    elif options.get("per_type"):
        what = PerType(n, tuple(options.get("types", ())))
    elif options.get("whole"):
        what = All(in_proportion)
    return Amount(what, of_cell is not None or options.get("per_cell") is True)


def check_sizes(options: dict[str, Any], found: list[Mistake]) -> None:
    """Notes what is wrong with the sizes of a cell's shards, beside other options. Their number is that of `shards`."""
    sizes: tuple[int, ...] = options.get("shard_sizes", ())
    if not sizes:
        return
    options["shard_sizes"] = tuple(size // gcd(*sizes) for size in sizes)
    if options.setdefault("shards", len(sizes)) != len(sizes):
        problem = f"{options['shards']} shards, and sizes of {len(sizes)}"
        found.append(Mistake("‹shards› and ‹shard_sizes›", problem, "omit ‹shards›"))
    if (strategy := options.get("strategy", "disjoint")) != "disjoint":
        where = f"‹shard_sizes› and ‹strategy› {strategy}"
        found.append(Mistake(where, "the tasks of a cell are dealt to its shards", "use disjoint"))
    elif not (options.get("whole") or amount_of(options).per_cell):
        hint = "give ‹num_instances_per_cell›, ‹per_cell› or ‹whole›"
        found.append(Mistake("‹shard_sizes›", "they share out what is the cell's, and each shard's is asked for", hint))


_APART = (
    ("num_instances_per_cell", "quotas", "whole", "per_type"),
    ("num_instances_per_cell", "quotas", "whole", "num_instances"),
    ("stratify", "quotas"),
    ("stratify", "per_type"),
)
"""Options of which one at most can be given: each says how many tasks there are, or how many of each type."""


def contradicted(said: Collection[str]) -> set[str]:
    """The options that cannot stand beside these."""
    found = {other for group in _APART for name in group if name in said for other in group if other != name}
    return found | ({"types"} if "quotas" in said else set())  # a quota selects its type


def check_amount(options: Mapping[str, Any], found: list[Mistake]) -> None:
    """Notes what is wrong with the options that say how many tasks there are, together; `found` is what is already."""
    amount, strategy = amount_of(options), options.get("strategy", "disjoint")
    found += _apart({name for name, value in options.items() if value not in (None, False, {})})
    if options.get("whole") and strategy == "independent":
        found.append(Mistake("‹whole› and ‹strategy› independent", "every shard would hold every task", "use paired"))
    if isinstance(options.get("num_instances"), str):  # a share
        if options.get("per_type"):
            problem = "a share is of all types together"
            found.append(Mistake("‹num_instances› and ‹per_type›", problem, "use ‹stratify›"))
        if options.get("per_cell"):
            found.append(Mistake("‹num_instances› and ‹per_cell›", "a share is that of a shard", "give a number"))
    quotas, types = options.get("quotas", {}), options.get("types", ())
    if types and (missing := sorted(set(quotas) - {*types, *one_or_several(types, ())})):
        problem = f"{', '.join(missing)} has a quota but is filtered out"
        hint = "add it to ‹types›, or omit ‹types›: a quota selects its type"
        found.append(Mistake("‹quotas› and ‹types›", problem, hint))
    if amount.per_cell and strategy != "disjoint":
        name = "per_cell" if options.get("per_cell") else "num_instances_per_cell"
        where = f"‹{name}› and ‹strategy› {strategy}"
        found.append(Mistake(where, "the tasks of a cell are dealt to its shards", "use disjoint"))
    if quotas and not found and not any(quotas.values()):
        found.append(Mistake("‹quotas›", "all quotas are 0", "ask for at least one task of some type"))
    total, shards = amount.total, options.get("shards", 1)
    if amount.per_cell and not found and total is not None and shards > total:
        found.append(Mistake("‹shards›", f"{shards} shards of {total} tasks leave some empty", f"give {total} or less"))


def _apart(said: Collection[str]) -> list[Mistake]:
    clashes = [names for group in _APART if len(names := [name for name in group if name in said]) > 1]
    found = {}
    for names in clashes:
        if any(set(names) < set(others) for others in clashes):
            continue
        where = " and ".join(f"‹{name}›" for name in names)
        if "stratify" in names:
            found[where] = Mistake(where, "both say how many tasks of each type", "keep one of them")
            continue
        hint = f"keep ‹{names[0]}› or ‹{names[1]}›"
        if names[0] == "num_instances_per_cell" and {"quotas", "per_type"} & set(names):
            hint = "for this many of each type per cell, give ‹per_cell› instead of ‹num_instances_per_cell›"
        found[where] = Mistake(where, "each says how many tasks there are", hint)
    return list(found.values())
