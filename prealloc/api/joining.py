"""A run that joins an experiment: what is left for it to run, and its place beside the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

from prealloc.files.paths import ExperimentPaths
from prealloc.files.regular import read_regular
from prealloc.model.events import Note, Observer, RunEnded
from prealloc.model.outcome import Status, Successes
from prealloc.model.plan import PlanFile, Unit
from prealloc.store.asked import Asked
from prealloc.store.claims import Claims, Others
from prealloc.store.experiment import (
    MOST_CONFIG_BYTES,
    OpenExperiment,
    open_or_make,
    refuse_no_experiment,
    run_identities,
)
from prealloc.store.fold import UnitState
from prealloc.store.identity import Facts, Identity, Rule
from prealloc.store.reuse import done_before
from prealloc.store.run_folder import OpenRun


class Joining:
    """A plan that is about to become a run of an experiment. Nothing is made before `make_run`."""

    def __init__(self, root: Path, plan: PlanFile, identities: Mapping[Unit, Identity], rule: Rule) -> None:
        self._root = root
        self._plan = plan
        self._identities = identities
        refuse_no_experiment(root)
        paths = ExperimentPaths(root)
        if paths.is_there:
            OpenExperiment(root).refuse_other_ranking(plan)
        self._others = Others(paths, rule, Facts())
        self._others.refuse_other_rule()
        decided = self._others.decided
        self.done = [unit for unit, identity in identities.items() if identity in decided]
        """The units that other runs have decided."""
        factors = {*plan.spec.factor_values, *self._others.factors}
        self.told = done_before(list(identities.values()), decided, factors) if decided else None
        """What there is to say of that."""

    def is_left(self, asked: Asked) -> bool:
        """Whether anything that is asked for is undecided."""
        untouched, done = UnitState(), {*self.done}
        return any(asked(unit, untouched) for unit in self._identities if unit not in done)

    def wants(self, unit: Unit) -> bool:
        """Whether no other run has decided it."""
        return self._identities[unit] not in self._others.decided

    def nothing_left(self, observer: Observer) -> RunEnded:
        """The end of what was done before."""
        units = len(self._identities)
        open_ = units - len(self.done)
        which = "all units that were asked for" if open_ else f"all {units} units"
        observer.handle(Note(text=f"nothing is left to run: {which} are done in {self._root}"))
        ended = RunEnded(
            run=str(self._root),
            census={**{status.value: 0 for status in Status}, Status.NOT_RUN.value: units},
            rate=None,
            success=Successes(),
            types=(),
            errors=(),
            further_errors=0,
            slowest=(),
            library_opens=0,
            duration_s=0.0,
            exit_code=0,
            missing=(),
            resume=None,
            elsewhere=len(self.done),
            not_asked=open_,
        )
        observer.handle(ended)
        return ended

    def make_run(self, create: Callable[[Path], None], config: str | Path | None) -> Path:
        """Has the run's folder made, and the experiment's if there is none. Gives the run's."""
        kept = read_regular(Path(config), most=MOST_CONFIG_BYTES) if config is not None else b""
        experiment = open_or_make(self._root, self._plan)
        with experiment.new_run() as folder:
            create(folder)
            if config is not None:
                experiment.keep_config(Path(config), kept)
        self._others.but = folder.name
        return folder

    def claims(self, run: OpenRun) -> AbstractContextManager[Claims]:
        """What the run holds while the block runs."""
        return closing(Claims(self._others, run.paths, self._identities))


def claims_of(run: OpenRun) -> AbstractContextManager[Claims | None]:
    """What a run that was there holds while the block runs; None if it is of no experiment."""
    paths = ExperimentPaths.of_run(run.paths.root)
    if paths is None:
        return nullcontext()
    rule, facts = Rule.of(run.file.policy), Facts()
    others = Others(paths, rule, facts, run.paths.root.name)
    others.refuse_other_rule()
    return closing(Claims(others, run.paths, run_identities(run, rule, facts)))
