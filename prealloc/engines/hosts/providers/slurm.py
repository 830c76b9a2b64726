"""Hosts as jobs of Slurm, by sbatch, squeue and scancel alone. Accounting (sacct) is not needed.

One job a host, so the limits of job arrays do not matter. Source: sbatch(1), squeue(1), scancel(1) of 22.05.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from prealloc.engines.hosts.providers.base import PYTHON, PYTHON_HELP, ProviderBusy, ProviderError, host_argv, wrong
from prealloc.engines.log import end_of, last_line
from prealloc.errors import Mistake, OptionsError
from prealloc.files.temporary import temporary_folder
from prealloc.model.secret import without_keys

ABSENT_S = 30.0
"""A job that Slurm no longer lists for so long has ended: a busy controller may leave one out."""
UNREACHABLE_S = 60.0
"""A controller that does not answer for so long is lost. One that is started again knows its jobs."""
_ENDING_S = 3.0
"""What hosts of a run that is over may take to end."""
_PAUSE_S = 0.2
_CALL_S = 60.0
_POLL_S = 2.0
_ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"}
    | {"OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"}
)
_SETTINGS = ("KillWait", "SlurmdTimeout", "JobRequeue", "MaxArraySize", "MaxJobCount", "AuthType")
_BUSY = (
    *("timed out", "unable to contact", "not responding", "temporarily", "try again", "standby mode", "zero bytes"),
    *("connection refused", "connection reset"),
)
"""Parts of what Slurm says when its controller is away or overloaded. Source: slurm_errno.c, strerror(3)."""
_KEPT = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"})
_PLAIN = {
    "partition": "the partition to run in",
    "account": "the account to charge",
    "time": "the time limit of a host, such as 4:00:00",
    "cpus_per_task": "processors of a host",
    "mem": "memory of a host, such as 16G; without it many sites give a whole node's",
    "qos": "the quality of service",
    "constraint": "features that the node must have",
    "gres": "generic resources of a host, such as gpu:1",
}


class _Job(NamedTuple):
    name: str
    seen_at: float
    """When Slurm last listed it, in seconds of the monotonic clock."""


class SlurmProvider:
    """Each host is a batch job of its own, which Slurm never runs again."""

    options: ClassVar[Mapping[str, str]] = {
        **{name: f"{text} (sbatch --{name.replace('_', '-')})" for name, text in _PLAIN.items()},
        "extra": "further words for sbatch, such as '--exclusive --reservation=mine'",
        "folder": "a folder that all nodes see, for what is handed to hosts; default: the working folder",
        "poll": f"seconds between two calls of squeue; default: {_POLL_S:g}",
        PYTHON: PYTHON_HELP,
    }
    cannot: ClassVar[str] = (
        "tell at once that a node is lost: Slurm says so after its SlurmdTimeout, 300 s by default; the lease does"
    )
    extra: ClassVar[str | None] = None
    poll_s: float = _POLL_S

    def __init__(
        self,
        options: Mapping[str, str],
        *,
        call: Callable[[Sequence[str], str], str] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`call` and `now` are for tests."""
        self._options = options
        self._call = call or _call
        self._now = now
        parent = Path(options.get("folder", os.curdir)).absolute()
        self._check(parent)
        self._jobs: dict[int, _Job] = {}
        self._reached_at = now()
        self._folders = contextlib.ExitStack()
        try:
            self._folder = self._folders.enter_context(temporary_folder("hosts", parent))
        except OSError as error:
            hint = "name a folder that all nodes see, and that you may write to"
            raise OptionsError([wrong("folder", str(parent), f"{error.strerror}: {hint}")]) from None

    def settings(self) -> Iterable[tuple[str, str]]:
        pairs = [line.partition("=")[::2] for line in self._call(["scontrol", "show", "config"], "").splitlines()]
        values = {key.strip(): value.strip() for key, value in pairs}
        told = ", ".join(f"{key} {values[key]}" for key in _SETTINGS if key in values)
        return [(f"{told}; hosts are submitted with --no-requeue", "")]

    def start(self, name: str, spec: bytes) -> str:
        join = self._folder / f"{name}.join"
        output = str(self._output(name)).replace("%", "%%")  # Slurm replaces what begins with %
        try:
            descriptor = os.open(join, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(spec)
        except OSError as error:
            raise ProviderError(f"{join} cannot be written: {error.strerror}") from None
        # exec: Slurm's signals are then the host's.
        script = f"#!/bin/sh\nexec {shlex.join(host_argv(self._options, join))}\n"
        said = self._call([*self._sbatch(), f"--job-name={name}", f"--output={output}"], script)
        number = said.strip().split(";")[0]
        if not number.isdigit():
            raise ProviderError(f"sbatch was asked for a job's number and said {said.strip()[:200]!r}")
        self._jobs[int(number)] = _Job(name, self._now())
        return f"Slurm job {number}"

    def gone(self) -> Iterable[tuple[str, str]]:
        if not self._jobs:
            return []
        try:
            states = self._states()
        except ProviderError:
            if self._now() - self._reached_at > UNREACHABLE_S:
                raise
            return []
        self._reached_at = self._now()
        ended: list[tuple[str, str]] = []
        for number, job in list(self._jobs.items()):
            state, reason = states.get(number, ("", ""))
            if state and state not in _ENDED:
                self._jobs[number] = job._replace(seen_at=self._now())
            elif state:
                ended.append(self._end(number, f"Slurm says {state}{f' ({reason})' if reason else ''}"))
            elif self._now() - job.seen_at > ABSENT_S:
                ended.append(self._end(number, "Slurm no longer lists it"))
        return ended

    def stop(self, name: str) -> None:
        self._cancel([number for number, job in self._jobs.items() if job.name == name])

    def close(self) -> None:
        try:
            if self._jobs:
                # Hosts of a run that is over end by themselves: their jobs shall be COMPLETED, not CANCELLED.
                self._cancel(self._jobs, "--state=PENDING")
                self._await_ends()
            self._cancel(self._jobs)
        finally:
            self._folders.close()

    def _check(self, parent: Path) -> None:
        mistakes: list[Mistake] = []
        if self._call is _call:
            missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
            if missing:
                hint = "run where Slurm's commands are: on a login node, or in an allocation"
                mistakes.append(Mistake("‹engine›", f"slurm: there is no {', '.join(missing)} in PATH", hint))
        if not parent.is_dir():
            mistakes.append(wrong("folder", str(parent), "name a folder that is there, and that all nodes see"))
        try:
            self.poll_s = float(self._options.get("poll", _POLL_S))
        except ValueError:
            mistakes.append(wrong("poll", self._options["poll"], "give a number of seconds"))
        try:
            self._extra = shlex.split(self._options.get("extra", ""))
        except ValueError as error:
            mistakes.append(wrong("extra", self._options["extra"], f"{error}: quote it as for a shell"))
        if mistakes:
            raise OptionsError(mistakes)

    def _sbatch(self) -> list[str]:
        """--no-requeue: Slurm else runs a host again while its first copy may live on. --export: see _environment."""
        named = [f"--{name.replace('_', '-')}={self._options[name]}" for name in _PLAIN if name in self._options]
        fixed = ["--parsable", "--no-requeue", "--export=ALL", "--open-mode=append"]
        return ["sbatch", *named, *self._extra, *fixed]

    def _output(self, name: str) -> Path:
        return self._folder / f"{name}.out"

    def _states(self) -> dict[int, tuple[str, str]]:
        # Of two numbers at least: for one that is not known any more, squeue fails.
        asked = ",".join(map(str, [*self._jobs, *self._jobs][: max(2, len(self._jobs))]))
        said = self._call(["squeue", "--noheader", "--states=all", "--format=%A|%T|%r", f"--jobs={asked}"], "")
        rows = (line.strip().split("|") for line in said.splitlines() if line.strip())
        found = {}
        for number, state, reason in (row for row in rows if len(row) == 3 and row[0].isdigit()):
            found[int(number)] = (state, "" if reason == "None" else reason)
        return found

    def _end(self, number: int, told: str) -> tuple[str, str]:
        name = self._jobs.pop(number).name
        try:
            with self._output(name).open("rb") as file:
                printed = end_of(file)
        except OSError:
            printed = b""
        return name, f"{told}, job {number}{last_line(printed)}"

    def _await_ends(self) -> None:
        end = self._now() + _ENDING_S
        while self._jobs and self._now() < end:
            list(self.gone())
            time.sleep(_PAUSE_S)

    def _cancel(self, numbers: Iterable[int], *words: str) -> None:
        if found := [str(number) for number in numbers]:
            self._call(["scancel", *words, *found], "")


def _call(command: Sequence[str], given: str) -> str:
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=_CALL_S, env=_environment(), check=False
        )
    except OSError as error:
        raise ProviderError(f"{command[0]} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise ProviderBusy(f"{command[0]} did not answer within {_CALL_S:g} s") from None
    if done.returncode != 0:
        raise refusal(command[0], " ".join(done.stderr.split()) or f"exit code {done.returncode}")
    return done.stdout


def refusal(command: str, said: str) -> ProviderError:
    """What a command of Slurm's that has failed with these words means."""
    kind = ProviderBusy if any(words in said.lower() for words in _BUSY) else ProviderError
    return kind(f"{command} refuses: {said}")


def _environment() -> dict[str, str]:
    """What jobs get of this environment: Slurm writes it to its controller's disk, so no keys.

    Nor what an allocation says of itself, when this runs in one: it would be taken for the new job's.
    """
    found = without_keys(os.environ) | {name: os.environ[name] for name in _KEPT if name in os.environ}
    inside = ("SLURM_", "SLURMD_", "PMI_", "PMIX_")
    return {name: value for name, value in found.items() if name in _KEPT or not name.startswith(inside)}
