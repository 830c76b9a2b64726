"""A scripted run with everything in it, and golden files of its pictures."""

from __future__ import annotations

import os
from pathlib import Path

from run_events import attempt_ended, run_started, shard_info

from prealloc.model import events
from prealloc.model.outcome import ErrorInfo, Status, Successes
from prealloc.report.progress import RunProgress

SCREENS = Path(__file__).parent / "golden" / "screens"


STATUSES = [Status.OK] * 6 + [Status.FAILED, Status.OK, Status.TIMEOUT, Status.INFRA]


def script(shards: int = 8, units: int = 10) -> list[tuple[float, events.Event]]:
    """A run with everything in it: done, failing, lost, running and waiting shards, notes and memory."""
    infos = tuple(
        shard_info(
            f"gpt-{'4o' if n % 2 else 'mini'}.easy.{n:03}",
            units,
            settings={"model": "gpt-4o" if n % 2 else "gpt-mini", "difficulty": "easy", "temperature": 0},
            done={"ok": units, "failed": 0} if n == 0 else {},
            success=Successes(decided=units, successes=6, reported=True) if n == 0 else Successes(),
        )
        for n in range(shards)
    )
    begun = run_started(*infos, run="runs/prompt-study-7", plan="3f9a12cdbeef", workers=4, concurrency=2, bound_s=12e3)
    told: list[tuple[float, events.Event]] = [(0.0, begun)]
    for n, info in enumerate(infos[1:6], start=1):
        told.append((0.5, events.ShardStarted(shard=info.id, incarnation=1, pid=100 + n, units=units)))
        for k in range(units if n == 1 else units - n):
            at_s = 1.0 + k + n / 10
            status = STATUSES[(k + n) % 10]
            ok = status is Status.OK
            unit = {"shard": info.id, "task": f"task_{k:03}", "repeat": 0, "attempt": 1}
            told.append((at_s - 0.5, events.AttemptStarted(**unit)))
            attempt = attempt_ended(
                **unit,
                type=("tool_use", "multi_step")[k % 2],
                status=status,
                outcome=not (status is Status.INFRA and k % 2),
                started_at=at_s,
                working_s=0.5 + k + n / 8,
                waiting_s=0.25,
                success=k % 3 != 0 if ok else None,
                error=None if ok else ErrorInfo(type="ValueError", message=f"\nno {status}\nmore"),
            )
            told.append((at_s, attempt))
            if status is Status.INFRA and k % 2:
                told.append((at_s + 0.25, events.AttemptStarted(**unit | {"attempt": 2})))
        told.append((12.0, events.AttemptStarted(shard=info.id, task="task_009", repeat=0, attempt=1)))
    told += [
        (12.1, events.ShardEnded(shard=infos[1].id)),
        (12.2, events.WorkerLost(shard=infos[2].id, pid=102, reason="SIGKILL", suspects=1)),
        (12.2, events.Note(text=f"{infos[2].id}: its worker was killed (SIGKILL); 1 task runs again alone")),
        (
            12.3,
            events.MemorySampled(master=61_400_000, workers={i.id: 9_600_000 for i in infos[3:6]}, other=5_300_000),
        ),
    ]
    # Stable: what happens at the same moment keeps its order.
    return sorted(told, key=lambda timed: timed[0])


def folded(told: list[tuple[float, events.Event]]) -> RunProgress:
    progress = RunProgress()
    for now_s, event in told:
        progress.apply(event, now_s)
    return progress


UNIT = "gpt-4o.easy.001/task_005#0"


def ended(progress: RunProgress, foreign: str | None = None) -> events.RunEnded:
    """An end that fits the scripted run; `foreign` text takes the place of a type, an error and a unit in it."""
    census = {str(status): progress.total.counts.get(status, 0) for status in Status}
    census["not_run"] += progress.total.units - progress.total.decided
    types = [
        ("tool_use", 45, 17, Successes(decided=23, successes=9, unknown=3, unclear=2, example='"no"', reported=True)),
        (foreign or "multi_step", 35, 14, Successes(decided=18, successes=8, reported=True)),
    ]
    whole = Successes()
    for *_, success in types:
        whole.add(success)
    return events.RunEnded(
        run="runs/prompt-study-7",
        census=census,
        rate=whole.rate(True),
        success=whole,
        types=tuple(
            events.TypeTotal(type=name, units=units, ok=ok, rate=success.rate(True), success=success)
            for name, units, ok, success in types
        ),
        errors=(
            events.FailureKind(status=Status.FAILED, type="ValueError", message="no failed", units=5, example=UNIT),
            events.FailureKind(
                status=Status.TIMEOUT,
                type=foreign or "ValueError",
                message=foreign or "no timeout",
                units=5,
                example=foreign or UNIT.replace("5#", "7#"),
            ),
        ),
        further_errors=3,
        slowest=(
            events.SlowUnit(working_s=9.625, status=Status.OK, type="tool_use", unit=UNIT),
            events.SlowUnit(
                working_s=7.625,
                status=Status.TIMEOUT,
                type=foreign or "multi_step",
                unit=foreign or UNIT.replace("5#", "7#"),
            ),
        ),
        library_opens=0,
        duration_s=13.0,
        exit_code=1,
        missing=("gpt-4o.easy.001/task_005#0 (failed)", "gpt-mini.easy.006/task_000#0 (not_run)"),
        resume="prealloc resume runs/prompt-study-7",
    )


def check(name: str, text: str) -> None:
    path = SCREENS / f"{name}.txt"
    if os.environ.get("PREALLOC_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
