"""plan(), verify(), diff(): from a task library to a plan, and what can be asked of plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from prealloc.api.sources import library_paths, read_sources
from prealloc.errors import LibraryError, Mistake, OptionsError, PlanError
from prealloc.files.paths import workflow_cache as default_cache
from prealloc.library import read_library
from prealloc.model.cell import DIFFICULTY, settings_of
from prealloc.model.options import read_seconds_or_none
from prealloc.model.plan import Plan, PlanFile, PlanSpec
from prealloc.planning.cells import choose_for_cells, lay_out
from prealloc.planning.planner import TypeLeftOut, types_left_out

if TYPE_CHECKING:
    from prealloc.api.sources import Complete
    from prealloc.generating.source import Generator

GENERATE_TIMEOUT_S = 600.0
"""For one task."""


def plan(
    library: str | Path,
    *,
    out: str | Path | None = None,
    force: bool = False,
    difficulty: str | None = None,
    require_workflow: bool = False,
    notes: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    generate_workflows: str | None = None,
    workflow_cache: str | Path | None = None,
    generate_timeout_s: float | str | None = GENERATE_TIMEOUT_S,
    generating: Callable[[int, int], None] | None = None,
    stream: bool = False,
    **options: Any,
) -> Plan:
    """Reads a task library once and gives every shard its tasks.

    `options` are those of PlanSpec.checked: shards, num_instances, per_type, quotas, stratify, whole, types,
    strategy, repeats, seed, ranking, keep, settings, lanes, factors, exclude, num_instances_per_cell. With `out` the
    plan folder is written too, whole or not at all; `force` replaces one that is there. `difficulty` picks the file
    when `library` is a folder, or fills its place in a path with `{difficulty}`; as a factor it does so for each of its
    values. `library` may be `-`, standard input. With `stream`, or if it is large, a JSON library is read in one pass
    that holds no more of it than can be chosen. `notes` gets sentences that a user should see, `progress` the bytes
    read and to read.

    `generate_workflows` names a function, `module:function`, that makes the workflows which selected tasks lack:
    called with the full task, a dict, in a process of its own that is gone when this returns. What it makes is kept in
    the folder `workflow_cache` (by default below the user's cache folder) and not made again. `generate_timeout_s` is
    for one task, None is no limit; `generating` gets the tasks generated and to generate.

    The result holds everything in memory: `plan.shards[i].tasks` are picklable LightweightTasks.
    Raises OptionsError, LibraryError, GeneratorError, PlanError; then nothing was written but the cache.
    """
    spec, generator, timeout_s = check_options(options, generate_workflows, workflow_cache, generate_timeout_s)
    if out is not None:
        from prealloc.store.plan_folder import refuse_taken_plan

        refuse_taken_plan(Path(out), force=force)
    tell = notes or (lambda text: None)
    laid = lay_out(spec)
    sizes = sorted({shard.of for shard in laid})
    sources = read_sources(library, spec, sizes, difficulty=difficulty, notes=tell, progress=progress, stream=stream)
    for scanned in sources.libraries.values():
        if scanned.without_workflow and generator is None:
            count = f"{scanned.without_workflow} of {scanned.info.tasks} tasks have no workflow"
            if require_workflow:
                mend = "add the workflows, or plan without --require-workflow"
                raise LibraryError(count, where=scanned.info.path, mend=mend)
            tell(count if len(sources.libraries) == 1 else f"{scanned.info.name}: {count}")
    if sources.dropped:
        tell(f"{sources.dropped} ids are left out, as not every difficulty holds them")
    # Not at the top: these load pydantic, which read_library does while the file is being read.
    from prealloc.store.build import PlannedShard, build_plan
    from prealloc.store.plan_folder import write_plan

    chosen = choose_for_cells(spec, laid, sources.ids, sources.types, sources.there_are)
    positions = sorted({position for shard in chosen for position in shard})
    with _completing(generator, workflow_cache, timeout_s, tell, generating) as complete:
        tasks = {key: sources.tasks(key, positions, complete) for key in sources.libraries}
    for name in spec.keep:
        planned = [task for each in tasks.values() for task in each.values()]
        if lacking := sum(name not in task.extra_names() for task in planned):
            tell(f"{lacking} of {len(planned)} planned tasks have no field {name!r}")
    shards = [
        PlannedShard(
            shard.id,
            [tasks[shard.cell.get(DIFFICULTY)][position] for position in positions],
            shard.cell,
            settings_of(shard.cell, shard.lane, spec.settings),
            shard.lane.name if shard.lane is not None else None,
        )
        for shard, positions in zip(laid, chosen, strict=True)
    ]
    made = build_plan(spec, sources.infos, shards)
    if spec.stratify and (left := types_left_out(made.file)):
        tell(_left_out_note(left))
    if out is not None:
        write_plan(made, Path(out), force=force)
    return made


@contextmanager
def _completing(
    generator: Generator | None,
    cache: str | Path | None,
    timeout_s: float | None,
    notes: Callable[[str], None],
    progress: Callable[[int, int], None] | None,
) -> Iterator[Complete | None]:
    """What gives tasks the workflows that they lack, while the block runs; None without a generator."""
    if generator is None:
        yield None
        return
    from prealloc.generating.workflows import Workflows  # only who generates pays for the import

    folder = default_cache() if cache is None else Path(cache)
    tell = progress or (lambda done, total: None)
    with Workflows(generator, folder, timeout_s=timeout_s, notes=notes, progress=tell) as workflows:
        yield workflows.complete


def check_options(
    options: Mapping[str, Any],
    generate_workflows: str | None = None,
    workflow_cache: str | Path | None = None,
    generate_timeout_s: float | str | None = GENERATE_TIMEOUT_S,
) -> tuple[PlanSpec, Generator | None, float | None]:
    """The spec of a plan's options, its generator and the time for a task. Raises OptionsError with every mistake."""
    found: list[Mistake] = []
    generator, said = None, {}
    for name in sorted({"generator", "generator_version"} & options.keys()):
        found.append(Mistake(name, "a plan notes it by itself", "give generate_workflows"))
    if generate_workflows is not None:
        # Not at the top: few plans need it, and the library could be read meanwhile.
        from prealloc.generating.source import find_generator

        try:
            generator = find_generator(generate_workflows)
            said = {"generator": generator.name, "generator_version": generator.version}
        except OptionsError as error:
            found += error.mistakes
    else:
        given = {"--workflow-cache": workflow_cache is not None}
        given["--generate-timeout"] = generate_timeout_s != GENERATE_TIMEOUT_S
        mend = "add --generate-workflows, or leave it away"
        found += [Mistake(name, "nothing is generated", mend) for name, is_given in given.items() if is_given]
    timeout_s = read_seconds_or_none("--generate-timeout", generate_timeout_s, found, above=True)
    try:
        spec = PlanSpec.checked(**{**options, **said})
    except OptionsError as error:
        raise OptionsError([*error.mistakes, *found]) from None
    if found:
        raise OptionsError(found)
    return spec, generator, timeout_s


def verify(plan: str | Path, *, library: str | Path | None = None, difficulty: str | None = None) -> PlanFile:
    """Checks a plan folder byte by byte; with `library` also that every task is still in it, as planned.

    A workflow that was generated is none of the library's, and is left out of the comparison.
    Returns its plan.json. Raises PlanError with what differs, LibraryError if the library cannot be read.
    """
    from prealloc.model.task import LightweightTask
    from prealloc.store.plan_folder import Outline, check_strict, read_plan, refuse_strays, task_digest

    read = read_plan(Path(plan))
    refuse_strays(Path(plan), Outline(read.file, {shard.id: shard.manifest for shard in read.shards}))
    check_strict(Path(plan), read)
    if library is None:
        return read.file
    generated = read.spec.generator is not UNSET

    def as_planned(now: LightweightTask, planned: LightweightTask) -> LightweightTask:
        if not generated or now.workflow_json != b"null":
            return now
        return LightweightTask.trusted(now.id, now.type, planned.workflow_json, now.extra_json)

    gone, changed = [], []
    for key, path, name in library_paths(library, read.spec, difficulty):
        scanned = read_library(path, difficulty=name, keep=read.spec.keep)
        mine = (shard for shard in read.shards if key is None or shard.manifest.cell[DIFFICULTY] == key)
        planned = {task.id: task for shard in mine for task in shard.tasks}
        position = scanned.places(planned)
        gone += sorted(id for id in planned if id not in position)
        there = [id for id in planned if id in position]
        now = scanned.tasks([position[id] for id in there])  # at once: some formats read many tasks to give one
        changed += sorted(
            id
            for id, task in zip(there, now, strict=True)
            if task_digest(as_planned(task, planned[id])) != task_digest(planned[id])
        )
    if gone or changed:
        parts = [_listed(gone, "not in it any more"), _listed(changed, "not as planned")]
        raise PlanError(
            "; ".join(part for part in parts if part),
            where=str(library),
            mend="the plan still runs as it was made; to take over the library's changes, plan again",
        )
    return read.file


class PlanDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two plans."""

    same: bool
    inputs: dict[str, tuple[Any, Any]]
    """Spec fields and library fingerprints that differ: {name: (in the first, in the second)}."""
    added: list[str]
    removed: list[str]
    moved: dict[str, tuple[list[str], list[str]]]
    """Task ids in both, but in other shards: {id: (shards in the first, shards in the second)}."""
    changed: list[str]
    """Task ids in both, whose type, workflow or kept fields differ."""


def diff(first: str | Path, second: str | Path) -> PlanDiff:
    """What differs between two plan folders: ids in, out and moved, and which input changed. Raises PlanError."""
    from prealloc.store.plan_folder import read_plan

    one, two = read_plan(Path(first)), read_plan(Path(second))
    places, digests = zip(*(_places(each) for each in (one, two)), strict=True)
    both = sorted(places[0].keys() & places[1].keys())
    return PlanDiff(
        same=one.id == two.id,
        inputs=_different(_inputs(one), _inputs(two)),
        added=sorted(places[1].keys() - places[0].keys()),
        removed=sorted(places[0].keys() - places[1].keys()),
        moved={id: (places[0][id], places[1][id]) for id in both if places[0][id] != places[1][id]},
        changed=[id for id in both if digests[0][id] != digests[1][id]],
    )


def _places(plan: Plan) -> tuple[dict[str, list[str]], dict[str, bytes]]:
    from prealloc.store.plan_folder import task_digest

    places: dict[str, list[str]] = {}
    digests: dict[str, bytes] = {}
    for shard in plan.shards:
        for task in shard.tasks:
            # The same id at another difficulty is another task.
            key = f"{task.id} ({shard.manifest.cell[DIFFICULTY]})" if DIFFICULTY in plan.spec.factors else task.id
            places.setdefault(key, []).append(shard.id)
            digests[key] = task_digest(task)
    return places, digests


def _inputs(plan: Plan) -> dict[str, Any]:
    spec: dict[str, Any] = msgspec.to_builtins(plan.spec)
    return {**spec, "library sha256": [library.sha256 for library in plan.libraries]}


def _different(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*one, *two])  # a spec without a generator does not have these fields at all
    return {name: (one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)}


def _listed(ids: Sequence[str], what: str) -> str:
    shown = ", ".join(ids[:10]) + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
    return f"{len(ids)} planned tasks are {what}: {shown}" if ids else ""


def _left_out_note(left: Sequence[TypeLeftOut]) -> str:
    each = ", ".join(f"{kind.type} {kind.share:.1%}" for kind in left[:10])
    more = f" and {len(left) - 10} more" if len(left) > 10 else ""
    types = "1 type gets" if len(left) == 1 else f"{len(left)} types get"
    return (
        f"{types} no task; their shares of the library: {each}{more}, {sum(kind.share for kind in left):.1%} together"
    )
