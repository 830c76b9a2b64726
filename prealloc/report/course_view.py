"""How a run goes on, as a page: what `prealloc ctl` shows."""

from __future__ import annotations

import shlex

from rich.text import Text

from prealloc.model.steer import Course
from prealloc.report import human
from prealloc.report.page import Page, fact
from prealloc.report.visible import visible


def render_course(course: Course, run: str) -> Page:
    """How many shards and tasks at once, whether anything starts, and the lanes' rates."""
    waiting = f", {course.waiting} waiting" if course.waiting else ""
    facts: list[tuple[str, Text | str]] = [
        ("workers", f"at most {course.workers}, each with {human.count(course.concurrency, 'task')} at once"),
        ("shards", f"{course.running} running{waiting}"),
    ]
    if course.paused:
        facts.append(
            (
                "paused",
                Text(f"no further task starts; to go on: prealloc ctl {shlex.quote(run)} --resume", style="yellow"),
            )
        )
    if course.stopped is not None:
        facts.append(("stopped", Text(f"{visible(course.stopped)}; no further task starts", style="yellow")))
    for number, lane in enumerate(course.lanes):
        rate = "no limit per second" if lane.per_s is None else f"{lane.per_s:g} requests/s"
        told = f"halted: {visible(lane.halted)}" if lane.halted is not None else rate
        facts.append(("" if number else "lanes", f"{visible(lane.name)}  {told}"))
    return Page(lambda width: [fact(name, text, 8) for name, text in facts])
