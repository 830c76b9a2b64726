"""An experiment on disk: a folder of runs. What is decided in it is what the journals of its runs say."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prealloc.errors import Mistake, OptionsError, RunFolderError
from prealloc.files.atomic import is_taken, new_folder, write_file, writing
from prealloc.files.lock import one_at_a_time
from prealloc.files.paths import ExperimentPaths, readable_name
from prealloc.files.regular import Unusable, read_regular
from prealloc.model.document import Document
from prealloc.model.plan import PlanFile, Unit
from prealloc.model.plan_spec import RANKINGS
from prealloc.store.documents import parse, read_bytes, to_json
from prealloc.store.fold import RunState, UnitState, fold
from prealloc.store.identity import Facts, Identity, Rule, identities
from prealloc.store.plan_folder import refuse_inside
from prealloc.store.run_folder import OpenRun

MOST_CONFIG_BYTES = 2**20
_MOST_NUMBER_BYTES = 16
_CONFIG_OF = "# as it was asked for last, by "


class ExperimentFile(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`experiment.json`: that a folder is one."""

    format: str = "prealloc.experiment"
    version: int = 1
    ranking: str
    """That of its first plan, which all others have too: with another one they would have other tasks."""


class OpenExperiment:
    """An experiment folder that was read. Its runs are read when they are asked for."""

    def __init__(self, root: Path) -> None:
        self.paths = ExperimentPaths(root)
        hint = "name a folder of `prealloc run --experiment`"
        if not self.paths.is_there:
            raise RunFolderError("it is not an experiment folder", where=str(root), hint=hint)
        raw = read_bytes(self.paths.experiment_file, RunFolderError, inside=root, hint=hint)
        where = str(self.paths.experiment_file)
        self.file = parse(raw, ExperimentFile, RunFolderError, where=where, hint="restore it from a copy")
        if self.file.ranking not in RANKINGS.values():
            known = ", ".join(RANKINGS.values())
            problem = f"its ranking is {self.file.ranking!r}; this prealloc knows {known}"
            raise RunFolderError(problem, where=where, hint="use the prealloc that made it")

    @property
    def ranking(self) -> int:
        """The version of the ranking."""
        return next(version for version, name in RANKINGS.items() if name == self.file.ranking)

    def runs(self) -> list[OpenRun]:
        """Its runs in the order in which they were made. Raises RunFolderError, PlanError."""
        return [OpenRun(self.paths.run(number)) for number in self.paths.numbers()]

    def refuse_other_ranking(self, plan: PlanFile) -> None:
        """Raises OptionsError for a plan of another ranking."""
        if plan.ranking != self.file.ranking:
            problem = f"the plan's is {plan.ranking}, that of the experiment's first plan {self.file.ranking}"
            hint = f"plan with ‹ranking› {self.ranking}, or start another experiment"
            raise OptionsError([Mistake("‹ranking›", problem, hint)])

    def keep_config(self, file: Path, content: bytes) -> None:
        """Keeps what was asked for last, with a line on where it comes from."""
        write_file(self.paths.config, f"{_CONFIG_OF}{readable_name(str(file.absolute()))}\n".encode() + content)

    def config(self) -> str | None:
        """The path of the config that was given last; None if none was."""
        first = self._noted(self.paths.config, MOST_CONFIG_BYTES).partition(b"\n")[0]
        if not first.startswith(_CONFIG_OF.encode()):
            return None
        return first.decode("utf-8", "backslashreplace").removeprefix(_CONFIG_OF)

    @contextlib.contextmanager
    def new_run(self) -> Iterator[Path]:
        """The folder of its next run, to be made in the block; only one is made at a time.

        No number is given twice: a run that was taken out of the experiment can be put back.
        """
        with one_at_a_time(self.paths.lock):
            number = max(*self.paths.numbers(), self._latest(), 0) + 1
            write_file(self.paths.latest, f"{number}\n".encode())
            yield self.paths.run(number)

    def _latest(self) -> int:
        """The highest number that was noted; 0 if none was, as in older versions, or nobody can read it."""
        noted = self._noted(self.paths.latest, _MOST_NUMBER_BYTES).strip()
        return int(noted) if re.fullmatch(rb"[0-9]{1,9}", noted) else 0

    def _noted(self, path: Path, most: int) -> bytes:
        """Nothing, if nobody can read it."""
        try:
            return read_regular(path, inside=self.paths.root, most=most)
        except Unusable:
            return b""


def open_or_make(root: Path, plan: PlanFile) -> OpenExperiment:
    """The experiment at `root`, made for this plan if nothing is there. Raises OptionsError, RunFolderError."""
    paths = ExperimentPaths(root)
    if not paths.is_there:
        refuse_no_experiment(root)
        with writing(root, RunFolderError, otherwise="choose another ‹experiment›"):
            try:
                with new_folder(root) as folder:
                    made = ExperimentPaths(folder)
                    write_file(made.experiment_file, to_json(ExperimentFile(ranking=plan.ranking)))
            except FileExistsError:  # made by another run, in this very moment
                refuse_no_experiment(root)
    opened = OpenExperiment(root)
    opened.refuse_other_ranking(plan)
    return opened


def refuse_no_experiment(root: Path) -> None:
    """Raises RunFolderError if something else is there, or it would lie in a plan or a run."""
    with writing(root, RunFolderError, otherwise="choose another ‹experiment›"):
        refuse_inside(root, RunFolderError)
        if is_taken(root) and not ExperimentPaths(root).is_there:
            raise RunFolderError("it is not an experiment", where=str(root), hint="name a new folder, or an experiment")


class Entry(NamedTuple):
    """One unit of one run of an experiment."""

    run: OpenRun
    unit: Unit
    type: str
    state: UnitState

    @property
    def is_decided(self) -> bool:
        return self.state.first is not None

    @property
    def run_name(self) -> str:
        return self.run.paths.root.name


class View:
    """All units of an experiment, each once, as of one moment."""

    def __init__(self, experiment: OpenExperiment) -> None:
        self.paths = experiment.paths
        self.runs: dict[str, tuple[OpenRun, RunState]] = {}
        """By their names."""
        self.units: dict[Identity, list[Entry]] = {}
        """What each run has of a unit, in the order of the runs."""
        runs = experiment.runs()
        rule = Rule.of(runs[-1].file.policy) if runs else Rule()
        facts = Facts()
        for run in runs:
            state = fold(run.paths, run.units())
            self.runs[run.paths.root.name] = run, state
            for (unit, identity), type in zip(run_identities(run, rule, facts).items(), run.types(), strict=True):
                self.units.setdefault(identity, []).append(Entry(run, unit, type, state.units[unit]))


def counting(entries: list[Entry]) -> Entry:
    """The one that counts: the first run's that decided the unit; else the latest that has come to an end with it."""
    for entry in entries:
        if entry.is_decided:
            return entry
    tried = [entry for entry in entries if entry.state.outcome is not None]
    return (tried or entries)[-1]


def run_identities(run: OpenRun, rule: Rule, facts: Facts) -> dict[Unit, Identity]:
    """What each unit of a run is known by, in the plan's order."""
    return identities(run.file.known_as, run.plan.spec, run.manifests, run.tasks, rule, facts)
