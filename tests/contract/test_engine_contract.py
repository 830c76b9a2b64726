"""What every engine does, each behaviour written once."""

from __future__ import annotations

import csv
import functools
import io
import json
import pickle
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contract_workers as workers
import pytest
from journals import lines_of

import prealloc
from prealloc.api.outcomes import tabulated
from prealloc.model.events import AttemptEnded, Event, RunEnded, RunStarted, ShardStarted
from prealloc.model.lane import Lane
from prealloc.report.plain import progress_line
from prealloc.report.progress import RunProgress
from prealloc.report.results_view import render_results, results_text
from prealloc.report.summary import render_summary
from prealloc.report.table import render_table
from prealloc.store import slices
from prealloc.store.plan_folder import write_plan
from prealloc.testing import fails, make_plan, make_task, retries, returns, scripted


def _results(run: Path) -> dict[tuple[str, int], Any]:
    return {(each.task, each.repeat): each.read().result for each in prealloc.outcomes(run) if each.outcome}


def _results_by_shard(run: Path) -> dict[tuple[str, str], Any]:
    return {(each.shard, each.task): each.read().result for each in prealloc.outcomes(run) if each.outcome}


def _notes(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for file in (run / "journal").iterdir() for line in file.read_text().splitlines()]
    return [line for line in lines if line.get("kind") == "note"]


Go = Callable[..., RunEnded]


@pytest.mark.starts
@pytest.mark.parametrize("worker", [workers.echo, workers.echo_async], ids=["sync", "async"])
def test_every_unit_runs_once_and_its_result_is_kept(go: Go, tmp_path: Path, worker: Any) -> None:
    """Law 5: each planned unit is in exactly one outcome, with its task's own bytes, settings and seed."""
    tasks = [make_task(f"t{n}", workflow={"n": n, "text": "é \u2028"}) for n in range(7)]
    ended = go(make_plan(tasks, shards=3, repeats=2, settings={"model": "m"}), worker, concurrency=2)
    assert ended.exit_code == 0
    assert ended.census == {**dict.fromkeys(ended.census, 0), "ok": 14}
    results = _results(tmp_path / "run")
    assert len(results) == 14
    assert all(value["workflow"]["n"] == int(task[1:]) for (task, _), value in results.items())
    assert all(value["settings"] == {"model": "m"} for value in results.values())
    assert len({value["seed"] for value in results.values()}) == 14
    assert Counter(line["task"] for line in lines_of(tmp_path / "run")) == dict.fromkeys((t.id for t in tasks), 2)


def test_a_task_that_fails_stops_nobody_else(go: Go, tmp_path: Path) -> None:
    """Law 6: outcome is data. A failed task is told with type and text; the exit code is 1."""
    tasks = [make_task("bad", script=[fails("no luck")]), *(make_task(f"t{n}") for n in range(4))]
    ended = go(make_plan(tasks, shards=2), scripted)
    assert (ended.census["ok"], ended.census["failed"], ended.exit_code) == (4, 1, 1)
    assert ended.missing == ("shard-00/bad#0 (failed)",)
    (failed,) = [each for each in prealloc.outcomes(tmp_path / "run") if each.status == "failed"]
    assert failed.error is not None
    assert failed.error.type.endswith("ScriptedFailure")
    assert failed.error.message == "no luck"
    assert ended.resume is not None
    assert ended.resume.endswith("--failed")


@pytest.mark.parametrize(
    ("name", "status", "type_"),
    [
        ("no_pickle", "failed", "NoPickle"),
        ("system_exit", "crashed", "SystemExit"),
        ("interrupt", "failed", "KeyboardInterrupt"),
        ("surrogate", "failed", "ValueError"),
    ],
)
def test_errors_cross_as_text(go: Go, tmp_path: Path, name: str, status: str, type_: str) -> None:
    """Law 6: whatever is raised, only its type and text leave the worker; the neighbour ends ok."""
    tasks = [make_task("odd", workflow=name), make_task("other", workflow="surrogate")]
    ended = go(make_plan(tasks), workers.odd_errors)
    assert ended.exit_code == 1
    (odd,) = [each for each in prealloc.outcomes(tmp_path / "run") if each.task == "odd"]
    assert odd.status == status
    assert odd.error is not None
    assert odd.error.type.endswith(type_)


def test_a_result_that_is_no_json_fails_its_task_and_names_the_field(go: Go, tmp_path: Path) -> None:
    """Nothing is bent into JSON in silence: not NaN, bytes, cycles, half surrogates, nor too much. The rest is kept."""
    fields = {
        "nan": "result.score",
        "bytes": "result.blob",
        "cycle": "result[0]",
        "surrogate": "result.text",
        "complex": "result.z",
        "key": "the key (1, 2)",
        "integer": "result.n",
        "large": "the limit is",
    }
    ended = go(make_plan([make_task(name, workflow=name) for name in fields]), workers.no_json)
    assert ended.census["failed"] == len(fields)
    for each in prealloc.outcomes(tmp_path / "run"):
        assert each.error is not None
        assert fields[each.task] in each.error.message
    results = _results(tmp_path / "run")
    assert results["integer", 0] == {"n": None, "success": True, "score": 0.5}
    assert results["large", 0] == {"text": None}
    assert ended.rate == 0.0  # what is `failed` is no success, whatever the rest of its result says


NO_SUCCESS = [None, {}, {"passed": False}, {"success": "no"}, {"success": 2}, {"success": None}, {"success": [True]}]


@pytest.mark.parametrize("reported", [False, True])
def test_no_screen_shows_a_success_that_no_worker_reported(go: Go, tmp_path: Path, reported: bool) -> None:
    """Every screen and file has the same rate: of the units whose results say yes or no, in any of their spellings."""
    says = [{"success": 0}, {"success": 1}, {"success": True}, {"success": 1.0}, "numpy true", "numpy 0", "model"]
    values = [*NO_SUCCESS, "numpy half", "fails", *(says if reported else [])]
    progress = RunProgress()
    ended = go(
        make_plan([make_task(f"t{n}", workflow=value) for n, value in enumerate(values)]),
        workers.says,
        observe=lambda event: progress.apply(event, 0.0),
    )
    assert (ended.census["ok"], ended.census["failed"]) == (len(values) - 1, 1)
    rate = 5 / 8 if reported else None
    total, by_type = prealloc.results(tmp_path / "run"), prealloc.results(tmp_path / "run", by=["type"])
    status = prealloc.status(tmp_path / "run")
    rates = [ended.rate, ended.types[0].rate, status.rate, progress.success_rate(progress.total)]
    assert [*rates, total[0].rate, by_type[0].rate] == [rate] * 6
    assert (total[0].decided, total[0].rated) == (len(values), 8 if reported else 1)
    assert total[0].success_rate == (5 / 16 if reported else None)
    assert (ended.success, status.success) == (progress.total.success,) * 2
    assert ended.success.unclear == total[0].success_unclear == 4
    summary = render_summary(progress, ended).text()
    table = render_results(tabulated(tmp_path / "run", by=["type"])).text()
    assert f"\nsuccess    {'62.5%: 5 of 8 units' if reported else '-'}\n" in summary
    assert set(re.findall(r"(?<![\d.])\d+(?:\.\d+)?%", table)) == (
        {"62.5%", "95%"} if reported else set()
    )  # and the interval's level
    for live in (render_table(progress, 0.0).text(), progress_line(progress, 0.0)):
        assert set(re.findall(r"[\d.]+%", live)) == ({"62%"} if reported else set())
    for written in (
        *json.loads(results_text(by_type, "json")),
        *csv.DictReader(io.StringIO(results_text(by_type, "csv"))),
    ):
        assert [float(written[name] or -1) for name in ("rate", "rate_latest", "success_rate")] == (
            [0.625, 0.625, 0.3125] if reported else [-1] * 3
        )
    for screen in (summary, table):
        assert "ok %" not in screen
        assert 'success that is neither yes nor no, e.g. "no"' in screen
        assert ("to get a rate" in screen) == (not reported)
        assert ("8 ok units with no known success" in screen) == reported


def test_infrastructure_is_tried_again_and_pass_at_1_knows_only_agents(go: Go, tmp_path: Path) -> None:
    """Law 10: Retryable is tried again up to --retries; the attempts are all in the journal, the last one counts."""
    tasks = [
        make_task("twice", script=[retries(retry_after_s=0.01), returns("late but fine")]),
        make_task("never", script=[retries(retry_after_s=0.01)]),
    ]
    ended = go(make_plan(tasks), scripted, retries=1)
    assert (ended.census["ok"], ended.census["infra"], ended.exit_code) == (1, 1, 1)
    assert ended.resume == f"prealloc resume {tmp_path / 'run'}"
    lines = [(line["task"], line["attempt"], line["status"]) for line in lines_of(tmp_path / "run")]
    assert sorted(lines) == [("never", 1, "infra"), ("never", 2, "infra"), ("twice", 1, "infra"), ("twice", 2, "ok")]


def test_a_429_is_infrastructure_by_its_shape(go: Go, tmp_path: Path) -> None:
    """Law 10: an error with status_code 429 is tried again, whatever its class."""
    ended = go(make_plan(2), workers.limited)
    assert ended.exit_code == 0
    assert set(_results(tmp_path / "run").values()) == {"served"}


def test_each_attempt_gets_a_fresh_task_and_fresh_settings(go: Go, tmp_path: Path) -> None:
    """Law 8: what one attempt does to its task or settings, no other attempt sees."""
    plan = make_plan([make_task("a", workflow={"goal": 1}), make_task("b", workflow={"goal": 2})], settings={"m": 1})
    assert go(plan, workers.vandal).exit_code == 0
    for value in _results(tmp_path / "run").values():
        assert "left" not in value["workflow"]
        assert value["settings"] == {"m": 1}


def test_events_tell_the_same_story_as_the_journal(go: Go) -> None:
    """Each attempt is told started, then ended; the first event is run_started, the last run_ended."""
    events: list[Event] = []
    tasks = [make_task("r", script=[retries(retry_after_s=0.0), returns()]), make_task("f", script=[fails()])]
    go(make_plan(tasks), scripted, observe=events.append)
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunEnded)
    told = [(type(e).__name__, e.task, e.attempt) for e in events if hasattr(e, "attempt")]
    for _, task, attempt in told:
        assert told.index(("AttemptStarted", task, attempt)) < told.index(("AttemptEnded", task, attempt))
    decided = [event for event in events if isinstance(event, AttemptEnded) and event.outcome]
    assert Counter(event.task for event in decided) == {"r": 1, "f": 1}


def test_the_journal_says_who_served_what_and_when(go: Go, tmp_path: Path) -> None:
    """Attempts name their lane, what their result says and how; sessions and workers when they began and ended."""
    began = time.time()
    lane = Lane.checked(name="key-1")
    tasks = [make_task("good", script=[returns({"success": True, "score": 2})]), make_task("bad", script=[fails()])]
    told: list[Event] = []
    go(make_plan(tasks, lanes=(lane,)), scripted, observe=told.append)
    attempts = {line["task"]: line for line in lines_of(tmp_path / "run")}
    judged = {task: (line["lane"], line.get("success"), line.get("score")) for task, line in attempts.items()}
    assert judged == {"good": ("key-1", True, 2.0), "bad": ("key-1", None, None)}
    assert {e.task: (e.lane, e.success, e.score) for e in told if isinstance(e, AttemptEnded)} == judged
    text = (tmp_path / "run/journal/supervisor.0001.jsonl").read_text()
    records: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in map(json.loads, text.splitlines()):
        records[record["kind"]].append(record)
    (first,), (last,) = records["session"], records["session_end"]
    assert began <= first["started_at"] <= min(line["started_at"] for line in attempts.values())
    assert first["started_at"] < last["ended_at"] <= time.time()
    started = {each["incarnation"]: each["started_at"] for each in records["worker"]}
    ended = {each["incarnation"]: each["ended_at"] for each in records["worker_end"]}
    assert started.keys() == ended.keys()
    assert all(first["started_at"] <= at < ended[number] <= last["ended_at"] for number, at in started.items())


def test_a_slice_is_read_once_to_check_it_and_once_to_run_it(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever resumes a large run waits for that: of a shard that is done, the slice is only checked."""
    tasks = [make_task("open", script=[retries(retry_after_s=0.0), returns()]), make_task("done", workflow={})]
    plan = make_plan(tasks, shards=2)
    write_plan(plan, tmp_path / "plan")
    reads: Counter[str] = Counter()
    read = slices.read_bytes

    def counted(path: Path, *arguments: Any, **options: Any) -> bytes:
        reads[path.stem] += 1
        return read(path, *arguments, **options)

    monkeypatch.setattr(slices, "read_bytes", counted)
    mine = {shard.tasks[0].id: shard.manifest.slice.sha256 for shard in plan.shards}
    go(tmp_path / "plan", scripted, retries=0)
    assert reads == {mine["open"]: 2, mine["done"]: 2}
    reads.clear()
    prealloc.resume(tmp_path / "run")
    assert reads == {mine["open"]: 2, mine["done"]: 1}


@pytest.mark.parametrize("worker", [workers.tidies, workers.tidies_async, workers.wraps_async])
def test_each_attempt_cleans_up_after_itself(go: Go, tmp_path: Path, worker: Any) -> None:
    """on_exit is called however the attempt ended, and decides nothing. Notes are kept, ContextVars are not."""
    (tmp_path / "left").mkdir()
    tasks = [make_task(f"t{n}", workflow="fail" if n == 1 else None) for n in range(3)]
    ended = go(make_plan(tasks, settings={"folder": str(tmp_path / "left")}), worker)
    assert (ended.census["ok"], ended.census["failed"]) == (2, 1)
    assert sorted(path.name for path in (tmp_path / "left").iterdir()) == ["t0.t0", "t1.t1", "t2.t2"]
    results = [outcome.read() for outcome in prealloc.outcomes(tmp_path / "run") if outcome.status == "ok"]
    assert [attempt.result for attempt in results if attempt] == [{"before": None}] * 2
    notes = b"".join(path.read_bytes() for path in (tmp_path / "run" / "journal").iterdir()).count(b'"kind":"note"')
    assert notes == (3 if worker is workers.tidies else 0)


@pytest.mark.parametrize("worker", [workers.asks_who_runs, workers.asks_who_runs_async, workers.asks_who_runs_wrapped])
def test_current_is_the_context_of_the_task_that_runs_here(go: Go, tmp_path: Path, worker: Any) -> None:
    """However many run at once, and until what it has left for its exit is done. A thread has it only if it is handed
    over, as documented; elsewhere there is none.
    """
    ended = go(make_plan(6, shards=2, settings={"prefix": "of "}), worker, concurrency=3)
    assert ended.exit_code == 0
    for (shard, _), value in _results_by_shard(tmp_path / "run").items():
        assert value == [True, f"of {shard}", f"of {shard}", "NoCurrentTask: True"]
    notes = [line for line in _notes(tmp_path / "run") if "at exit" in line["value"]]
    assert [note["value"] for note in notes] == [{"at exit": True}] * 6
    with pytest.raises(prealloc.NoCurrentTask, match="no task runs here") as found:
        prealloc.current()
    assert isinstance(pickle.loads(pickle.dumps(found.value)), RuntimeError)


@pytest.mark.parametrize(
    "worker", [workers.Agent(), functools.partial(workers.echo), len], ids=["object", "partial", "C"]
)
def test_what_cannot_be_imported_by_name_is_refused(tmp_path: Path, worker: Any) -> None:
    """Objects and partials have no name to import: WorkerFunctionError with the hint, and no folder."""
    with pytest.raises(prealloc.WorkerFunctionError) as caught:
        prealloc.run(make_plan(1), worker, tmp_path / "run", engine="inline")
    assert caught.value.hint
    assert not (tmp_path / "run").exists()


def test_a_shard_runs_on_a_lane_that_serves_it_and_gets_its_settings(go: Go, tmp_path: Path) -> None:
    """Which one is chosen when it starts; the line of each attempt says which. The outcome has that lane's settings."""
    lanes = [Lane.checked(name=name, deployment=f"d-{name}", settings={"region": name}) for name in "ab"]
    started: list[Event] = []
    plan = make_plan(8, shards=4, lanes=lanes, settings={"model": "m"})
    assert all(shard.settings == {"model": "m"} for shard in plan.shards)
    assert go(plan, workers.echo, observe=started.append, rebalance=False).exit_code == 0
    of_shard = {event.shard: event.lane for event in started if isinstance(event, ShardStarted)}
    for outcome in prealloc.outcomes(tmp_path / "run"):
        attempt = outcome.read()
        assert attempt is not None
        lane = attempt.lane
        assert lane == of_shard[outcome.shard] == attempt.result["lane"]
        assert (
            outcome.settings == attempt.result["settings"] == {"model": "m", "deployment": f"d-{lane}", "region": lane}
        )


def test_what_a_lane_turns_away_ends_on_another_one(go: Go, resume: Go, tmp_path: Path) -> None:
    """Its key is refused: every unit ends ok elsewhere, and nothing twice. Where no lane is left, `resume` runs it."""
    lanes = [Lane.checked(name=name) for name in ("good", "dead")]
    told: list[Event] = []
    ended = go(make_plan(8, shards=4, lanes=lanes, settings={"dead": ["dead"]}), workers.refused, observe=told.append)
    assert (ended.exit_code, ended.census["ok"]) == (0, 8)
    attempts = [event for event in told if isinstance(event, AttemptEnded)]
    assert Counter(event.task for event in attempts if event.outcome) == {f"task-{n + 1}": 1 for n in range(8)}
    assert {event.lane for event in attempts if event.outcome} == {"good"}
    progress = RunProgress()
    for event in told:
        progress.apply(event, 0.0)
    assert (progress.total.done, progress.running) == (8, 0)


def test_no_two_workers_have_the_same_slot(go: Go, tmp_path: Path, engine: str) -> None:
    """Of those that live at the same time on a machine; they are small, and free again when a worker is gone."""
    (tmp_path / "met").mkdir()
    settings = {"folder": str(tmp_path / "met"), "shards": 3, "alone": engine == "inline"}
    assert go(make_plan(3, shards=3, settings=settings), workers.meets_the_others, rebalance=False).exit_code == 0
    slots: dict[str | None, list[int]] = defaultdict(list)
    for line in lines_of(tmp_path / "run"):
        slots[line.get("host")].append(line["result"]["slot"])
    alone = engine == "inline"
    assert all(sorted(found) == ([0, 0, 0] if alone else [*range(len(found))]) for found in slots.values())
    assert len({result["pid"] for result in _results(tmp_path / "run").values()}) == (1 if alone else 3)


def test_shards_that_take_longest_start_first(go: Go, tmp_path: Path) -> None:
    """By what their tasks took in a past run; the order inside a shard is the plan's."""
    tasks = [make_task(f"t{n}", script=[returns(after_s=n % 3 * 0.1)]) for n in range(6)]
    plan = make_plan(tasks, shards=3)
    assert prealloc.run(plan, scripted, tmp_path / "past", engine="inline").exit_code == 0
    told: list[Event] = []
    go(plan, scripted, history=[tmp_path / "past"], workers=1, observe=told.append, rebalance=False)
    assert [event.shard for event in told if isinstance(event, ShardStarted)] == ["shard-02", "shard-01", "shard-00"]
    ended = [event.task for event in told if isinstance(event, AttemptEnded)]
    assert ended[:2] == ["t2", "t5"]
