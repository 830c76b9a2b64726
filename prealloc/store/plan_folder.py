"""A plan on disk: written whole or not at all, read back with every digest checked."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UnsetType

from prealloc.errors import InputError, OptionsError, PlanError
from prealloc.files.atomic import is_taken, link_or_copy, new_folder, refuse_strangers, writing
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import SHARD_ID, PlanPaths, RunPaths, readable_name
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.model.cell import settings_of
from prealloc.model.json_value import brief
from prealloc.model.plan import Manifest, Plan, PlanFile, Shard, ShardEntry, SliceRef
from prealloc.model.plan_spec import MAX_REPEATS, MAX_SEED, MAX_UNITS, RANKINGS, PlanSpec
from prealloc.model.policy import read_run_options
from prealloc.model.spelling import IN_EVERY_SLICE
from prealloc.model.task import LightweightTask
from prealloc.store.build import plan_id
from prealloc.store.documents import parse, read_bytes, to_json

_PLAN_AGAIN = "make it anew with `prealloc plan`, or copy it again from where it was made"
MOST_SLICE_BYTES = 64 * 2**30
"""The same that a library may unpack to."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SLICE = re.compile(r"slices/[0-9a-f]{64}\.json")


def write_plan(plan: Plan, out: str | Path, *, force: bool = False) -> None:
    """Writes the plan folder, whole or not at all.

    Raises PlanError if `out` is taken (unless `force`, and it is a plan and nothing else), lies in another plan or in
    a run, or cannot be made; CannotGoOn if the disk is full.
    """
    out = Path(out)
    refuse_taken_plan(out, force=force)
    with writing(out, PlanError), new_folder(out, replace=_refuse_no_plan if force else None) as folder:
        fill_plan_folder(plan, folder)


def refuse_taken_plan(out: Path, *, force: bool = False) -> None:
    """Raises PlanError if a plan cannot go to `out`."""
    with writing(out, PlanError):
        refuse_inside(out, PlanError)
        if is_taken(out) and not force:
            raise PlanError("it exists", where=str(out), hint="choose another ‹out›, or replace it with ‹force›")
        if is_taken(out):
            _refuse_no_plan(out)


def refuse_inside(out: Path, refuse: type[InputError]) -> None:
    """Raises `refuse` if a folder above `out` is a plan or a run: what is replaced or moved there takes it along."""
    for above in Path(os.path.realpath(out)).parents:
        plan, run = PlanPaths(above), RunPaths(above)
        is_plan = plan.plan_file.is_file() and plan.slices.is_dir()
        if is_plan or (run.run_file.is_file() and run.journal.is_dir()):
            problem = f"it would lie in the {'plan' if is_plan else 'run'} {readable_name(str(above))}"
            raise refuse(problem, where=str(out), hint="name a folder beside that one")


class _Listed(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    """Enough of `plan.json` to know a plan's files by; nothing else need be right in what is to be replaced."""

    format: Literal["prealloc.plan"]
    shards: list[_Listed]


def _refuse_no_plan(folder: Path) -> None:
    """Raises PlanError unless a folder is a plan and nothing else, so that replacing it loses nothing of the user's."""
    file = PlanPaths(folder).plan_file
    if not os.path.isfile(file):
        raise PlanError("it holds no plan, so ‹force› leaves it alone", where=str(folder), hint="choose another ‹out›")
    hint = "look what is in this folder and remove it yourself, or choose another ‹out›"
    raw = read_bytes(file, PlanError, inside=folder, hint=hint)
    try:
        listing = msgspec.json.decode(raw, type=_Listing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = f"it does not tell which files are the plan's, so ‹force› leaves them alone: {brief(error)}"
        raise PlanError(problem, where=str(file), hint=hint) from None
    own = {"plan.json", "shards/", "slices/", *(PlanPaths.manifest_name(shard.id) for shard in listing.shards)}
    refuse_strangers(folder, lambda name: name in own or _SLICE.fullmatch(name) is not None, PlanError, "plan")


def fill_plan_folder(plan: Plan, folder: Path) -> None:
    """Writes a plan's files into a folder that is there and empty."""
    paths = PlanPaths(folder)
    (folder / "shards").mkdir()
    paths.slices.mkdir()
    for sha256, content in plan.slices.items():
        fault_point(Point.PLAN_SLICE)
        paths.slice(sha256).write_bytes(content)
    for shard in plan.shards:
        fault_point(Point.PLAN_MANIFEST)
        paths.manifest(shard.id).write_bytes(to_json(shard.manifest))
    fault_point(Point.PLAN_FILE)
    paths.plan_file.write_bytes(to_json(plan.file))


def read_plan_file(folder: Path) -> PlanFile:
    """`plan.json` of a plan folder, checked as far as it can be without the files that it lists. Raises PlanError."""
    path = PlanPaths(folder).plan_file
    if os.path.isfile(folder):
        raise PlanError("it is a file", where=str(folder), hint="name the plan's folder")
    raw = read_bytes(path, PlanError, inside=folder, hint="name a folder that `prealloc plan --out` wrote")
    plan = parse(raw, PlanFile, PlanError, where=str(path), hint=_PLAN_AGAIN)
    _check_values(plan, where=str(path))
    seen: set[str] = set()
    for entry in plan.shards:
        check_shard_id(entry.id, where=str(path))
        if entry.file != PlanPaths.manifest_name(entry.id) or entry.id in seen:
            raise PlanError(f"shard {entry.id!r} is listed wrongly", where=str(path), hint=_PLAN_AGAIN)
        seen.add(entry.id)
    for library in plan.libraries:
        if sum(library.types.values()) != library.tasks:
            problem = f"library {library.name[:80]!r} does not have as many tasks as its types"
            raise PlanError(problem, where=str(path), hint=_PLAN_AGAIN)
    return plan


def _check_values(plan: PlanFile, *, where: str) -> None:
    """Raises PlanError for values that no plan has: they bind us, and are believed before any digest is."""
    found = []
    try:
        if PlanSpec.checked(**msgspec.structs.asdict(plan.spec)) != plan.spec:
            found.append("its spec is not written as prealloc writes it")
    except OptionsError as error:
        found += [f"its spec has {mistake.where}: {mistake.problem}" for mistake in error.mistakes]
    if plan.ranking not in RANKINGS.values():
        found.append(f"its ranking is {plan.ranking[:80]!r}; this prealloc knows {', '.join(RANKINGS.values())}")
    elif not found and plan.ranking != plan.spec.ranking_name:
        found.append("its ranking is not that of its spec")
    if plan.seed != plan.spec.seed:
        found.append("its seed is not that of its spec")
    if not found and len(plan.shards) != plan.spec.shards_of_all():
        found.append(f"it lists {len(plan.shards)} shards, its spec has {plan.spec.shards_of_all()}")
    found += _run_options(plan.run_options)
    if any(not 0 <= entry.units <= MAX_UNITS or min(entry.types.values(), default=0) < 0 for entry in plan.shards):
        found.append("a shard's units or types are no counts")
    elif sum(entry.units for entry in plan.shards) > MAX_UNITS:
        found.append(f"it has more than {MAX_UNITS:,} units")
    for library in plan.libraries:
        counts = (library.bytes, library.tasks, *library.types.values())
        if min(counts) < 0 or not _SHA256.fullmatch(library.sha256) or "\0" in library.path:
            found.append(f"what it says of its library {library.name[:80]!r} cannot be")
    if found:
        raise PlanError("; ".join(found), where=where, hint=_PLAN_AGAIN)


def _run_options(options: dict[str, Any] | UnsetType) -> list[str]:
    """What is wrong with them."""
    if isinstance(options, UnsetType):
        return []
    try:
        as_read = read_run_options(options)
    except OptionsError as error:
        return [f"its run_options have {mistake.where}: {mistake.problem}" for mistake in error.mistakes]
    return [] if as_read == options else ["its run_options are not written as prealloc writes them"]


def check_shard_id(shard: str, *, where: str) -> None:
    """Raises PlanError unless the id is one that prealloc makes: it becomes part of file names."""
    if not SHARD_ID.fullmatch(shard) or shard.strip(".") == "":
        raise PlanError(f"{shard[:80]!r} is no shard id", where=where, hint=_PLAN_AGAIN)


def read_manifest(path: Path) -> tuple[Manifest, bytes]:
    """A manifest and the bytes it was read from. The slice it names lies in the same plan folder."""
    hint = "name a file PLAN/shards/SHARD.json of a plan folder"
    raw = read_bytes(path, PlanError, inside=PlanPaths.of_manifest(path).root, hint=hint)
    manifest = parse(raw, Manifest, PlanError, where=str(path), hint=_PLAN_AGAIN)
    check_shard_id(manifest.id, where=str(path))
    ref = manifest.slice
    if not _SHA256.fullmatch(ref.sha256) or ref.file != PlanPaths.slice_name(ref.sha256):
        # The only name a slice can have; so no manifest can point outside its folder.
        raise PlanError(f"{ref.file[:80]!r} is no slice's name", where=str(path), hint=_PLAN_AGAIN)
    for name, value, least, most in (
        ("repeats", manifest.repeats, 1, MAX_REPEATS),
        ("seed", manifest.seed, 0, MAX_SEED),
        ("slice.tasks", ref.tasks, 0, MAX_UNITS),
        ("slice.tasks x repeats", ref.tasks * manifest.repeats, 0, MAX_UNITS),
        ("slice.bytes", ref.bytes, 0, MOST_SLICE_BYTES),
    ):
        if not least <= value <= most:
            raise PlanError(f"{name} is {value}, not {least} to {most}", where=str(path), hint=_PLAN_AGAIN)
    return manifest, raw


def load_shard(path: str | Path, *, require: Iterable[str] = ()) -> Shard:
    """The shard of one manifest file, `plan/shards/<shard>.json`, with its tasks: all a runner needs.

    The slice's size and sha256 are checked. `require` names the task fields that the caller reads (further ones
    are in `task.extra`): if the plan was made without them, that is refused here, with the hint,
    rather than noticed in the middle of a run. Raises PlanError.
    """
    path = Path(path)
    manifest, _ = read_manifest(path)
    tasks = read_slice(PlanPaths.of_manifest(path), manifest)
    further = set(require) - IN_EVERY_SLICE - {"type"}  # which every task has as an attribute
    absent = sorted({name for name in further if any(name not in task.extra for task in tasks)})
    if absent:
        raise PlanError(
            f"its tasks lack {', '.join(absent)}",
            where=str(path),
            hint=f"plan again with ‹keep› {','.join(absent)} (and see that every task has them)",
        )
    return Shard(manifest=manifest, tasks=tasks)


def read_slice(paths: PlanPaths, manifest: Manifest) -> tuple[LightweightTask, ...]:
    """The tasks of a manifest's slice. Raises PlanError if a byte of it is not as planned."""
    ref = manifest.slice
    with _telling(paths, ref):
        tasks = tuple(parse_slice(read_slice_bytes(paths, ref)))
    _check_ids([task.id for task in tasks], paths, ref)
    return tasks


def read_slice_bytes(paths: PlanPaths, ref: SliceRef) -> bytes:
    """The bytes of a slice. Raises PlanError if one of them is not as planned."""
    raw = _slice_bytes(paths, ref)
    if not _as_planned(raw, ref):
        differences = _told({"bytes": (len(raw), ref.bytes), "sha256": (hashlib.sha256(raw).hexdigest(), ref.sha256)})
        problem = f"its content is not what was planned: {differences}"
        raise PlanError(problem, where=str(paths.slice(ref.sha256)), hint=_PLAN_AGAIN)
    return raw


class SliceNames(NamedTuple):
    """What it takes to read a journal: who a slice's tasks are, not what is in them."""

    ids: list[str]
    types: list[str]
    as_planned: bool
    """Every byte of the slice is as it was planned; if not, its tasks must not be run."""


def read_slice_names(paths: PlanPaths, manifest: Manifest) -> SliceNames:
    """The ids and types of a slice's tasks, of a damaged one too if they can still be read. Raises PlanError."""
    ref = manifest.slice
    raw = _slice_bytes(paths, ref)
    with _telling(paths, ref):
        tasks = msgspec.json.decode(raw, type=_NamesFile).tasks
    ids = [task.id for task in tasks]
    _check_ids(ids, paths, ref)
    types = [sys.intern(task.task_type) for task in tasks]  # few, and each many times
    return SliceNames(ids, types, _as_planned(raw, ref))


def _slice_bytes(paths: PlanPaths, ref: SliceRef) -> bytes:
    path = paths.slice(ref.sha256)
    # No more is read than was planned: the manifest's digest has been checked, so its size can be believed.
    return read_bytes(path, PlanError, inside=paths.root, hint=_PLAN_AGAIN, most=ref.bytes)


def _as_planned(raw: bytes, ref: SliceRef) -> bool:
    return len(raw) == ref.bytes and hashlib.sha256(raw).hexdigest() == ref.sha256


@contextmanager
def _telling(paths: PlanPaths, ref: SliceRef) -> Iterator[None]:
    """Raises PlanError, which names the slice, for bytes that are none."""
    try:
        yield
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        where = str(paths.slice(ref.sha256))
        raise PlanError(f"it is no slice: {brief(error)}", where=where, hint=_PLAN_AGAIN) from None


def _check_ids(ids: Sequence[str], paths: PlanPaths, ref: SliceRef) -> None:
    if len(ids) != ref.tasks or len(set(ids)) != len(ids):
        problem = f"it holds {len(ids)} tasks, {ref.tasks} different ones were planned"
        raise PlanError(problem, where=str(paths.slice(ref.sha256)), hint=_PLAN_AGAIN)


class _SliceFile(msgspec.Struct):
    tasks: list[dict[str, msgspec.Raw]]


class _Names(msgspec.Struct):
    id: str
    task_type: str


class _NamesFile(msgspec.Struct):
    tasks: list[_Names]


class _PlainTask(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A task without kept fields: nearly all are."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    task_type: Annotated[str, msgspec.Meta(min_length=1)]
    workflow: msgspec.Raw


class _PlainFile(msgspec.Struct):
    tasks: list[_PlainTask]


_plain_file = msgspec.json.Decoder(_PlainFile)


def parse_slice(raw: bytes) -> Iterator[LightweightTask]:
    """The tasks in a slice's bytes. Workflows stay bytes. Raises ValueError (msgspec's too)."""
    plain = _plain_tasks(raw)
    if plain is None:
        return _parse_kept(raw)
    return (LightweightTask.trusted(task.id, task.task_type, bytes(task.workflow), b"{}") for task in plain)


def _plain_tasks(raw: bytes) -> list[_PlainTask] | None:
    """None: there are kept fields, or there is a mistake, which the slow way tells."""
    try:
        return _plain_file.decode(raw).tasks
    except msgspec.ValidationError:
        return None


def _parse_kept(raw: bytes) -> Iterator[LightweightTask]:
    text = msgspec.json.Decoder(str).decode
    for fields in msgspec.json.decode(raw, type=_SliceFile).tasks:
        try:
            id, type, workflow = text(fields.pop("id")), text(fields.pop("task_type")), bytes(fields.pop("workflow"))
        except KeyError as missing:
            raise ValueError(f"a task has no {missing}") from None
        if not (id and type):
            raise ValueError("a task has an empty id or type")
        extra = msgspec.json.encode(dict(sorted(fields.items()))) if fields else b"{}"
        yield LightweightTask.trusted(id, type, workflow, extra)


class Outline(NamedTuple):
    """A plan without its tasks: `plan.json` and the manifests by shard, in the plan's order."""

    file: PlanFile
    manifests: dict[str, Manifest]


def read_outline(folder: Path) -> Outline:
    """The outline of a plan folder, every digest of it checked. The slices are not looked at. Raises PlanError."""
    file = read_plan_file(folder)
    return Outline(file, read_manifests(folder, file))


def read_manifests(folder: Path, file: PlanFile) -> dict[str, Manifest]:
    """The manifests that a plan's file lists, by shard. Raises PlanError if one is not as planned."""
    paths = PlanPaths(folder)
    manifests = {entry.id: read_planned_manifest(paths, file, entry) for entry in file.shards}
    check_plan_id(file, list(manifests.values()), where=str(paths.plan_file))
    return manifests


def check_slices(folder: Path, outline: Outline) -> None:
    """Raises PlanError unless every slice is as planned and holds what plan.json says. Workflows are not decoded."""
    paths = PlanPaths(folder)
    types: dict[str, Counter[str]] = {}  # by slice: paired shards share them
    for entry, manifest in zip(outline.file.shards, outline.manifests.values(), strict=True):
        sha256 = manifest.slice.sha256
        if sha256 not in types:
            types[sha256] = _slice_types(paths, manifest)
        _check_types(entry, types[sha256], where=str(paths.plan_file))


def _slice_types(paths: PlanPaths, manifest: Manifest) -> Counter[str]:
    """Checks a slice as read_slice does, and makes no tasks of it if that can be: every run does this first."""
    raw = read_slice_bytes(paths, manifest.slice)
    with _telling(paths, manifest.slice):
        plain = _plain_tasks(raw)
        if plain is None:
            names = [(task.id, task.type) for task in _parse_kept(raw)]
        else:
            names = [(task.id, task.task_type) for task in plain]
    _check_ids([id for id, _ in names], paths, manifest.slice)
    return Counter(type for _, type in names)


def _check_types(entry: ShardEntry, types: Counter[str], *, where: str) -> None:
    if entry.types != types:
        raise PlanError(f"the types of shard {entry.id} are not those of its tasks", where=where, hint=_PLAN_AGAIN)


def read_plan(folder: Path) -> Plan:
    """A whole plan in memory, every digest checked. Raises PlanError."""
    file, by_shard = read_outline(folder)
    paths = PlanPaths(folder)
    manifests = list(by_shard.values())
    shards = tuple(Shard(manifest=manifest, tasks=read_slice(paths, manifest)) for manifest in manifests)
    for entry, shard in zip(file.shards, shards, strict=True):
        _check_types(entry, Counter(task.type for task in shard.tasks), where=str(paths.plan_file))
    slices = {manifest.slice.sha256: read_slice_bytes(paths, manifest.slice) for manifest in manifests}
    return Plan(file=file, shards=shards, slices=slices)


def check_strict(folder: Path, plan: Plan) -> None:
    """Raises PlanError unless every slice is strict JSON to the bottom of its workflows.

    read_plan leaves this out: the digests show that the bytes are those that were planned, and a planner of ours
    writes nothing else.
    """
    for sha256, raw in plan.slices.items():
        try:
            compact(raw)
        except StrictJsonError as error:
            where = str(PlanPaths(folder).slice(sha256))
            raise PlanError(f"it is no strict JSON: {error}", where=where, hint=_PLAN_AGAIN) from None


def copy_plan(source: Path, target: Path) -> None:
    """Copies a plan's files, and nothing else that may lie beside them, into the new folder `target`.

    Hard links where possible, since plans are never changed in place. The plan has been read and found whole.
    """
    file = read_plan_file(source)
    (target / "shards").mkdir(parents=True)
    (target / "slices").mkdir()
    from_, to = PlanPaths(source), PlanPaths(target)
    slices = {read_planned_manifest(from_, file, entry).slice.sha256 for entry in file.shards}
    link_or_copy(from_.plan_file, to.plan_file)
    for entry in file.shards:
        link_or_copy(from_.manifest(entry.id), to.manifest(entry.id))
    for sha256 in slices:
        link_or_copy(from_.slice(sha256), to.slice(sha256))


def refuse_strays(folder: Path, outline: Outline) -> None:
    """Raises PlanError if there are files among a plan's own that it does not foresee."""
    paths = PlanPaths(folder)
    foreseen = {paths.manifest(shard) for shard in outline.manifests}
    foreseen |= {paths.slice(manifest.slice.sha256) for manifest in outline.manifests.values()}
    there = (file for name in ("shards", "slices") for file in (folder / name).iterdir())
    if strays := sorted(str(file) for file in there if file not in foreseen):
        shown = ", ".join(strays[:10]) + (f" and {len(strays) - 10} more" if len(strays) > 10 else "")
        raise PlanError(f"it holds what was not planned: {shown}", where=str(folder), hint="move it out of the plan")


def find_entry(file: PlanFile, shard: str, *, where: str) -> ShardEntry:
    """The line of one shard in plan.json. Raises PlanError if there is no such shard."""
    for entry in file.shards:
        if entry.id == shard:
            return entry
    hint = f"use one of {file.shards[0].id} to {file.shards[-1].id}" if file.shards else _PLAN_AGAIN
    raise PlanError(f"it has no shard {shard[:80]!r}", where=where, hint=hint)


def read_planned_manifest(paths: PlanPaths, file: PlanFile, entry: ShardEntry) -> Manifest:
    """The manifest that plan.json lists: its digest and its plan's id must be those that were planned."""
    path = paths.manifest(entry.id)
    manifest, raw = read_manifest(path)
    digest = hashlib.sha256(raw).hexdigest()
    if digest != entry.sha256 or manifest.plan != file.id or manifest.id != entry.id:
        spec = file.spec
        differences = _told(
            {
                "plan": (manifest.plan, file.id),
                "id": (manifest.id, entry.id),
                "strategy": (manifest.strategy, spec.strategy),
                "repeats": (manifest.repeats, spec.repeats),
                "seed": (manifest.seed, spec.seed),
                "settings": (manifest.settings, spec.settings),
                "units": (manifest.slice.tasks * manifest.repeats, entry.units),
                "sha256": (digest, entry.sha256),
            }
        )
        problem = f"it is not the manifest that was planned: {differences}"
        raise PlanError(problem, where=str(path), hint=_PLAN_AGAIN)
    if manifest.lane is not None and all(lane.name != manifest.lane for lane in file.spec.lanes):
        raise PlanError(
            f"it names lane {manifest.lane!r}, which the plan does not have", where=str(path), hint=_PLAN_AGAIN
        )
    if manifest.slice.tasks * manifest.repeats != entry.units:
        raise PlanError("its units are not those of plan.json", where=str(path), hint=_PLAN_AGAIN)
    spec = file.spec
    said = [manifest.strategy, manifest.repeats, manifest.seed]
    # The settings as JSON text: 1, 1.0 and true are three of them. A cell's factors and a lane add theirs.
    lane = next((lane for lane in spec.lanes if lane.name == manifest.lane), None)
    same = _text(manifest.settings) == _text(settings_of(manifest.cell, lane, spec.settings))
    if said != [spec.strategy, spec.repeats, spec.seed] or not same:
        raise PlanError("it is not the manifest of its plan's spec", where=str(path), hint=_PLAN_AGAIN)
    return manifest


def _text(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def check_plan_id(file: PlanFile, manifests: Sequence[Manifest], *, where: str) -> None:
    """Raises PlanError unless the plan's id is the digest of its spec and its slices."""
    found = plan_id(file.spec, [manifest.slice.sha256 for manifest in manifests])
    if found != file.id:
        problem = f"its id is not that of its spec and slices: {_told({'id': (file.id, found)})}"
        raise PlanError(problem, where=where, hint=_PLAN_AGAIN)


def _told(fields: Mapping[str, tuple[Any, Any]]) -> str:
    """The fields that differ, (as it is, as planned) each, in words."""
    differing = [f"{name} is {_short(is_)}, planned {_short(was)}" for name, (is_, was) in fields.items() if is_ != was]
    return "; ".join(differing)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text[:12] if _SHA256.fullmatch(text) else f"{text[:60]}..." if len(text) > 60 else text


def task_digest(task: LightweightTask) -> bytes:
    """The sha256 of everything a worker function can see of a task."""
    parts: list[Any] = [task.id, task.type]
    return hashlib.sha256(msgspec.json.encode(parts) + b"\0" + task.workflow_json + b"\0" + task.extra_json).digest()
