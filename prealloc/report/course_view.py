"""How a run goes on, as a page: what `prealloc ctl` shows."""

from __future__ import annotations

from rich.text import Text

from prealloc.model.steer import Course
from prealloc.report.page import Page, fact, whole
from prealloc.report.visible import visible


def render_course(course: Course) -> Page:
    """How many shards and tasks at once, whether anything starts, and the lanes' rates."""
    waiting = f", {course.waiting} wait" if course.waiting else ""
    facts: list[tuple[str, Text | str]] = [
        ("workers", f"{course.workers} x {course.concurrency}"),
        ("shards", f"{course.running} run{waiting}"),
    ]
    if course.paused:
        facts.append(("paused", Text("no further task starts; prealloc ctl RUN --resume", style="yellow")))
    if course.stopped is not None:
        facts.append(("stopped", Text(f"{visible(course.stopped)}; no further task starts", style="yellow")))
    for number, lane in enumerate(course.lanes):
        rate = "no limit per second" if lane.per_s is None else f"{lane.per_s:g} requests/s"
        told = f"halted: {visible(lane.halted)}" if lane.halted is not None else rate
        facts.append(("" if number else "lanes", f"{visible(lane.name)}  {told}"))
    return Page(lambda width: [whole(fact(name, text, 8)) for name, text in facts])
