"""Plan an LLM-agent benchmark once, ship every worker only its own tasks, never lose a result.

The public names are imported at first use, so that `import prealloc` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prealloc.api.doctor import diagnose, repair
    from prealloc.api.plans import plan
    from prealloc.api.runs import outcomes, results, resume, run, status
    from prealloc.errors import (
        Cancelled,
        CannotGoOn,
        EngineError,
        GeneratorError,
        InputError,
        JournalError,
        LibraryError,
        LibraryOpened,
        OptionsError,
        PlanError,
        PreallocError,
        Retryable,
        RunFolderError,
        WorkerFunctionError,
    )
    from prealloc.library.packed.index import TaskIndex
    from prealloc.library.packed.pool import SharedTaskPool
    from prealloc.model.lane import Lane
    from prealloc.model.outcome import Attempt, Status
    from prealloc.model.plan import Plan, Shard
    from prealloc.model.plan_spec import PlanSpec
    from prealloc.model.policy import RunPolicy
    from prealloc.model.task import LightweightTask
    from prealloc.store.plan_folder import load_shard
    from prealloc.worker.context import TaskContext

_HOMES = {
    "prealloc.api.doctor": ("diagnose", "repair"),
    "prealloc.api.plans": ("plan",),
    "prealloc.api.runs": ("outcomes", "results", "resume", "run", "status"),
    "prealloc.errors": (
        "Cancelled",
        "CannotGoOn",
        "EngineError",
        "GeneratorError",
        "InputError",
        "JournalError",
        "LibraryError",
        "LibraryOpened",
        "OptionsError",
        "PlanError",
        "PreallocError",
        "Retryable",
        "RunFolderError",
        "WorkerFunctionError",
    ),
    "prealloc.library.packed.index": ("TaskIndex",),
    "prealloc.library.packed.pool": ("SharedTaskPool",),
    "prealloc.model.lane": ("Lane",),
    "prealloc.model.outcome": ("Attempt", "Status"),
    "prealloc.model.plan": ("Plan", "PlanSpec", "Shard"),
    "prealloc.model.policy": ("RunPolicy",),
    "prealloc.model.task": ("LightweightTask",),
    "prealloc.store.plan_folder": ("load_shard",),
    "prealloc.worker.context": ("TaskContext",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Attempt",
    "Cancelled",
    "CannotGoOn",
    "EngineError",
    "GeneratorError",
    "InputError",
    "JournalError",
    "Lane",
    "LibraryError",
    "LibraryOpened",
    "LightweightTask",
    "OptionsError",
    "Plan",
    "PlanError",
    "PlanSpec",
    "PreallocError",
    "Retryable",
    "RunFolderError",
    "RunPolicy",
    "Shard",
    "SharedTaskPool",
    "Status",
    "TaskContext",
    "TaskIndex",
    "WorkerFunctionError",
    "diagnose",
    "load_shard",
    "outcomes",
    "plan",
    "repair",
    "results",
    "resume",
    "run",
    "status",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'prealloc' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
