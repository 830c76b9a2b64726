"""compare_memory(): what ways to give workers their tasks take on this machine, with this library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

import msgspec

from prealloc.api.sources import library_path
from prealloc.errors import LibraryError, Mistake, OptionsError, refuse
from prealloc.library import read_library
from prealloc.memory.child import Job
from prealloc.memory.compare import Task, Tell, compare, machine
from prealloc.memory.figures import Comparison
from prealloc.memory.ways import WAYS
from prealloc.model.fields import Fields
from prealloc.model.keywords import FieldOptions
from prealloc.model.options import Seconds, Whole
from prealloc.model.plan_spec import MAX_SEED
from prealloc.processes.memory import available_bytes

MOST_WORKERS = 10_000


def compare_memory(
    library: str | Path,
    *,
    workers: int = 25,
    num_instances: int = 20,
    seconds: float | str = 3.0,
    ways: Sequence[str] = tuple(WAYS),
    difficulty: str | None = None,
    seed: int = 0,
    notes: Callable[[str], None] | None = None,
    tell: Tell | None = None,
    available: Callable[[], int] = available_bytes,
    mistakes: Sequence[Mistake] = (),
    **named: Unpack[FieldOptions],
) -> Comparison:
    """Starts the worker processes of each way, one way after the other, and measures them for `seconds` each.

    `ways` are names of memory.ways.WAYS. `tell` gets what is being done and how far it is, `notes` sentences for
    the user. `available` gives the bytes of free memory: a way that would need more is run with as many workers as
    fit and scaled, or left out. `mistakes` are the caller's own, to be raised with those found here.

    No process and no file is left, however this ends. Raises OptionsError and LibraryError before anything is started.
    """
    found = list(mistakes)
    fields = Fields.checked(**named)
    workers = Whole(1, MOST_WORKERS).read("‹workers›", workers, found)
    num_instances = Whole(1).read("‹num_instances›", num_instances, found)
    seed = Whole(0, MAX_SEED).read("‹seed›", seed, found)
    watched_s = Seconds().read("‹seconds›", seconds, found)
    for name in ways:
        if name not in WAYS:
            found.append(Mistake("‹ways›", f"there is no way {name!r}", f"use some of {', '.join(WAYS)}"))
    if not ways:
        found.append(Mistake("‹ways›", "no way is named", f"use some of {', '.join(WAYS)}"))
    try:
        path = library_path(library, difficulty)
        scanned = read_library(path, difficulty=difficulty, fields=fields, notes=notes)
    except OptionsError as error:
        raise OptionsError([*found, *error.mistakes]) from None
    except LibraryError:
        if found:  # the options alone are wrong already; the library comes next
            raise OptionsError(found) from None
        raise
    info = scanned.info
    del scanned  # workers are to have the memory
    if num_instances > info.tasks:
        problem = f"each worker is to read {num_instances} tasks, but the library has {info.tasks}"
        found.append(Mistake("‹num_instances›", problem, f"give {info.tasks} or less"))
    refuse(found)
    # As in planning no task goes to two workers; a library too small for that is sampled as runners do it today.
    strategy = "disjoint" if workers * num_instances <= info.tasks else "independent"
    said = msgspec.to_builtins(fields)
    job = Job(info.path, None, workers, num_instances, seed, strategy, difficulty, said)
    return Comparison(
        library=info.path,
        library_bytes=info.bytes,
        library_tasks=info.tasks,
        workers=workers,
        num_instances=num_instances,
        seconds=watched_s,
        seed=seed,
        strategy=strategy,
        machine=machine(),
        ways=tuple(
            compare(
                [WAYS[name] for name in WAYS if name in ways],
                Task(job, info.bytes, info.tasks, watched_s),
                available=available,
                tell=tell or (lambda title, reached: None),
            )
        ),
    )
