"""Everything prealloc raises, in one tree.

    PreallocError                 has .problem, .where, .hint and .exit_code
    ├── InputError                exit 2: what was given cannot be used; nothing was changed
    │   ├── OptionsError          options that are wrong alone or together: all of them, as .mistakes
    │   ├── LibraryError          a task library that is not one
    │   ├── PlanError             a plan folder, manifest or slice that is refused
    │   ├── RunFolderError        a run folder that is taken, locked, missing or not one
    │   ├── WorkerFunctionError   module:function that cannot be run
    │   └── GeneratorError        module:function that made no workflow for a task; those it made are kept
    ├── CannotGoOn                exit 3: the run stopped and says so; what finished is kept
    │   ├── JournalError          a journal that is damaged or cannot be written
    │   └── EngineError           the processes that run shards could not be started or reached
    ├── LibraryOpened             raised inside a worker that tries to open the task library
    ├── NoCurrentTask             prealloc.current() where no task runs; a RuntimeError too
    └── Retryable                 for worker functions: infrastructure failed, try this task again

Every one of them survives pickling, and is shown to people as `problem`, `where` and `hint`.

Beside the tree stands Cancelled, a BaseException: it ends a worker function whose time is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

T = TypeVar("T")


class PreallocError(Exception):
    """The root: says what is wrong, where, and how to fix it."""

    exit_code: ClassVar[int] = 3

    def __init__(self, problem: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{head}\n  hint: {self.hint}" if self.hint else head

    def __reduce__(self) -> tuple[Any, ...]:
        # BaseException would call the class with self.args alone and lose the keywords.
        return _rebuild, (type(self), self.problem, {"where": self.where, "hint": self.hint})


class InputError(PreallocError):
    """What was given cannot be used. Nothing was changed."""

    exit_code = 2


class Mistake(NamedTuple):
    """One wrong option: where it stands, what is wrong with it, how to fix it."""

    where: str
    problem: str
    hint: str


class OptionsError(InputError):
    """Options that are wrong, alone or together; `.mistakes` holds all of them."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(Mistake(*m) for m in mistakes)
        super().__init__("\n".join(f"{m.where}: {m.problem}\n  hint: {m.hint}" for m in self.mistakes))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), [tuple(m) for m in self.mistakes], {})


def refuse(mistakes: Sequence[Mistake]) -> None:
    """Raises OptionsError with these mistakes, if there are any."""
    if mistakes:
        raise OptionsError(mistakes)


def gathered(mistakes: list[Mistake], check: Callable[[], T]) -> T | None:
    """What the check gives; None if it raises OptionsError, whose mistakes are added to these."""
    try:
        return check()
    except OptionsError as error:
        mistakes += error.mistakes
    return None


class LibraryError(InputError):
    """A task library that is not one."""


class PlanError(InputError):
    """A plan folder, manifest or slice that is refused."""


class RunFolderError(InputError):
    """A run folder that is taken, locked, missing or not one."""


class WorkerFunctionError(InputError):
    """`module:function` names nothing that can be run on a task."""


class GeneratorError(InputError):
    """`module:function` made no workflow for a task. What it made for others is in the cache."""


class CannotGoOn(PreallocError):
    """The run stopped and says so; everything that finished is kept."""


class JournalError(CannotGoOn):
    """A journal that is damaged or cannot be written."""


class EngineError(CannotGoOn):
    """The processes that run shards could not be started or reached."""


class LibraryOpened(PreallocError):
    """A worker tried to open the task library. It was refused, and counted."""


class NoCurrentTask(PreallocError, RuntimeError):
    """prealloc.current() was called where no task runs."""


class Cancelled(BaseException):
    """Raised in a worker function, wherever it is, when its time is over: at --timeout, or when the run stops.

    A BaseException, so that no `except Exception` takes it for a failure. Clean up (`finally`, `with`) and let it
    pass: the outcome is recorded already, and what is returned is discarded. An async function gets
    asyncio.CancelledError instead.
    """

    def __init__(self, problem: str = "the time of this attempt is over: clean up and end") -> None:
        super().__init__(problem)


class Retryable(PreallocError):
    """Raise this in a worker function when infrastructure failed: the task is tried again.

    `after_s` is the least time in seconds to wait first (from a Retry-After header, say).
    """

    def __init__(
        self,
        problem: str = "infrastructure failed",
        *,
        after_s: float | None = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(problem, where=where, hint=hint)
        self.after_s = after_s

    def __reduce__(self) -> tuple[Any, ...]:
        keywords = {"after_s": self.after_s, "where": self.where, "hint": self.hint}
        return _rebuild, (type(self), self.problem, keywords)


def _rebuild(cls: type[PreallocError], first: Any, keywords: dict[str, Any]) -> PreallocError:
    return cls(first, **keywords)
