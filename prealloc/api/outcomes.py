"""outcomes(), results() and one unit's history: what became of every unit, during a run and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Unpack

import msgspec

from prealloc.api.experiments import experiment_history, experiment_outcomes, is_experiment
from prealloc.errors import Mistake, OptionsError, refuse
from prealloc.model.keywords import ResultsKeywords
from prealloc.model.options import read_keywords
from prealloc.model.plan import Unit
from prealloc.model.prices import Prices, read_prices
from prealloc.model.questions import ResultsOptions
from prealloc.model.words import quoted
from prealloc.store.fold import fold, tries_of
from prealloc.store.keys import KEYS
from prealloc.store.results import Results, tabulate
from prealloc.store.results_row import ResultsRow
from prealloc.store.run_folder import OpenRun
from prealloc.store.scores import rejudged
from prealloc.store.unit_outcome import UnitHistory, UnitOutcome, history_of, unit_outcome

T = TypeVar("T")


def outcomes(
    run: str | Path, *, by: Sequence[str] = (), scores: str | None = None, prices: Mapping[str, Any] | None = None
) -> Iterator[UnitOutcome]:
    """What became of every planned unit, in the plan's order, during the run and after.

    Of fields in `by` that the plan has kept, each outcome has the value in `kept`; that reads the slices.
    `.read()` of one gives its accepted attempt from the journal, with the worker function's result.
    Raises RunFolderError, PlanError, JournalError.

    Of an experiment: every unit that one of its runs has planned, once, by its first final outcome. With `scores`,
    success and score are those that rescore() has given under this name. Costs are at the prices that run() was given,
    or at these `prices`: dollars per million tokens, by model, as run() takes them.
    """
    mistakes: list[Mistake] = []
    priced = read_prices(prices, mistakes) if prices is not None else None
    refuse(mistakes)
    found = _outcomes(run, by, priced)
    yield from found if scores is None else rejudged(found, Path(run), scores)


def _outcomes(run: str | Path, by: Sequence[str], prices: Prices | None) -> Iterator[UnitOutcome]:
    if is_experiment(run):
        yield from experiment_outcomes(run, {*by} - {*KEYS}, prices)
        return
    opened = OpenRun(Path(run))
    state = fold(opened.paths, opened.units())
    kept = opened.kept({*by} - {*KEYS})
    for (unit, unit_state), type, fields in zip(state.units.items(), opened.types(), kept, strict=True):
        cell = opened.manifests[unit.shard].cell
        settings = opened.settings(unit.shard, unit_state)
        paid = opened.prices if prices is None else prices
        yield unit_outcome(unit, type, settings, unit_state, fields, cell=cell, setup=opened.setup, prices=paid)


def unit_history(run: str | Path, unit: str) -> UnitHistory:
    """What became of one unit, `shard/task#repeat`: its settings, and every try at it with error and result.

    Raises OptionsError if `unit` is not in the plan, else what outcomes() raises.
    """
    wanted = Unit.parse(unit)
    if is_experiment(run):
        return experiment_history(run, unit)
    opened = OpenRun(Path(run))
    state = fold(opened.paths, opened.units())
    if wanted not in state.units:
        shards = list(opened.manifests)
        known = wanted.shard in opened.manifests
        hint = f"`prealloc show {quoted(run)} {wanted.shard}` lists its tasks"
        hint = hint if known else f"its shards are {shards[0]} to {shards[-1]}"
        raise OptionsError([Mistake("UNIT", f"{unit} is not in the plan of {run}", hint)])
    type = next(type for each, type in zip(state.units, opened.types(), strict=True) if each == wanted)
    return history_of(opened, wanted, type, state.units[wanted], tries_of(opened.paths, wanted))


def results(
    *runs: str | Path, prices: Mapping[str, Any] | None = None, **options: Unpack[ResultsKeywords]
) -> list[ResultsRow]:
    """Success rate, mean score, times and costs of runs, one row per value of the keys in `by`.

    Keys are shard, type, task, repeat, status, error.type, error.http_status, the names of settings and those of kept
    fields, any field of the results (`a.b` is b in the object a), and `run` if there are several. `mean` are fields
    that are numbers. Every planned unit is in exactly one row, run or not. `options` are the fields of ResultsOptions;
    `prices` are as for outcomes(). Raises OptionsError with every mistake, else what outcomes() raises.

    results("run/", by=["model", "type"])
    results("run/", by=["task"], sort="success", top=10)
    """
    return tabulated(*runs, prices=prices, **options).rows


def asked_about(runs: Sequence[str | Path], struct: type[T], keywords: Mapping[str, Any]) -> T:
    """The options of a call about some runs. Raises OptionsError with every mistake."""
    found = [] if runs else [Mistake("RUN", "no run is named", "name one or more run folders")]
    options = read_keywords(struct, keywords, found)
    refuse(found)
    return options


def tabulated(
    *runs: str | Path, prices: Mapping[str, Any] | None = None, **options: Unpack[ResultsKeywords]
) -> Results:
    """The rows of results(), and one of everything."""
    asked = asked_about(runs, ResultsOptions, options)
    found: list[UnitOutcome] = []
    names = (*asked.by, *asked.mean, asked.cluster)
    for run in runs:
        named = {"run": str(run)} if len(runs) > 1 else {}
        units = outcomes(run, by=names, scores=asked.scores, prices=prices)
        found += (msgspec.structs.replace(each, **named) for each in units)
    return tabulate(found, asked)
