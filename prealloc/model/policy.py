"""Decisions that are values: how a run treats its tasks, and whether one is tried again."""

from __future__ import annotations

from typing import NamedTuple

from prealloc.errors import Mistake, OptionsError
from prealloc.model.options import read_bytes_or_none, read_flag, read_seconds, read_seconds_or_none, read_whole
from prealloc.model.plan import Document

HEARTBEAT_S = 0.2
"""A worker that holds no lock says so this often."""

GRACE_S = 0.2
"""The kill ladder's step: SIGTERM, this long, SIGKILL."""

IDLE_DEATHS = 3
"""Workers in a row that die before they start a unit: then something is wrong with the machine, not a task."""

LEAST_MEMORY = 64 * 2**20
"""A worker with its modules loaded needs as much before it has done anything."""

SOLO_DEATHS = 2
"""A task that kills this many workers while alone in them is `crashed` for good."""


class RunPolicy(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run treats its tasks. Make one with `RunPolicy.checked(...)`."""

    concurrency: int = 1
    """Tasks that run at once in one worker."""
    workers: int | None = None
    """Shards that run at once; None lets the engine decide (all up to 64, less what memory bears)."""
    timeout_s: float | None = 600.0
    """Working time of one attempt; None is no limit."""
    max_wait_s: float = 3600.0
    """Waiting time of one unit, for rate limits and backoff together."""
    retries: int = 3
    """Further attempts after an infrastructure error."""
    drain_s: float = 10.0
    """After the first Ctrl-C running tasks get this long to end."""
    start_s: float = 120.0
    """What a worker gets to import its module, where it is not forked with it."""
    memory_bytes: int | None = None
    """What one worker may hold, with all that its tasks have started; None is no limit."""
    max_result_bytes: int = 16 * 2**20
    max_log_bytes: int = 64 * 2**20
    """Of each shard's log; the middle of a longer one is cut out."""
    fsync: bool = False
    """Flush every journal line to the device: survives power loss, not only process death."""

    @classmethod
    def checked(
        cls,
        *,
        concurrency: int = 1,
        workers: int | None = None,
        timeout_s: float | str | None = 600.0,
        max_wait_s: float | str = 3600.0,
        retries: int = 3,
        drain_s: float | str = 10.0,
        start_s: float | str = 120.0,
        memory_bytes: int | str | None = None,
        max_result_bytes: int = 16 * 2**20,
        max_log_bytes: int = 64 * 2**20,
        fsync: bool = False,
    ) -> RunPolicy:
        """The policy of these options. Raises OptionsError with every mistake among them.

        Times may be texts with a unit too (90s, 10m, 2h), memory_bytes too (512MB, 2GB), or `none` where None may be.
        """
        found: list[Mistake] = []
        concurrency = read_whole("--concurrency", concurrency, found, least=1)
        if workers is not None:
            workers = read_whole("--workers", workers, found, least=1)
        timeout_s = read_seconds_or_none("--timeout", timeout_s, found)
        max_wait_s = read_seconds("--max-wait", max_wait_s, found)
        retries = read_whole("--retries", retries, found, least=0)
        drain_s = read_seconds("--drain", drain_s, found)
        start_s = read_seconds("--start-timeout", start_s, found)
        memory_bytes = read_bytes_or_none("--memory", memory_bytes, found)
        max_result_bytes = read_whole("max_result_bytes", max_result_bytes, found, least=1)
        max_log_bytes = read_whole("max_log_bytes", max_log_bytes, found, least=2**16)
        fsync = read_flag("--fsync", fsync, found)
        found += [
            *_above("--timeout", timeout_s),
            *_least("--max-wait", max_wait_s, 0),
            *_least("--drain", drain_s, 0),
            *_above("--start-timeout", start_s),
            *_least("--memory", memory_bytes, LEAST_MEMORY),
        ]
        if found:
            raise OptionsError(found)
        return cls(
            concurrency=concurrency,
            workers=workers,
            timeout_s=timeout_s,
            max_wait_s=max_wait_s,
            retries=retries,
            drain_s=drain_s,
            start_s=start_s,
            memory_bytes=memory_bytes,
            max_result_bytes=max_result_bytes,
            max_log_bytes=max_log_bytes,
            fsync=fsync,
        )


class Again(NamedTuple):
    """Try again, at the earliest after this many seconds."""

    after_s: float


class Stop(NamedTuple):
    """Do not try again: why."""

    reason: str


BACKOFF_FIRST_S = 1.0
BACKOFF_MOST_S = 60.0


def decide_retry(
    policy: RunPolicy, *, tries: int, waited_s: float, at_least_s: float | None, jitter: float
) -> Again | Stop:
    """What follows an infrastructure error: exponential backoff with full jitter.

    `tries` counts the unit's attempts of this session so far, `waited_s` its waiting time so far,
    `at_least_s` is what the server asked for (Retry-After), `jitter` a number in [0, 1). A wait asked for
    by the server is a floor that jitter only adds to, so that siblings do not come back all at once.
    Source of the formula: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    if tries > policy.retries:
        return Stop(f"{policy.retries} retries used up")
    ceiling = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** (tries - 1))
    after_s = ceiling * jitter if at_least_s is None else at_least_s + ceiling * jitter
    if waited_s + after_s > policy.max_wait_s:
        return Stop(f"waiting {waited_s + after_s:.1f} s would pass --max-wait {policy.max_wait_s:g} s")
    return Again(after_s)


def bound_s(policy: RunPolicy, shard_units: list[int], at_once: int) -> float | None:
    """The longest that a run can take, in seconds; None without --timeout.

    Every shard's worker may take its time to start, IDLE_DEATHS times over. Each unit may use every retry to its
    full timeout, wait --max-wait, and be met by the deaths of its worker: once as a suspect and SOLO_DEATHS times
    alone. Shards run in waves of `at_once`, the units of a shard in waves of the concurrency; a wave lasts as long
    as its longest member.
    """
    if policy.timeout_s is None:
        return None
    tries = policy.retries + 1 + 1 + SOLO_DEATHS
    unit_s = tries * (policy.timeout_s + 2 * GRACE_S + 1.0) + policy.max_wait_s
    start_s = IDLE_DEATHS * (policy.start_s + 2 * GRACE_S)
    shard_s = sorted(
        (start_s + -(-units // policy.concurrency) * unit_s for units in shard_units if units), reverse=True
    )
    return sum(shard_s[::at_once]) + policy.drain_s + 10.0


def _least(where: str, value: float | None, least: float) -> list[Mistake]:
    if value is None or value >= least:
        return []
    return [Mistake(where, f"{_plain(value)} is below {_plain(least)}", f"give {_plain(least)} or more")]


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _above(where: str, value: float | None) -> list[Mistake]:
    if value is None or value > 0:
        return []
    return [Mistake(where, f"{value:g} is not above 0", "give a time in seconds, or 'none' for no limit")]
