"""Says which of the six invariants of RELIABILITY.md a run has broken, from the files on disk alone.

It knows prealloc's formats, not its code: it reads them with the standard library, so that a mistake in how
prealloc reads its own files cannot hide itself here.

    I1  every acknowledged result is present and byte-equal
    I2  each planned (shard, task, repeat) is in exactly one outcome
    I3  one accepted outcome each; a late one is kept as evidence, not counted
    I4  no process of the run alive 2 s after it ends or its master dies
    I5  exit code not 0 unless all is ok, and the reason printed
    I6  the run ends within the bound printed at its start
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ALIVE_S = 2.0
STATUSES = ("ok", "failed", "timeout", "crashed", "out_of_memory", "infra", "cancelled", "not_run")
FINAL = frozenset(STATUSES[:5])
MISSING_SHOWN = 20

Unit = tuple[str, str, int]


class Evidence(NamedTuple):
    """What is left of one session of a run."""

    run: Path
    acknowledged: Path | None
    """JSON lines {"event": an attempt_ended event, "line": the journal line that was there when it was told}."""
    exit_code: int | None
    """None: the master was killed, and owes nobody a reason."""
    output: str
    """Its stdout (`--json`) and stderr."""
    ended_at: float
    """When it ended or was killed, by time.monotonic()."""
    duration_s: float
    marker: str | None = None
    """`NAME=VALUE` in the environment of every process of the run."""
    pids: tuple[int, ...] = ()
    """Further processes that must be gone."""


class Line(NamedTuple):
    """One line of one journal file."""

    file: str
    session: int
    shard: str | None
    raw: str
    content: dict[str, Any]


def check(evidence: Evidence) -> list[str]:
    """What is broken, each line beginning with the invariant's name; nothing if all is well."""
    broken: list[str] = []
    # First, because it is about what happens within two seconds of the end.
    broken += _check_dead(evidence)
    units = planned_units(evidence.run)
    lines = list(journal(evidence.run, broken))
    outcomes = accepted(units, lines, broken)
    broken += _check_acknowledged(evidence, lines)
    broken += _check_counted(evidence, units, outcomes)
    broken += _check_exit(evidence, outcomes)
    broken += _check_bound(evidence)
    return broken


def planned_units(run: Path) -> list[Unit]:
    """Every unit of the plan's copy in a run folder."""
    found: list[Unit] = []
    for entry in _load(run / "plan" / "plan.json")["shards"]:
        manifest = _load(run / "plan" / entry["file"])
        tasks = _load(run / "plan" / manifest["slice"]["file"])["tasks"]
        for repeat in range(manifest["repeats"]):
            found += [(entry["id"], task["id"], repeat) for task in tasks]
    return found


_WORKER = re.compile(r"(.+)\.(\d{4,})\.(\d{4,})\.jsonl")
_SUPERVISOR = re.compile(r"supervisor\.(\d{4,})\.jsonl")


def journal(run: Path, broken: list[str]) -> Iterator[Line]:
    """The whole lines of all journal files, by session. An unfinished tail is no line; damage is reported."""
    files: list[tuple[int, str, str | None]] = []
    for path in (run / "journal").iterdir():
        if match := _SUPERVISOR.fullmatch(path.name):
            files.append((int(match[1]), path.name, None))
        elif match := _WORKER.fullmatch(path.name):
            files.append((int(match[2]), path.name, match[1]))
        else:
            broken.append(f"I2 {path.name} is no file of a journal")
    for session, name, shard in sorted(files, key=lambda file: (file[0], file[2] is not None, file[1])):
        whole = (run / "journal" / name).read_bytes().rstrip(b"\0")
        for number, raw in enumerate(whole[: whole.rfind(b"\n") + 1].split(b"\n")[:-1], start=1):
            try:
                content = json.loads(raw)
            except ValueError as error:
                broken.append(f"I1 {name}:{number} cannot be read: {error}")
                continue
            yield Line(name, session, shard, raw.decode(), content)


def accepted(units: list[Unit], lines: list[Line], broken: list[str]) -> dict[Unit, str]:
    """The status of every planned unit, by rules written down here once more."""
    attempts: dict[Unit, list[Line]] = {unit: [] for unit in units}
    reopened: dict[Unit, set[int]] = {unit: set() for unit in units}
    if len(attempts) != len(units):
        broken.append("I2 the plan names a unit twice")
    for line in lines:
        content = line.content
        if content.get("kind") == "session" and content["reopen_failed"]:
            for sessions in reopened.values():
                sessions.add(line.session)
        for again in content["units"] if content.get("kind") == "reopened" else ():
            reopened[tuple(again)].add(line.session)
        if "kind" in content and content["kind"] != "death":
            continue
        unit = (content["shard"], content["task"], content["repeat"])
        if unit not in attempts:
            broken.append(f"I2 {line.file} has a line for {unit}, which the plan does not foresee")
        elif line.shard not in (None, content["shard"]):
            broken.append(f"I2 {line.file} has a line of shard {content['shard']}")
        elif "kind" not in content:
            attempts[unit].append(line)
    return {unit: _accept(unit, tries, reopened[unit], broken) for unit, tries in attempts.items()}


def _accept(unit: Unit, tries: list[Line], reopened: set[int], broken: list[str]) -> str:
    status = "not_run"
    decided_in: int | None = None
    numbers = Counter(line.content["attempt"] for line in tries if not line.content.get("late"))
    for number, times in numbers.items():
        if times > 1:
            broken.append(f"I3 {unit} has attempt {number} {times} times")
    for line in sorted(tries, key=lambda line: (line.session, line.content["attempt"])):
        if line.content["status"] not in STATUSES:
            broken.append(f"I2 {unit} ended {line.content['status']!r}, which is no status")
        if line.content.get("late") or line.content.get("again"):
            if line.content.get("again") and line.content["status"] != "infra":
                broken.append(f"I2 {unit} is tried again after it ended {line.content['status']}")
            continue
        opened_again = any(decided_in < session <= line.session for session in reopened) if decided_in else True
        if decided_in is not None and not (opened_again and status != "ok"):
            # Fenced. From another session it may come when a worker outlived its master for a moment.
            if line.content["status"] in FINAL and line.session == decided_in:
                broken.append(f"I3 {unit} was decided twice in session {line.session}, and neither is marked late")
            continue
        if line.content["status"] in FINAL:
            status, decided_in = line.content["status"], line.session
        elif decided_in is None:
            status = line.content["status"]
    return status


def _check_acknowledged(evidence: Evidence, lines: list[Line]) -> Iterator[str]:
    if evidence.acknowledged is None:
        return
    there = {line.raw for line in lines}
    for text in evidence.acknowledged.read_text().splitlines():
        told = json.loads(text)
        event, raw = told["event"], told["line"]
        name = f"{event['shard']}/{event['task']}#{event['repeat']} attempt {event['attempt']}"
        if raw is None:
            yield f"I1 {name} was told as {event['status']}, and the journal did not have it"
            continue
        if raw not in there:
            yield f"I1 {name} was acknowledged, and its line is gone or changed"
        content = json.loads(raw)
        if content["status"] != event["status"] or content.get("late"):
            yield f"I1 {name} was told as {event['status']}, and written as {content['status']}"
        # What its lane refuses to all may run on another one: that is not known yet when its line is written.
        elsewhere = content["status"] == "infra" and content.get("lane") is not None and not event["outcome"]
        if content.get("again", False) is event["outcome"] and not elsewhere:
            yield f"I2 {name} was told as {'an' if event['outcome'] else 'no'} outcome, and is written otherwise"


def _check_counted(evidence: Evidence, units: list[Unit], outcomes: dict[Unit, str]) -> Iterator[str]:
    ended = last_event(evidence.output, "run_ended")
    if ended is None:
        return
    counts = Counter(outcomes.values())
    mine = {status: counts.get(status, 0) for status in STATUSES}
    if ended["census"] != mine:
        yield f"I2 the run counted {ended['census']}, the journal says {mine}"
    if sum(ended["census"].values()) != len(units):
        yield f"I2 the census has {sum(ended['census'].values())} units, the plan {len(units)}"


def _check_dead(evidence: Evidence) -> Iterator[str]:
    """Asks until the two seconds are over: who is gone earlier is gone."""
    while alive := survivors(evidence.marker, evidence.pids):
        if time.monotonic() > evidence.ended_at + ALIVE_S:
            told = ", ".join(f"{pid} ({command})" for pid, command in alive.items())
            yield f"I4 alive {ALIVE_S:g} s after the end: {told}"
            return
        time.sleep(0.05)


def _check_exit(evidence: Evidence, outcomes: dict[Unit, str]) -> Iterator[str]:
    code, output = evidence.exit_code, evidence.output
    if "Traceback (most recent call last)" in _without_events(output):
        yield "I5 a traceback was printed"
    if code is None:
        return
    missing = [f"{shard}/{task}#{repeat}" for (shard, task, repeat), status in outcomes.items() if status != "ok"]
    if code == 0 and missing:
        yield f"I5 exit code 0, and {len(missing)} units are not ok"
    if code == 0:
        return
    if code not in (1, 2, 3) and not 128 < code < 160:
        yield f"I5 exit code {code} says nothing"
    ended, error = last_event(output, "run_ended"), last_event(output, "error")
    if code in (2, 3):
        if error is None or not error["problem"]:
            yield f"I5 exit code {code}, and no reason was printed"
        return
    if ended is None:
        if last_event(output, "run_started") is not None:  # else a signal met it while it was starting
            yield f"I5 exit code {code}, and no end was printed"
        return
    if code == 1 and not missing:
        yield "I5 exit code 1, and all units are ok"
    if missing and not ended["resume"]:
        yield f"I5 exit code {code}, and no command for the rest was named"
    shown = [text.rpartition(" (")[0] for text in ended["missing"]]
    if len(shown) != min(len(missing), MISSING_SHOWN) or not set(shown) <= set(missing):
        yield f"I5 the units that are not ok are {missing[:MISSING_SHOWN]}, shown were {shown}"


def _check_bound(evidence: Evidence) -> Iterator[str]:
    started = last_event(evidence.output, "run_started")
    if started is None or started["bound_s"] is None:
        return
    if evidence.duration_s > started["bound_s"]:
        yield f"I6 took {evidence.duration_s:.1f} s, the bound was {started['bound_s']:.1f} s"


def survivors(marker: str | None, pids: tuple[int, ...] = ()) -> dict[int, str]:
    """The processes (zombies are none) that carry the marker in their environment, or have one of these ids."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        if int(name) not in pids and (marker is None or not carries(int(name), marker)):
            continue
        try:
            state = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX":
                command = Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(name)] = command.decode(errors="replace")[:80].replace("\n", " ")
        except (OSError, IndexError):
            continue
    return found


def carries(pid: int, marker: str) -> bool:
    """Whether this is a living process with the marker in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb", 0) as environment:  # as cheap as can be: it is asked of every process
            return marker.encode() in environment.read().split(b"\0")
    except OSError:
        return False


def last_event(output: str, name: str) -> dict[str, Any] | None:
    """The last event of this name in the JSON lines of an output."""
    found = None
    for line in output.splitlines():
        if line.startswith(f'{{"event":"{name}"'):
            found = json.loads(line)
    return found


def _without_events(output: str) -> str:
    return "\n".join(line for line in output.splitlines() if not line.startswith('{"event":'))


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_bytes())
    return loaded
