"""What a worker function gets beside its task."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import cached_property
from typing import Any

import msgspec

from prealloc.errors import NoCurrentTask
from prealloc.model.json_value import NoJson
from prealloc.model.outcome import Answer
from prealloc.model.usage import model_named
from prealloc.worker.clocks import AttemptClock
from prealloc.worker.infrastructure import ask, http_status
from prealloc.worker.limiter import LimiterClient
from prealloc.worker.meter import Meter, read_usage
from prealloc.worker.result import write_result
from prealloc.worker.retry_after import retry_after_s
from prealloc.worker.throttle import Throttle, read_tokens

MOST_NOTE_BYTES = 2**16
"""Of one note. It is for names, not for data."""


class TaskContext:
    """The second argument of a worker function: `def solve(task, ctx)`."""

    def __init__(
        self,
        *,
        shard: str,
        settings: dict[str, Any],
        repeat: int,
        attempt: int,
        seed_parts: Sequence[Any],
        clock: AttemptClock,
        timeout_s: float | None,
        max_wait_s: float | None = None,
        lane: str | None = None,
        slot: int = 0,
        limiter: LimiterClient | None = None,
        meter: Meter | None = None,
        log: Callable[[str], None] | None = None,
        note: Callable[[Any], None] | None = None,
    ) -> None:
        self.shard = shard
        """The shard's id."""
        self.lane = lane
        """The name of the lane that serves the attempt; None without one."""
        self.slot = slot
        """A number from 0 that no other living worker of the run has on its machine: for a port, a GPU, a browser.

        Small: a number is given again when its worker is gone for certain. The tasks that run at once in one worker
        (`--concurrency`) share it, and two attempts of a unit may have different ones.
        """
        self.repeat = repeat
        """0 for the first time this task is run in this shard, with `--repeats 3` up to 2."""
        self.attempt = attempt
        """1 for the first try at this unit, over all resumes."""
        self._settings = settings
        self._seed_parts = seed_parts
        self.timeout_s = timeout_s
        """--timeout: what the attempt may work, in seconds; None without one."""
        self._clock = clock
        self._max_wait_s = max_wait_s
        self._limiter = limiter
        self.meter = Meter(model_named(settings)) if meter is None else meter
        """What the attempt has used."""
        self.refused_status: int | None = None
        """The HTTP status by which the key was refused to a request in its turn: see `throttle`. None if it was not."""
        self._log = log
        self._note = note
        self.exits: list[Callable[[], Any]] = []
        """What `on_exit` was given."""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The shard's settings: a copy of this attempt's own, to change at will."""
        return {name: _copied(value) for name, value in self._settings.items()}

    @cached_property
    def seed(self) -> int:
        """A 63-bit number, the same at every attempt of this unit and different for every unit.

        It goes by the plan's seed, the cell, the task and the repeat: more tasks, cells or lanes do not change it.
        """
        return unit_seed(self._seed_parts)

    @property
    def deadline(self) -> float | None:
        """When the attempt is stopped, in seconds of time.monotonic(); None without --timeout.

        Waiting (`throttle`, `waiting`) moves it back by as much.
        """
        if self.timeout_s is None:
            return None
        return self._clock.started_at + self.timeout_s + self._clock.waited_s

    @property
    def remaining_s(self) -> float | None:
        """Working seconds that are left: a good timeout for a request. None without --timeout."""
        return None if self.timeout_s is None else max(0.0, self.timeout_s - self._clock.working_s)

    @property
    def remaining_wait_s(self) -> float | None:
        """Waiting seconds that are left of --max-wait for this unit. A longer wait is not worth its beginning."""
        return None if self._max_wait_s is None else max(0.0, self._max_wait_s - self._clock.unit_waited_s)

    def waiting(self) -> AbstractContextManager[None]:
        """`with ctx.waiting():` the block's time is waiting time: --max-wait bounds it, not --timeout.

        For waits that are not work, such as sleeping for as long as a Retry-After says.
        """
        return self._clock.waiting()

    def retry_after_s(self, error: BaseException) -> float | None:
        """How long the server asked to wait, in seconds, as an error of a client says it; None if it does not.

        From a Retry-After or, of a 429, an x-ratelimit-reset header. At least a second; more than a run can wait if the
        quota of the key is used up. For functions that wait a 429 out by themselves rather than let the error end the
        attempt: see `remaining_wait_s`.
        """
        return ask(retry_after_s, error)

    def http_status(self, error: BaseException) -> int | None:
        """The HTTP status of the failure (400 to 599) that an error of a client reports; None without one.

        From the answer's status, or from what its body says, which may come with status 200.
        """
        return ask(http_status, error)

    def throttle(self, tokens: float | None = None) -> Throttle:
        """`with ctx.throttle(tokens=estimate) as turn:` (or `async with`) waits for a request's turn.

        Inside the block send one request; `turn.used(n)` tells the tokens it really took. Numbers of tokens are rounded
        up, None is for one that is not known, and anything else raises ValueError. The wait is waiting time. An error
        that leaves the block tells the lane what the server said (429, Retry-After). A shard without a lane has no
        limit, so there is nothing to wait for.

        If it says that the server has refused the key (401, 402; a 403 whose body says so), the attempt is `infra`,
        whatever comes of it afterwards, and the lane starts nothing more.
        """
        estimate = read_tokens("ctx.throttle", tokens, 0)
        return Throttle(self._limiter, self._clock, estimate, self._answered, self.meter)

    def usage(self, tokens: float | Mapping[str, Any] | Any, *, model: str | None = None) -> None:
        """Says what a request without a turn has used: see `turn.used`, which does the same for one with a turn.

        Each request once: what both are told is counted twice. Raises ValueError if it is not a number of tokens.
        """
        self.meter.add(read_usage("ctx.usage", tokens, model), model)

    def _answered(self, answer: Answer) -> None:
        if answer.key_refused:
            self.refused_status = answer.http_status

    def on_exit(self, callback: Callable[[], Any]) -> None:
        """Has `callback()` called when the attempt is over, however it ended: returned, failed, timed out, cancelled.

        The last one first, in the attempt's own thread or event loop; it may be async. The outcome is recorded before.
        Only a process that is killed calls nothing: see `note`.
        """
        self.exits.append(callback)

    def note(self, value: Any) -> None:
        """Records what somebody else needs to clean up after this attempt: a container's name, say. Any small JSON.

        It is in the journal when this returns. If this process is killed, `--cleanup` gets all notes of the attempt.
        Raises NoJson for what is not JSON.
        """
        written = write_result(value, MOST_NOTE_BYTES, "note")
        if written.flaws:
            raise NoJson(written.flaws[0])
        if self._note is not None:
            self._note(written.json)

    def log(self, message: str) -> None:
        """Writes a line to this shard's log."""
        if self._log is not None:
            self._log(message)
        else:
            print(message, file=sys.stderr, flush=True)  # noqa: T201  # the log is the worker's stderr


running_here: ContextVar[TaskContext] = ContextVar("prealloc.current")
"""Set in the ContextVars of each attempt."""


def current() -> TaskContext:
    """The context of the task that runs here, for code too deep down to be handed it.

    Each task has its own, however many run at once. A coroutine or `asyncio.to_thread` that the task starts has it too;
    a thread that it starts itself has it only if it is started in a copy of the task's ContextVars:
    `Thread(target=contextvars.copy_context().run, args=(function,))`. Raises NoCurrentTask where no task runs.
    """
    try:
        return running_here.get()
    except LookupError:
        raise NoCurrentTask(
            "no task runs here",
            where="prealloc.current()",
            hint="call it within a worker function; a thread that a task starts needs contextvars.copy_context().run",
        ) from None


def unit_seed(parts: Sequence[Any]) -> int:
    """The seed of a unit: 63 bits of blake2b over a compact JSON array, its objects in the order of their keys.

    [plan's seed, cell, task, repeat, number of earlier shards of the cell with this task]; in older plans [plan's seed,
    shard, task, repeat].
    """
    text = msgspec.json.encode(parts, order="sorted")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def _copied(value: Any) -> Any:
    """A deep copy. Settings are JSON, so dicts and lists are all the depth there is."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return value
