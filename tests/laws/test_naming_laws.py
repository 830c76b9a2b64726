"""Laws of names: whatever the fields of tasks are called and hold, a library that opens can be read by every way."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from examples import examples
from prealloc.errors import LibraryError
from prealloc.library import read_library
from prealloc.library.base import Library
from prealloc.library.convert import convert
from prealloc.library.packed.index import make_index
from prealloc.library.text import batches

FIELDS = (
    *("id", "instance_id", "task_id", "ID", "uid", "name", "key", "q_id", "index"),
    *("type", "task_type", "Type", "category", "level", "workflow", "metadata", "a.b", "q"),
)
OFTEN = (
    lambda field, number: f"{field}{number}",
    lambda field, number: number,
    lambda field, number: "xy"[number % 2],
    lambda field, number: ["x", f"k{number % 2}"],
    lambda field, number: {"type": "t", "id": f"d{number}"},
)
"""What a field holds in most tasks."""
SELDOM = ("", 1.5, True, None, -(2**63), [], [None], ["x", 1], [["x"]], ["\0"], {}, {"category": ["u"]})


@st.composite
def libraries(draw: st.DrawFn) -> list[dict[str, Any]]:
    fields = draw(st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(OFTEN), min_size=1, max_size=5))
    tasks: list[dict[str, Any]] = []
    for number in range(draw(st.sampled_from([1, 2, 3, 13]))):
        task = {field: usual(field, number) for field, usual in fields.items()}
        for field in draw(st.lists(st.sampled_from([*fields]), max_size=1)):
            task[field] = draw(st.sampled_from(SELDOM))
        tasks.append(task)
    return tasks


def told(library: Library) -> dict[str, tuple[Any, ...]]:
    """All tasks, by their ids."""
    tasks = library.tasks(library.places(library.ids).values())
    return {task.id: (task.type, task.workflow_json, task.extra) for task in tasks}


@examples(150)
@given(libraries(), st.sampled_from([batches.BATCH, 40]))
def test_what_opens_can_be_read(tasks: list[dict[str, Any]], batch: int) -> None:
    """Law: of a library that opens every task is read under its name, alike by an index, by any format, in Python."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "BATCH", batch)
        path = Path(folder, "t.jsonl")
        path.write_text("".join(json.dumps(task) + "\n" for task in tasks))
        try:
            read = read_library(path, keep=("all",))
        except LibraryError:
            assume(False)
        wanted = told(read)
        assert {*wanted} == {*read.ids}
        assert told(read_library(tasks, keep=("all",), shortlist=lambda: None)) == wanted
        make_index(path)
        indexed = read_library(path, keep=("all",))
        assert (indexed.way, told(indexed)) == ("index", wanted)
        for ending in ("json", "db", "pool", "parts", "parquet"):
            copy = path.with_suffix(f".{ending}")
            convert(path, copy)
            assert told(read_library(copy, keep=("all",))) == wanted
