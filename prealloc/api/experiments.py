"""What there is to read of an experiment: the same that there is of a run, with each unit once."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import Mistake, OptionsError
from prealloc.files.lock import live_owner
from prealloc.files.paths import ExperimentPaths
from prealloc.model.answers import CellProgress, ExperimentRun, ExperimentStatus, RunStatus, sums_of
from prealloc.model.outcome import Status
from prealloc.model.plan import Unit
from prealloc.model.prices import Prices
from prealloc.model.words import quoted
from prealloc.store.claims import Held
from prealloc.store.experiment import Entry, OpenExperiment, View, counting
from prealloc.store.fold import by_row, tries_of
from prealloc.store.identity import Identity
from prealloc.store.lane_log import read_halts
from prealloc.store.run_folder import OpenRun
from prealloc.store.unit_outcome import UnitHistory, UnitOutcome, history_of, spent, unit_outcome


def is_experiment(folder: str | Path) -> bool:
    """Whether an experiment is there."""
    return ExperimentPaths(Path(folder)).is_there


def go_on(experiment: str | Path) -> str:
    """The command that runs what is missing in an experiment."""
    opened = OpenExperiment(Path(experiment))
    config, folder = opened.config(), quoted(experiment)
    if config is None:
        return f"prealloc run PLAN --experiment {folder}"
    return f"prealloc run --config {quoted(config)} --experiment {folder}"


def _rest(experiment: str | Path, view: View) -> str:
    """The command that runs what is missing, or the latest part of it that one command runs."""
    missing = [entries for entries in view.units.values() if not any(entry.is_decided for entry in entries)]
    latest = next(reversed(view.runs), None)
    if not missing or all(any(entry.run_name == latest for entry in entries) for entries in missing):
        return go_on(experiment)
    # The config that was given last does not want all of it: the run that planned it does.
    runs = Counter(entries[-1].run_name for entries in missing if entries[-1].run_name != latest)
    return f"prealloc resume {quoted(ExperimentPaths(Path(experiment)).runs / max(runs))}"


def experiment_outcomes(experiment: str | Path, keys: Set[str], prices: Prices | None = None) -> Iterator[UnitOutcome]:
    """What became of every unit of an experiment, each once: see outcomes(). `keys` are names of kept fields.

    What a unit has used is what all runs have used for it.
    """
    view = View(OpenExperiment(Path(experiment)))
    kept = {name: dict(zip(run.units(), run.kept(keys), strict=True)) for name, (run, _) in view.runs.items()}
    for entries in view.units.values():
        entry = counting(entries)
        name = entry.run_name
        outcome = unit_outcome(
            entry.unit,
            entry.type,
            entry.run.settings(entry.unit.shard, entry.state),
            entry.state,
            kept[name][entry.unit],
            cell=entry.run.manifests[entry.unit.shard].cell,
            setup=entry.run.setup,
        )
        later = tuple(each.run_name for each in entries if each is not entry and each.is_decided)
        used = [(each.state.usage, each.run.prices if prices is None else prices) for each in entries]
        yield msgspec.structs.replace(outcome, run=name, later=later, **spent(used))


def experiment_history(experiment: str | Path, unit: str) -> UnitHistory:
    """What became of one unit of an experiment, in all of its runs: see unit_history()."""
    wanted = Unit.parse(unit)
    view = View(OpenExperiment(Path(experiment)))
    found = [entries for entries in view.units.values() if any(entry.unit == wanted for entry in entries)]
    if not found:
        hint = f"`prealloc results {quoted(experiment)} --units` lists them"
        raise OptionsError([Mistake("UNIT", f"{unit} is in no plan of {experiment}", hint)])
    entries, *others = found
    if others:
        runs = [entry.run_name for entries in found for entry in entries if entry.unit == wanted]
        problem = f"{len(found)} units of {experiment} have this name, in its runs {', '.join(runs)}"
        hint = f"name the run: `{shlex.join(['prealloc', 'show', str(view.paths.runs / runs[0]), unit])}`"
        raise OptionsError([Mistake("UNIT", problem, hint)])
    entry = counting(entries)
    tries = [
        msgspec.structs.replace(tried, run=each.run_name)
        for each in entries
        for tried in tries_of(each.run.paths, each.unit)
    ]
    return history_of(entry.run, entry.unit, entry.type, entry.state, tries, entry.run_name)


def experiment_as_run(experiment: str | Path) -> RunStatus:
    """How far an experiment is, its runs in the place of shards: see status()."""
    view = View(OpenExperiment(Path(experiment)))
    counted = [counting(entries) for entries in view.units.values()]
    rows = by_row(((entry.run_name, entry.state) for entry in counted), view.runs)
    owners = [owner for run, _ in view.runs.values() if (owner := live_owner(run.paths.lock)) is not None]
    latest = next(reversed(view.runs.values()))[0] if view.runs else None
    left = any(entry.state.status is not Status.OK for entry in counted)
    return RunStatus(
        run=str(experiment),
        plan=latest.plan.id if latest is not None else "",
        worker=latest.file.worker if latest is not None else "",
        engine=latest.file.engine if latest is not None else "",
        running=bool(owners),
        master=owners[0].pid if owners else None,
        sessions=sum(state.sessions for _, state in view.runs.values()),
        **sums_of(rows),
        library_opens=sum(state.library_opens for _, state in view.runs.values()),
        warnings=_warnings(view),
        halted=(),
        waiting=(),
        resume=_rest(experiment, view) if left and not owners else None,
        rows="run",
    )


def experiment_status(experiment: str | Path) -> ExperimentStatus:
    """How far each cell of an experiment is, and why units are missing. Raises InputError, JournalError."""
    view = View(OpenExperiment(Path(experiment)))
    why = _Why(view)
    cells: dict[bytes, list[tuple[Identity, Entry]]] = {}
    done: Counter[str] = Counter()
    for identity, entries in view.units.items():
        entry = counting(entries)
        cells.setdefault(msgspec.json.encode([identity.worker, identity.given]), []).append((identity, entry))
        done[entry.run_name] += entry.is_decided
    factors = dict.fromkeys(name for run, _ in view.runs.values() for name in run.plan.spec.factor_values)
    told = _telling([units[0][0] for units in cells.values()], list(factors))
    progress = [_cell(cell, units, why) for cell, units in zip(told, cells.values(), strict=True)]
    running = why.running
    wanted, decided = len(view.units), done.total()
    return ExperimentStatus(
        experiment=str(experiment),
        cells=progress,
        runs=[
            ExperimentRun(
                run=name,
                created_at=run.file.created_at,
                running=name in running,
                units=len(state.units),
                done=done[name],
            )
            for name, (run, state) in view.runs.items()
        ],
        wanted=wanted,
        done=decided,
        ok=sum(cell.ok for cell in progress),
        go_on=_rest(experiment, view) if wanted != decided and not running else None,
        warnings=_warnings(view),
    )


class _Why:
    """Why a unit has no final outcome."""

    def __init__(self, view: View) -> None:
        self._held = {name: Held(run.paths).now() for name, (run, _) in view.runs.items()}
        self.running = {name for name, (run, _) in view.runs.items() if live_owner(run.paths.lock) is not None}
        self._halted = {name: _halted(run, state.sessions) for name, (run, state) in view.runs.items()}

    def of(self, identity: Identity, entry: Entry) -> str:
        """In a few words."""
        digest = identity.digest()
        for name, held in self._held.items():
            if digest in held:
                return f"runs in {name}"
        if entry.run_name in self.running:
            return f"waits in {entry.run_name}"
        outcome = entry.state.outcome
        if outcome is not None:
            error = outcome.attempt.error
            return f"{outcome.attempt.status}: {error.type}" if error is not None else str(outcome.attempt.status)
        lanes = entry.run.manifests[entry.unit.shard].served_by
        if lanes and self._halted[entry.run_name].issuperset(lanes):
            return f"lane {', '.join(lanes)} halted"
        return "not run"


def _halted(run: OpenRun, session: int) -> set[str]:
    return {halt.lane for halt in read_halts(run.paths, run.plan.spec.lanes, session)}


def _cell(cell: dict[str, Any], units: Sequence[tuple[Identity, Entry]], why: _Why) -> CellProgress:
    missing = Counter(why.of(identity, entry) for identity, entry in units if not entry.is_decided)
    return CellProgress(
        cell=cell,
        wanted=len(units),
        done=len(units) - missing.total(),
        ok=sum(entry.state.status is Status.OK for _, entry in units),
        missing=dict(missing.most_common()),
    )


def _telling(cells: Sequence[Identity], factors: Sequence[str]) -> list[dict[str, Any]]:
    """What tells these cells apart: the factors, settings that are not the same in all, and if need be the worker."""
    values = [msgspec.json.decode(cell.given, type=dict[str, msgspec.Raw]) for cell in cells]
    settings = sorted({name for each in values for name in each} - {*factors})
    varied = [name for name in settings if len({bytes(each.get(name, b"")) for each in values}) > 1]
    shown = [*factors, *varied]
    several = len({cell.worker for cell in cells}) > 1
    return [
        {name: msgspec.json.decode(each[name]) if name in each else None for name in shown}
        | ({"worker": cell.worker} if several else {})
        for cell, each in zip(cells, values, strict=True)
    ]


def _warnings(view: View) -> list[str]:
    return [text for run, state in view.runs.values() for text in (*run.warnings, *state.warnings)]
