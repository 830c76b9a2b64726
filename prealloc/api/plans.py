"""plan(), verify(), diff(): from a task library to a plan, and what can be asked of plans."""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from prealloc.api.planned_tasks import BareTasks, PlannedTasks, bare_tasks, look_for_kept, look_for_timeouts
from prealloc.api.sources import PLACE, LibraryInPython, library_paths, read_sources
from prealloc.errors import LibraryError, Mistake, OptionsError, PlanError, gathered, refuse
from prealloc.files.paths import PlanPaths, plan_of
from prealloc.files.paths import workflow_cache as default_cache
from prealloc.library import read_library
from prealloc.model.answers import PlanDiff
from prealloc.model.cell import DIFFICULTY, settings_of
from prealloc.model.fields import COMMON, Fields, IdFrom
from prealloc.model.keywords import FieldOptions, PlanOptions, RunOptions
from prealloc.model.listed import IdList, listed_ids
from prealloc.model.options import one_or_several, read_options, share_of
from prealloc.model.plan import Plan, PlanFile, Shard
from prealloc.model.plan_spec import GenerateOptions, PlanSpec
from prealloc.model.policy import read_run_options
from prealloc.model.where import refuse_where
from prealloc.model.words import listed
from prealloc.planning.cells import choose_for_cells, lay_out
from prealloc.planning.planner import TypeLeftOut, is_eligible, types_left_out

if TYPE_CHECKING:
    from prealloc.api.sources import Complete
    from prealloc.generating.source import Generator
    from prealloc.model.task import LightweightTask
    from prealloc.store.manifests import Outline

GENERATE_TIMEOUT_S = GenerateOptions().generate_timeout_s


def plan(
    library: LibraryInPython,
    *,
    out: str | Path | None = None,
    force: bool = False,
    difficulty: str | None = None,
    id_field: str | None = None,
    type_field: str | None = None,
    workflow_field: str | None = None,
    tasks_field: str | None = None,
    id_from: IdFrom | None = None,
    ids: IdList | None = None,
    exclude_ids: IdList | None = None,
    require_workflow: bool = False,
    notes: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    generate_workflows: str | None = None,
    workflow_cache: str | Path | None = None,
    generate_timeout_s: float | str | None = GENERATE_TIMEOUT_S,
    generating: Callable[[int, int], None] | None = None,
    stream: bool = False,
    bare: Callable[[BareTasks], None] | None = None,
    run_options: RunOptions | None = None,
    mistakes: Sequence[Mistake] = (),
    **options: Unpack[PlanOptions],
) -> Plan:
    """Reads a task library once and gives every shard its tasks.

    `options` are the fields of PlanSpec: shards=25, num_instances=20, stratify=True, types=["api"], ... With `out` the
    plan folder is written too, whole or not at all; `force` replaces one that is there. `difficulty` picks the file
    when `library` is a folder, or fills its place in a path with `{difficulty}`; as a factor it does so for each of
    its values. `library` may also be a pattern of files (`parts/*.jsonl`); `-`, standard input; or tasks in Python: an
    iterable of dicts, a `datasets.Dataset`, a pandas or polars frame. `id_field`, `type_field` and `workflow_field`
    name the fields where they are, `a.b` is b in the object a; without them common names are tried. `tasks_field` names
    the list in a document that the tasks are in. `id_from` makes ids for tasks without one: "content", a digest of
    each, or "position", its place. Only the tasks in `ids` are planned, and those in `exclude_ids` are not: ids, or the
    path of a file with one a line or a JSON list. A JSON library is read in one pass that holds no more of it than can
    be chosen; with `stream` even if it has an index. `notes` gets sentences that a user should see, `progress` the
    bytes read and to read. `keep` names further fields of the tasks to ship, `all` every one; where tasks go out with
    nothing but an id and a type, `bare` gets what they lack, or `notes` as a sentence.

    `generate_workflows` names a function, `module:function`, that makes the workflows which selected tasks lack:
    called with the full task, a dict, in a process of its own that is gone when this returns. What it makes is kept in
    the folder `workflow_cache` (by default below the user's cache folder) and not made again. `generate_timeout_s` is
    for one task (None: no limit); `generating` gets the tasks generated and to generate.

    `run_options` are fields of RunPolicy that runs of this plan have unless they say otherwise, such as
    {"timeout_s": 60}; they are not part of the plan's id. `mistakes` are the caller's own, to be raised with those
    found in the options.

    The result holds everything in memory: `plan.shards[i].tasks` are picklable LightweightTasks.
    Raises OptionsError, LibraryError, GeneratorError, PlanError; then nothing was written but the cache.
    """
    named: FieldOptions = {
        "id_field": id_field,
        "type_field": type_field,
        "workflow_field": workflow_field,
        "tasks_field": tasks_field,
        "id_from": id_from,
    }
    (spec, generator, timeout_s), fields, ids_listed = _all_of(
        lambda: check_options(options, generate_workflows, workflow_cache, generate_timeout_s, mistakes=mistakes),
        lambda: Fields.checked(**named),
        lambda: listed_ids(ids, exclude_ids),
        beside=lambda: _not_there(library),
    )
    share = share_of(options.get("num_instances"))
    for_runs = read_run_options(run_options or {})
    refuse_where(for_runs.get("where", ()), spec.factor_values)
    if out is not None:
        from prealloc.store.plan_folder import refuse_taken_plan

        refuse_taken_plan(Path(out), force=force)
    tell = notes or (lambda text: None)
    # Until the library is read, a text with commas may be the name of one type or of several.
    asked, spec = spec.types, replace(spec, types=tuple(sorted({*spec.types, *one_or_several(spec.types, ())})))
    laid = lay_out(spec)
    sizes = sorted({shard.of for shard in laid})
    sources = read_sources(
        library,
        spec,
        sizes if share is None else None,  # how many may be chosen is known when all are counted
        difficulty=difficulty,
        fields=fields,
        notes=tell,
        progress=progress,
        stream=stream,
        listed=ids_listed,
    )
    there = sources.types_there()
    spec = replace(spec, types=one_or_several(asked, there))
    if share is not None:
        tasks_there = sum(number for name, number in there.items() if is_eligible(spec, name))
        spec = replace(spec, num_instances=max(1, math.floor(tasks_there * share + 0.5)))
    for scanned in sources.libraries.values():
        if scanned.counts.without_workflow and generator is None:
            lacking, of = scanned.counts.without_workflow, scanned.info.tasks
            count = "no task has a workflow" if lacking == of else f"{lacking} of {of} tasks have no workflow"
            if require_workflow:
                hint = "add the workflows, or plan without ‹require_workflow›"
                raise LibraryError(count, where=scanned.info.path, hint=hint)
            tell(count if len(sources.libraries) == 1 else f"{scanned.info.name}: {count}")
    if sources.dropped:
        tell(f"{sources.dropped} ids are left out: some difficulties do not have them")
    # Not at the top: these load pydantic, which read_library does while the file is being read.
    from prealloc.store.build import PlannedShard, build_plan
    from prealloc.store.plan_folder import write_plan

    chosen = choose_for_cells(spec, laid, sources.ids, sources.types, sources.available)
    positions = sorted({position for shard in chosen for position in shard})
    with _completing(generator, workflow_cache, timeout_s, tell, generating) as complete:
        tasks = {key: sources.tasks(key, positions, complete) for key in sources.libraries}
    planned = PlannedTasks(spec, sources, tasks)
    look_for_kept(planned, tell)
    look_for_timeouts(planned, tell)
    shards = [
        PlannedShard(
            shard.id,
            [tasks[shard.cell.get(DIFFICULTY)][position] for position in positions],
            shard.cell,
            settings_of(shard.cell, None, spec.settings),
            shard.lanes,
        )
        for shard, positions in zip(laid, chosen, strict=True)
    ]
    made = build_plan(spec, sources.infos, shards, for_runs)
    if spec.stratify and (left := types_left_out(made.file)):
        tell(_left_out_note(left))
    found = bare_tasks(planned)
    if out is not None:
        write_plan(made, Path(out), force=force)
    if found is not None:  # last, so that it is what is read last
        bare(found) if bare is not None else tell(str(found))
    return made


def _all_of(*checks: Callable[[], Any], beside: Callable[[], list[Mistake]]) -> list[Any]:
    """What each of these gives. Raises OptionsError with the mistakes of all, and with those that are told beside."""
    found: list[Mistake] = []
    given = [gathered(found, check) for check in checks]
    refuse(found and found + beside())
    return given


def _not_there(library: LibraryInPython) -> list[Mistake]:
    """What reading it would say: it stands beside the mistakes in options."""
    if not isinstance(library, str | Path) or PLACE in str(library) or "://" in str(library):
        return []
    if str(library) == "-" or os.path.exists(library) or any(glob.iglob(str(library), recursive=True)):
        return []
    return [Mistake("LIBRARY", f"{library} does not exist", "name a file, a folder or a pattern of files")]


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
    from prealloc.generating.session import GeneratorSession  # loaded only for generating
    from prealloc.generating.workflows import Workflows

    folder = default_cache() if cache is None else Path(cache)
    tell = progress or (lambda done, total: None)
    with GeneratorSession(generator, timeout_s=timeout_s) as session:
        yield Workflows(session, folder, notes=notes, progress=tell).complete


def check_options(
    options: Mapping[str, Any],
    generate_workflows: str | None = None,
    workflow_cache: str | Path | None = None,
    generate_timeout_s: float | str | None = GENERATE_TIMEOUT_S,
    *,
    mistakes: Sequence[Mistake] = (),
) -> tuple[PlanSpec, Generator | None, float | None]:
    """The spec of a plan's options, its generator and the time for a task. Raises OptionsError with every mistake."""
    found: list[Mistake] = []
    generator, said = None, dict[str, Any]()
    for name in sorted({"generator", "generator_version"} & options.keys()):
        found.append(Mistake(name, "a plan records it by itself", "give generate_workflows"))
    if generate_workflows is not None:
        # Not at the top: few plans need it, and the library could be read meanwhile.
        from prealloc.generating.source import find_generator

        generator = gathered(found, lambda: find_generator(generate_workflows))
        said = {"generator": generator.name, "generator_version": generator.version} if generator is not None else {}
    else:
        given = {"‹workflow_cache›": workflow_cache is not None}
        given["‹generate_timeout_s›"] = generate_timeout_s != GENERATE_TIMEOUT_S
        hint = "add ‹generate_workflows›, or omit it"
        found += [Mistake(name, "nothing is generated", hint) for name, is_given in given.items() if is_given]
    timeout_s = read_options(GenerateOptions, {"generate_timeout_s": generate_timeout_s}, found)["generate_timeout_s"]
    before = [*mistakes]
    spec = gathered(before, lambda: PlanSpec.checked(**{**options, **said}))
    if spec is None or before or found:
        raise OptionsError([*before, *found])
    return spec, generator, timeout_s


def load_plan(plan: str | Path) -> Plan:
    """The plan of a plan folder, or of a run, with its tasks. Raises PlanError if a byte of it is not as planned."""
    from prealloc.store.plan_folder import read_plan

    return read_plan(plan_of(Path(plan)))


def outline_of_plan(plan: str | Path, most: int) -> Plan | Outline:
    """The plan of a plan folder, or of a run; of many shards only the first `most` manifests. Raises PlanError."""
    from prealloc.store.manifests import Outline, read_plan_file, read_planned_manifest

    folder = plan_of(Path(plan))
    file = read_plan_file(folder)
    if len(file.shards) <= most + 1:
        return load_plan(folder)
    paths = PlanPaths(folder)
    return Outline(file, {entry.id: read_planned_manifest(paths, file, entry) for entry in file.shards[:most]})


def read_shard(plan: str | Path, shard: str) -> Shard:
    """One shard of a plan folder, or of a run, with its tasks. Raises PlanError."""
    from prealloc.store.manifests import find_entry, read_plan_file, read_planned_manifest
    from prealloc.store.slices import Slice

    folder = plan_of(Path(plan))
    paths, file = PlanPaths(folder), read_plan_file(folder)
    manifest = read_planned_manifest(paths, file, find_entry(file, shard, where=str(plan)))
    return Shard(manifest=manifest, tasks=Slice(paths, manifest.slice).tasks())


def verify(
    plan: str | Path,
    *,
    library: LibraryInPython | None = None,
    difficulty: str | None = None,
    **named: Unpack[FieldOptions],
) -> PlanFile:
    """Checks a plan folder, or that of a run, byte by byte; with `library` also that every task is still in it.

    Generated workflows are not in the library, and are left out of the comparison. Fields of the library are
    named as for `plan`; without, as the plan has noted.
    Returns its plan.json. Raises PlanError with what differs, LibraryError if the library cannot be read.
    """
    from prealloc.model.task import LightweightTask
    from prealloc.store.manifests import Outline
    from prealloc.store.plan_folder import check_strict, read_plan, refuse_strays
    from prealloc.store.slices import task_digest

    folder = plan_of(Path(plan))
    read = read_plan(folder)
    refuse_strays(folder, Outline(read.file, {shard.id: shard.manifest for shard in read.shards}))
    check_strict(folder, read)
    if library is None:
        return read.file
    generated = read.spec.generator is not UNSET
    asked = Fields.checked(**named)

    def as_planned(now: LightweightTask, planned: LightweightTask) -> LightweightTask:
        if not generated or now.workflow_json != b"null":
            return now
        return LightweightTask.trusted(now.id, now.type, planned.workflow_json, now.extra_json)

    gone, changed = [], []
    noted = {info.difficulty: info.fields or COMMON for info in read.libraries}
    for key, path, name in library_paths(library, read.spec, difficulty):
        fields = noted.get(name, COMMON) if asked == COMMON else asked
        scanned = read_library(path, difficulty=name, keep=read.spec.shipped, fields=fields)
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
        parts = {"no longer in it": gone, "not as planned": changed}
        raise PlanError(
            "; ".join(f"{len(ids)} planned tasks are {what}: {listed(ids)}" for what, ids in parts.items() if ids),
            where=str(library),
            hint="the plan still runs as it was made; plan again to use the changed library",
        )
    return read.file


def diff(first: str | Path, second: str | Path) -> PlanDiff:
    """What differs between two plans (folders, or those of runs): ids and inputs. Raises PlanError."""
    one, two = load_plan(first), load_plan(second)
    places, digests = zip(*(_places(each) for each in (one, two)), strict=True)
    both = sorted(places[0].keys() & places[1].keys())
    return PlanDiff(
        first=str(first),
        second=str(second),
        same=one.id == two.id,
        inputs=_different(_inputs(one), _inputs(two)),
        added=sorted(places[1].keys() - places[0].keys()),
        removed=sorted(places[0].keys() - places[1].keys()),
        moved={id: (places[0][id], places[1][id]) for id in both if places[0][id] != places[1][id]},
        changed=[id for id in both if digests[0][id] != digests[1][id]],
    )


def _places(plan: Plan) -> tuple[dict[str, list[str]], dict[str, bytes]]:
    from prealloc.store.slices import task_digest

    places: dict[str, list[str]] = {}
    digests: dict[str, bytes] = {}
    by_difficulty = DIFFICULTY in plan.spec.factor_values
    for shard in plan.shards:
        for task in shard.tasks:
            # The same id at another difficulty is another task.
            key = f"{task.id} ({shard.manifest.cell[DIFFICULTY]})" if by_difficulty else task.id
            places.setdefault(key, []).append(shard.id)
            digests[key] = task_digest(task)
    return places, digests


def _inputs(plan: Plan) -> dict[str, Any]:
    spec: dict[str, Any] = msgspec.to_builtins(plan.spec)
    for_runs = {f"run {name}": each for name, each in (plan.file.run_options or {}).items()}
    return {**spec, **for_runs, "library sha256": [library.sha256 for library in plan.libraries]}


def _different(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*one, *two])  # a spec without a generator does not have these fields at all
    return {name: (one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)}


def _left_out_note(left: Sequence[TypeLeftOut]) -> str:
    each = listed(f"{kind.type} {kind.share:.1%}" for kind in left)
    types = "1 type gets" if len(left) == 1 else f"{len(left)} types get"
    return f"{types} no task; their shares of the library: {each}, {sum(kind.share for kind in left):.1%} together"
