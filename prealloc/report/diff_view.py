"""What differs between two plans, as a page."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from prealloc.model.answers import PlanDiff
from prealloc.report import human
from prealloc.report.page import Page, heading, prose
from prealloc.report.visible import value, visible

FIRST_IDS = 20


def render_diff(diff: PlanDiff) -> Page:
    """The inputs that differ, then the ids that came, went, moved or changed; the first ones of each."""
    if diff.same and not diff.inputs:
        return Page(lambda width: [Text("the same plan", style="green")])
    lines = [prose(f"{visible(diff.first)} → {visible(diff.second)}")]
    if diff.same:
        lines.append(Text("the same plan: what differs changes no task", style="green"))
    if diff.inputs:
        lines += [Text(), heading("inputs that differ")]
        lines += [prose(f"  {visible(name)}: {value(one)} → {value(two)}") for name, (one, two) in diff.inputs.items()]
    moved = [f"{id}: {', '.join(one)} → {', '.join(two)}" for id, (one, two) in diff.moved.items()]
    lines += _ids("only in the second", diff.added, "green")
    lines += _ids("only in the first", diff.removed, "red")
    lines += _ids("in other shards", moved, "yellow")
    lines += _ids("with another type, workflow or kept field", diff.changed, "yellow")
    return Page(lambda width: lines)


def _ids(title: str, rows: Sequence[str], colour: str) -> list[Text]:
    if not rows:
        return []
    shown = [prose(f"  {visible(row)}", colour) for row in rows[:FIRST_IDS]]
    rest = [Text(f"  … {len(rows) - FIRST_IDS} more")] if len(rows) > FIRST_IDS else []
    return [Text(), heading(f"{human.count(len(rows), 'task')} {title}"), *shown, *rest]
