"""Every unit as columns, and the details of some, as small as they get: JSON, gzip, base64.

Base64 has no character that HTML would take for markup. The browser unpacks it by itself (DecompressionStream).
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from prealloc.model.outcome import Attempt, Status
from prealloc.model.task_hash import stable_hashes
from prealloc.planning.rank import choose, key
from prealloc.report import human
from prealloc.report.html.pictures.axis import utc
from prealloc.report.html.say import Say
from prealloc.report.unit_view import attempt_note
from prealloc.store.comparison import Member
from prealloc.store.run_report import RunReport

MOST_DETAIL = 2000
"""Characters of each text: a traceback, a result, the end of a log."""
MOST_PACKED = 4_000_000
"""Characters of all details as they lie in the page."""
AT_ONCE = 64
"""Units whose details lie together: the browser unpacks them when one of them is looked at."""
SLOWEST = 20
NO = -1


def pack(value: Any) -> str:
    """JSON, gzip, base64. The same value is the same text: no clock is in it."""
    return base64.b64encode(gzip.compress(msgspec.json.encode(value), 9, mtime=0)).decode()


class Details(NamedTuple):
    """The details of units, and which unit has which."""

    packed: list[str]
    """AT_ONCE units in each."""
    places: dict[int, int]
    """By the unit's place among the members: its place in `packed`, counted through."""
    wanted: int
    """Units that were to have some."""


def listed(report: RunReport) -> list[int]:
    """The places of the units that are in the page, in order: if not all, those that are not ok, then a sample."""
    members, most = report.members, report.asked.rows
    if len(members) <= most:
        return list(range(len(members)))
    not_ok = [place for place, member in enumerate(members) if member.unit.status is not Status.OK]
    ok = [place for place, member in enumerate(members) if member.unit.status is Status.OK]
    first = _sample(members, not_ok, most)
    return sorted([*first, *_sample(members, ok, most - len(first))])


def _sample(members: Sequence[Member], places: Sequence[int], most: int) -> Sequence[int]:
    if len(places) <= most:
        return places
    ids = [f"{members[place].unit.run or ''}/{members[place].unit.unit}" for place in places]
    return [places[each] for each in choose(stable_hashes(ids), ids, key(0, "report"), most)]


def details(report: RunReport, places: Sequence[int], say: Say) -> Details:
    """The details of these units that are to have some, as many as there is room for: examples of failures first."""
    wanted = list(_wanted(report, places))
    packed: list[str] = []
    found: dict[int, int] = {}
    size = 0
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        text = pack(_together(report, some, say))
        size += len(text)
        if size > MOST_PACKED:
            break
        packed.append(text)
        found |= {place: start + at for at, place in enumerate(some)}
    return Details(packed, found, len(wanted))


def _wanted(report: RunReport, places: Sequence[int]) -> Iterable[int]:
    """In the order of their worth, each once."""
    if report.asked.details == "none":
        return []
    there = set(places)
    examples = [place for cluster in report.clusters for place in cluster.examples]
    not_ok = [place for place in places if report.members[place].unit.status is not Status.OK]
    slowest = sorted(places, key=lambda place: (-(report.members[place].unit.working_s or 0.0), place))[:SLOWEST]
    rest = places if report.asked.details == "all" else []
    return (place for place in dict.fromkeys((*examples, *slowest, *not_ok, *rest)) if place in there)


def _together(report: RunReport, places: Sequence[int], say: Say) -> dict[str, Any]:
    logs: dict[str, str] = {}
    units = []
    for place in places:
        member = report.members[place]
        name, tail = report.log_of(member)
        name = say.text(name)
        if tail:
            logs[name] = say.block(tail, MOST_DETAIL, end=True)
        units.append(_detail(report, member, name, say))
    return {"units": units, "logs": logs}


def _detail(report: RunReport, member: Member, log: str, say: Say) -> dict[str, Any]:
    tries = report.tries_of(member)
    unit = member.unit
    counted, first = unit.outcome, unit.first
    counts = next((each.attempt for each in tries if counted and _same(each.attempt, counted.attempt)), None)
    began = next((each.attempt for each in tries if first and _same(each.attempt, first.attempt)), None)
    failed = next((each.attempt for each in reversed(tries) if each.attempt.error is not None), None)
    found: dict[str, Any] = {
        "log": log,
        "tries": [_try(each.session, each.attempt, say) for each in tries],
        "later": [say.text(run) for run in unit.later],
    }
    if failed is not None and failed.error is not None:
        error = failed.error
        found["error"] = {
            "attempt": failed.attempt,
            "type": say.text(error.type, MOST_DETAIL),
            "message": say.block(error.message, MOST_DETAIL),
            "traceback": say.block(error.traceback or "", MOST_DETAIL, end=True),
            "http": error.http_status,
        }
    if counts is not None and counts.result is not None:
        found["result"] = _json(counts.result, say)
    if began is not None and began.result is not None and first != counted:
        found["first_result"] = _json(began.result, say)
    return found


def _same(attempt: Attempt, other: Any) -> bool:
    return (attempt.attempt, attempt.started_at, attempt.status) == (other.attempt, other.started_at, other.status)


def _try(session: int, attempt: Attempt, say: Say) -> list[Any]:
    """In the order of the columns that the script shows."""
    error = say.text(f"{attempt.error.type}: {attempt.error.message}", 300) if attempt.error is not None else ""
    times = (attempt.queued_s, attempt.waiting_s, attempt.working_s)
    lane = say.text(attempt.lane or "")
    note = say.text(attempt_note(attempt))
    return [attempt.attempt, session, str(attempt.status), utc(attempt.started_at), *times, lane, note, error]


def _json(result: Any, say: Say) -> str:
    text = msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
    return say.block(text, MOST_DETAIL)


class _Texts:
    """A column of texts: each text once, and its place for each unit."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}
        self.column: list[int] = []

    def add(self, text: str) -> None:
        self.column.append(self.texts.setdefault(text, len(self.texts)))

    def packed(self, **told: Any) -> dict[str, Any]:
        return {**told, "texts": list(self.texts), "column": self.column}


def units(report: RunReport, places: Sequence[int], found: Details, say: Say) -> dict[str, Any]:
    """The columns of the table of units. Texts are masked and visible; -1 is a number that is not known."""
    members = [report.members[place] for place in places]
    several = len(report.sources) > 1
    texts = {name: _Texts() for name in ("run", "shard", "task", "type", "lane", "status", "first")}
    factors = {name: _Texts() for name in report.factors}
    for member in members:
        unit = member.unit
        values = (report.folder_of(member), unit.shard, unit.task, unit.type, report.lane_of(member) or "")
        for column, text in zip(texts.values(), (*values, str(unit.status), str(unit.first_status)), strict=True):
            column.add(say.text(text))
        for name, column in factors.items():
            column.add(say.value(member.value(name)))
    cluster_of = {place: n for n, cluster in enumerate(report.clusters) for place in cluster.places}
    clusters = [say.text(human.error(each.type, each.template)) for each in report.clusters]
    return {
        "units": len(members),
        "several": several,
        "texts": {name: column.packed() for name, column in texts.items()},
        "factors": [column.packed(name=say.text(name)) for name, column in factors.items()],
        "clusters": {"texts": clusters, "column": [cluster_of.get(place, NO) for place in places]},
        "repeat": [member.unit.repeat for member in members],
        "success": [_yes_no(member.unit.success) for member in members],
        "first_success": [_yes_no(member.unit.first_success) for member in members],
        "score": [member.unit.score for member in members] if any(m.unit.score is not None for m in members) else None,
        "working_ms": [_ms(member.unit.working_s) for member in members],
        "waiting_ms": [_ms(member.unit.waiting_s) for member in members],
        "attempts": [member.unit.attempts for member in members],
        "detail": [found.places.get(place, NO) for place in places],
        "at_once": AT_ONCE,
    }


def _yes_no(success: bool | None) -> int:
    return NO if success is None else int(success)


def _ms(seconds: float | None) -> int:
    return NO if seconds is None else round(1000 * seconds)
