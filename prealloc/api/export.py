"""export() and frame(): a run as a table for other programs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from prealloc.api.located import Located, located
from prealloc.errors import Mistake, OptionsError
from prealloc.files.atomic import new_path
from prealloc.model.plan import Unit
from prealloc.model.prices import read_prices
from prealloc.model.words import shown
from prealloc.store.fold import Tried, tries_in
from prealloc.store.tidy import REAL, WHOLE, YES_NO, Origin, Shape, attempt_row, shape_of, unit_row

if TYPE_CHECKING:
    import pyarrow

Format = Literal["csv", "jsonl", "parquet", "sqlite", "inspect", "junit"]
FORMATS: tuple[Format, ...] = get_args(Format)
_ENDINGS: dict[str, str] = {"xml": "junit", "db": "sqlite", "sqlite3": "sqlite", **{name: name for name in FORMATS[:4]}}
_BATCH = 1000


def export(
    run: str | Path,
    out: str | Path,
    *,
    to: Format | None = None,
    attempts: bool = False,
    results: bool = True,
    scores: str | None = None,
    prices: Mapping[str, Any] | None = None,
    force: bool = False,
) -> int:
    """Writes a run or an experiment to the file `out`: a row for each unit, with `attempts` for each attempt.

    `to` is csv, jsonl, parquet (extra `parquet`), sqlite (a table `units` or `attempts`), inspect or junit; by default
    what the file's name ends in (.db is sqlite, .xml junit). inspect (extra `inspect`) makes a new folder with an .eval
    file for each cell, which `inspect view` shows; it has no `attempts` and no `force`.
    Without `results` what the worker returned is left out. `scores` are those of rescore() that judge, and `prices`
    say what tokens cost, as for outcomes(). With `force` a file that is there is replaced. Returns the number of rows.
    Raises OptionsError, InputError if the file cannot be written, and what outcomes() raises.
    """
    path = Path(out)
    form = _form(path, to)
    if form in ("junit", "inspect") and attempts:
        raise OptionsError([Mistake("‹attempts›", f"{form} has one case for each unit", "omit it")])
    if form == "inspect":
        from prealloc.api.inspect_logs import write_logs

        need("inspect_ai.log", "inspect", "another format")
        return write_logs(located(run, scores), path, results=results)
    if form == "parquet":
        need("pyarrow", "parquet", "csv or jsonl")
    units = list(located(run, scores, prices))
    shape = shape_of((each.cell for each in units), results=results, attempts=attempts)
    with new_path(path, replace=(lambda there: None) if force else None) as beside:
        if form == "junit":
            from prealloc.store.junit import junit_text

            beside.write_text(junit_text((each.unit, each.cell) for each in units), encoding="utf-8")
            return len(units)
        rows = _Counted(_rows(units, shape, prices))
        if form == "parquet":
            _write_parquet(beside, rows, shape)
        elif form == "sqlite":
            _write_sqlite(beside, rows, shape)
        else:
            _write_text(beside, rows, shape, form)
    return rows.count


def frame(
    run: str | Path,
    *,
    attempts: bool = False,
    results: bool = True,
    scores: str | None = None,
    prices: Mapping[str, Any] | None = None,
) -> pyarrow.Table:
    """A run or an experiment as a pyarrow table: `.to_pandas()`, or `polars.from_arrow(...)`.

    Needs pyarrow (`pip install 'prealloc[parquet]'`). Rows and errors are those of export().
    """
    pa = need("pyarrow", "parquet", "csv or jsonl")
    units = list(located(run, scores, prices))
    shape = shape_of((each.cell for each in units), results=results, attempts=attempts)
    return pa.Table.from_pylist(list(_rows(units, shape, prices)), schema=_schema(shape))


def _form(path: Path, to: str | None) -> str:
    form = to or _ENDINGS.get(path.suffix[1:], "")
    if form not in FORMATS:
        problem = f"{shown(to)} is unknown" if to else f"the name {shown(path.name)} does not say a format"
        raise OptionsError([Mistake("‹to›", problem, f"use one of {', '.join(FORMATS)}")])
    return form


def _rows(units: Iterable[Located], shape: Shape, prices: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    priced = None if prices is None else read_prices(prices, [])  # outcomes() has refused wrong ones
    shard: tuple[Any, str] | None = None
    tries: dict[Unit, list[Tried]] = {}
    for unit, opened in units:
        origin = Origin(str(opened.paths.root), opened.plan.id, opened.manifests[unit.shard].cell)
        if not shape.attempts:
            yield unit_row(unit, origin, shape)
            continue
        if shard != (opened.paths, unit.shard):  # its units come together
            shard, tries = (opened.paths, unit.shard), tries_in(opened.paths, unit.shard)
        for tried in tries.get(unit.unit, ()):
            yield attempt_row(unit, tried.attempt, origin, shape, opened.prices if priced is None else priced)


class _Counted:
    """The rows, and how many of them were taken."""

    def __init__(self, rows: Iterator[dict[str, Any]]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._rows:
            self.count += 1
            yield row


def _write_text(path: Path, rows: Iterable[dict[str, Any]], shape: Shape, form: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        if form == "jsonl":
            for row in rows:
                file.write(msgspec.json.encode(row).decode() + "\n")
            return
        writer = csv.DictWriter(file, list(shape.columns))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]], shape: Shape) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(shape)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == _BATCH:
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def _write_sqlite(path: Path, rows: Iterable[dict[str, Any]], shape: Shape) -> None:
    import sqlite3

    types = {REAL: "REAL", WHOLE: "INTEGER", YES_NO: "INTEGER"}
    names = ['"' + name.replace('"', '""') + '"' for name in shape.columns]
    columns = [f"{name} {types.get(kind, 'TEXT')}" for name, kind in zip(names, shape.columns.values(), strict=True)]
    table = "attempts" if shape.attempts else "units"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
        values = ([_sqlite_cell(row[name]) for name in shape.columns] for row in rows)
        database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})", values)


def _sqlite_cell(value: Any) -> Any:
    """Whole numbers have 64 bits there; a larger one is text."""
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def _schema(shape: Shape) -> pyarrow.Schema:
    import pyarrow as pa

    types = {REAL: pa.float64(), WHOLE: pa.int64(), YES_NO: pa.bool_()}
    return pa.schema([(name, types.get(kind, pa.string())) for name, kind in shape.columns.items()])


def need(module: str, extra: str, instead: str) -> Any:
    """A module that is not installed without this extra. Raises OptionsError."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0].replace("_", "-")
        hint = f"pip install 'prealloc[{extra}]', or export {instead}"
        raise OptionsError([Mistake(extra, f"{package} is not installed", hint)]) from None
