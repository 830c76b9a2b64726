"""What every engine does at the edges: hostile errors, odd values, waits, hangs. Each behaviour is written once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edge_workers as workers
import msgspec
import pytest

import prealloc
from prealloc.engines.base import Engine
from prealloc.model.events import AttemptEnded, AttemptStarted, Event, RunEnded, RunStarted
from prealloc.testing import fails, hangs, make_plan, make_task, retries, returns, scripted

Go = Callable[..., RunEnded]


def raw_lines(run: Path) -> list[bytes]:
    files = sorted((run / "journal").glob("shard-*"))
    return [line for file in files for line in file.read_bytes().split(b"\n") if line]


def ctrl_c_once(begun: type[Event]) -> Callable[[Event], None]:
    """An observer that sends this process SIGINT at the first event of a kind: not by time, it would end pytest."""
    sent: list[Event] = []

    def observe(event: Event) -> None:
        if isinstance(event, begun) and not sent:
            sent.append(event)
            os.kill(os.getpid(), signal.SIGINT)

    return observe


def results(run: Path) -> dict[str, Any]:
    return {each.task: each.read().result for each in prealloc.outcomes(run) if each.outcome}


@pytest.mark.parametrize("worker", [workers.raises, workers.raises_async], ids=["sync", "async"])
def test_a_hostile_error_fails_its_task_alone(go: Go, tmp_path: Path, worker: Any) -> None:
    """Law 6: an error whose own properties and text raise is data like any other; the run goes on to its end."""
    tasks = [make_task(name, workflow=name) for name in workers.ERRORS]
    ended = go(make_plan([make_task("a"), *tasks, make_task("z")]), worker, retries=0)
    assert (ended.census["ok"], ended.exit_code) == (2, 1)
    for each in prealloc.outcomes(tmp_path / "run"):
        if each.task in workers.ERRORS:
            assert each.status == ("infra" if each.task == "EvilHeaders" else "failed")
            assert each.error is not None
            assert each.error.type.endswith(each.task)


@pytest.mark.starts
@pytest.mark.parametrize(("name", "status"), [("exit", "crashed"), ("interrupt", "failed"), ("cancelled", "failed")])
def test_a_coroutine_that_raises_past_exception(go: Go, name: str, status: str) -> None:
    """SystemExit, KeyboardInterrupt and CancelledError of a task end neither the event loop nor the master."""
    tasks = [make_task("odd", workflow=name), *(make_task(f"t{n}") for n in range(4))]
    try:
        ended = go(make_plan(tasks), workers.raises_async, concurrency=2, timeout_s=3)
    except (KeyboardInterrupt, SystemExit) as error:
        pytest.fail(f"{error!r} of a task came out of prealloc")  # and would end pytest itself
    assert (ended.census["ok"], ended.census[status]) == (4, 1)


def test_results_are_kept_byte_for_byte(go: Go, tmp_path: Path) -> None:
    """What JSON can say is written as compact JSON, and read back it is the same text again."""
    assert go(make_plan([make_task(name, workflow=name) for name in workers.ODD]), workers.odd).exit_code == 0
    found = results(tmp_path / "run")
    for line in raw_lines(tmp_path / "run"):
        task = json.loads(line)["task"]
        text = msgspec.json.encode(workers.ODD[task])
        assert b'"result":' + text in line
        assert msgspec.json.encode(found[task]) == text
    assert found["kinds"] == {"tuple": [1, 2], "enum": "red", "number": 1}


def test_a_deep_result_is_no_trouble(go: Go, resume: Go, tmp_path: Path) -> None:
    """500 levels are within the limit of 512: kept, read, resumed over."""
    assert go(make_plan([make_task("deep", workflow="deep")]), workers.odd).exit_code == 0
    assert resume().exit_code == 0
    assert results(tmp_path / "run")["deep"] == workers.deep(500)


@pytest.mark.parametrize("worker", [workers.timed, workers.timed_async], ids=["sync", "async"])
def test_concurrency_is_a_limit_that_is_used(go: Go, tmp_path: Path, engine: str, worker: Any) -> None:
    """As many tasks at once as asked for, and never more; the inline engine runs one at a time."""
    assert go(make_plan(9), worker, concurrency=3).exit_code == 0
    spans = list(results(tmp_path / "run").values())
    at_once = max(sum(o["began"] <= s["began"] < o["ended"] for o in spans) for s in spans)
    assert at_once == (1 if engine == "inline" else 3)


def test_waiting_is_not_working(go: Go, tmp_path: Path) -> None:
    """Law 9: --timeout counts working time alone; the journal tells both."""
    ended = go(make_plan(2), workers.patient, timeout_s=0.5)
    assert ended.exit_code == 0
    for each in prealloc.outcomes(tmp_path / "run"):
        assert each.waiting_s is not None
        assert each.waiting_s >= 0.6
        assert each.working_s is not None
        assert each.working_s < 0.5


@pytest.mark.starts
@pytest.mark.parametrize("worker", [workers.hangs, workers.hangs_async], ids=["sync", "async"])
def test_a_hang_is_stopped_or_the_engine_says_that_it_cannot(go: Go, engine: str, worker: Any) -> None:
    """--timeout holds where the engine can kill; else there is no bound, and none is promised."""
    events: list[Event] = []
    hang = "quick" if engine == "inline" else "hang"
    tasks = [make_task("hang", workflow=hang), *(make_task(f"t{n}") for n in range(3))]
    ended = go(make_plan(tasks), worker, timeout_s=0.5, observe=events.append)
    assert isinstance(events[0], RunStarted)
    if engine == "inline":
        assert events[0].bound_s is None
        assert not events[0].guards_library
    else:
        assert (ended.census["ok"], ended.census["timeout"], ended.exit_code) == (3, 1, 1)
        assert events[0].bound_s is not None
        assert ended.duration_s < 0.5 + 5


def test_some_cells_have_options_of_their_own(go: Go, resume: Go, engine: str, tmp_path: Path) -> None:
    """The last entry that fits a cell and says an option decides, for its workers, for the bound, and on resume."""
    tasks = [{"id": f"t{n}", "type": "t", "workflow": None} for n in range(4)]
    models = ["a", "b", "c"] if engine != "inline" else ["b", "c"]  # it cannot end what hangs
    plan = prealloc.plan(tasks, factors={"model": models, "rate": [0.5, 1]}, num_instances=2)
    where: list[dict[str, Any] | str] = [
        {"model": "b", "timeout_s": "5m", "concurrency": 3},
        {"model": "b", "rate": 1, "timeout": "none"},
        "model=c,rate=0.5,concurrency=2,timeout=7",
    ]
    where += [{"model": "a", "timeout_s": 0.3}] if engine != "inline" else []
    events: list[Event] = []
    ended = go(plan, workers.limits, where=where, timeout_s=600, observe=events.append)
    assert (ended.census["ok"], ended.census["timeout"]) == (8, 4 * ("a" in models))
    assert isinstance(events[0], RunStarted)
    assert (events[0].concurrency, events[0].concurrency_most) == (1, 3)
    assert events[0].bound_s is None  # of one cell nobody can tell
    told = [each.read().result for each in prealloc.outcomes(tmp_path / "run") if each.status == "ok"]
    found = {tuple(each["cell"]): each["timeout_s"] for each in told}
    assert found == {("b", 0.5): 300, ("b", 1): None, ("c", 0.5): 7, ("c", 1): 600}
    if "a" in models:
        again: list[Event] = []
        assert resume(failed=True, observe=again.append).census["timeout"] == 4
        assert isinstance(again[0], RunStarted)
        assert again[0].bound_s is not None  # what is left has a timeout
        assert again[0].bound_s < 4 * (3 * 121 + 3600 + 25 * 8)


def test_a_task_may_name_its_timeout(go: Go, engine: str, tmp_path: Path) -> None:
    """It comes before every option of the run, and the bound counts with it: as if the run had it."""
    limits: dict[str, Any] = {"t0": 30, "t1": "2m", "t2": None, "t3": 1.5}
    tasks = [{"id": id, "type": "t", "limit": limit} for id, limit in limits.items()]
    factors = {"model": ["b", "c"], "rate": [1]}
    bounds = []
    for field, timeout_s in (("limit", 120), (None, 120), ("limit", 60), ("limit", None)):
        events: list[Event] = []
        plan = prealloc.plan(tasks, factors=factors, whole=True, timeout_field=field, seed=1)
        out = tmp_path / f"run-{field}-{timeout_s}"
        prealloc.run(plan, workers.limits, out, engine=engine, timeout_s=timeout_s, observe=events.append)
        assert isinstance(events[0], RunStarted)
        bounds.append(events[0].bound_s)
        for each in prealloc.outcomes(out):
            own = {"t0": 30, "t1": 120, "t3": 1.5}.get(each.task) if field else None
            assert each.read().result["timeout_s"] == (own or timeout_s)
    with_field, without, shorter, endless = bounds
    assert endless is None
    if engine != "inline":
        assert with_field is not None
        assert shorter is not None
        assert without is not None
        assert shorter < with_field < without


@pytest.mark.parametrize(
    ("entry", "where", "hint"),
    [
        ({"modle": "a", "timeout_s": 1}, "‹where› 1 modle", "use one of model"),
        ({"model": "z", "timeout_s": 1}, "‹where› 1 model", "use one of 'a', 'b'"),
        ({"model": "a", "timeout_s": "soon"}, "‹where› 1 timeout_s", "write seconds, or 90s, 10m, 2h"),
    ],
)
def test_an_entry_that_fits_no_cell_is_refused(go: Go, tmp_path: Path, entry: Any, where: str, hint: str) -> None:
    """With what there is, when it is planned and when it is run; nothing was made."""
    tasks = [{"id": "t", "type": "t"}]
    plan = prealloc.plan(tasks, factors={"model": ["a", "b"]}, num_instances=1)
    for made in (
        lambda: go(plan, workers.limits, where=[entry]),
        lambda: prealloc.plan(tasks, factors={"model": ["a", "b"]}, num_instances=1, run_options={"where": [entry]}),
    ):
        with pytest.raises(prealloc.OptionsError) as caught:
            made()
        assert [(each.where, each.hint) for each in caught.value.mistakes] == [(where, hint)]
    assert not (tmp_path / "run").exists()


@pytest.mark.starts
def test_a_limit_of_memory_is_kept_or_refused(go: Go, engine: str, tmp_path: Path) -> None:
    """--memory where the engine cannot kill: an error in the options, and no folder."""
    if engine == "inline":
        with pytest.raises(prealloc.OptionsError, match="memory_bytes"):
            go(make_plan(1), workers.odd, memory_bytes="1GB")
        assert not (tmp_path / "run").exists()
    else:
        assert go(make_plan(1), workers.timed, memory_bytes="1GB").exit_code == 0


def test_seeds_are_the_units_own(go: Go, tmp_path: Path) -> None:
    """The same at every attempt, in every session and on every engine; another for every unit and plan."""
    from contract_workers import echo

    go(make_plan(3, repeats=2, seed=5), echo)
    go(make_plan(3, repeats=2, seed=5), echo, "again", concurrency=2)
    go(make_plan(3, repeats=2, seed=6), echo, "other")
    seeds = [
        {(each.task, each.repeat): each.read().result["seed"] for each in prealloc.outcomes(tmp_path / name)}
        for name in ("run", "again", "other")
    ]
    assert seeds[0] == seeds[1]
    assert len({*seeds[0].values(), *seeds[2].values()}) == 12
    # Pinned: who stored results by seed finds them again with a later version.
    assert seeds[0]["task-1", 0] == 8412251823563624068


def test_backoff_without_a_word_from_the_server(go: Go, tmp_path: Path) -> None:
    """Law 10: an infrastructure error that names no time is tried again within a second, and that is waiting."""
    ended = go(make_plan([make_task("a", script=[retries(), returns(1)])]), scripted, timeout_s=5)
    assert ended.exit_code == 0
    lines = [json.loads(line) for line in raw_lines(tmp_path / "run")]
    assert [line["status"] for line in lines] == ["infra", "ok"]
    assert 0 <= lines[1]["waiting_s"] <= 1.0
    assert lines[1]["working_s"] < 0.5


def test_a_wait_past_max_wait_is_not_begun(go: Go) -> None:
    """Law 9: who is told to come back after --max-wait gives up at once: infra, and resume runs it again."""
    ended = go(make_plan(2), workers.later, max_wait_s=5)
    assert ended.census["infra"] == 2
    assert ended.duration_s < 5


@pytest.mark.starts
def test_ctrl_c_during_a_backoff(stopped: Go) -> None:
    """Waiting for a server does not keep anyone from stopping."""
    ended = stopped(make_plan(1), workers.later, observe=ctrl_c_once(AttemptEnded))
    assert ended.exit_code == 130
    assert ended.duration_s < 10
    assert ended.census["not_run"] == 1


def test_resume_runs_exactly_what_was_left(go: Go, resume: Go, tmp_path: Path) -> None:
    """Law 7, over four sessions: each runs what is open, and the attempt numbers go on."""
    tasks = [
        make_task("third", script=[retries(retry_after_s=0.0)] * 2 + [returns("third")]),
        make_task("never", script=[retries(retry_after_s=0.0)]),
        make_task("bad", script=[fails("first"), fails("second"), returns("fixed")]),
        make_task("good", script=[returns({"success": True})]),
    ]
    plan = make_plan(tasks, shards=2)
    told: list[list[tuple[str, int]]] = []

    def watch() -> Callable[[Event], None]:
        told.append([])
        return lambda e: told[-1].append((e.task, e.attempt)) if isinstance(e, AttemptEnded) else None

    go(plan, scripted, retries=0, observe=watch())
    resume(observe=watch())
    resume(failed=True, observe=watch())
    last = resume(failed=True, observe=watch())
    assert [sorted(each) for each in told] == [
        [("bad", 1), ("good", 1), ("never", 1), ("third", 1)],
        [("never", 2), ("third", 2)],
        [("bad", 2), ("never", 3), ("third", 3)],
        [("bad", 3), ("never", 4)],
    ]
    assert (last.census["ok"], last.census["infra"], last.exit_code) == (3, 1, 1)
    (bad,) = [each for each in prealloc.outcomes(tmp_path / "run") if each.task == "bad"]
    assert (bad.first_status, bad.status) == ("failed", "ok")
    (row,) = prealloc.results(tmp_path / "run")
    assert (row.decided, row.rated, row.rate, row.rate_latest) == (3, 2, 0.5, 1.0)
    assert row.success_rate == 0.25


@pytest.mark.starts
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("edge_workers:nobody", "has no nobody"),
        ("edge_workers:no_function", "not a function"),
        ("edge_workers:one_argument", "cannot be called"),
        ("no_such_module:f", "no module no_such_module"),
        ("edge_workers", "does not name a function"),
    ],
)
def test_a_function_that_cannot_run_is_refused_first(go: Go, tmp_path: Path, name: str, problem: str) -> None:
    """Exit code 2, the hint named, and no run folder made."""
    with pytest.raises(prealloc.WorkerFunctionError, match=problem) as caught:
        go(make_plan(2), name)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert not (tmp_path / "run").exists()


@pytest.mark.starts
def test_a_module_that_prints_while_it_is_imported(go: Go, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its words are no protocol of ours, and go to a log, not between our own (inline shares our streams)."""
    from talking_workers import echo  # its own print is seen here, once

    capfd.readouterr()
    assert go(make_plan(2, shards=2), "talking_workers:echo").exit_code == 0
    assert capfd.readouterr().out == ""
    assert echo is not None


@pytest.mark.starts
def test_nothing_stays_open(go: Go, tmp_path: Path) -> None:
    """A program that makes many runs does not run out of descriptors."""
    go(make_plan(2, shards=2), workers.raises, "first")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(2):
        go(make_plan(2, shards=2), workers.raises, f"run{number}")
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.starts
def test_a_run_in_a_thread(go: Go) -> None:
    """Outside the main thread there are no signals to take, and all else works."""
    ended: list[RunEnded] = []
    thread = threading.Thread(target=lambda: ended.append(go(make_plan(3), workers.raises)))
    thread.start()
    thread.join(30)
    assert [each.exit_code for each in ended] == [0]


@pytest.mark.starts
def test_an_observer_that_raises_ends_the_run_cleanly(go: Go, resume: Go, tmp_path: Path) -> None:
    """What a caller's own code raises reaches the caller; no process is left, and resume goes on."""

    def observe(event: Event) -> None:
        if isinstance(event, AttemptEnded):
            raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        go(make_plan(4), workers.raises, observe=observe)
    assert resume().exit_code == 0


@pytest.mark.starts
def test_a_drain_that_is_over_cancels(stopped: Go, resume: Go, engine: str, tmp_path: Path) -> None:
    """What does not end within the drain time is `cancelled` where the engine can kill; resume runs it again."""
    if engine == "inline":
        tasks = [make_task("slow", script=[returns(1, after_s=1.0)])]
    else:
        tasks = [make_task("slow", script=[hangs(), returns(1)])]
    # The inline engine tells of a task when it has ended; then SIGINT comes between two.
    ended = stopped(make_plan(tasks), scripted, drain_s=0.2, observe=ctrl_c_once(AttemptStarted))
    assert ended.exit_code == 130
    assert ended.census["ok" if engine == "inline" else "cancelled"] == 1
    assert resume().exit_code == 0


@pytest.mark.parametrize("worker", [workers.asks_a_loop, workers.is_a_coroutine], ids=["sync", "async"])
def test_in_a_running_event_loop(go: Go, worker: Any) -> None:
    """A notebook's cell runs in one: then the inline engine's tasks cannot, and need not."""

    async def cell() -> RunEnded:
        return go(make_plan(2), worker)

    assert asyncio.run(cell()).census["ok"] == 2


@pytest.mark.starts
def test_keys_in_errors_are_masked(go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 11: the lane's key, others in the environment and what looks like one reach no journal and no event."""
    monkeypatch.setenv("LANE_7", "wordless-secret-of-lane-7")
    monkeypatch.setenv("OTHER_API_KEY", "another-secret-9")
    seen: list[Event] = []
    plan = make_plan(1, settings={"api_key_env": "LANE_7"})
    ended = go(plan, workers.tells_keys, observe=seen.append, retries=0)
    assert ended.census["failed"] == 1
    (outcome,) = prealloc.outcomes(tmp_path / "run")
    error = outcome.read().error
    assert error is not None
    assert error.message == "no answer from http://h/v1?api_key=***&n=1 for *** or ***, Authorization: Bearer ***"
    for text in (b"\n".join(raw_lines(tmp_path / "run")).decode(), repr(seen)):
        for secret in ("wordless-secret", "another-secret", "abc123", "tok456"):
            assert secret not in text


@pytest.mark.starts
def test_an_engine_that_is_given_is_closed_whatever_happens(make: Callable[[], Engine], tmp_path: Path) -> None:
    """Refused options, a folder that is taken, a run to its end: none leaves an engine open. run.json has its name."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    engines = [make() for _ in range(4)]
    with pytest.raises(prealloc.OptionsError, match="retries"):
        prealloc.run(make_plan(1), scripted, tmp_path / "run", engine=engines[0], retries=-1)
    with pytest.raises(prealloc.RunFolderError):
        prealloc.run(make_plan(1), scripted, tmp_path / "taken", engine=engines[1])
    assert prealloc.run(make_plan(1), scripted, tmp_path / "run", engine=engines[2]).exit_code == 0
    assert json.loads((tmp_path / "run" / "run.json").read_bytes())["engine"] == engines[2].name
    with pytest.raises(prealloc.RunFolderError):
        prealloc.resume(tmp_path / "nothing", engine=engines[3])  # the fixture looks for what they have left


def test_an_observer_is_told_and_asked(go: Go) -> None:
    """It gets every event in order, and is asked to draw while tasks run, on the clock that goes on."""
    told: list[Event] = []
    asked: list[float] = []

    class Observing:
        def handle(self, event: Event, /) -> None:
            told.append(event)

        def tick(self, now_s: float, /) -> None:
            asked.append(now_s)

    before = time.monotonic()
    assert go(make_plan(2), scripted, observe=Observing()).exit_code == 0
    assert isinstance(told[0], RunStarted)
    assert isinstance(told[-1], RunEnded)
    assert before <= asked[0]
    assert asked == sorted(asked)
