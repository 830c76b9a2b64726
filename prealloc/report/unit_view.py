"""What became of one unit, as a page."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import msgspec
from rich.text import Text

from prealloc.model.outcome import FINAL, Attempt, ErrorInfo
from prealloc.report import human
from prealloc.report.grid import Column, table
from prealloc.report.page import Page, fact, heading, whole
from prealloc.report.table import COLOURS
from prealloc.report.visible import lines, value, visible
from prealloc.store.fold import Tried
from prealloc.store.unit_outcome import UnitHistory


def render_unit(unit: UnitHistory) -> Page:
    """Its settings, a row per attempt, the error of the latest that has one, and the result that counts."""
    return Page(lambda width: _unit(unit, width))


def render_debugged(unit: str, attempt: Attempt, note: str) -> Page:
    """A unit that was run under a debugger's eyes: status and times, error, result; and whether that was recorded."""
    waited = f", waited {human.duration(attempt.waiting_s)}" if attempt.waiting_s >= 0.001 else ""
    page = [
        fact("unit", visible(unit), 8),
        fact("status", Text(attempt.status, COLOURS[attempt.status]), 8),
        fact("attempt", f"{attempt.attempt}, worked {human.duration(attempt.working_s)}{waited}; {note}", 8),
    ]
    if attempt.error is not None:
        page += [Text(), heading("error"), *error_lines(attempt.error)]
    if attempt.result is not None:
        page += [Text(), heading("result"), *result_lines(attempt)]
    return Page(lambda width: page)


def _unit(unit: UnitHistory, width: int | None) -> list[Text]:
    before = f", {unit.first_status} at first" if unit.first_status is not unit.status else ""
    deaths = f", {human.count(unit.deaths, 'worker')} killed while alone" if unit.deaths else ""
    facts = [("unit", visible(unit.unit)), ("type", visible(unit.type)), ("status", f"{unit.status}{before}{deaths}")]
    if unit.run is not None:
        facts.append(("run", visible(unit.run)))
    if unit.lane is not None:
        facts.append(("lane", visible(unit.lane)))
    facts += [
        ("settings" if not n else "", f"{visible(k)}={value(v)}") for n, (k, v) in enumerate(unit.settings.items())
    ]
    facts += [("log", visible(unit.log)), ("", "of the whole shard: its lines do not name their unit")]
    page = [fact(name, text, 10) for name, text in facts]
    attempts = [tried.attempt for tried in unit.tries]
    if attempts:
        page += [Text(), heading("attempts"), *_attempts(unit, width)]
    failed = next((each.error for each in reversed(attempts) if each.error is not None), None)
    if failed is not None:
        page += [Text(), heading("error"), *error_lines(failed)]
    counts = next((each.attempt for each in unit.tries if _counts(unit, each)), None)
    if counts is not None and counts.result is not None:
        page += [Text(), heading("result"), *result_lines(counts)]
    return page


def _counts(unit: UnitHistory, tried: Tried) -> bool:
    return tried.run == unit.run and tried.attempt.attempt == unit.accepted and not tried.attempt.late


def _attempts(unit: UnitHistory, width: int | None) -> list[Text]:
    attempts = [tried.attempt for tried in unit.tries]
    notes = [_note(unit, each) for each in unit.tries]
    columns = [
        *([Column("run", [Text(visible(each.run or "")) for each in unit.tries], right=False)] if unit.run else []),
        Column("attempt", [Text(str(each.attempt)) for each in attempts]),
        Column("session", [Text(str(tried.session)) for tried in unit.tries], drop=3),
        Column("status", [Text(each.status, COLOURS[each.status]) for each in attempts], right=False),
        Column("started", [Text(_when(each.started_at)) for each in attempts], right=False, drop=2),
        Column("queued", [Text(human.duration(each.queued_s)) for each in attempts], drop=4),
        Column("waited", [Text(human.duration(each.waiting_s)) for each in attempts]),
        Column("worked", [Text(human.duration(each.working_s)) for each in attempts]),
        *_tokens(attempts),
        *([Column("", [Text(note, "dim") for note in notes], right=False, drop=1)] if any(notes) else []),
    ]
    room = None if width is None else width - 2
    return [Text("  ").append_text(line) for line in table(columns, room)]


def _tokens(attempts: Sequence[Attempt]) -> list[Column]:
    """What each has used, if any has said so."""
    used = [None if each.usage is None else sum(tokens.total for tokens in each.usage.values()) for each in attempts]
    return [Column("tokens", [Text(human.tokens(number)) for number in used], drop=5)] if any(used) else []


def _when(started_at: float) -> str:
    """In this machine's time."""
    try:
        return datetime.datetime.fromtimestamp(started_at).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return human.NOTHING


def _note(unit: UnitHistory, tried: Tried) -> str:
    attempt = tried.attempt
    if tried.run != unit.run and attempt.status in FINAL and not (attempt.late or attempt.again):
        return "decided before by another run, does not count"
    return attempt_note(attempt)


def attempt_note(attempt: Attempt) -> str:
    """What is to be known of an attempt beside how it ended; mostly nothing."""
    if attempt.reused is not None:
        return f"taken over from {visible(attempt.reused)}"
    if attempt.late:
        return "came late, does not count"
    if attempt.retry == "lane":
        return "was tried again: its server asked to come back later"
    return "was tried again" if attempt.again else ""


def error_lines(error: ErrorInfo) -> list[Text]:
    """Type, message and traceback."""
    status = f" (HTTP {error.http_status})" if error.http_status is not None else ""
    page = [Text(f"  {line}", "red") for line in lines(f"{error.type}: {error.message}{status}")]
    return [whole(line) for line in (*page, *(Text(f"  {line}") for line in lines(error.traceback or "") if line))]


def result_lines(attempt: Attempt) -> list[Text]:
    """The result as JSON."""
    text = msgspec.json.format(msgspec.json.encode(attempt.result), indent=2).decode()
    return [whole(Text(f"  {line}")) for line in lines(text)]
