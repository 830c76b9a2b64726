"""What was asked for: every option of a plan, declared once, and what they may not say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict, Unpack

import msgspec
from msgspec import UNSET, UnsetType

from prealloc.errors import Mistake, OptionsError
from prealloc.model.cell import cells_of, factor_mistakes, lanes_of
from prealloc.model.document import Document
from prealloc.model.fields import Fields
from prealloc.model.json_value import NoJson, check_json, shown
from prealloc.model.lane import Lane
from prealloc.model.options import (
    Flag,
    Names,
    OneOf,
    Option,
    Table,
    Text,
    Whole,
    one_or_several,
    read_options,
    share_of,
)
from prealloc.model.secret import secret_mistakes
from prealloc.model.spelling import EVERY_FIELD, IN_EVERY_SLICE

Strategy = Literal["disjoint", "paired", "independent"]
STRATEGIES: tuple[Strategy, ...] = ("disjoint", "paired", "independent")

RANKINGS = {1: "blake2b64-splitmix64/1", 2: "blake2b64-splitmix64/2"}
"""The names of the ranking schemes by their versions; a plan names its own. They differ in the order of types alone."""
LATEST_RANKING = 2

DEFAULT_NUM_INSTANCES = 20
MAX_SHARDS = 100_000
MAX_SEED = 2**63 - 1
MAX_REPEATS = 1_000_000
MAX_TASKS = 2**32
MAX_UNITS = 10_000_000
"""Units of one plan: a fold of its journal holds each of them in memory."""
SETTINGS_DEPTH = 100

_TASKS = Whole(1, MAX_TASKS)
_HOW_MANY = "How many tasks"
_WHICH = "Which tasks"


class PlanSpec(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that decides which task goes where, next to the ids and types of the library.

    Make one with `PlanSpec.checked(...)`, which reports every mistake at once.
    """

    shards: Annotated[
        int, Option(Whole(1, MAX_SHARDS), "Shards of each cell, each for one worker process.", group=_HOW_MANY)
    ] = 1
    num_instances: Annotated[
        int | None,
        Option(
            Whole(1, MAX_TASKS, metavar="N|P%", share=True),
            "Tasks per shard, or a share of all; with ‹per_type›, of each type.",
            *("", "n", _HOW_MANY, "20"),
        ),
    ] = DEFAULT_NUM_INSTANCES
    """None when quotas, whole or num_instances_per_cell decide, and for a share until the tasks were counted."""
    per_type: Annotated[bool, Option(Flag(), "‹num_instances› tasks of each type.", group=_HOW_MANY)] = False
    quotas: Annotated[
        dict[str, int],
        Option(Table(Whole(0, MAX_TASKS), "TYPE=N"), "Tasks per shard of each named type.", "quota", group=_HOW_MANY),
    ] = msgspec.field(default_factory=dict)
    stratify: Annotated[bool, Option(Flag(), "Keep the library's proportions of types.", group=_HOW_MANY)] = False
    whole: Annotated[bool, Option(Flag(), "Deal out the whole library.", "all", group=_HOW_MANY)] = False
    types: Annotated[
        tuple[str, ...],
        Option(Names("TYPES", commas=True), "Only tasks of these types.", "type", group=_WHICH, unset="all types"),
    ] = ()
    strategy: Annotated[
        Strategy,
        Option(OneOf(STRATEGIES), "Of a cell's shards. disjoint: no task twice; paired: all alike.", group=_WHICH),
    ] = "disjoint"
    repeats: Annotated[int, Option(Whole(1, MAX_REPEATS), "Run each task this many times.", group=_HOW_MANY)] = 1
    seed: Annotated[int, Option(Whole(0, MAX_SEED), "Another seed gives another sample.", group=_WHICH)] = 0
    keep: Annotated[
        tuple[str, ...],
        Option(Names("FIELDS", EVERY_FIELD), "Further task fields to ship; all: every one.", group=_WHICH),
    ] = ()
    settings: Annotated[
        dict[str, Any],
        Option(Table(), "Given to every worker as ctx.settings, beside the factors.", "set", group="Experiment"),
    ] = msgspec.field(default_factory=dict)
    lanes: tuple[Lane, ...] = ()
    """What shards queue for; a shard's manifest names its lane."""
    factors: dict[str, tuple[Any, ...]] = msgspec.field(default_factory=dict)
    """The values of each factor: their combinations are the cells, and every cell gets the same tasks."""
    exclude: tuple[dict[str, Any], ...] = ()
    """Partial cells; the cells that hold one of them are left out."""
    num_instances_per_cell: Annotated[
        int | None,
        Option(_TASKS, "Tasks of each cell, dealt over its lanes.", group=_HOW_MANY),
    ] = None
    ranking: Annotated[
        int | UnsetType,
        Option(OneOf(tuple(RANKINGS)), "Version of the ranking; 1 samples as older plans.", group=_WHICH, unset="2"),
    ] = UNSET
    """Unset it is 1 and not written, as in the plans from before there were others."""
    generator: str | UnsetType = UNSET
    """`module:function` that made the workflows of tasks that had none. Unset it is not written at all, so that
    plans without one keep their ids."""
    generator_version: str | UnsetType = UNSET

    @property
    def ranking_name(self) -> str:
        """The name of the ranking scheme, for plan.json."""
        return RANKINGS[1 if self.ranking is UNSET else self.ranking]

    def shards_of_cell(self, lanes: int) -> int:
        """How many shards a cell has that so many lanes serve: one for each, where its own size is given."""
        if self.num_instances_per_cell is None:
            return self.shards
        return max(self.shards, min(lanes, self.num_instances_per_cell))

    def shards_of_all(self) -> int:
        """How many shards all cells have together."""
        cells = cells_of(self.factors, self.exclude)
        return sum(self.shards_of_cell(len(lanes_of(cell, self.lanes, self.settings))) for cell in cells)

    @classmethod
    def checked(cls, **options: Unpack[SpecOptions]) -> PlanSpec:
        """The spec of these options. Raises OptionsError with every mistake among them.

        Without `num_instances` it is 20, unless `quotas`, `whole` or `num_instances_per_cell` say how many there are.
        """
        found: list[Mistake] = []
        ranking = options.get("ranking", LATEST_RANKING)
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not UNSET}
        if given.get("num_instances", 0) is None:  # not given, as also None for a cell's tasks
            del given["num_instances"]
        if given.get("num_instances_per_cell", 0) is None:
            del given["num_instances_per_cell"]
        read = read_options(cls, given, found)
        if ranking in (1, UNSET):
            read.pop("ranking", None)
        else:
            read.setdefault("ranking", LATEST_RANKING)
        for name in ("types", "keep"):
            read[name] = tuple(sorted(read.get(name, ())))
        for name in ("quotas", "settings"):
            read[name] = dict(sorted(read.get(name, {}).items()))
        lanes = tuple(options.get("lanes", ()))
        factors = Table().read("‹factors›", options.get("factors"), found)
        exclude = _exclude(options.get("exclude", ()), found)
        found += _settings(read["settings"])
        found += _lanes(lanes)
        found += factor_mistakes(factors, exclude, read["settings"], lanes)
        found += secret_mistakes("‹settings›", read["settings"])
        found += secret_mistakes("‹factors›", factors)
        found += _generator(options.get("generator", UNSET), options.get("generator_version", UNSET))
        found += _together(read)
        if share_of(read.get("num_instances")):
            read["num_instances"] = None
        if read["quotas"] and not found and not any(read["quotas"].values()):
            found.append(Mistake("‹quotas›", "all quotas are 0", "ask for at least one task of some type"))
        if there_anyway := IN_EVERY_SLICE & set(read["keep"]):
            there = ", ".join(sorted(there_anyway))
            found.append(Mistake("‹keep›", f"{there} is in every slice already", f"omit {there}"))
        if found:
            raise OptionsError(found)
        if read["quotas"] or read.get("whole") or "num_instances_per_cell" in read:
            read.setdefault("num_instances", None)
        # As they read back: a copy that nobody else holds, with lists for tuples.
        read["settings"] = msgspec.json.decode(msgspec.json.encode(read["settings"]))
        return cls(
            **read,
            lanes=lanes,
            factors={name: tuple(values) for name, values in factors.items()},
            exclude=tuple(dict(part) for part in exclude),
            generator=options.get("generator", UNSET),
            generator_version=options.get("generator_version", UNSET),
        )


class PlanOptions(TypedDict, total=False):
    """The keywords of plan(): the fields of PlanSpec, which explain them."""

    shards: int
    num_instances: int | str | None
    per_type: bool
    quotas: Mapping[str, int]
    stratify: bool
    whole: bool
    types: Sequence[str]
    strategy: Strategy
    repeats: int
    seed: int
    keep: Sequence[str] | Literal["all"]
    settings: Mapping[str, Any]
    lanes: Sequence[Lane]
    factors: Mapping[str, Sequence[Any]]
    exclude: Sequence[Mapping[str, Any]]
    num_instances_per_cell: int | None
    ranking: int | UnsetType


class SpecOptions(PlanOptions, total=False):
    """The keywords of PlanSpec.checked: also what plan() notes by itself."""

    generator: str | UnsetType
    generator_version: str | UnsetType


class LibraryOptions(Fields, frozen=True, kw_only=True):
    """The task library of a plan."""

    path: Annotated[
        str | None, Option(Text("PATH"), "A file, or a folder or path with {difficulty}; from the config's folder.")
    ] = None
    difficulty: Annotated[
        str | None, Option(Text(), "Which library of a folder, or what {difficulty} in its path stands for.")
    ] = None
    require_workflow: Annotated[bool, Option(Flag(), "Refuse a library in which a task has no workflow.")] = False
    ids: Annotated[
        str | None, Option(Text("FILE"), "Only these tasks: an id a line, or a JSON list.", group=_WHICH)
    ] = None
    exclude_ids: Annotated[str | None, Option(Text("FILE"), "Not these tasks.", group=_WHICH)] = None


def _together(given: Mapping[str, Any]) -> list[Mistake]:
    """Options that contradict each other: at most one of them may say how many tasks there are."""
    per_cell = given.get("num_instances_per_cell")
    strategy = given.get("strategy", "disjoint")
    quotas, types, per_type = given["quotas"], given["types"], given.get("per_type", False)
    counts = {
        "num_instances_per_cell": per_cell is not None,
        "quotas": bool(quotas),
        "whole": given.get("whole", False),
        "per_type": per_type,
        "num_instances": "num_instances" in given and not (per_type and per_cell is None),
    }
    said = [f"‹{name}›" for name, is_given in counts.items() if is_given]
    found = []
    if len(said) > 1:
        found.append(Mistake(" and ".join(said), "each says how many tasks there are", f"keep {said[0]} or {said[1]}"))
    if per_type and share_of(given.get("num_instances")):
        problem = "a share is of all types together"
        found.append(Mistake("‹num_instances› and ‹per_type›", problem, "use ‹stratify›"))
    if given.get("stratify") and (quotas or per_type):
        other = "quotas" if quotas else "per_type"
        found.append(Mistake(f"‹stratify› and ‹{other}›", "both say how many tasks of each type", "keep one of them"))
    if given.get("whole") and strategy == "independent":
        found.append(Mistake("‹whole› and ‹strategy› independent", "every shard would hold every task", "use paired"))
    if types and (missing := sorted(set(quotas) - {*types, *one_or_several(types, ())})):
        problem = f"{', '.join(missing)} has a quota but is filtered out"
        hint = "add it to ‹types›, or omit ‹types›: a quota selects its type"
        found.append(Mistake("‹quotas› and ‹types›", problem, hint))
    if per_cell is not None and strategy != "disjoint":
        where = f"‹num_instances_per_cell› and ‹strategy› {strategy}"
        found.append(Mistake(where, "the tasks of a cell are dealt to its shards", "use disjoint"))
    if per_cell is not None and not found and given.get("shards", 1) > per_cell:
        problem = f"{given['shards']} shards of {per_cell} tasks leave some empty"
        found.append(Mistake("‹shards›", problem, f"give {per_cell} or less"))
    return found


def _exclude(exclude: Any, found: list[Mistake]) -> Sequence[Mapping[str, Any]]:
    if isinstance(exclude, Sequence) and not isinstance(exclude, str | bytes):
        return exclude
    found.append(Mistake("‹exclude›", f"{shown(exclude)} is not a list", "give a list of partial cells"))
    return ()


def _lanes(lanes: Sequence[Lane]) -> list[Mistake]:
    found: list[Mistake] = []
    for lane in lanes:
        try:
            Lane.checked(where=f"lane {lane.name[:80]}", **msgspec.structs.asdict(lane))
        except OptionsError as error:
            found += error.mistakes
    names = [lane.name for lane in lanes]
    twice = sorted({name for name in names if names.count(name) > 1})
    return found + [Mistake(f"lane {name}", "there are two of this name", "give each its own") for name in twice]


def _generator(name: Any, version: Any) -> list[Mistake]:
    where = "‹generate_workflows›"
    if (name is UNSET) != (version is UNSET):
        return [Mistake(where, "a generator and its version go together", "give both or neither")]
    found: list[Mistake] = []
    for text in (name, version) if name is not UNSET else ():
        Text().read(where, text, found)
    return found


def _settings(settings: Mapping[str, Any]) -> list[Mistake]:
    found = []
    for name, value in settings.items():
        try:
            check_json(value, name, SETTINGS_DEPTH)
        except NoJson as error:
            found.append(Mistake(f"‹settings› {name}", f"not a JSON value: {error}", "use JSON values only"))
    return found
