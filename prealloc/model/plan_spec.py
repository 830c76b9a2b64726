"""What was asked for: every option of a plan, declared once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, Unpack

import msgspec
from msgspec import UNSET, UnsetType

from prealloc.errors import Mistake, gathered, refuse
from prealloc.model.amount import DEFAULT_NUM_INSTANCES, MAX_TASKS, All, Amount, amount_of, check_amount, check_sizes
from prealloc.model.cell import Factors, cells_of, designs_of, factor_mistakes, lanes_of, values_of
from prealloc.model.document import Document
from prealloc.model.fields import Fields
from prealloc.model.keywords import SpecOptions
from prealloc.model.lane import Lane
from prealloc.model.options import (
    Flag,
    Names,
    OneOf,
    Option,
    Seconds,
    Sizes,
    Table,
    Text,
    Whole,
    read_options,
    share_of,
)
from prealloc.model.secret import secret_mistakes
from prealloc.model.setting import as_stored, setting_mistakes
from prealloc.model.spelling import EVERY_FIELD, IN_EVERY_SLICE
from prealloc.model.words import cut, shown

Strategy = Literal["disjoint", "paired", "independent"]
STRATEGIES: tuple[Strategy, ...] = ("disjoint", "paired", "independent")

RANKINGS = {1: "blake2b64-splitmix64/1", 2: "blake2b64-splitmix64/2"}
"""The names of the ranking schemes by their versions; a plan names its own. They differ in the order of types alone."""
LATEST_RANKING = 2

MAX_SHARDS = 100_000
MAX_SEED = 2**63 - 1
MAX_REPEATS = 1_000_000
MOST_SIZES = 1_000
"""The sum of the sizes of a cell's shards."""
MAX_UNITS = 10_000_000
"""Units of one plan: a fold of its journal holds each of them in memory."""

_NONE_SAYS_NOTHING = frozenset({"num_instances", "num_instances_per_cell", "timeout_field", "shard_sizes"})
_TASKS = Whole(1, MAX_TASKS)
_how_many = partial(Option, group="How many tasks")
_which = partial(Option, group="Which tasks")
_library = partial(Option, group="Library")
_generated = partial(Option, group="Workflows that are missing")
_experiment = partial(Option, group="Experiment")


class PlanSpec(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that decides which task goes where, next to the ids and types of the library.

    Make one with `PlanSpec.checked(...)`, which reports every mistake at once.
    """

    shards: Annotated[int, _how_many(Whole(1, MAX_SHARDS), "Shards of each cell, each for one worker process.")] = 1
    num_instances: Annotated[
        int | None,
        _how_many(
            Whole(1, MAX_TASKS, metavar="N|P%", share=True),
            "Tasks per shard, or a share of the library; with ‹per_type›, of each type.",
            short="n",
            unset="20",
        ),
    ] = DEFAULT_NUM_INSTANCES
    """None when quotas, whole or num_instances_per_cell decide, and for a share until the tasks were counted."""
    per_type: Annotated[bool, _how_many(Flag(), "‹num_instances› tasks of each type.")] = False
    quotas: Annotated[
        dict[str, int], _how_many(Table(Whole(0, MAX_TASKS), "TYPE=N"), "Tasks per shard of each named type.", "quota")
    ] = msgspec.field(default_factory=dict)
    stratify: Annotated[bool, _how_many(Flag(), "Keep the library's proportions of types.")] = False
    whole: Annotated[bool, _how_many(Flag(), "Deal out the whole library.", "all")] = False
    types: Annotated[
        tuple[str, ...], _which(Names("TYPES", commas=True), "Only tasks of these types.", "type", unset="all types")
    ] = ()
    strategy: Annotated[
        Strategy,
        _which(
            OneOf(STRATEGIES),
            "How a cell's shards share tasks. disjoint: none twice; paired: all the same; independent: a sample each.",
        ),
    ] = "disjoint"
    repeats: Annotated[int, _how_many(Whole(1, MAX_REPEATS), "Run each task this many times.")] = 1
    seed: Annotated[int, _which(Whole(0, MAX_SEED), "Another seed gives another sample.")] = 0
    keep: Annotated[
        tuple[str, ...],
        _which(Names("FIELDS", EVERY_FIELD), "Further task fields to ship to workers; all: every field."),
    ] = ()
    settings: Annotated[
        dict[str, Any],
        _experiment(Table(), "A setting that every worker finds in ctx.settings, beside the factors.", "set"),
    ] = msgspec.field(default_factory=dict)
    lanes: tuple[Lane, ...] = ()
    """What shards queue for; a shard's manifest names its lane."""
    factors: dict[str, tuple[Any, ...]] | tuple[dict[str, tuple[Any, ...]], ...] = msgspec.field(default_factory=dict)
    """The values of each factor: their combinations are the cells, and every cell gets the same tasks. Two designs or
    more are a list of such tables: the cells are the union of theirs. See `factor_values`."""
    exclude: tuple[dict[str, Any], ...] = ()
    """Partial cells; the cells that hold one of them are left out."""
    num_instances_per_cell: Annotated[int | None, _how_many(_TASKS, "Tasks per cell, shared out over its lanes.")] = (
        None
    )
    per_cell: Annotated[
        bool | UnsetType, _how_many(Flag(), "‹num_instances› and ‹quotas› count for each cell, not for each shard.")
    ] = UNSET
    """Whose the amount is. Unset it is false and not written, as in the plans from before there was this option."""
    ranking: Annotated[
        int | UnsetType,
        _which(OneOf(tuple(RANKINGS)), "Version of the ranking; 1 samples as older plans did.", unset="2"),
    ] = UNSET
    """Unset it is 1 and not written, as in the plans from before there were others."""
    timeout_field: Annotated[
        str | UnsetType,
        _experiment(
            Text("FIELD", ".+", "the name of a field of the tasks"),
            "A task's own timeout is in this field: seconds, or text such as 10m; it beats ‹timeout_s›.",
            unset="none",
        ),
    ] = UNSET
    """It is shipped as a field of `keep` is. Unset it is not written, as in the plans from before there were any."""
    shard_sizes: Annotated[
        tuple[int, ...] | UnsetType,
        _how_many(
            Sizes(MOST_SIZES),
            "How a cell's tasks are shared out to its shards: 3,1 is three to one. Instead of ‹shards›.",
            unset="equal",
        ),
    ] = UNSET
    """Unset they are equal, and not written, as in the plans from before there were others."""
    unit_seed: Annotated[
        Literal["cell", "shard"] | UnsetType,
        _which(OneOf(("cell", "shard")), "What ctx.seed depends on; shard is as in older plans.", unset="cell"),
    ] = UNSET
    """Unset it is the shard, and not written, as in the plans from before a unit was known by its cell."""
    generator: str | UnsetType = UNSET
    """`module:function` that made the workflows of tasks that had none. Unset it is not written at all, so that
    plans without one keep their ids."""
    generator_version: str | UnsetType = UNSET

    @property
    def ranking_name(self) -> str:
        """The name of the ranking scheme, for plan.json."""
        return RANKINGS[1 if self.ranking is UNSET else self.ranking]

    @property
    def factor_values(self) -> dict[str, tuple[Any, ...]]:
        """Every factor with all values that it has in some design."""
        return values_of(self.factors)

    @property
    def shipped(self) -> tuple[str, ...]:
        """The further fields of tasks that are in slices."""
        own = () if self.timeout_field is UNSET or EVERY_FIELD in self.keep else (self.timeout_field,)
        return tuple(sorted({*self.keep, *own}))

    @property
    def amount(self) -> Amount:
        """How many tasks are asked for."""
        return amount_of(msgspec.structs.asdict(self))

    def hands(self, shards: int) -> int:
        """How many times the amount is taken from a cell's ranking: for each of its shards, or once for all of them."""
        amount = self.amount
        once = self.strategy != "disjoint" or amount.per_cell or isinstance(amount.what, All)
        return 1 if once else shards

    def tasks_of_cell(self, shards: int) -> int | None:
        """How many tasks so many shards of a cell get together; None if only the library can tell."""
        amount = self.amount
        return amount.total if amount.per_cell or amount.total is None else amount.total * shards

    def shards_of_cell(self, lanes: int) -> int:
        """How many shards a cell has that so many lanes serve: one for each, where they share what is the cell's."""
        amount = self.amount
        if not amount.per_cell or self.shard_sizes:
            return self.shards
        return max(self.shards, lanes if amount.total is None else min(lanes, amount.total))

    def shards_of_all(self) -> int:
        """How many shards all cells have together."""
        cells = cells_of(self.factors, self.exclude)
        return sum(self.shards_of_cell(len(lanes_of(cell, self.lanes, self.settings))) for cell in cells)

    @classmethod
    def checked(cls, **options: Unpack[SpecOptions]) -> PlanSpec:
        """The spec of these options. Raises OptionsError with every mistake among them.

        Without `num_instances` it is 20, unless `quotas`, `whole` or `num_instances_per_cell` say how many there are.
        With `per_cell` alone it is written as `num_instances_per_cell`, so that the same plan has one id.
        """
        found: list[Mistake] = []
        said: dict[str, Any] = {name: value for name, value in options.items() if value is not UNSET}
        given = {name: value for name, value in said.items() if value is not None or name not in _NONE_SAYS_NOTHING}
        read = read_options(cls, given, found)
        for name, older, latest in (("ranking", 1, LATEST_RANKING), ("unit_seed", "shard", "cell")):
            if options.get(name, latest) in (older, UNSET):
                read.pop(name, None)  # as in the plans from before there were others
            else:
                read.setdefault(name, latest)
        for name in ("types", "keep"):
            read[name] = tuple(sorted(read.get(name, ())))
        read["quotas"] = dict(sorted(read.get("quotas", {}).items()))
        read.setdefault("settings", {})
        check_sizes(read, found)
        check_amount(read, found)
        lanes = _lanes(options.get("lanes", ()), found)
        factors = _factors(options.get("factors"), found)
        exclude = _exclude(options.get("exclude", ()), found)
        found += setting_mistakes("‹settings›", read["settings"])
        found += factor_mistakes(factors, exclude, read["settings"], lanes)
        for design in designs_of(factors):
            found += secret_mistakes("‹factors›", design)
        found += _generator(options.get("generator", UNSET), options.get("generator_version", UNSET))
        if share_of(read.get("num_instances")):
            read["num_instances"] = None
        found += _fields(read["keep"], read.get("timeout_field"))
        refuse(found)
        if read.pop("per_cell", False):
            if read["quotas"] or read.get("per_type") or read.get("whole"):
                read["per_cell"] = True
            else:
                given_n = read.pop("num_instances", DEFAULT_NUM_INSTANCES)
                read.setdefault("num_instances_per_cell", given_n)
        if read["quotas"] or read.get("whole") or "num_instances_per_cell" in read:
            read.setdefault("num_instances", None)
        read["settings"] = as_stored(read["settings"])
        return cls(
            **read,
            lanes=lanes,
            factors=_stored(factors),
            exclude=tuple(dict(part) for part in exclude),
            generator=options.get("generator", UNSET),
            generator_version=options.get("generator_version", UNSET),
        )


class LibraryOptions(Fields, frozen=True, kw_only=True):
    """The task library of a plan."""

    path: Annotated[
        str | None, Option(Text("PATH"), "A file, or a folder or path with {difficulty}; from the config's folder.")
    ] = None
    difficulty: Annotated[
        str | None, _library(Text("D"), "Which library of a folder, or what {difficulty} in its path stands for.")
    ] = None
    require_workflow: Annotated[bool, _library(Flag(), "Refuse a library in which a task has no workflow.")] = False
    ids: Annotated[str | None, _which(Text("FILE"), "Only these tasks: one id per line, or a JSON list.")] = None
    exclude_ids: Annotated[str | None, _which(Text("FILE"), "Not these tasks.")] = None


class GenerateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Workflows for the tasks that lack them."""

    generate_workflows: Annotated[
        str | None, _generated(Text("MODULE:FUNCTION"), "Makes the workflows that selected tasks lack.")
    ] = None
    workflow_cache: Annotated[
        str | None,
        _generated(Text("FOLDER"), "Where generated workflows are kept.", unset="~/.cache/prealloc/workflows"),
    ] = None
    generate_timeout_s: Annotated[
        float | None, _generated(Seconds(above=True, optional=True), "Time to make one workflow.", "generate_timeout")
    ] = 600.0


def _fields(keep: Sequence[str], timeout_field: str | None) -> list[Mistake]:
    """What is wrong with further fields of tasks."""
    found = []
    if there_anyway := IN_EVERY_SLICE & {*keep}:
        there = ", ".join(sorted(there_anyway))
        found.append(Mistake("‹keep›", f"{there} is in every slice already", f"omit {there}"))
    if timeout_field in IN_EVERY_SLICE:
        found.append(Mistake("‹timeout_field›", f"{timeout_field} is not a time", "name another field"))
    return found


def _factors(given: Any, found: list[Mistake]) -> Factors:
    """One design, or several; one in a list is one."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence):
        return Table().read("‹factors›", given, found)
    designs = [Table().read(f"‹factors› {number}", design, found) for number, design in enumerate(given, 1)]
    return designs if len(designs) > 1 else (designs or [{}])[0]


def _stored(factors: Factors) -> dict[str, tuple[Any, ...]] | tuple[dict[str, tuple[Any, ...]], ...]:
    designs = [{name: tuple(values) for name, values in design.items()} for design in designs_of(factors)]
    return designs[0] if len(designs) == 1 else tuple(designs)


def _exclude(exclude: Any, found: list[Mistake]) -> Sequence[Mapping[str, Any]]:
    if isinstance(exclude, Sequence) and not isinstance(exclude, str | bytes):
        return exclude
    found.append(Mistake("‹exclude›", f"{shown(exclude)} is not a list", "give a list of partial cells"))
    return ()


def _lanes(lanes: Sequence[Lane], found: list[Mistake]) -> tuple[Lane, ...]:
    """The lanes as Lane.checked makes them; none if it refuses one: nothing is judged by those that are left."""
    every = [(f"lane {cut(lane.name)}", msgspec.structs.asdict(lane)) for lane in lanes]
    checked = [gathered(found, partial(Lane.checked, where=where, **fields)) for where, fields in every]
    names = [lane.name for lane in lanes]
    found += [
        Mistake(f"lane {name}", "two lanes have this name", "give each lane its own name")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    right = tuple(lane for lane in checked if lane is not None)
    return right if len(right) == len(lanes) else ()


def _generator(name: Any, version: Any) -> list[Mistake]:
    where = "‹generate_workflows›"
    if (name is UNSET) != (version is UNSET):
        return [Mistake(where, "a generator and its version go together", "give both or neither")]
    found: list[Mistake] = []
    for text in (name, version) if name is not UNSET else ():
        Text().read(where, text, found)
    return found
