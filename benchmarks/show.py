"""Tables on a terminal, as plain text elsewhere, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.report import Table

PLAIN_WIDTH = 160
"""Off a terminal there is no width to fit into."""


def show(tables: Sequence[Table]) -> None:
    """Prints the tables to standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    for table in tables:
        shape = box.SIMPLE_HEAD if console.is_terminal else box.ASCII2
        grid = RichTable(title=table.title, title_justify="left", box=shape, show_header=any(table.columns))
        for number, column in enumerate(table.columns):
            grid.add_column(column, justify="left" if number == 0 or not any(table.columns) else "right")
        for row in table.rows:
            grid.add_row(*row)
        console.print(grid, markup=False)


def markdown(tables: Sequence[Table]) -> str:
    """The tables as a README shows them."""
    return "\n".join(map(_markdown, tables))


def _markdown(table: Table) -> str:
    marks = ["---", *["---:"] * (len(table.columns) - 1)] if any(table.columns) else ["---"] * len(table.columns)
    lines = [table.columns, marks, *table.rows]
    text = "".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |\n" for line in lines)
    return f"**{table.title}**\n\n{text}"
