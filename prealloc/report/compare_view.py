"""A comparison as a table, Markdown, JSON or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from prealloc.model.questions import Metric
from prealloc.model.words import listed
from prealloc.report import human
from prealloc.report.grid import GAP, Column, fit, table
from prealloc.report.page import Page, prose
from prealloc.report.results_view import csv_text, json_text, markdown_text, write_data
from prealloc.report.success import mixed_note
from prealloc.report.visible import value, visible
from prealloc.store.comparison import Compared, Comparison

_COLOURS = {
    "better": "green",
    "faster": "green",
    "no worse": "green",
    "no slower": "green",
    "worse": "red",
    "slower": "red",
}
_ADJUSTED = {"holm": "p by Holm", "bh": "p by Benjamini-Hochberg", "none": "p of each alone"}
_DROPS = {"against": 3, "better": 4, "worse": 4, "longer": 4, "shorter": 4, "same": 5}
_MOST_TASKS = 40


def print_comparison(found: Comparison, console: Console, *, form: str = "table", tasks: bool = False) -> None:
    """Writes it to the console's stream; `form` is table, md, json or csv. `tasks`: and which tasks differ."""
    if form == "table":
        render_comparison(found, tasks=tasks).print(console)
    else:
        write_data({"json": json_text, "csv": _csv}.get(form, _markdown)(found), console)


def render_comparison(found: Comparison, *, tasks: bool = False) -> Page:
    """A sentence of what is compared, a row for each comparison, and what is to be known of them."""

    def build(width: int | None) -> list[Text]:
        *numbers, words = _columns(found)
        fits = width is None or sum(each.width + GAP for each in fit([*numbers, words], None)) - GAP <= width
        lines = [prose(heading(found)), Text(), *table([*numbers, words] if fits else numbers, width)]
        if not fits:  # in whole sentences: they are what was asked for
            lines += [prose(f"{row_name(row)}: {verdict(row, found.metric)}", _colour(row)) for row in found.rows]
        lines += [prose(note) for note in notes(found)]
        more, less = ("longer", "shorter") if found.metric == "working_s" else ("better", "worse")
        for row in found.rows if tasks else ():
            differ = f"{row_name(row)}: {more} on {_tasks(row.only_value)}; {less} on {_tasks(row.only_against)}"
            lines += [Text(), prose(differ)]
        return lines

    return Page(build)


def heading(found: Comparison) -> str:
    """What is compared, over which tasks."""
    matched = f", matched over {' x '.join(map(visible, found.matched))}" if found.matched else ""
    counts = {row.difference.tasks for row in found.rows if row.difference is not None}
    tasks = f"the same {human.count(counts.pop(), 'task')}" if len(counts) == 1 else "the same tasks"
    what = {"success": "success", "score": "score", "working_s": "working time"}[found.metric]
    of = "" if found.outcome == "first" else ", latest outcomes"
    level = f"{found.level * 100:g}% intervals, {_ADJUSTED[found.adjust]}"
    return f"{visible(found.factor)}: {what} on {tasks}{matched}{of}; {level}"


def notes(found: Comparison) -> list[str]:
    """What is missing, and what it could change."""
    note = mixed_note(found.mixed, "they are not the same units; compare one run, or give --by")
    told = [note] if note else []
    for row in found.rows:
        if row.missing:
            named = listed(map(visible, row.missing_tasks), 5)
            told.append(f"{row_name(row)}: {human.count(row.missing, 'task')} of a cell without a pair: {named}")
        if row.undecided:
            could = ""
            if row.bounds:
                least, most = map(points, row.bounds)
                could = f"; the difference is {least} to {most} points, whatever becomes of them"
            told.append(f"{row_name(row)}: {human.count(row.undecided, 'unit')} undecided{could}")
    return told


def verdict(row: Compared, metric: Metric = "success") -> str:
    """In words; without a shown difference also from which one on it would have been."""
    if row.verdict is None:
        return "no task is decided on both sides"
    if row.verdict != "no difference shown" or not row.shown_from or row.ratio is not None:
        return row.verdict
    least = f"{row.shown_from:.3f}" if metric == "score" else f"{row.shown_from * 100:.1f} points"
    return f"{row.verdict}; {least} or more would show"


def _titles(found: Comparison) -> tuple[str, ...]:
    """Of the columns between name and verdict."""
    interval = f"{found.level * 100:g}% CI"
    if found.metric == "working_s":
        return "tasks", "ratio", interval, "longer", "shorter", "same", "p"
    rate, by = ("rate", "points") if found.metric == "success" else ("score", "difference")
    return "tasks", rate, "against", by, interval, "better", "worse", "same", "p"


def _columns(found: Comparison) -> list[Column]:
    rows = found.rows
    cells = [_cells(row, found) for row in rows]
    columns = [
        Column(title, [Text(each[place]) for each in cells], drop=_DROPS.get(title, 0))
        for place, title in enumerate(_titles(found))
    ]
    names = [Text(row_name(row)) for row in rows]
    named = Column(visible(found.factor), names, False, least=30, middle=True, names=True)
    words = [Text(verdict(row, found.metric), style=_colour(row)) for row in rows]
    return [named, *columns, Column("", words, False)]


def _colour(row: Compared) -> str:
    return _COLOURS.get(row.verdict or "", "default")


def _cells(row: Compared, found: Comparison) -> tuple[str, ...]:
    difference = row.difference
    if difference is None:
        return ("-",) * len(_titles(found))
    if row.ratio is not None:
        low, middle, high = row.ratio
        shown: tuple[str, ...] = (f"x{middle:.2f}", f"x{low:.2f}..x{high:.2f}")
    else:
        is_rate = found.metric == "success"
        both = (difference.first, difference.second)
        one, other = (f"{each * 100:.1f}%" if is_rate else f"{each:.3f}" for each in both)
        written = points if is_rate else "{:+.3f}".format
        interval = f"{written(difference.low)}..{written(difference.high)}"
        shown = (one, other, written(difference.value), interval)
    counts = (f"{difference.better}", f"{difference.worse}", f"{difference.same}")
    return (f"{difference.tasks}", *shown, *counts, p_value(row.p))


def points(share: float) -> str:
    """A difference of shares: `+2.4`."""
    return f"{share * 100:+.1f}"


def p_value(p: float | None) -> str:
    """`.023`."""
    if p is None:
        return human.NOTHING
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def row_name(row: Compared) -> str:
    """What is compared in a row, in words."""
    group = ", ".join(f"{visible(name)} {value(each)}" for name, each in row.group.items())
    cells = f" ({row.cells} of {row.of_cells} cells)" if row.cells < row.of_cells else ""
    return f"{group + ': ' if group else ''}{value(row.value)} against {value(row.against)}{cells}"


def _tasks(names: Sequence[str]) -> str:
    return listed(map(visible, names), _MOST_TASKS) if names else "none"


def _markdown(found: Comparison) -> str:
    """The table for a pull request or a paper."""
    titles = (found.factor, *_titles(found), "verdict")
    rows = [(row_name(row), *_cells(row, found), verdict(row, found.metric)) for row in found.rows]
    return "\n".join([heading(found), "", markdown_text(titles, rows), *notes(found)]).rstrip() + "\n"


def _csv(found: Comparison) -> str:
    numbers = ("tasks", "first", "second", "value", "low", "high", "se", "p", "p_exact", "better", "worse", "same")
    own = ("p", "verdict", "shown_from", "undecided", "missing")
    names = list(found.rows[0].group) if found.rows else []
    lines: list[Sequence[Any]] = [
        (*names, found.factor, "against", *(f"difference_{name}" for name in numbers), *own),
    ]
    for row in found.rows:
        of_both = (getattr(row.difference, name, None) for name in numbers)
        lines.append((*row.group.values(), row.value, row.against, *of_both, *(getattr(row, name) for name in own)))
    return csv_text(lines)
