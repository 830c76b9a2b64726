"""Where in a document the tasks are: the place that is named, the one that is found, and those that are offered."""

from __future__ import annotations

import gzip
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from small_tasks import lines, obeyed, offered_place, planned
from zygote import run_command

from prealloc.api import libraries
from prealloc.cli.options import in_flags
from prealloc.errors import LibraryError
from prealloc.library import read_library
from prealloc.library.packed.index import TaskIndex
from prealloc.model.fields import Fields

LISTS = {"ea'sy": [{"q": 1}, {"q": 2, "type": "own"}], "$(touch ran)": [{"q": 3, "n": 1}]}


@pytest.mark.parametrize("name", ["t.json", "t.yaml", "t.json.gz"])
@pytest.mark.parametrize(
    ("document", "place"),
    [
        (LISTS, "*"),
        ({"version": {"n": 1}, "data": LISTS, "none": []}, "data.*"),
        ({"x": LISTS, "y": {"more": [{"q": 4}]}}, "*.*"),
    ],
)
def test_all_lists_of_a_document_are_one_library(
    tmp_path: Path, name: str, document: dict[str, Any], place: str
) -> None:
    """Law: if their tasks have a field in common, all are offered; the list is the type of those that say none."""
    path, text = tmp_path / name, json.dumps(document).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    with pytest.raises(LibraryError) as caught:
        read_library(path)
    assert offered_place(caught.value) == {"tasks_field": place}
    fields = Fields(tasks_field=place, id_from="position")
    library = read_library(path, fields=fields)
    assert library.types == ["ea'sy", "own", "$(touch ran)", *(["more"] if "y" in document else [])]
    assert library.info.fields == fields


def test_of_lists_with_nothing_in_common_the_largest_is_offered_first(tmp_path: Path) -> None:
    """Law: what is beside the tasks is not mixed with them; each list can be named."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"models": [{"name": "x"}], "te sts": [{"q": n} for n in range(9)]}))
    with pytest.raises(LibraryError, match="'models', 'te sts'") as caught:
        planned(path)
    assert caught.value.hint == "name the tasks: ‹tasks_field› 'te sts' or ‹tasks_field› models"
    assert len(read_library(path, fields=Fields(tasks_field="te sts", id_from="position"))) == 9
    assert read_library(path, fields=Fields(tasks_field="models")).ids == ["x"]


@pytest.mark.parametrize(
    ("first", "second", "all_first"),
    [
        ({"n": 1, "q": 1}, {"q": 2}, True),
        ({"n": 1, "q": 1}, {"q": 2, "n": 2, "m": 3}, True),
        ({"name": "x", "n": 1}, {"name": "y", "m": 1}, False),
        ({"name": "x", "n": 1}, {}, False),
    ],
)
def test_lists_are_alike_if_one_has_all_fields_of_the_other(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], all_first: bool
) -> None:
    """Law: in whatever order they are; a name that both have does not make tasks of models and of servers."""
    path = tmp_path / "t.json"
    for document in ({"a": [first], "b": [second]}, {"x": {"a": [first], "b": [second]}}):
        path.write_text(json.dumps(document))
        with pytest.raises(LibraryError) as caught:
            planned(path)
        assert ("*" in offered_place(caught.value)["tasks_field"]) == all_first


@pytest.mark.parametrize(
    ("document", "tasks"),
    [
        ({"a": [["x"], [1], "c"], "b": [["y"], [0], "d"]}, [{"list": [["x"], [1], "c"]}, {"list": [["y"], [0], "d"]}]),
        ({"id": ["a", "b"], "n": [1, -2.5], "m": [None, "x"]}, [{"n": 1, "m": None}, {"n": -2.5, "m": "x"}]),
        ({"id": {"0": "a", "1": "b"}, "n": {"0": 1, "1": "x"}}, [{"n": 1}, {"n": "x"}]),
        ({"columns": ["id", "q"], "data": [["a", 1], ["b", "x"]]}, [{"q": 1}, {"q": "x"}]),
        ({"columns": ["id", "q"], "data": [["a", 1], ["b", 2]], "nrows": 2, "by": {"n": 1}}, [{"q": 1}, {"q": 2}]),
    ],
)
def test_values_of_a_document_become_the_tasks_that_they_are(tmp_path: Path, document: Any, tasks: list[Any]) -> None:
    """Law: lists are columns if the cells of each are of one kind; else each is a task under its key."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document, indent=1))
    with pytest.raises(LibraryError, match="it holds lists or columns, not tasks") as caught:
        planned(path)
    made = read_library(obeyed(caught.value, tmp_path, path), keep=("all",))
    assert made.ids == ["a", "b"]
    assert [task.extra for task in made.tasks([0, 1])] == tasks


def test_tasks_lie_under_their_ids(tmp_path: Path) -> None:
    """Law: an object of nothing but an object is no task by itself, unless it is said; under "tasks" it is one."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"debug it": {"problem": "x"}}))
    with pytest.raises(LibraryError, match='without "tasks"') as caught:
        planned(path)
    assert read_library(path, fields=Fields(**offered_place(caught.value))).ids == ["debug it"]
    path.write_text(json.dumps({"n": 1, "tasks": {"a": {"q": 1}, "b": {"id": "own"}}}))
    assert read_library(path).ids == ["a", "own"]


@pytest.mark.parametrize(
    ("document", "place", "told"),
    [
        ({"a": [{"id": "x"}]}, "b", "‹tasks_field› b: there are no such tasks; the document has 'a'"),
        ({"a": {"c": []}}, "a.b", "‹tasks_field› a.b: there are no such tasks; the document has 'a'"),
        ({"a": 1}, "a", "'a' is neither a list nor an object of tasks"),
        ({"a": {"x": 1}}, "a", "the task is not a JSON object"),
        ([{"id": "a"}], "a", "‹tasks_field› a: the library is not an object with lists"),
        ({"a": []}, "a", "the library has no tasks"),
        (
            {"about": {"by": {"name": "x"}}, "test": [{"id": "a"}]},
            "*",
            "* stands for lists and for objects of tasks: 'test' is unlike those before",
        ),
        (
            {name: {"tasks": [{"id": name}]} for name in ("easy", "hard")},
            None,
            "a JSON object without \"tasks\": it has 'easy', 'hard'",
        ),
    ],
)
def test_a_place_without_tasks_is_refused(tmp_path: Path, document: Any, place: str | None, told: str) -> None:
    """Law: whoever names a place gets its tasks, or is told what is there."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document))
    with pytest.raises(LibraryError) as caught:
        read_library(path, fields=Fields(tasks_field=place))
    assert caught.value.problem == told


def test_a_place_may_be_too_deep(tmp_path: Path) -> None:
    """Law: not even a thousand objects in one another end in a traceback."""
    path = tmp_path / "t.json"
    path.write_text('{"a":' * 2_000 + "1" + "}" * 2_000)
    with pytest.raises(LibraryError, match="‹tasks_field› leads too deep"):
        read_library(path, fields=Fields(tasks_field=".".join("a" * 2_000)))


def test_a_place_is_for_documents(tmp_path: Path) -> None:
    """Law: rows have no places; lines, tables, databases and Python's tasks are refused with one, and read without."""
    table = tmp_path / "t.csv"
    table.write_text("id,q\na,1\n")
    libraries.convert(table, tmp_path / "t.db")
    with_lists = lines(tmp_path / "t.jsonl", [{"id": id, "tasks": [{"id": f"{id}.0"}]} for id in "ab"])
    without = lines(tmp_path / "none.jsonl", [{"id": "a"}, {"id": "b"}])
    for library in (with_lists, without, table, tmp_path / "t.db", [{"id": "a"}]):
        with pytest.raises(LibraryError, match="the library is not an object with lists"):
            read_library(library, fields=Fields(tasks_field="tasks"))


def test_a_name_may_have_dots(tmp_path: Path) -> None:
    """Law: a key may hold dots; where two places are meant, that is told. An index is of the same place."""
    path = tmp_path / "t.json"
    tasks = {name: [{"id": name, "type": "x", "workflow": {"a": 1}}] for name in ("a.b", "c.d", "b")}
    path.write_text(json.dumps({"a.b": tasks["a.b"], "a": {"x": 1, "b": tasks["b"]}}))
    with pytest.raises(LibraryError, match="'b' is there twice"):
        read_library(path, fields=Fields(tasks_field="a.b"))
    path.write_text(json.dumps({"a.b": tasks["a.b"], "a": {"x": 1, "c.d": tasks["c.d"]}}))
    for place, id in (("a.b", "a.b"), ("a.c.d", "c.d")):
        named = Fields(tasks_field=place)
        assert read_library(path, fields=named).ids == [id]
        libraries.index(path, tasks_field=place)
        with TaskIndex.open(path, fields=named) as index:
            assert (list(index), index[id].workflow) == ([id], {"a": 1})
        with pytest.raises(LibraryError, match="named by other options"):
            TaskIndex.open(path, fields=Fields(tasks_field="other"))


@pytest.mark.parametrize("place", ["x.t", "x.*", "*.t", "*.*", "y"])
def test_no_key_on_the_way_to_tasks_is_there_twice(tmp_path: Path, place: str) -> None:
    """Law: readers of JSON take the last of two values of a key, so both are not added up."""
    path = tmp_path / "t.json"
    text = json.dumps({"x": {"t": [{"id": "a"}]}, "X": {"t": [{"id": "b"}]}, "y": {"k": {"id": "c"}, "K": {"id": "d"}}})
    path.write_text(text.replace("X", "x").replace("K", "k"))
    with pytest.raises(LibraryError, match=r"'[xtk]' is there twice"):
        read_library(path, fields=Fields(tasks_field=place))


def test_an_index_is_used_for_its_own_place(tmp_path: Path) -> None:
    """Law: the tasks of another list are not taken because somebody made an index of it; the note repairs that."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"tasks": [{"id": "a"}], "held": {"my out": [{"id": "b"}]}}))
    for place, other, id, told in (
        ("held.my out", None, "a", "it is of another list of tasks"),
        (None, "held.my out", "b", "its tasks are named by other options"),
    ):
        libraries.index(path, tasks_field=place)
        notes: list[str] = []
        assert read_library(path, fields=Fields(tasks_field=place)).way == "index"
        assert read_library(path, fields=Fields(tasks_field=other), notes=notes.append).ids == [id]
        assert f"the index of t.json is not used: {told}; " in notes[0]
        command = shlex.split(in_flags(notes[0].split("`")[1]))
        assert run_command(command[1:], tmp_path).returncode == 0
        assert read_library(path, fields=Fields(tasks_field=other)).way == "index"
    with pytest.raises(LibraryError, match="only one list in a JSON file can be indexed"):
        libraries.index(path, tasks_field="held.*")
