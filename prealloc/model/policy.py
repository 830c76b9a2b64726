"""How a run treats its tasks: every option of a run, declared once, and how long it can take with them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, Unpack

import msgspec

from prealloc.model.document import Document
from prealloc.model.keywords import RunOptions
from prealloc.model.options import Bytes, Dollars, Flag, Names, OneOf, Option, Seconds, Text, Whole, checked_options
from prealloc.model.plan_spec import MAX_SHARDS, MAX_UNITS
from prealloc.model.where import CONCURRENCY, TIMEOUT, Where

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


MOST_RETRIES = 1_000
MOST_RESULT_BYTES = 16 * 2**20


WHAT_RUNS = "What runs the tasks"
_what_runs = partial(Option, group=WHAT_RUNS)
_time = partial(Option, group="Time")
_size = partial(Option, group="Workers and memory")
_trouble = partial(Option, group="When something fails")
_budget = partial(Option, group="Limits of the whole run")
_taken_over = partial(Option, group="What is taken over from other runs")


class RunPolicy(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run treats its tasks. Make one with `RunPolicy.checked(...)`."""

    concurrency: Annotated[int, _size(CONCURRENCY, "Tasks at once in each worker.", short="c")] = 1
    workers: Annotated[
        int | None,
        _size(
            Whole(1, MAX_SHARDS, optional=True),
            "Worker processes at once, each with tasks of one shard.",
            short="w",
            unset="one for each shard up to 64, as memory allows",
        ),
    ] = None
    timeout_s: Annotated[float | None, _time(TIMEOUT, "Working time of one attempt.", "timeout")] = 600.0
    max_wait_s: Annotated[
        float, _time(Seconds(), "Waiting time of one task, for rate limits and backoff.", "max_wait")
    ] = 3600.0
    retries: Annotated[int, _trouble(Whole(0, MOST_RETRIES), "Further attempts after an infrastructure error.")] = 3
    rate_mode: Annotated[
        Literal["fixed", "adaptive"],
        _trouble(OneOf(RATE_MODES), "Lanes keep to their limits, or find out what the server allows."),
    ] = "fixed"
    halt_after_infra: Annotated[
        int | None,
        _trouble(
            Whole(1, 2**31, optional=True), "A lane halts after this many infrastructure errors in a row.", "halt_after"
        ),
    ] = 20
    drain_s: Annotated[float, _time(Seconds(), "Time for running tasks to end after the first Ctrl-C.", "drain")] = 10.0
    grace_s: Annotated[float, _time(Seconds(), "Time for a stopped task to clean up.", "grace")] = 5.0
    start_s: Annotated[
        float, _time(Seconds(above=True), "Time for a worker to import its module.", "start_timeout")
    ] = 120.0
    max_time_s: Annotated[
        float | None,
        _budget(
            Seconds(above=True, optional=True),
            "After this time no further task starts; running tasks may end.",
            "max_time",
            unset="no limit",
        ),
    ] = None
    """Of each session: a resume has all of it again."""
    max_failures: Annotated[
        int | str | None,
        _budget(
            Whole(1, MAX_UNITS, optional=True, metavar="N|P%", share=True),
            "After this many units that are not ok no further task starts; a share counts from 20 ended units on.",
            unset="no limit",
        ),
    ] = None
    """Of each session. Every unit that is not ok counts, except `cancelled` ones: failed, timeout, crashed,
    out_of_memory, and infra once its retries are used up."""
    max_cost: Annotated[
        float | None,
        _budget(
            Dollars(above=True, optional=True),
            "After the run has cost this much, no further task starts; needs the prices of its models in a config.",
            unset="no limit",
        ),
    ] = None
    """Of the whole run, over all sessions. What runs when it is reached may end, and add to it."""
    memory_bytes: Annotated[
        int | None,
        _size(
            Bytes(LEAST_MEMORY, optional=True),
            "Memory of one worker and all that its tasks start.",
            "memory",
            unset="no limit",
        ),
    ] = None
    rebalance: Annotated[bool, _size(Flag(), "Free workers take over tasks of the longest shard.")] = True
    max_result_bytes: Annotated[int, _size(Bytes(1, MOST_RESULT_BYTES), "Largest result of a task.", "max_result")] = (
        MOST_RESULT_BYTES
    )
    max_log_bytes: Annotated[
        int, _size(Bytes(2**16), "Largest log of a shard; the middle of a longer one is cut out.", "max_log")
    ] = 64 * 2**20
    fsync: Annotated[bool, _trouble(Flag(), "Outcomes survive power loss too, at 0.3 ms or more each.")] = False
    neutral: Annotated[
        tuple[str, ...],
        _taken_over(Names("SETTINGS"), "Settings in which units may differ and still count as the same.", unset="none"),
    ] = ()
    same_task: Annotated[
        Literal["bytes", "id"],
        _taken_over(
            OneOf(("bytes", "id")), "What must be equal for a task to be the same: all bytes, or id and workflow."
        ),
    ] = "bytes"

    where: Annotated[
        list[dict[str, Any]],
        _time(Where(), "Another timeout or concurrency in some cells, such as model=o3,timeout=30m.", unset="none"),
    ] = msgspec.field(default_factory=list)
    """Entries {factor: value, ..., "timeout_s": seconds, "concurrency": n}; see model/where.py."""

    @classmethod
    def checked(cls, **options: Unpack[RunOptions]) -> RunPolicy:
        """The policy of these options. Raises OptionsError with every mistake among them.

        Times may be texts with a unit too (90s, 10m, 2h), sizes too (512MB, 2GiB), or `none` where None may be.
        """
        return cls(**read_run_options(options))

    def differing(self, other: RunPolicy) -> dict[str, Any]:
        """The fields that have another value here than there."""
        return {name: mine for name in self.__struct_fields__ if (mine := getattr(self, name)) != getattr(other, name)}


def read_run_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """These options as RunPolicy holds them, and none that is not given. Raises OptionsError."""
    read = checked_options(RunPolicy, options)
    return {name: read[name] for name in RunPolicy.__struct_fields__ if name in read}


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What runs the tasks, and where."""

    worker: Annotated[
        str | None,
        _what_runs(
            Text("MODULE:FUNCTION"),
            "The worker function, called as function(task, ctx); or a class, made once in each worker process.",
        ),
    ] = None
    engine: Annotated[
        str,
        _what_runs(
            Text("ENGINE"), "Where shards run: local or inline; on hosts: slurm, ray, dask, futures, process, hosts."
        ),
    ] = "local"
    cleanup: Annotated[
        str | None,
        _what_runs(Text("MODULE:FUNCTION"), "Called as function(unit, notes) after a killed attempt.", unset="none"),
    ] = None
    on_end: Annotated[
        str | None,
        _what_runs(Text("COMMAND"), "Run when the run has ended, with its summary as JSON on stdin.", unset="none"),
    ] = None
    worker_name: Annotated[
        str | None,
        _taken_over(
            Text("NAME"),
            "The worker's name, by which its outcomes are taken over.",
            unset="MODULE:FUNCTION; a command without its options",
        ),
    ] = None


_hosts = partial(Option, group="Hosts: engines beyond one machine")


class EngineOptions(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an engine runs shards on other machines. The engines of one machine need none of it."""

    hosts: Annotated[int, _hosts(Whole(1, 10_000), "Hosts to start.")] = 1
    room: Annotated[
        int | None,
        _hosts(
            Whole(1, MAX_SHARDS, optional=True),
            "Worker processes at once on each host.",
            unset="up to 64, as its memory allows",
        ),
    ] = None
    lease_s: Annotated[
        float, _hosts(Seconds(above=True), "A host that hears nothing from the master ends after this time.", "lease")
    ] = 30.0
    listen: Annotated[
        str, _hosts(Text("ADDRESS"), "Address of this machine that hosts connect to, such as 0.0.0.0 for all.")
    ] = "127.0.0.1"
    engine_option: Annotated[
        tuple[str, ...],
        _hosts(Names("NAME=VALUE", whole=True), "An option of the engine itself, such as partition=cpu.", unset="none"),
    ] = ()
    pass_env: Annotated[
        tuple[str, ...],
        _hosts(Names("NAMES"), "Environment variables, such as API keys, that hosts get from here.", unset="none"),
    ] = ()
    ship: Annotated[
        str | None,
        _hosts(Text("PATH"), "Python file or folder that hosts get, and import first; up to 16 MiB.", unset="none"),
    ] = None
    logs: Annotated[
        Literal["ends", "all"],
        _hosts(OneOf(("ends", "all")), "What comes back of each shard's log: the beginning and the end, or all."),
    ] = "ends"
