"""Decisions that are values: how a run treats its tasks, and whether one is tried again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from prealloc.errors import Mistake, OptionsError
from prealloc.model.document import Document
from prealloc.model.json_value import shown
from prealloc.model.options import read_bytes_or_none, read_flag, read_seconds, read_seconds_or_none, read_whole
from prealloc.model.plan import MAX_SHARDS

HEARTBEAT_S = 0.2
"""A worker that holds no lock says so this often."""

KILL_STEP_S = 0.2
"""The kill ladder's step: SIGTERM, this long, SIGKILL."""

CLEANUP_S = 60.0
"""What a --cleanup function gets for one attempt, with the import of its module."""

IDLE_DEATHS = 3
"""Workers in a row that die before they start a unit: then something is wrong with the machine, not a task."""

MOST_THROTTLED = 16
"""Attempts that a server may turn away with the word to come back later (429, Retry-After) beside the retries."""

LEAST_PAUSE_S = 1.0
"""A server that has asked for a pause is not asked again sooner, whatever it says."""

NEVER_S = 1e9
"""The wait for a server that will not answer this key again, however long one waits. Not infinity: no JSON."""

RATE_MODES = ("fixed", "adaptive")

LEAST_MEMORY = 64 * 2**20
"""A worker with its modules loaded needs as much before it has done anything."""

SOLO_DEATHS = 2
"""A task that kills this many workers while alone in them is `crashed` for good."""


MOST_CONCURRENCY = 10_000
MOST_RETRIES = 1_000
MOST_RESULT_BYTES = 16 * 2**20


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
    rate_mode: Literal["fixed", "adaptive"] = "fixed"
    """Whether lanes keep to the limits they were given, or find out within them what the server bears."""
    halt_after_infra: int | None = 20
    """A lane starts no further task after so many infrastructure outcomes in a row; None: never for that."""
    drain_s: float = 10.0
    """After the first Ctrl-C running tasks get this long to end."""
    grace_s: float = 5.0
    """A task whose time is over gets this long to clean up before its process is killed; 0: none."""
    start_s: float = 120.0
    """What a worker gets to import its module, where it is not forked with it."""
    memory_bytes: int | None = None
    """What one worker may hold, with all that its tasks have started; None is no limit."""
    max_result_bytes: int = MOST_RESULT_BYTES
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
        rate_mode: str = "fixed",
        halt_after_infra: int | None = 20,
        drain_s: float | str = 10.0,
        grace_s: float | str = 5.0,
        start_s: float | str = 120.0,
        memory_bytes: int | str | None = None,
        max_result_bytes: int = MOST_RESULT_BYTES,
        max_log_bytes: int = 64 * 2**20,
        fsync: bool = False,
    ) -> RunPolicy:
        """The policy of these options. Raises OptionsError with every mistake among them.

        Times may be texts with a unit too (90s, 10m, 2h), memory_bytes too (512MB, 2GB), or `none` where None may be.
        """
        found: list[Mistake] = []
        concurrency = read_whole("--concurrency", concurrency, found, least=1, most=MOST_CONCURRENCY)
        if workers is not None:
            workers = read_whole("--workers", workers, found, least=1, most=MAX_SHARDS)
        timeout_s = read_seconds_or_none("--timeout", timeout_s, found, above=True)
        max_wait_s = read_seconds("--max-wait", max_wait_s, found)
        retries = read_whole("--retries", retries, found, least=0, most=MOST_RETRIES)
        if halt_after_infra is not None:
            halt_after_infra = read_whole("--halt-after", halt_after_infra, found, least=1, most=2**31)
        drain_s = read_seconds("--drain", drain_s, found)
        grace_s = read_seconds("--grace", grace_s, found)
        start_s = read_seconds("--start-timeout", start_s, found, above=True)
        memory_bytes = read_bytes_or_none("--memory", memory_bytes, found, least=LEAST_MEMORY)
        max_result_bytes = read_whole("max_result_bytes", max_result_bytes, found, least=1, most=MOST_RESULT_BYTES)
        max_log_bytes = read_whole("max_log_bytes", max_log_bytes, found, least=2**16, most=2**62)
        fsync = read_flag("--fsync", fsync, found)
        if rate_mode not in RATE_MODES:
            found.append(
                Mistake("--rate-mode", f"{shown(rate_mode)} is unknown", f"use one of {', '.join(RATE_MODES)}")
            )
        if found:
            raise OptionsError(found)
        return cls(
            concurrency=concurrency,
            workers=workers,
            timeout_s=timeout_s,
            max_wait_s=max_wait_s,
            retries=retries,
            rate_mode=rate_mode,  # type: ignore[arg-type]  # checked above
            halt_after_infra=halt_after_infra,
            drain_s=drain_s,
            grace_s=grace_s,
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
    policy: RunPolicy, *, tries: int, throttled: int, waited_s: float, at_least_s: float | None, jitter: float
) -> Again | Stop:
    """What follows an infrastructure error: exponential backoff with full jitter.

    Of the unit's attempts in this session so far, `throttled` were told by the server to come back later, which is
    no failure and uses no retry (but with --retries 0 nothing is tried again), and `tries` failed otherwise.
    `waited_s` is its waiting time so far, `at_least_s` what the server asked for (Retry-After), `jitter` a number in
    [0, 1). A wait asked for by the server is a floor that jitter only adds to, so that siblings do not come back all
    at once.
    Source of the formula: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    if tries > policy.retries:
        return Stop(f"{policy.retries} retries used up")
    if throttled > (MOST_THROTTLED if policy.retries else 0):
        return Stop(f"told to come back later {throttled} times")
    ceiling = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** (tries + throttled - 1))
    after_s = ceiling * jitter if at_least_s is None else at_least_s + ceiling * jitter
    if waited_s + after_s > policy.max_wait_s:
        return Stop(f"waiting {waited_s + after_s:.1f} s would pass --max-wait {policy.max_wait_s:g} s")
    return Again(after_s)


SPARE_S = 10.0
"""For all that a run does beside its tasks."""


class LaneLoad(NamedTuple):
    """What there is to run on a lane: the units of each of its shards, and how many shards and tasks run at once."""

    shard_units: Sequence[int]
    shards_at_once: int
    concurrency: int


def bound_s(policy: RunPolicy, lanes: Iterable[LaneLoad], *, cleanup: bool = False) -> float | None:
    """The longest that a run can take, in seconds; None without --timeout.

    Shards without a lane are one more of the `lanes`. Every shard's worker may take its time to start, IDLE_DEATHS
    times over. Each unit may use every retry to its full timeout, be turned away MOST_THROTTLED times, wait
    --max-wait, and be met by the deaths of its worker: once as a suspect and SOLO_DEATHS times alone. After each try
    it may take the grace, and with `cleanup` also a call of that function. Shards run in
    waves, the units of a shard in waves of the concurrency; a wave lasts as long as its longest member. Lanes run
    side by side, unless there are too few workers.
    """
    if policy.timeout_s is None:
        return None
    tries = policy.retries + 1 + MOST_THROTTLED + 1 + SOLO_DEATHS
    after_s = policy.grace_s + 2 * KILL_STEP_S + 1.0 + (CLEANUP_S if cleanup else 0.0)
    unit_s = tries * (policy.timeout_s + after_s) + policy.max_wait_s
    start_s = IDLE_DEATHS * (policy.start_s + 2 * KILL_STEP_S)
    total_s = 0.0
    for lane in lanes:
        shard_s = (start_s + -(-units // lane.concurrency) * unit_s for units in lane.shard_units if units)
        total_s += sum(sorted(shard_s, reverse=True)[:: lane.shards_at_once])
    return total_s + policy.drain_s + policy.grace_s + SPARE_S
