"""`prealloc export` and frame(): the same rows in every format, each unit or attempt once."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.parquet
import pytest
from command_line import Type

import prealloc

HOSTILE = "a\x00b \ud800 <&\"' ]]> \x1b[31m\n,;"


def solve(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> dict[str, Any]:
    n = task.workflow["n"]
    if n == 0:
        raise ValueError(HOSTILE.replace("\ud800", "?"))
    if n == 1 and ctx.attempt == 1:
        raise prealloc.Retryable("busy")
    return {"success": n % 2 == 0, "score": n / 10, "text": 'comma, "quote"\nline'}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells of six tasks: one fails, one is tried again."""
    folder = tmp_path_factory.mktemp("export")
    tasks = [{"id": f"t{n}", "type": "x", "workflow": {"n": n}} for n in range(6)]
    plan = prealloc.plan(
        tasks, whole=True, factors={"model": ["a", "b"], "rate": [1, 0.5]}, exclude=[{"rate": 0.5, "model": "b"}]
    )
    prealloc.run(plan, solve, folder / "run", engine="inline")
    return folder / "run"


def test_every_format_has_the_same_rows(run: Path, tmp_path: Path) -> None:
    """CSV, JSON lines and Parquet agree, value by value, and so does the table in memory; a unit is one row."""
    for name in ("u.csv", "u.jsonl", "u.parquet"):
        assert prealloc.export(run, tmp_path / name) == 18
    lines = [json.loads(line) for line in (tmp_path / "u.jsonl").read_text().splitlines()]
    with (tmp_path / "u.csv").open(newline="") as file:
        texts = list(csv.DictReader(file))
    table = prealloc.frame(run)
    assert pyarrow.parquet.read_table(tmp_path / "u.parquet").to_pylist() == table.to_pylist() == lines
    assert list(texts[0]) == list(lines[0]) == table.column_names
    for text, line in zip(texts, lines, strict=True):
        for name, value in line.items():
            shown = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            assert text[name] == shown, name
    assert len({line["unit"] for line in lines}) == 18
    (failed,) = [line for line in lines if line["task"] == "t0" and line["f_model"] == "b"]
    assert (failed["status"], failed["error_type"], failed["result"]) == ("failed", "ValueError", None)
    (good,) = [line for line in lines if line["task"] == "t2" and line["f_model"] == "b"]
    assert (good["success"], good["f_rate"], json.loads(good["result"])["score"]) == (True, 1.0, 0.2)


def test_a_row_for_each_attempt(run: Path, tmp_path: Path) -> None:
    """Those that were tried again stand beside the one that counts."""
    assert prealloc.export(run, tmp_path / "a.jsonl", attempts=True, results=False) == 21
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    tried = [(line["attempt"], line["status"], line["again"]) for line in lines if line["unit"] == "a.1.00/t1#0"]
    assert tried == [(1, "infra", True), (2, "ok", False)]
    assert "result" not in lines[0]


def test_a_database_has_the_same_rows(run: Path, tmp_path: Path) -> None:
    """A table of units, or of attempts, with the types of the columns; yes and no are 1 and 0."""
    assert prealloc.export(run, tmp_path / "u.sqlite") == 18
    assert prealloc.export(run, tmp_path / "a.db", attempts=True) == 21
    with closing(sqlite3.connect(tmp_path / "u.sqlite")) as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute("SELECT * FROM units")]
        (rate,) = database.execute("SELECT avg(first_success) FROM units WHERE f_model = 'b'").fetchone()
    assert rows == prealloc.frame(run).to_pylist()  # True is 1
    assert rate == sum(row["first_success"] or 0 for row in rows if row["f_model"] == "b") / 5
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        assert database.execute("SELECT count(*), sum(again) FROM attempts").fetchone() == (21, 3)


def test_junit(run: Path, tmp_path: Path) -> None:
    """A suite for each cell: what is no success is a failure, what could not be said an error; any text is XML."""
    prealloc.export(run, tmp_path / "j.xml")
    root = ElementTree.parse(tmp_path / "j.xml").getroot()
    suites = [(suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in root]
    assert suites == [
        ("model=a, rate=1", "6", "4", "0"),
        ("model=a, rate=0.5", "6", "4", "0"),
        ("model=b, rate=1", "6", "4", "0"),
    ]
    messages = [failure.get("message") or "" for failure in root[0].iter("failure")]
    assert sum(message.startswith("ValueError: a?b") for message in messages) == 1
    assert messages.count("its result says success: false") == 3


def test_the_command(run: Path, type_: Type, tmp_path: Path) -> None:
    """It says how many rows were written; a file that is there stays unless forced; what is wrong is exit code 2."""
    done = type_("export", str(run), "--out", "u.csv", "--json")
    assert json.loads(done.out) == {"out": "u.csv", "rows": 18}
    assert type_("export", str(run), "--out", "u.csv").code == 2
    assert type_("export", str(run), "--out", "u.csv", "--force").code == 0
    assert type_("export", str(run), "--out", "u.what").code == 2
    assert type_("export", str(run), "--out", "u.xml", "--attempts").code == 2
    assert type_("export", str(tmp_path), "--out", "v.csv").code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["u.csv"]


def test_results_by_what_the_results_say(run: Path, type_: Type) -> None:
    """Rows by a field of the results or by error, means of any number in them, several runs beside each other."""
    found = {row.group["text"]: row for row in prealloc.results(run, by=["text"], mean=["score", "text"])}
    said = found['comma, "quote"\nline']
    assert (said.units, found[None].failed, found[None].means["score"]) == (15, 3, None)
    mean = said.means["score"]
    assert mean is not None
    assert (mean.value, mean.tasks, mean.units) == (pytest.approx(0.3), 5, 15)
    assert said.means["text"] is None  # not a number
    errors = {row.group["error.type"]: row.units for row in prealloc.results(run, by=["error.type"])}
    assert errors == {"ValueError": 3, None: 15}
    both = [(row.group["run"], row.units) for row in prealloc.results(run, str(run) + "/", by=["run"])]
    assert [units for _, units in both] == [18, 18]
    for wrong in ({"mean": ["nothing"]}, {"by": ["nothing"]}, {"mean": ["score", "score"]}):
        with pytest.raises(prealloc.OptionsError):
            prealloc.results(run, **wrong)  # type: ignore[arg-type]
    done = type_("results", str(run), "--by", "error.type", "--mean", "score", "--format", "csv")
    assert "mean.score" in done.out.splitlines()[0]
    assert "0.3 ±" in type_("results", str(run), "--mean", "score").out
