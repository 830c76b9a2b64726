"""All ways, one after the other, each in a folder and processes of its own."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from prealloc.files.temporary import temporary_folder
from prealloc.memory.child import Job
from prealloc.memory.figures import Process, Sample, WayFigures
from prealloc.memory.loading import form_of
from prealloc.memory.watch import Look, Reached, Watched, WayFailed, watch
from prealloc.memory.ways import FORK, FORK_GC, PREALLOC, WHOLE, Way
from prealloc.model.words import size
from prealloc.processes.memory import Footprint

SAFETY = 1.2
WORKER_BYTES = 40_000_000
"""An interpreter that has loaded what it needs, and a few tasks: more than it takes."""

Tell = Callable[[str, Reached | None], None]
"""Called with a way's title, or what is done for it, and how far it is; None when it starts."""


class Task(NamedTuple):
    """What is compared: the job, and what the library is."""

    job: Job
    library_bytes: int
    library_tasks: int
    seconds: float


def compare(ways: Sequence[Way], task: Task, *, available: Callable[[], int], tell: Tell) -> list[WayFigures]:
    """The figures of these ways. A way that fails or does not fit is noted and stops no other.

    `available` says how many bytes of memory are free.
    """
    form = form_of(task.job.library, task.job.named.get("tasks_field"))
    task = task._replace(job=task.job._replace(form=form.name))
    found = []
    copy: int | str | None = None
    for way in ways:
        if way.needs_json and form.name is None:
            found.append(_left_out(way, form.why))
            continue
        if way.needs_json and copy is None:
            copy = _copy_bytes(task, available(), tell)
        if way.needs_json and isinstance(copy, str):
            found.append(_left_out(way, copy))
            continue
        found.append(_measure(way, task, copy if isinstance(copy, int) else 0, available(), tell))
    return _beside_prealloc(found)


def bytes_needed(way: Way, workers: int, *, copy_bytes: int, file_bytes: int, share: float) -> int:
    """The memory of a way, estimated from above.

    `copy_bytes` is the most that one process takes which loads the whole library; on a machine with fewer cores than
    workers all of them are in the middle of that at once. `share` is the part of the tasks that a worker reads.
    """
    if way == WHOLE:
        need = workers * copy_bytes
    elif way == FORK_GC:
        need = copy_bytes + workers * (WORKER_BYTES + copy_bytes)
    elif way == FORK:
        # Read pages come to be each worker's own, and objects that are not read lie in the same pages.
        need = copy_bytes + workers * (WORKER_BYTES + int(copy_bytes * min(1.0, 2 * share)))
    else:
        need = 3 * file_bytes + workers * (WORKER_BYTES + int(file_bytes * share))
    return int(need * SAFETY)


def workers_that_fit(way: Way, workers: int, available: int, *, copy_bytes: int, file_bytes: int, share: float) -> int:
    """At most `workers`; 0 if not even one fits."""

    def need(count: int) -> int:
        return bytes_needed(way, count, copy_bytes=copy_bytes, file_bytes=file_bytes, share=share)

    each = need(1) - need(0)
    return max(0, min(workers, (available - need(0)) // each))


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": str(cores),
        "memory_bytes": str(psutil.virtual_memory().total),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _copy_bytes(task: Task, available: int, tell: Tell) -> int | str:
    """The most that one process takes which loads the whole library, measured; or why that cannot be."""
    if (least := int(task.library_bytes * SAFETY)) > available:
        return f"one copy of the library takes {size(least)} or more, and {size(available)} are free"
    title = "trial: one process loads the library"
    try:
        watched = _watch(WHOLE, title, task._replace(job=task.job._replace(workers=1), seconds=0.0), tell)
    except WayFailed as error:
        return f"not even one process could load the library: {error}"
    workers, _ = _split(watched.looks[-1], watched)
    return max(workers.uss, int(watched.ended["worker_peak"]))


def _measure(way: Way, task: Task, copy_bytes: int, available: int, tell: Tell) -> WayFigures:
    job = task.job
    share = job.tasks / task.library_tasks
    fit = workers_that_fit(
        way, job.workers, available, copy_bytes=copy_bytes, file_bytes=task.library_bytes, share=share
    )
    if fit < 1:
        return _left_out(way, f"not even one worker fits into the {size(available)} of memory that is free")
    try:
        watched = _watch(way, way.title, task._replace(job=job._replace(workers=fit)), tell)
    except WayFailed as error:
        return WayFigures(way=way.name, title=way.title, status="failed", note=f"failed: {error}", started=fit)
    return _figures(way, job.workers, fit, watched)


def _watch(way: Way, title: str, task: Task, tell: Tell) -> Watched:
    tell(title, None)
    with temporary_folder("memory") as folder:
        return watch(way, task.job, folder, task.seconds, lambda reached: tell(title, reached))


def _figures(way: Way, asked: int, started: int, watched: Watched) -> WayFigures:
    samples = tuple(_sample(look, watched) for look in watched.looks)
    last = samples[-1]
    factor = asked / started
    totals = [sample.workers_pss * factor + sample.master_pss for sample in samples]
    note = None
    if started < asked:
        note = f"{started} of {asked} started, scaled (memory is short); times are of the {started}"
    return WayFigures(
        way=way.name,
        title=way.title,
        status="scaled" if started < asked else "measured",
        note=note,
        started=started,
        workers_pss=int(last.workers_pss * factor),
        workers_uss=int(last.workers_uss * factor),
        worker_pss=last.workers_pss // started,
        master_pss=last.master_pss,
        total_pss=int(totals[-1]),
        peak_pss=int(max(totals)),
        growth_pss=int(totals[-1] - totals[watched.first_ready]),
        first_task_s=min(watched.firsts.values()),
        last_first_task_s=max(watched.firsts.values()),
        prepared_s=watched.ended.get("prepared_s"),
        library_opens=watched.ended.get("library_opens"),
        samples=samples,
        processes=tuple(
            Process(pid=pid, pss=each.pss, uss=each.uss, first_task_s=watched.firsts[pid])
            for pid, each in watched.looks[-1].found.items()
            if pid in watched.firsts
        ),
    )


def _sample(look: Look, watched: Watched) -> Sample:
    workers, master = _split(look, watched)
    return Sample(
        at_s=look.at_s, ready=look.ready, workers_pss=workers.pss, workers_uss=workers.uss, master_pss=master.pss
    )


def _split(look: Look, watched: Watched) -> tuple[Footprint, Footprint]:
    """The workers' sum, and that of all others."""
    sums = {True: [0, 0], False: [0, 0]}
    for pid, each in look.found.items():
        mine = sums[pid in watched.firsts]
        mine[0] += each.pss
        mine[1] += each.uss
    return Footprint(*sums[True]), Footprint(*sums[False])


def _left_out(way: Way, why: str) -> WayFigures:
    return WayFigures(way=way.name, title=way.title, status="left_out", note=f"left out: {why}")


def _beside_prealloc(found: Sequence[WayFigures]) -> list[WayFigures]:
    base = next((each.total_pss for each in found if each.way == PREALLOC.name), None)
    if not base:
        return list(found)
    return [
        each if each.total_pss is None else msgspec.structs.replace(each, times_prealloc=each.total_pss / base)
        for each in found
    ]
