"""How far an experiment is, as a page: `prealloc experiment status`."""

from __future__ import annotations

from rich.text import Text

from prealloc.model.answers import CellProgress, ExperimentStatus
from prealloc.report import human
from prealloc.report.grid import Column, known, table
from prealloc.report.page import Page, fact, heading, prose, whole
from prealloc.report.visible import value_or_nothing, visible

RUNS_SHOWN = 10


def render_experiment(status: ExperimentStatus) -> Page:
    """Its runs, a row for each cell with what is done and why the rest is not, and what runs the rest."""
    return Page(lambda width: _page(status, width))


def _page(status: ExperimentStatus, width: int | None) -> list[Text]:
    done = f"{status.done:,} of {human.count(status.wanted, 'unit')}, {status.ok:,} ok"
    incomplete = sum(cell.done < cell.wanted for cell in status.cells)
    cells = f"{len(status.cells):,}, {'all complete' if not incomplete else f'{incomplete:,} incomplete'}"
    page = [
        fact(name, text, 12)
        for name, text in [("experiment", visible(status.experiment)), ("done", done), ("cells", cells)]
    ]
    page += [Text(), *table(_cells(status.cells), width)] if status.cells else []
    page += [Text(), heading("runs"), *table(_runs(status), width)] if status.runs else []
    page += [prose(f"warning: {visible(text)}", "yellow") for text in status.warnings]
    return [*page, *([Text(), whole(Text(f"to run the rest: {visible(status.go_on)}"))] if status.go_on else [])]


def _cells(cells: list[CellProgress]) -> list[Column]:
    missing = [", ".join(f"{count:,} {visible(why)}" for why, count in cell.missing.items()) for cell in cells]
    names = dict.fromkeys(name for cell in cells for name in cell.cell)
    factors = {name: [value_or_nothing(cell.cell.get(name)) for cell in cells] for name in names}
    return [
        *(Column(visible(name), [Text(text) for text in texts], right=False) for name, texts in factors.items()),
        Column("done", [Text(f"{cell.done:,}", "" if cell.done == cell.wanted else "yellow") for cell in cells]),
        Column("wanted", [Text(f"{cell.wanted:,}") for cell in cells]),
        Column("ok", [Text(f"{cell.ok:,}") for cell in cells]),
        Column("missing", [known(why, "yellow") for why in missing], right=False, least=12),
    ]


def _runs(status: ExperimentStatus) -> list[Column]:
    runs = status.runs[-RUNS_SHOWN:]
    return [
        Column("run", [Text(visible(run.run)) for run in runs], right=False),
        Column("made", [Text(visible(run.created_at)) for run in runs], right=False, drop=1),
        Column("planned", [Text(f"{run.units:,}") for run in runs]),
        Column("decided", [Text(f"{run.done:,}") for run in runs]),
        Column("", [known("running" if run.running else "", "green") for run in runs], right=False),
    ]
