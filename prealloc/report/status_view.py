"""How far a run is, and how it goes on, as pages: what `prealloc status` and `prealloc ctl` show."""

from __future__ import annotations

from rich.text import Text

from prealloc.model.answers import RunStatus
from prealloc.model.outcome import Status
from prealloc.model.steer import Course
from prealloc.model.words import listed, quoted
from prealloc.report import human
from prealloc.report.grid import Column, known, table
from prealloc.report.lanes import waits, why_halted
from prealloc.report.page import Page, fact, prose, whole
from prealloc.report.success import incomplete, success_notes
from prealloc.report.table import COLOURS
from prealloc.report.visible import visible

FIRST_SHARDS = 50
FIRST_HOSTS = 8


def render_status(status: RunStatus) -> Page:
    """A row per shard with its units by status, the total, who runs it, and what runs the rest."""
    return Page(lambda width: [*_facts(status), Text(), *_shards(status, width), *_remarks(status)])


def render_course(course: Course, run: str) -> Page:
    """What `prealloc ctl` shows: how many shards and tasks at once, whether anything starts, and the lanes' rates."""
    waiting = f", {course.waiting} waiting" if course.waiting else ""
    facts: list[tuple[str, Text | str]] = [
        ("workers", f"at most {course.workers}, each with {human.count(course.concurrency, 'task')} at once"),
        ("shards", f"{course.running} running{waiting}"),
    ]
    if course.paused:
        go_on = f"no further task starts; to go on: prealloc ctl {quoted(run)} --resume"
        facts.append(("paused", Text(go_on, style="yellow")))
    if course.stopped is not None:
        facts.append(("stopped", Text(f"{visible(course.stopped)}; no further task starts", style="yellow")))
    for number, lane in enumerate(course.lanes):
        rate = "no limit per second" if lane.per_s is None else f"{lane.per_s:g} requests/s"
        told = f"halted: {visible(lane.halted)}" if lane.halted is not None else rate
        facts.append(("" if number else "lanes", f"{visible(lane.name)}  {told}"))
    return Page(lambda width: [fact(name, text, 8) for name, text in facts])


def _facts(status: RunStatus) -> list[Text]:
    state = f"running (process {status.master})" if status.running else "not running"
    state += ", paused: no further task starts" if status.paused else ""
    decided = status.success.decided  # infra and cancelled are run again
    others = sum(status.elsewhere.values())
    units = status.units - others
    elsewhere = f", {human.count(others, 'further unit')} in other runs of the experiment" if others else ""
    hosts = [f"{visible(name)} {human.count(count, 'worker')}" for name, count in sorted(status.hosts.items())]
    what = "experiment" if status.rows == "run" else "run"
    facts = [
        f"{what}: {visible(status.run)}, {state}, {human.count(status.sessions, 'session')}",
        f"plan: {status.plan[:12]}, worker {visible(status.worker)}",
        f"done: {decided} of {human.count(units, 'unit')}{elsewhere}",
        f"library opens by workers: {status.library_opens}",
        *([f"hosts: {listed(hosts, FIRST_HOSTS)}"] if hosts else []),
        *([f"no further task starts: {visible(status.stopped)}"] if status.stopped is not None else []),
        *([f"the latest session was asked for a part: {visible(status.part)}"] if status.part is not None else []),
    ]
    return [*incomplete(decided, units), *map(prose, facts)]


def _shards(status: RunStatus, width: int | None) -> list[Text]:
    names = list(status.shards)[:FIRST_SHARDS]
    others = status.elsewhere
    rows = [*(_left(status.shards[name], others.get(name, 0)) for name in names)]
    rows.append(_left(status.census, sum(others.values())))
    successes = [*(status.shard_success[name] for name in names), status.success]
    columns = [
        Column(status.rows, [*(Text(visible(name)) for name in names), Text("total", style="bold")], right=False),
        Column("units", [Text(str(sum(row.values()))) for row in rows]),
        *(
            Column(each.value, [known(str(row.get(each.value, 0)), COLOURS[each]) for row in rows])
            for each in Status
            if rows[-1].get(each.value)
        ),
        Column("success", [Text(human.share(each.rate(status.success.reported))) for each in successes]),
    ]
    if status.success.reported and status.success.unknown:
        columns.append(Column("unknown", [known(str(each.unknown)) for each in successes]))
    more = len(status.shards) - len(names)
    return [*table(columns, width), *([Text(f"… {more} more {status.rows}s")] if more else [])]


def _left(census: dict[str, int], elsewhere: int) -> dict[str, int]:
    """The census without the units that other runs have."""
    return {**census, Status.NOT_RUN.value: census.get(Status.NOT_RUN.value, 0) - elsewhere}


def _remarks(status: RunStatus) -> list[Text]:
    halted = (f"lane {visible(lane.lane)} halted: {why_halted(lane, status.run)}" for lane in status.halted)
    waiting = (f"lane {visible(lane.lane)} {waits(lane.wait_s, lane.http_status)}" for lane in status.waiting)
    return [
        *(prose(note, "dim") for note in success_notes(status.success)),
        *(prose(text, "red") for text in halted),
        *(prose(text, "yellow") for text in waiting),
        *(prose(f"warning: {visible(text)}", "yellow") for text in status.warnings),
        *([Text(), whole(Text(f"to run the rest: {status.resume}"))] if status.resume else []),
    ]
