"""What was asked for, and what came of it: the spec, the shards and the plan, as documents and objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from prealloc.errors import Mistake, OptionsError
from prealloc.model.cell import cells_of, factor_mistakes, lanes_of
from prealloc.model.document import Document
from prealloc.model.json_value import NoJson, check_json, shown
from prealloc.model.lane import Lane
from prealloc.model.options import read_flag, read_named, read_names, read_whole
from prealloc.model.secret import secret_mistakes
from prealloc.model.spelling import EVERY_FIELD, IN_EVERY_SLICE

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask

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


class PlanSpec(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that decides which task goes where, next to the ids and types of the library.

    Make one with `PlanSpec.checked(...)`, which reports every mistake at once.
    """

    shards: int = 1
    num_instances: int | None = DEFAULT_NUM_INSTANCES
    """Tasks per shard; with per_type, of each type. None when quotas or whole decide."""
    per_type: bool = False
    quotas: dict[str, int] = msgspec.field(default_factory=dict)
    """Tasks per shard of each named type, in place of num_instances."""
    stratify: bool = False
    whole: bool = False
    """Deal the whole library out (`--all`)."""
    types: tuple[str, ...] = ()
    """Only tasks of these types; empty means all."""
    strategy: Strategy = "disjoint"
    repeats: int = 1
    seed: int = 0
    keep: tuple[str, ...] = ()
    """Names of further task fields that the slices carry; `all` is every field that a task has."""
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    """Given to every shard's worker function as ctx.settings: any JSON values."""
    lanes: tuple[Lane, ...] = ()
    """What shards queue for; a shard's manifest names its lane."""
    factors: dict[str, tuple[Any, ...]] = msgspec.field(default_factory=dict)
    """The values of each factor: their combinations are the cells, and every cell gets the same tasks."""
    exclude: tuple[dict[str, Any], ...] = ()
    """Partial cells; the cells that hold one of them are left out."""
    num_instances_per_cell: int | None = None
    """Tasks of each cell, dealt over its shards, in place of num_instances."""
    ranking: int | UnsetType = UNSET
    """The version of the ranking. Unset it is 1 and not written, as in the plans from before there were others."""
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
    def checked(
        cls,
        *,
        shards: int = 1,
        num_instances: int | None = None,
        per_type: bool = False,
        quotas: Mapping[str, int] | None = None,
        stratify: bool = False,
        whole: bool = False,
        types: Sequence[str] = (),
        strategy: str = "disjoint",
        repeats: int = 1,
        seed: int = 0,
        keep: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        lanes: Sequence[Lane] = (),
        factors: Mapping[str, Sequence[Any]] | None = None,
        exclude: Sequence[Mapping[str, Any]] = (),
        num_instances_per_cell: int | None = None,
        ranking: int | UnsetType = LATEST_RANKING,
        generator: str | UnsetType = UNSET,
        generator_version: str | UnsetType = UNSET,
    ) -> PlanSpec:
        """The spec of these options. Raises OptionsError with every mistake among them.

        `num_instances=None` stands for 20, unless `quotas`, `whole` or `num_instances_per_cell` say how many there are.
        """
        found: list[Mistake] = []
        shards = read_whole("--shards", shards, found, least=1, most=MAX_SHARDS)
        if num_instances is not None:
            num_instances = read_whole("--num-instances", num_instances, found, least=1, most=MAX_TASKS)
        repeats = read_whole("--repeats", repeats, found, least=1, most=MAX_REPEATS)
        seed = read_whole("--seed", seed, found, least=0, most=MAX_SEED)
        named = sorted(read_named("--quota", quotas, found).items())
        quotas = {name: read_whole(f"--quota {name}", n, found, least=0, most=MAX_TASKS) for name, n in named}
        per_type = read_flag("--per-type", per_type, found)
        stratify = read_flag("--stratify", stratify, found)
        whole = read_flag("--all", whole, found)
        types = read_names("--type", types, found)
        keep = read_names("--keep", (EVERY_FIELD,) if keep == EVERY_FIELD else keep, found)
        settings = read_named("--set", settings, found)
        if ranking is not UNSET:
            ranking = read_whole("--ranking", ranking, found, least=min(RANKINGS), most=max(RANKINGS))
        found += _strategy(strategy)
        found += _together(num_instances, per_type, quotas, stratify, whole, types, strategy)
        found += _settings(settings)
        found += _lanes(lanes)
        factors = dict(read_named("[factors]", factors, found))
        exclude = _exclude(exclude, found)
        if num_instances_per_cell is not None:
            num_instances_per_cell = read_whole(
                "--num-instances-per-cell", num_instances_per_cell, found, least=1, most=MAX_TASKS
            )
        found += factor_mistakes(factors, exclude, settings, lanes)
        found += secret_mistakes("--set", settings)
        found += secret_mistakes("[factors]", factors)
        found += _per_cell(num_instances_per_cell, shards, num_instances, per_type, quotas, whole, strategy)
        found += _generator(generator, generator_version)
        if named and not found and all(n == 0 for n in quotas.values()):
            found.append(Mistake("--quota", "all quotas are 0", "ask for at least one task of some type"))
        if there_anyway := IN_EVERY_SLICE & set(keep):
            there = ", ".join(sorted(there_anyway))
            found.append(Mistake("--keep", f"{there} is in every slice already", f"leave {there} out"))
        if found:
            raise OptionsError(found)
        if num_instances is None and not quotas and not whole and num_instances_per_cell is None:
            num_instances = DEFAULT_NUM_INSTANCES
        return cls(
            shards=shards,
            num_instances=num_instances,
            per_type=per_type,
            quotas=quotas,
            stratify=stratify,
            whole=whole,
            types=tuple(sorted(types)),
            strategy=strategy,  # type: ignore[arg-type]  # _strategy has checked it
            repeats=repeats,
            seed=seed,
            keep=tuple(sorted(keep)),
            # As they read back: a copy that nobody else holds, with lists for tuples.
            settings=msgspec.json.decode(msgspec.json.encode(dict(sorted(settings.items())))),
            lanes=tuple(lanes),
            factors={name: tuple(values) for name, values in factors.items()},
            exclude=tuple(dict(part) for part in exclude),
            num_instances_per_cell=num_instances_per_cell,
            ranking=UNSET if ranking == 1 else ranking,
            generator=generator,
            generator_version=generator_version,
        )


class LibraryInfo(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fingerprint of a library that a plan was made from."""

    path: str
    name: str
    bytes: int
    sha256: str
    tasks: int
    types: dict[str, int]
    difficulty: str | None = None
    dropped: int = 0
    """Tasks that are left out because the libraries of other difficulties do not hold their ids."""


class SliceRef(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a shard's slice lies, from the plan folder, and what its bytes must be."""

    file: str
    sha256: str
    tasks: int
    bytes: int


class Manifest(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shard on disk (`shards/<shard>.json`): what an outside program reads to run that shard."""

    format: str = "prealloc.shard"
    version: int = 1
    plan: str
    id: str
    cell: dict[str, Any]
    lane: str | None
    strategy: Strategy
    repeats: int
    seed: int
    settings: dict[str, Any]
    slice: SliceRef


class ShardEntry(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shard's line in `plan.json`. `sha256` is that of the manifest, `units` is tasks x repeats."""

    id: str
    file: str
    sha256: str
    units: int
    types: dict[str, int]


class PlanFile(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`plan.json`. Everything but `libraries` is a function of ids, types, workflows and spec."""

    format: str = "prealloc.plan"
    version: int = 1
    id: str
    ranking: str
    spec: PlanSpec
    seed: int
    libraries: tuple[LibraryInfo, ...]
    shards: tuple[ShardEntry, ...]


class Unit(NamedTuple):
    """What must be done once."""

    shard: str
    task: str
    repeat: int

    def __str__(self) -> str:
        return f"{self.shard}/{self.task}#{self.repeat}"


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of work for one worker process, in memory: its manifest and its tasks."""

    manifest: Manifest
    tasks: tuple[LightweightTask, ...]

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def settings(self) -> dict[str, Any]:
        return self.manifest.settings

    def by_type(self) -> dict[str, list[dict[str, Any]]]:
        """`{type: [task as a library spells it, ...]}`, in the shard's order."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for task in self.tasks:
            groups.setdefault(task.type, []).append(task.to_dict())
        return groups


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All shards of an experiment, in memory, with what made them.

    `file` and `slices` are exactly what `write_plan` puts on disk: slices are keyed by their sha256.
    """

    file: PlanFile
    shards: tuple[Shard, ...]
    slices: dict[str, bytes]

    @property
    def id(self) -> str:
        return self.file.id

    @property
    def spec(self) -> PlanSpec:
        return self.file.spec

    @property
    def libraries(self) -> tuple[LibraryInfo, ...]:
        return self.file.libraries


def _strategy(strategy: str) -> list[Mistake]:
    if isinstance(strategy, str) and strategy in STRATEGIES:
        return []
    return [Mistake("--strategy", f"{shown(strategy)} is unknown", f"use one of {', '.join(STRATEGIES)}")]


def _together(
    num_instances: int | None,
    per_type: bool,
    quotas: Mapping[str, int],
    stratify: bool,
    whole: bool,
    types: Sequence[str],
    strategy: str,
) -> list[Mistake]:
    """Options that contradict each other: at most one of them may say how many tasks there are."""
    counts = {
        "--quota": bool(quotas),
        "--all": whole,
        "--per-type": per_type,
        "--num-instances": num_instances is not None and not per_type,
    }
    said = [name for name, given in counts.items() if given]
    found = []
    if len(said) > 1:
        found.append(
            Mistake(" and ".join(said), "each says how many tasks a shard takes", f"keep {said[0]} or {said[1]}")
        )
    if stratify and (quotas or per_type):
        other = "--quota" if quotas else "--per-type"
        found.append(Mistake(f"--stratify and {other}", "both say how many tasks of each type", "keep one of them"))
    if whole and strategy == "independent":
        found.append(Mistake("--all and --strategy independent", "every shard would hold every task", "use paired"))
    missing = sorted(set(quotas) - set(types)) if types else []
    if missing:
        found.append(
            Mistake(
                "--quota and --type",
                f"{', '.join(missing)} has a quota but is filtered out",
                "add a --type for it, or leave --type away: a quota selects its type",
            )
        )
    return found


def _per_cell(
    tasks: int | None,
    shards: int,
    num_instances: int | None,
    per_type: bool,
    quotas: Mapping[str, int],
    whole: bool,
    strategy: str,
) -> list[Mistake]:
    """Mistakes of num_instances_per_cell: it says how many tasks a cell has, so nothing else may."""
    if tasks is None:
        return []
    where = "--num-instances-per-cell"
    found: list[Mistake] = []
    others = {
        "--num-instances": num_instances is not None,
        "--per-type": per_type,
        "--quota": bool(quotas),
        "--all": whole,
    }
    found += [
        Mistake(f"{where} and {name}", "each says how many tasks there are", "keep one of them")
        for name, given in others.items()
        if given
    ]
    if strategy != "disjoint":
        found.append(
            Mistake(f"{where} and --strategy {strategy}", "the tasks of a cell are dealt to its shards", "use disjoint")
        )
    if not found and shards > tasks:
        found.append(Mistake("--shards", f"{shards} shards of {tasks} tasks leave some empty", f"give {tasks} or less"))
    return found


def _exclude(exclude: Any, found: list[Mistake]) -> Sequence[Mapping[str, Any]]:
    if isinstance(exclude, Sequence) and not isinstance(exclude, str | bytes):
        return exclude
    found.append(Mistake("[[exclude]]", f"{shown(exclude)} is no list", "give a list of partial cells"))
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
    where = "--generate-workflows"
    if (name is UNSET) != (version is UNSET):
        return [Mistake(where, "a generator and its version go together", "give both or neither")]
    found: list[Mistake] = []
    if name is not UNSET:
        for text in (name, version):  # one by one: they may well be the same
            read_names(where, [text], found)
    return found


def _settings(settings: Mapping[str, Any]) -> list[Mistake]:
    found = []
    for name, value in sorted(settings.items()):
        try:
            check_json(value, name, SETTINGS_DEPTH)
        except NoJson as error:
            found.append(Mistake(f"--set {name}", f"no JSON value: {error}", "use JSON values only"))
    return found
