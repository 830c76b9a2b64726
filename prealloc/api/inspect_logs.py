"""A run as Inspect's logs: an .eval file for each cell, through Inspect's documented Python API.

The file format may change with Inspect; the API is what stays. So no file is written by hand, and Inspect is imported
when it is asked for: it takes seconds.
"""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from prealloc.api.located import Located
from prealloc.errors import InputError
from prealloc.files.atomic import new_folder, refuse_taken, writing
from prealloc.model.json_value import plain
from prealloc.model.outcome import FINAL, Attempt, AttemptInfo, ErrorInfo, Status
from prealloc.model.plan import Unit
from prealloc.model.usage import Tokens
from prealloc.store.fold import Tried, tries_in
from prealloc.store.results import aggregate
from prealloc.store.results_row import ResultsRow
from prealloc.store.unit_outcome import judged

SUCCESS, SCORE = "success", "score"


def write_logs(units: Iterable[Located], out: Path, *, results: bool) -> int:
    """Writes the new folder `out`. Units that have not ended are in no log. Returns the number of samples.

    Inspect is installed. Raises InputError if the folder is there or cannot be made.
    """
    from inspect_ai.log import write_eval_log

    cells: dict[bytes, list[Located]] = {}
    for each in units:
        cells.setdefault(msgspec.json.encode((each.unit.setup, each.cell), order="sorted"), []).append(each)
    count = 0
    with writing(out, InputError, otherwise="name another place, in a folder that you may write to"):
        refuse_taken(out, None)
        with new_folder(out) as folder:
            for number, members in enumerate(cells.values()):
                log = _log(members, results=results)
                name = members[0].unit.shard.rpartition(".")[0] or members[0].unit.shard
                write_eval_log(log, str(folder / f"{number:03d}-{name}.eval"))
                count += len(log.samples or [])
    return count


def _log(members: Sequence[Located], *, results: bool) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalResults, EvalSpec, EvalStats

    first = members[0]
    opened, plan = first.run, first.run.plan
    (row,) = aggregate(each.unit for each in members)
    samples = _samples(members, results=results)
    attempts = [each.unit.first.attempt for each in members if each.unit.first is not None]
    ended = max((_ended_at(each) for each in attempts if each.status in FINAL), default=None)
    model = first.cell.get("model", first.unit.settings.get("model"))
    task = ", ".join(f"{name}={plain(value)}" for name, value in first.cell.items()) or first.unit.shard
    key = hashlib.sha256(f"{plan.id} {first.unit.shard}".encode()).hexdigest()[:22]
    started = min((each.started_at for each in attempts), default=None)
    return EvalLog(
        status="success" if row.decided == row.units else "cancelled",
        eval=EvalSpec(
            created=_time(started) or opened.file.created_at,
            eval_id=key,
            run_id=plan.id[:22],
            task_id=key,
            task=task,
            model=plain(model) if model is not None else first.unit.setup.worker,
            dataset=EvalDataset(name=", ".join(each.name for each in plan.libraries), samples=row.tasks),
            config=EvalConfig(epochs=max((sample.epoch for sample in samples), default=1)),
            metadata={"made_by": "prealloc export", "run": str(opened.paths.root), "plan": plan.id, **first.cell},
            packages={"prealloc": opened.file.prealloc},
        ),
        results=EvalResults(total_samples=row.units, completed_samples=len(samples), scores=_scores(row)),
        stats=EvalStats(started_at=_time(started) or "", completed_at=_time(ended) or ""),
        samples=samples,
    )


def _scores(row: ResultsRow) -> list[Any]:
    """The numbers of `prealloc results`."""
    from inspect_ai.log import EvalMetric, EvalScore

    scorer = row.scorer or "result"
    found = []
    if row.rate is not None:
        metrics = {"accuracy": row.rate, "low": row.low, "high": row.high, "units": row.rated, "tasks": row.tasks}
        found.append(EvalScore(name=SUCCESS, scorer=scorer, metrics=_metrics(metrics, EvalMetric)))
    if row.mean_score is not None:
        metrics = {"mean": row.mean_score, "low": row.score_low, "high": row.score_high, "units": row.scored}
        found.append(EvalScore(name=SCORE, scorer=scorer, metrics=_metrics(metrics, EvalMetric)))
    return found


def _metrics(values: dict[str, float | None], metric: Any) -> dict[str, Any]:
    return {name: metric(name=name, value=value) for name, value in values.items() if value is not None}


def _samples(members: Sequence[Located], *, results: bool) -> list[Any]:
    found = []
    epochs: Counter[str] = Counter()
    tries: dict[tuple[Path, str], dict[Unit, list[Tried]]] = {}
    for each in members:
        epochs[each.unit.task] += 1  # of a task that several shards of the cell have, too, each sample is another
        key = each.run.paths.root, each.unit.shard
        if key not in tries:
            tries[key] = tries_in(each.run.paths, each.unit.shard)
        ended = each.unit.read_first()
        if ended is not None:
            before = [tried.attempt for tried in tries[key].get(each.unit.unit, ())]
            earlier = [other for other in before if other.attempt < ended.attempt]
            found.append(_sample(each, ended, epochs[each.unit.task], earlier, results=results))
    return found


def _sample(each: Located, ended: Attempt, epoch: int, earlier: Sequence[Attempt], *, results: bool) -> Any:
    """A unit by its first outcome. What failed is scored as no success, as in every rate; undecided it has no score."""
    from inspect_ai.log import EvalSample
    from inspect_ai.scorer import Score

    unit = each.unit
    success = judged(unit).rated
    said = None if ended.error is None else f"{ended.status}: {ended.error.type}: {ended.error.message}"
    scores = {}
    if success is not None:
        scores[SUCCESS] = Score(value=success, explanation=said)
    if unit.first_score is not None:
        scores[SCORE] = Score(value=unit.first_score)
    factors = {name: value for name, value in unit.settings.items() if name not in each.cell}
    return EvalSample(
        id=unit.task,
        epoch=epoch,
        input=unit.task,
        target="",
        scores=scores or None,
        error=None if ended.error is None else _error(ended.error),
        error_retries=[_error(other.error) for other in earlier if other.error is not None] or None,
        model_usage={model: _usage(tokens) for model, tokens in (ended.usage or {}).items()},
        started_at=_time(ended.started_at),
        completed_at=_time(_ended_at(ended)),
        total_time=ended.working_s + ended.waiting_s,
        working_time=ended.working_s,
        uuid=hashlib.sha256(f"{each.run.plan.id} {unit.unit}".encode()).hexdigest()[:22],
        metadata={
            "unit": str(unit.unit),
            "type": unit.type,
            "status": unit.first_status.value,
            "latest_status": unit.status.value,
            "latest_success": unit.success,
            "lane": ended.lane,
            "settings": factors,
            **({"result": ended.result} if results and ended.status is Status.OK else {}),
        },
    )


def _error(error: ErrorInfo) -> dict[str, str]:
    """As values: the class of it is another in different versions of Inspect."""
    text = error.traceback or error.message
    return {"message": f"{error.type}: {error.message}", "traceback": text, "traceback_ansi": text}


def _usage(tokens: Tokens) -> dict[str, int]:
    """Tokens by the names that Inspect has for them."""
    return {
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "input_tokens_cache_read": tokens.cache_read,
        "input_tokens_cache_write": tokens.cache_write,
        "reasoning_tokens": tokens.reasoning,
        "total_tokens": tokens.total,
    }


def _ended_at(attempt: AttemptInfo) -> float:
    return attempt.started_at + attempt.working_s + attempt.waiting_s


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")
