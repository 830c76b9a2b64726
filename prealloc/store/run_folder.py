"""A run on disk: `run.json` and the plan's copy, which together are all that a resume needs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Set
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UnsetType

from prealloc.errors import OptionsError, PlanError, RunFolderError
from prealloc.files.atomic import is_taken, new_folder, write_file, writing
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import ExperimentPaths, RunPaths
from prealloc.files.regular import Missing, Unusable, refuse_foreign_folder
from prealloc.model.answers import Setup
from prealloc.model.document import Document
from prealloc.model.plan import Plan, PlanFile, SliceRef, Unit
from prealloc.model.policy import EngineOptions, RunPolicy
from prealloc.model.prices import Price
from prealloc.model.provenance import Provenance
from prealloc.model.spelling import EVERY_FIELD
from prealloc.model.task_times import TaskTimes
from prealloc.model.words import quoted, shown
from prealloc.store.documents import parse, read_bytes, to_json
from prealloc.store.fold import UnitState
from prealloc.store.identity import copy_numbers
from prealloc.store.journal import damaged, journal_files, read_lines
from prealloc.store.journal_lines import SessionStarted
from prealloc.store.manifests import Outline, read_manifests, read_plan_file
from prealloc.store.plan_folder import check_slices, copy_plan, fill_plan_folder, refuse_inside
from prealloc.store.slices import Names, Slice

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask

COMMAND = "command"
"""The engine whose worker is a command line, not a function."""
MANIFEST = "{manifest}"
"""What stands in a command for the path of a manifest."""

_RESTORE = "restore it from a copy: the journal beside it cannot be read without it"
_RESTORE_PLAN = "restore the plan's files; a changed plan needs a run of its own (`prealloc run --reuse`)"


class RunFile(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`run.json`: what was started, and with what."""

    format: str = "prealloc.run"
    version: int = 1
    plan: str
    """The plan's id: the copy beside this file must still be that plan."""
    plan_digests: dict[str, str]
    """Of each field of plan.json: there is more in it than its id covers, such as the library's path."""
    worker: str
    """`module:function`."""
    worker_name: str | None = None
    """What it is known by across runs, if that is not its name."""
    import_path: tuple[str, ...]
    """Folders put before sys.path to import the worker module; the first is where the run was started, and where the
    command engine's program runs."""
    engine: str
    engine_options: EngineOptions | None = None
    """Of an engine beyond one machine, as the run began. Keys are not among them."""
    cleanup: str | None = None
    """`module:function` that cleans up after attempts whose process was killed."""
    on_end: str | None = None
    """A command that gets the summary. A resume may change it: see OpenRun.on_end."""
    prices: dict[str, Price] = msgspec.field(default_factory=dict)
    """Of tokens by model, as they were given. A resume may change them: see OpenRun.prices."""
    policy: RunPolicy
    """As the run began. A resume may change some: see OpenRun.policy."""
    created_at: str
    prealloc: str
    python: str
    platform: str
    made_with: Provenance | None = None
    """What its code was when it began; None: of a version that did not note it."""

    @property
    def known_as(self) -> str:
        """What its worker is known by across runs."""
        return known_name(self.engine, self.worker, self.worker_name)


def known_name(engine: str, worker: str, named: str | None) -> str:
    """What a worker is known by: the name it was given, else `module:function`; a command, without its options."""
    if named is not None or engine != COMMAND:
        return worker if named is None else named
    return " ".join(word for word in worker.split() if not word.startswith("-") and MANIFEST not in word)


def refuse_experiment(folder: Path) -> None:
    """Raises RunFolderError if an experiment is there, where a run of it is meant."""
    experiment = ExperimentPaths(folder)
    if experiment.is_there:
        numbers = experiment.numbers()
        latest = f", such as the latest: {experiment.run(numbers[-1])}" if numbers else ""
        problem = "it is an experiment, and this is done to one run"
        raise RunFolderError(problem, where=str(folder), hint=f"name one of its runs{latest}")


class OpenRun:
    """A run folder that was read and found whole. Tasks are read shard by shard, when they are asked for.

    `outline` and `names` are those of its plan where that has been read just now; else they are read when needed.
    """

    def __init__(
        self, root: Path, outline: Outline | None = None, names: Mapping[SliceRef, Names] | None = None
    ) -> None:
        self.paths = RunPaths(root)
        if not os.path.lexists(self.paths.run_file):
            refuse_experiment(root)
            raise RunFolderError("it is not a run folder", where=str(root), hint="name a folder of `prealloc run`")
        raw = read_bytes(self.paths.run_file, RunFolderError, inside=root, hint=_RESTORE)
        self.file = parse(raw, RunFile, RunFolderError, where=str(self.paths.run_file), hint=_RESTORE)
        self._refuse_strange_values()
        self._refuse_foreign_folders()
        folder = self.paths.plan.root
        self.plan = outline.file if outline else read_plan_file(folder)
        self._refuse_another_plan()
        self.manifests = outline.manifests if outline else read_manifests(folder, self.plan)
        self.warnings: list[str] = []
        """What is wrong with the slices that have been looked into."""
        self._names: dict[SliceRef, Names] = dict(names or {})
        self._settings: dict[tuple[str, str | None], dict[str, Any]] = {}
        self._timeouts: dict[SliceRef, dict[int, float]] = {}
        self._copies: dict[str, dict[str, int]] | None = None
        self.made_with: Provenance | None = self.file.made_with
        """What the code is in the session that is about to begin."""
        self.times: TaskTimes | None = None
        """How long tasks have taken in past runs, where the shards that take longest are to start first."""

    @cached_property
    def policy(self) -> RunPolicy:
        """The run's options, as of its latest session: those of run.json, and what a resume has changed of them.

        Raises JournalError.
        """
        file, latest = self._latest
        if latest is None:
            return self.file.policy
        try:
            return RunPolicy.checked(**{**msgspec.structs.asdict(self.file.policy), **latest.options})
        except OptionsError as error:
            raise damaged(file, 1, str(error)) from None

    @cached_property
    def on_end(self) -> str | None:
        """The command that gets the summary, likewise."""
        _, latest = self._latest
        return (self.file.on_end if latest is None or latest.on_end is None else latest.on_end) or None

    @cached_property
    def prices(self) -> dict[str, Price]:
        """What tokens cost by model, likewise. Costs are computed when they are shown."""
        _, latest = self._latest
        return (latest.prices if latest is not None else {}) or self.file.prices

    @cached_property
    def _latest(self) -> tuple[Path, SessionStarted | None]:
        """The first line of the latest session that has one: a session may be killed in the middle of it."""
        for file in reversed(journal_files(self.paths)):
            if file.writer.shard is None:
                first = next(iter(read_lines(file)), None)
                if first is not None and isinstance(first.content, SessionStarted):
                    return file.path, first.content
        return self.paths.journal, None

    def tasks(self, shard: str) -> tuple[LightweightTask, ...]:
        """The tasks of one shard, read from its slice: only what runs is held. Raises PlanError."""
        return Slice(self.paths.plan, self.manifests[shard].slice).tasks()

    def settings(self, shard: str, state: UnitState) -> dict[str, Any]:
        """What the worker function has seen in the attempt at a unit that counts: those of its lane too."""
        key = shard, state.outcome.attempt.lane if state.outcome is not None else None
        if key not in self._settings:
            # An outcome that was taken over from another run may name a lane of that one.
            known = next((each for each in self.plan.spec.lanes if each.name == key[1]), None)
            self._settings[key] = self.manifests[shard].on(known).settings
        return self._settings[key]

    @cached_property
    def setup(self) -> Setup:
        """What all its units have in common."""
        settings = self.plan.spec.settings
        matters = {name: value for name, value in settings.items() if name not in self.file.policy.neutral}
        return Setup(worker=self.file.known_as, settings=matters)

    def check_slices(self) -> None:
        """Raises PlanError unless all tasks can be run as they were planned."""
        self._names = check_slices(self.paths.plan.root, Outline(self.plan, self.manifests))

    def units(self) -> Iterator[Unit]:
        """Every planned unit in the order they start: shard by shard, every task once, then every task again."""
        for shard, manifest in self.manifests.items():
            ids = self.names(shard).ids
            for repeat in range(manifest.repeats):
                for task in ids:
                    yield Unit(shard, task, repeat)

    def types(self) -> Iterator[str]:
        """The task type of every planned unit, in the order of units()."""
        for shard, manifest in self.manifests.items():
            types = self.names(shard).types
            for _ in range(manifest.repeats):
                yield from types

    def kept(self, names: Set[str]) -> Iterator[dict[str, Any]]:
        """The values of these kept fields of every planned unit, in the order of units(). Of a path `a.b` that of a."""
        names = {name[:end] for name in names for end in (*(at for at, c in enumerate(name) if c == "."), len(name))}
        asked = names if EVERY_FIELD in self.plan.spec.keep else names & {*self.plan.spec.shipped}
        for manifest in self.manifests.values():
            found: list[dict[str, Any]] = [{}] * manifest.slice.tasks
            if asked:
                tasks = Slice(self.paths.plan, manifest.slice).tasks()
                found = [{name: task.extra[name] for name in asked & task.extra.keys()} for task in tasks]
            for _ in range(manifest.repeats):
                yield from found

    def timeouts(self, shard: str) -> Mapping[int, float]:
        """The seconds that tasks of a shard name as their own timeout, by position. Raises PlanError."""
        field = self.plan.spec.timeout_field
        if isinstance(field, UnsetType):
            return {}
        ref = self.manifests[shard].slice
        if ref not in self._timeouts:
            self._timeouts[ref] = Slice(self.paths.plan, ref).timeouts(field)
        return self._timeouts[ref]

    def names(self, shard: str) -> Names:
        """The ids and types of a shard's tasks.

        What has finished can be read even where a slice is damaged; running its tasks is refused by tasks().
        """
        ref = self.manifests[shard].slice
        if ref not in self._names:
            read = Slice(self.paths.plan, ref)
            self._names[ref] = read.names()
            if not read.as_planned:
                self.warnings.append(f"{read.path}: its content is not what was planned, so its tasks cannot be run")
        return self._names[ref]

    def copies(self, shard: str) -> dict[str, int] | None:
        """Tasks that earlier shards of the cell have too, and how many of them; None if seeds go by the shard."""
        if self.plan.spec.unit_seed is msgspec.UNSET:
            return None
        if self.plan.spec.strategy == "disjoint":
            return {}
        if self._copies is None:
            self._copies = copy_numbers(self.manifests, lambda shard: self.names(shard).ids)
        return self._copies[shard]

    def _refuse_strange_values(self) -> None:
        """Values that `prealloc run` never writes, and that bind us all the same."""
        found = []
        try:
            RunPolicy.checked(**msgspec.structs.asdict(self.file.policy))
        except OptionsError as error:
            found += [f"its policy has {mistake.where}: {mistake.problem}" for mistake in error.mistakes]
        # A run folder is data. One that was unpacked from somewhere must not bring code to run along.
        root = os.path.realpath(self.paths.root)
        for folder in self.file.import_path:
            if "\0" in folder or not os.path.isabs(folder) or os.path.realpath(folder).startswith(f"{root}{os.sep}"):
                found.append(f"its worker is imported from {shown(folder)}, which is not a folder beside the run")
        if found:
            raise RunFolderError("; ".join(found), where=str(self.paths.run_file), hint=_RESTORE)

    def _refuse_foreign_folders(self) -> None:
        """What is written to the run must stay in its folder."""
        needed = (self.paths.plan.root, self.paths.journal)
        for folder in (*needed, self.paths.logs, self.paths.lanes):
            try:
                refuse_foreign_folder(folder, inside=self.paths.root)
            except Unusable as error:
                if folder in needed or os.path.islink(folder) or not isinstance(error, Missing):
                    raise RunFolderError(str(error), where=str(folder), hint=_RESTORE) from None

    def _refuse_another_plan(self) -> None:
        now, then = plan_digests(self.plan), self.file.plan_digests
        what = ", ".join(name for name in {**now, **then} if now.get(name) != then.get(name))
        if self.plan.id != self.file.plan:
            what = f"it is {self.plan.id[:12]}, the run has {self.file.plan[:12]}"
        elif what:
            what = f"changed in it: {what}"
        if what:
            problem = f"the plan was edited since the run began: {what}"
            raise PlanError(problem, where=str(self.paths.plan.plan_file), hint=_RESTORE_PLAN)


def plan_digests(plan: PlanFile) -> dict[str, str]:
    """The digest of each field of plan.json. Of its value, so the file's layout does not matter."""
    return {
        name: hashlib.sha256(msgspec.json.encode(getattr(plan, name), order="sorted")).hexdigest()
        for name in plan.__struct_fields__
        if getattr(plan, name) is not msgspec.UNSET
    }


def create_run(out: Path, plan: Plan | Path, file: RunFile) -> None:
    """Makes a run folder, whole or not at all, with a copy of the plan (hard links where possible).

    Raises RunFolderError if `out` holds a run already, or anything else, or cannot be made; CannotGoOn if the
    disk is full.
    """
    refuse_taken(out)
    with writing(out, RunFolderError), new_folder(out) as folder:
        paths = RunPaths(folder)
        if isinstance(plan, Path):
            copy_plan(plan, paths.plan.root)
        else:
            paths.plan.root.mkdir()
            fill_plan_folder(plan, paths.plan.root)
        for made in (paths.journal, paths.logs, paths.lanes):
            fault_point(Point.RUN_FOLDERS)
            made.mkdir()
        write_file(paths.run_file, to_json(file))


def refuse_taken(out: Path) -> None:
    """Raises RunFolderError if a new run cannot go to `out`."""
    with writing(out, RunFolderError):
        refuse_inside(out, RunFolderError)
        if os.path.lexists(RunPaths(out).run_file):
            hint = f"continue it: prealloc resume {quoted(out)}"
            raise RunFolderError("it already holds a run", where=str(out), hint=hint)
        if is_taken(out):
            raise RunFolderError("it exists and is not empty", where=str(out), hint="choose another ‹out›")
