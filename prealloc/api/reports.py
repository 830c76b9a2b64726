"""What a report of runs shows, gathered from their folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Unpack

import msgspec

from prealloc.api.compare import members_of, says
from prealloc.api.located import Located, opened_runs
from prealloc.api.outcomes import asked_about, outcomes
from prealloc.engines.registry import facts_of
from prealloc.files.lock import live_owner
from prealloc.files.paths import readable_name
from prealloc.files.regular import Unusable, open_regular
from prealloc.model.json_value import canonical
from prealloc.model.keywords import ReportKeywords
from prealloc.model.policy import RunPolicy
from prealloc.model.questions import CompareOptions, ReportOptions, ResultsOptions
from prealloc.model.words import quoted
from prealloc.store.attempts import Attempts, attempts_of
from prealloc.store.clusters import clusters
from prealloc.store.comparison import RUN, Member, compare_members
from prealloc.store.fold import Tried
from prealloc.store.keys import KEYS, SETTINGS_PREFIX
from prealloc.store.lane_log import read_notes
from prealloc.store.results import Results, aggregate, tabulate
from prealloc.store.results_row import ResultsRow
from prealloc.store.run_report import Compare, Matrix, RunReport, Source
from prealloc.store.task_grid import task_grid
from prealloc.store.telemetry import read_samples
from prealloc.store.unit_outcome import UnitOutcome

LOG_TAIL_BYTES = 8192
TYPE = "type"
MOST_GROUPS = 24
"""Values of a key that comparisons are split by."""


def gather(*runs: str | Path, prices: Mapping[str, Any] | None = None, **options: Unpack[ReportKeywords]) -> RunReport:
    """Reads runs or experiments for a report. Raises OptionsError with every mistake, and what outcomes() raises."""
    asked = asked_about(runs, ReportOptions, options)
    folders = [_Folder(Path(run), asked.scores, prices, named=len(runs) > 1) for run in runs]
    members = [member for folder in folders for member in folder.members]
    home = {id(member): folder for folder in folders for member in folder.members}
    factors = _factors(members)
    factor = asked.factor or next(iter(factors), None)
    reported = any(says(member, "success") for member in members)
    compared, why_not = _compared(members, asked, factor, reported)
    told = [_with_cell(member) for member in members]
    keys: dict[str, Callable[[Member], Any]] = {name: partial(Member.value, name=name) for name in factors}

    def lane_of(member: Member) -> str | None:
        return home[id(member)].lane_of(member)

    lanes = {lane_of(member) for member in members}
    keys.setdefault(TYPE, lambda member: member.unit.type)
    if len(lanes) > 1:
        keys.setdefault("lane", lane_of)
    sources = [source for folder in folders for source in folder.sources()]
    ends = [ended.ended_at for source in sources for ended in source.attempts]
    return RunReport(
        asked=asked,
        title=asked.title or ", ".join(readable_name(str(run)) for run in runs),
        command=quoted(runs[0]) if len(runs) == 1 else "RUN",
        sources=sources,
        as_of=max(ends, default=None),
        total=aggregate(told)[0],
        factors=factors,
        factor=factor,
        main=_by_factor(told, factor),
        matrices=list(_matrices(told, factor, _others(factors, factor))),
        compared=compared,
        not_compared=why_not,
        clusters=clusters(members, keys),
        tasks=task_grid(members, list(factors), factor),
        members=members,
        folder_of=lambda member: home[id(member)].folder(member.unit.run or ""),
        lane_of=lane_of,
        tries_of=lambda member: home[id(member)].tries_of(member),
        log_of=lambda member: home[id(member)].log_of(member),
    )


class _Folder:
    """A run or an experiment that was named, with the run folders in it."""

    def __init__(self, path: Path, scores: str | None, prices: Mapping[str, Any] | None, *, named: bool) -> None:
        self.opened = opened_runs(path)
        every = outcomes(path, scores=scores, prices=prices)
        units = (Located(unit, self.opened[unit.run or ""]) for unit in every)
        self.damaged: list[str] = []
        self.members = list(members_of(units, path, named=named, damaged=self.damaged))
        self.attempts: dict[str, Attempts] = {name: attempts_of(run.paths) for name, run in self.opened.items()}
        self.log_of_shard = cache(self._log_of_shard)

    def folder(self, name: str) -> str:
        """The run folder of this name."""
        return readable_name(str(self.opened[name].paths.root))

    def lane_of(self, member: Member) -> str | None:
        """The lane that served it; of one that has not run, the one that it is planned for."""
        outcome = member.unit.outcome
        if outcome is not None and outcome.attempt.lane is not None:
            return outcome.attempt.lane
        return self.opened[member.unit.run or ""].manifests[member.unit.shard].planned_lane

    def tries_of(self, member: Member) -> list[Tried]:
        tries = self.attempts[member.unit.run or ""].by_unit.get(member.unit.unit, [])
        return [each.tried(member.unit.run) for each in tries]

    def log_of(self, member: Member) -> tuple[str, str]:
        return self.log_of_shard(member.unit.run or "", member.unit.shard)

    def _log_of_shard(self, run: str, shard: str) -> tuple[str, str]:
        log = self.opened[run].paths.log(shard)
        return readable_name(str(log)), _tail(log)

    def sources(self) -> Iterator[Source]:
        for name, run in self.opened.items():
            attempts = self.attempts[name]
            yield Source(
                folder=self.folder(name),
                plan=run.plan,
                file=run.file,
                guards_library=(facts := facts_of(run.file.engine)) is not None and facts.guards_library,
                library_opens=attempts.library_opens,
                options=run.file.policy.differing(RunPolicy()),
                lane_notes=read_notes(run.paths, run.plan.spec.lanes),
                samples=read_samples(run.paths),
                sessions=attempts.sessions,
                running=live_owner(run.paths.lock) is not None,
                attempts=list(attempts.here()),
                shards={shard: manifest.planned_lane for shard, manifest in run.manifests.items()},
                warnings=[*run.warnings, *attempts.warnings, *self.damaged],
            )


def _tail(log: Path) -> str:
    """The end of a log, from the start of a line on; nothing if there is none."""
    try:
        with open(open_regular(log, inside=log.parent), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_TAIL_BYTES))
            raw = file.read(LOG_TAIL_BYTES)
    except (Unusable, OSError):
        return ""
    if size > LOG_TAIL_BYTES:
        raw = raw.partition(b"\n")[2]
    return raw.decode("utf-8", "replace")


def _factors(members: Sequence[Member]) -> dict[str, tuple[Any, ...]]:
    """The factors with several values, the run first: who names several runs wants to compare them."""
    found: dict[str, dict[str, Any]] = {}
    for member in members:
        for name, value in member.cell.items():
            found.setdefault(name, {}).setdefault(canonical(value), value)
    several = {name: tuple(values.values()) for name, values in found.items() if len(values) > 1}
    return {**({RUN: several[RUN]} if RUN in several else {}), **several}


def _with_cell(member: Member) -> UnitOutcome:
    """The outcome with its cell among its settings, so that it can be grouped by these."""
    settings = {**member.unit.settings, **member.cell}
    return msgspec.structs.replace(member.unit, settings=settings) if settings != member.unit.settings else member.unit


def _compared(
    members: Sequence[Member], asked: ReportOptions, factor: str | None, reported: bool
) -> tuple[Compare | None, str]:
    """The comparisons; or why there are none. What was asked for and cannot be answered is the caller's mistake."""
    if factor is None:
        return None, "nothing in these runs has several values: there is nothing to compare"
    if not reported:
        return None, "no result says success, so nothing can be compared"
    baseline = asked.baseline
    if baseline is None:
        first = next((value for member in members if (value := member.value(factor)) is not None), None)
        baseline = first if first is None or isinstance(first, str) else canonical(first)
    options = CompareOptions(factor=factor, baseline=baseline, margin=asked.margin)
    every = compare_members(members, options)
    names = [name for name in _others(_factors(members), factor) if 1 < _values(members, name) <= MOST_GROUPS]
    by = [compare_members(members, msgspec.structs.replace(options, by=(name,))) for name in names]
    return Compare(every, [found for found in by if found.rows]), ""


def _others(factors: Iterable[str], factor: str | None) -> list[str]:
    """What is beside the factor: the other factors, and the type of tasks."""
    return [name for name in dict.fromkeys((*factors, TYPE)) if name != factor]


def _values(members: Sequence[Member], name: str) -> int:
    is_type = name == TYPE and not any(TYPE in member.cell for member in members)
    return len({canonical(member.unit.type if is_type else member.value(name)) for member in members})


def _by_factor(told: Sequence[UnitOutcome], factor: str | None) -> Results | None:
    """The rates of the factor's values, in the plan's order."""
    if factor is None:
        return None
    key = _key(factor, told)
    found = tabulate(told, ResultsOptions(by=(key,)))
    places = list(_values_of(told, key))
    ordered = sorted(found.rows, key=lambda row: places.index(canonical(row.group[key])))
    return msgspec.structs.replace(found, rows=ordered)


def _values_of(told: Sequence[UnitOutcome], key: str) -> dict[str, Any]:
    """The values of a key of results, in the plan's order."""
    if key == TYPE:
        return _distinct(sorted({outcome.type for outcome in told}))
    return _distinct(outcome.settings.get(key.removeprefix(SETTINGS_PREFIX)) for outcome in told)


def _key(name: str, told: Sequence[UnitOutcome]) -> str:
    """As results are grouped by it: a factor may be named as something else that units have."""
    is_setting = name in KEYS and any(name in outcome.settings for outcome in told)
    return f"{SETTINGS_PREFIX}{name}" if is_setting else name


def _matrices(told: Sequence[UnitOutcome], factor: str | None, others: Sequence[str]) -> Iterator[Matrix]:
    """Of the factor with each other key that has several values; without a factor, of the type alone."""
    row_key = _key(factor, told) if factor is not None else None
    for name in others:
        key = _key(name, told)
        rows = aggregate(told, ResultsOptions(by=(key,) if row_key is None else (row_key, key)))
        columns = _values_of(told, key)
        if len(columns) < 2:
            continue
        lines = _values_of(told, row_key) if row_key is not None else {canonical(None): None}
        top, left = list(lines), list(columns)

        def place(row: ResultsRow, key: str = key, top: Sequence[str] = top, left: Sequence[str] = left) -> Any:
            of_row = row.group[row_key] if row_key is not None else None
            return top.index(canonical(of_row)), left.index(canonical(row.group[key]))

        yield Matrix(
            row_key=factor or "",
            column_key=name,
            rows=tuple(lines.values()),
            columns=tuple(columns.values()),
            cells={place(row): row for row in rows},
        )


def _distinct(values: Iterable[Any]) -> dict[str, Any]:
    return {canonical(value): value for value in values}
