"""One run folder: whole or not, who works on it, what is left of its journal, and what a resume would run."""

from __future__ import annotations

import datetime
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from prealloc._version import __version__
from prealloc.doctor.finding import Finding, Level, ok, problem, refused, warning
from prealloc.doctor.strays import Stray, find_strays
from prealloc.engines.session import summarise
from prealloc.errors import JournalError, PlanError, RunFolderError
from prealloc.files.lock import live_owner, read_owner
from prealloc.files.paths import RunPaths, parse_journal_name, readable_name
from prealloc.model.outcome import Status
from prealloc.model.plan import Unit
from prealloc.model.words import listed, quoted, size
from prealloc.store.claims import elsewhere_of
from prealloc.store.fold import RunState, fold
from prealloc.store.health import Damage, JournalHealth, Kind, examine, read_whole
from prealloc.store.journal import parse_line, sort_folder, split_lines
from prealloc.store.journal_lines import WorkerStarted
from prealloc.store.lane_log import read_halts
from prealloc.store.run_folder import OpenRun

FIRST = 10
"""Pieces of damage of one file that are listed one by one."""


def check_run(root: Path) -> list[Finding]:
    """Everything about one run folder. Raises RunFolderError if it is not one."""
    paths = RunPaths(root)
    if not paths.run_file.exists() and not paths.journal.exists():
        raise RunFolderError("it is not a run folder", where=str(root), hint="name a folder that `prealloc run` made")
    running = live_owner(paths.lock) is not None  # asked first: a live master may still write
    found: list[Finding] = []
    opened: OpenRun | None = None
    units: list[Unit] | None = None
    try:
        opened = OpenRun(root)
        opened.check_slices()  # by tasks of another name the journal would be judged wrongly
        units = list(opened.units())
        found += _check_whole(opened, len(units))
    except (RunFolderError, PlanError) as error:
        found.append(refused("run folder", error, hint="restore the file from a copy"))
    found.append(_check_lock(paths))
    try:
        health = examine(paths, units)
    except JournalError as error:
        return [*found, refused("journal", error)]
    found += check_journal(paths, health, running=running)
    strays = [] if running else strays_of(paths, opened)
    if strays and live_owner(paths.lock) is not None:
        strays = []  # a master came while we looked: they are its workers
    found.append(check_strays(strays))
    if opened is not None and units is not None and health.readable:
        state = fold(paths, units)
        found.append(_check_census(opened, state, running=running))
        found += _check_lanes(opened, state)
    found.append(_check_logs(paths, opened))
    return found


def strays_of(paths: RunPaths, opened: OpenRun | None) -> list[Stray]:
    """Processes of the run; they are strays only if no master lives."""
    return find_strays(paths, recorded_workers(paths), _made_at(opened) if opened else None)


def _made_at(opened: OpenRun) -> float | None:
    try:
        return datetime.datetime.fromisoformat(opened.file.created_at).timestamp()
    except ValueError:  # somebody has edited it; nothing else goes by it
        return None


def recorded_workers(paths: RunPaths) -> set[int]:
    """The process ids of all workers of this machine in the journal, as far as it can be read."""
    found: set[int] = set()
    for file in sort_folder(paths)[0]:
        if file.writer.shard is not None:
            continue
        for number, line in enumerate(split_lines(read_whole(file.path))[0], start=1):
            try:
                content = parse_line(file, line, number)
            except JournalError:
                continue  # told by check_journal
            if isinstance(content, WorkerStarted) and content.host is None:
                found.add(content.pid)
    return found


def check_journal(paths: RunPaths, health: JournalHealth, *, running: bool) -> list[Finding]:
    """Each piece of damage with its file and line; the first ones of each file."""
    if not paths.journal.is_dir():
        hint = f"restore it from a copy, or `mkdir {paths.journal}`: every unit then runs again"
        return [problem("journal", "it is missing, and every outcome with it", hint, where=str(paths.journal))]
    damage = [piece for piece in health.damage if not (running and piece.kind is Kind.TAIL)]
    found = [_told(paths, piece) for piece in _first_of_each(damage)]
    if hidden := len(damage) - len(found):
        found.append(problem("journal", f"{hidden} more pieces are damaged", _repair(paths)))
    found += [
        warning(
            "journal",
            f"{twice.unit} has attempt {twice.attempt} twice, in {twice.first} and {twice.again}",
            "nothing to do: the first counts, the other is kept as evidence",
        )
        for twice in health.duplicates[:FIRST]
    ]
    if all(finding.level is Level.OK for finding in found):
        lines, held = sum(file.lines for file in health.files), sum(file.bytes for file in health.files)
        found = [ok("journal", f"{len(health.files)} files, {lines:,} lines, {size(held)}, each line readable")]
    return found


def check_strays(strays: Sequence[Stray]) -> Finding:
    """How to end them, all at once: children of one may be waited for by another."""
    if sys.platform != "linux":
        return ok("strays", "not checked: this system has no /proc")
    if not strays:
        return ok("strays", "no process of this run is without a master")
    told = listed((f"{stray.pid} ({stray.command}): {stray.why}" for stray in strays), FIRST, "; ")
    pids = " ".join(str(stray.pid) for stray in strays)
    return problem("strays", f"no master runs, but these processes of the run do: {told}", f"kill -9 {pids}")


def _check_whole(opened: OpenRun, units: int) -> list[Finding]:
    file, shards = opened.file, len(opened.manifests)
    found = [ok("run folder", f"run.json and plan {file.plan[:12]} are whole: {shards} shards, {units:,} units")]
    made, here = (file.prealloc, file.python), (__version__, platform.python_version())
    if made != here:
        seen = f"made with prealloc {made[0]} on Python {made[1]}, but this is {here[0]} on {here[1]}"
        found.append(warning("versions", seen, "resume with the same versions, so that all results are comparable"))
    return found


def _check_lock(paths: RunPaths) -> Finding:
    owner = live_owner(paths.lock)
    if owner is not None:
        return ok("master", f"process {owner.pid} on {owner.host} is running it")
    last = read_owner(paths.lock)
    return ok("master", "none" + (f"; the last one was process {last.pid} on {last.host}" if last else ""))


def _first_of_each(damage: Sequence[Damage]) -> list[Damage]:
    told: dict[str, int] = {}
    first = []
    for piece in damage:
        told[piece.file] = told.get(piece.file, 0) + 1
        if told[piece.file] <= FIRST:
            first.append(piece)
    return first


def _told(paths: RunPaths, piece: Damage) -> Finding:
    where = str(paths.journal / piece.file) + (f":{piece.line}" if piece.line else "")
    of = f" (of {piece.unit})" if piece.unit else ""
    seen = f"{piece.kind.value}{of}: {piece.why}"
    writer = parse_journal_name(piece.file)
    if piece.line == 1 and writer is not None and writer.shard is None and writer.session > 1:
        # The session's own record: if it opened outcomes again, readers do not know it any more.
        seen += "; if that session was `resume --failed`, its outcomes count as late from now on"
    if piece.kind is Kind.TAIL:
        return warning(
            "journal", seen, f"nothing to do: it is left out, and its unit runs again; or {_repair(paths)}", where=where
        )
    return problem("journal", seen, _repair(paths), where=where)


def _repair(paths: RunPaths) -> str:
    return f"prealloc doctor {quoted(paths.root)} --repair"


def _check_census(opened: OpenRun, state: RunState, *, running: bool) -> Finding:
    elsewhere = elsewhere_of(opened, state)
    summary = summarise(opened, state, duration_s=0.0, elsewhere=elsewhere)
    census = {**summary.census, Status.NOT_RUN: summary.census[Status.NOT_RUN] - len(elsewhere)}
    counts = ", ".join(f"{count:,} {status}" for status, count in census.items() if count)
    counts += f", {len(elsewhere):,} in other runs of the experiment" if elsewhere else ""
    left = sum(each.open for unit, each in state.units.items() if unit not in elsewhere)
    seen = f"{counts or 'no units'}; resume would run {left:,}"
    if running or not left:
        return ok("units", seen)
    never = census[Status.NOT_RUN]
    return warning("units", f"{seen}; {never:,} have never run" if never else seen, summary.resume or "")


def _check_lanes(opened: OpenRun, state: RunState) -> list[Finding]:
    """The lanes that have halted in the latest session, and still have units to run."""
    of_shards = Counter(unit.shard for unit, each in state.units.items() if each.open)
    left: Counter[str] = Counter()
    for shard, units in of_shards.items():
        left.update(dict.fromkeys(opened.manifests[shard].served_by, units))
    resume = f"prealloc resume {quoted(opened.paths.root)}"
    return [
        problem(
            "lanes",
            f"lane {halt.lane} halted: {halt.reason}; {left[halt.lane]:,} units that it may serve are left to run",
            f"{halt.hint}, then {resume}",
        )
        for halt in read_halts(opened.paths, opened.plan.spec.lanes, state.sessions)
        if left[halt.lane]
    ]


def _check_logs(paths: RunPaths, opened: OpenRun | None) -> Finding:
    sizes = {path.name: path.stat().st_size for path in paths.logs.glob("*.log")} if paths.logs.is_dir() else {}
    if not sizes:
        return ok("logs", "none")
    largest = max(sizes, key=lambda name: sizes[name])
    seen = f"{len(sizes)} files, {size(sum(sizes.values()))}; "
    seen += f"the largest is {readable_name(largest)}, {size(sizes[largest])}"
    if opened is not None and sizes[largest] > 2 * opened.file.policy.max_log_bytes:
        cap = size(opened.file.policy.max_log_bytes)
        return warning("logs", f"{seen}, over its cap of {cap}", "shorten or remove it: nothing needs it")
    return ok("logs", seen)
