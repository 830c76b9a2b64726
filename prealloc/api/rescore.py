"""rescore(): a scorer judges the results that a run has kept. No agent runs again."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from prealloc.api.located import opened_runs
from prealloc.api.outcomes import outcomes
from prealloc.errors import Mistake, WorkerFunctionError, refuse
from prealloc.files.lock import one_at_a_time
from prealloc.files.paths import current_folder
from prealloc.model.outcome import Status, verdict
from prealloc.model.plan import Unit
from prealloc.model.task import LightweightTask
from prealloc.store.fold import Outcome
from prealloc.store.run_folder import OpenRun
from prealloc.store.scores import Score, Scores, ScoresFile, check_score_name
from prealloc.worker.function import WorkerFunction, checked_function, load_function
from prealloc.worker.result import describe

PARAMETERS = "(task, result)"
_WAVE = 64
"""Results for each thread that are read before the first of them is scored."""


class Rescored(msgspec.Struct, frozen=True, kw_only=True):
    """What rescore() did."""

    run: str
    name: str
    scorer: str
    scored: int
    """Now."""
    before: int
    """By an earlier call, under the same name."""
    failed: int
    """Results for which the scorer raised: they have no score under this name."""
    example: str | None = None
    """What it raised, once."""


def rescore(
    run: str | Path,
    scorer: str | Callable[..., Any],
    *,
    name: str | None = None,
    concurrency: int = 1,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Rescored:
    """Has `scorer(task, result)` judge every result of a run that ended ok; what it says stands beside the journal.

    Of an experiment it judges the results of every run in it.

    It returns what a result may say of itself, {"success": true, "score": 0.5} or one of them; or true, false or a
    number. It may be async. `concurrency` calls run at once, in threads of this process. What has a score under
    this `name` (the function's by default) is left out: call again to go on. `force` scores it again. `progress`
    gets (done, of), of one run. Where the scorer raises, the result has no score, and the next call tries again.

    `outcomes(run, scores=name)`, `results`, `compare` and `export` then go by these. Raises OptionsError,
    WorkerFunctionError, RunFolderError, JournalError; CannotGoOn if the disk is full.
    """
    found: list[Mistake] = []
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        found.append(Mistake("‹concurrency›", f"{concurrency!r} is not a number of threads", "give 1 or more"))
    try:
        function = _function(scorer)
    except WorkerFunctionError as error:
        if not found:
            raise
        found.append(Mistake(f"‹scorer› {error.where}", error.problem, error.hint or ""))
    refuse(found)
    called = check_score_name(name or function.name.rpartition(":")[2].rpartition(".")[2])
    runs = list(opened_runs(run).values())
    if not force:
        _refuse_other_scorer(runs, called, function)
    done = [_rescore(opened, called, function, concurrency, force, progress) for opened in runs]
    return Rescored(
        run=str(run),
        name=called,
        scorer=function.name,
        scored=sum(each.scored for each in done),
        before=sum(each.before for each in done),
        failed=sum(each.failed for each in done),
        example=next((each.example for each in done if each.example is not None), None),
    )


def _refuse_other_scorer(runs: Iterable[OpenRun], name: str, function: WorkerFunction) -> None:
    """Raises OptionsError for all runs that have scores of this name by another scorer, before any is judged."""
    found = []
    for opened in runs:
        scorer = Scores(opened.paths, name).scorer
        if scorer not in (None, function.name):
            problem = f"{opened.paths.root} has the scores of {scorer}, not of {function.name}"
            found.append(Mistake(f"‹name› {name}", problem, "give another name, or ‹force›"))
    refuse(found)


def _rescore(
    opened: OpenRun,
    name: str,
    function: WorkerFunction,
    concurrency: int,
    force: bool,
    progress: Callable[[int, int], None] | None,
) -> Rescored:
    """The same for one run folder."""
    with one_at_a_time(opened.paths.scores_lock):
        scores = Scores(opened.paths, name)
        if not force:
            _refuse_other_scorer([opened], name, function)  # somebody may have written in the meantime
        known = {} if force else {key: each for key, each in scores.by_attempt.items() if each.error is None}
        todo = [each for each in _results(opened) if each.key not in known]
        failed: list[str] = []
        with scores.writer(ScoresFile(plan=opened.plan.id, scorer=function.name), anew=force) as write:
            for count, score in enumerate(_judge(function, todo, opened, concurrency), 1):
                write(score)
                if score.error is not None:
                    failed.append(score.error)
                if progress is not None:
                    progress(count, len(todo))
    return Rescored(
        run=str(opened.paths.root),
        name=name,
        scorer=function.name,
        scored=len(todo) - len(failed),
        before=len(known),
        failed=len(failed),
        example=failed[0] if failed else None,
    )


class _Kept(NamedTuple):
    """A result that is to be judged: where it stands."""

    unit: Unit
    outcome: Outcome

    @property
    def key(self) -> tuple[Unit, int]:
        return self.unit, self.outcome.attempt.attempt


def _function(scorer: str | Callable[..., Any]) -> WorkerFunction:
    if isinstance(scorer, str):
        return load_function(scorer, current_folder(), PARAMETERS)
    name = f"{getattr(scorer, '__module__', '?')}:{getattr(scorer, '__qualname__', type(scorer).__name__)}"
    return checked_function(name, scorer, PARAMETERS)


def _results(opened: OpenRun) -> Iterator[_Kept]:
    """Of every unit the first and the latest outcome, which are one unless it was run again."""
    for unit in outcomes(opened.paths.root):
        both = {each.attempt.attempt: each for each in (unit.first, unit.outcome) if each is not None}
        for outcome in both.values():
            if outcome.attempt.status is Status.OK:
                yield _Kept(unit.unit, outcome)


def _judge(function: WorkerFunction, todo: Sequence[_Kept], opened: OpenRun, concurrency: int) -> Iterator[Score]:
    tasks: dict[str, dict[str, LightweightTask]] = {}

    def task_of(unit: Unit) -> LightweightTask:
        if unit.shard not in tasks:
            tasks.clear()  # shards come one after the other
            tasks[unit.shard] = {task.id: task for task in opened.tasks(unit.shard)}
        return tasks[unit.shard][unit.task].fresh()

    left = iter(todo)
    with ThreadPoolExecutor(concurrency, "prealloc-scorer") as threads:
        while wave := list(islice(left, _WAVE * concurrency)):
            yield from threads.map(
                lambda each: _score(function, *each),
                [(task_of(kept.unit), kept) for kept in wave],
            )


def _score(function: WorkerFunction, task: LightweightTask, kept: _Kept) -> Score:
    where = {**kept.unit._asdict(), "attempt": kept.outcome.attempt.attempt}
    try:
        said = function.call(task, kept.outcome.read().result)
        if inspect.isawaitable(said):
            said = asyncio.run(_wait_for(said))
        success, score, unclear = verdict(_as_result(said))
    except Exception as error:  # the user's function may do anything; one result does not stop the others
        info = describe(error)
        return Score(**where, error=f"{info.type}: {info.message}")
    return Score(**where, success=success, score=score, unclear=unclear)


def _as_result(said: Any) -> Any:
    if isinstance(said, bool):
        return {"success": said}
    if isinstance(said, int | float):
        return {"score": said}
    return said


async def _wait_for(said: Any) -> Any:
    return await said
