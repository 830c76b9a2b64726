"""What differs between two plans, as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from prealloc.report import human
from prealloc.report.page import Page, heading
from prealloc.report.visible import value, visible

FIRST_IDS = 20


def render_diff(
    first: str,
    second: str,
    same: bool,
    inputs: Mapping[str, tuple[Any, Any]],
    added: Sequence[str],
    removed: Sequence[str],
    moved: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    changed: Sequence[str],
) -> Page:
    """The inputs that differ, then the ids that came, went, moved or changed; the first ones of each."""
    if same and not inputs:
        return Page(lambda width: [Text("the same plan", style="green")])
    lines = [Text(f"{visible(first)} → {visible(second)}")]
    if same:
        lines.append(Text("the same plan: what differs changes no task", style="green"))
    if inputs:
        lines += [Text(), heading("inputs that differ")]
        lines += [Text(f"  {visible(name)}: {value(one)} → {value(two)}") for name, (one, two) in inputs.items()]
    lines += _ids("only in the second", added, "green")
    lines += _ids("only in the first", removed, "red")
    lines += _ids(
        "in other shards",
        [f"{id}: {', '.join(one)} → {', '.join(two)}" for id, (one, two) in moved.items()],
        "yellow",
    )
    lines += _ids("with another type, workflow or kept field", changed, "yellow")
    return Page(lambda width: lines)


def _ids(title: str, rows: Sequence[str], colour: str) -> list[Text]:
    if not rows:
        return []
    shown = [Text(f"  {visible(row)}", style=colour) for row in rows[:FIRST_IDS]]
    rest = [Text(f"  … {len(rows) - FIRST_IDS} more")] if len(rows) > FIRST_IDS else []
    return [Text(), heading(f"{human.count(len(rows), 'task')} {title}"), *shown, *rest]
