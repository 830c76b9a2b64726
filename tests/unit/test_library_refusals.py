"""What is no library is refused by its name, with what would help; a command that is offered works."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from small_tasks import TASKS, essence, lines, offered_pattern, offered_place, planned
from zygote import run_command

from prealloc.api import libraries
from prealloc.api.plans import plan
from prealloc.cli.options import in_flags
from prealloc.errors import LibraryError
from prealloc.library import read_library
from prealloc.library.packed.index import TaskIndex
from prealloc.library.text.in_python import NAME
from prealloc.model.fields import Fields
from prealloc.report.page import wrapped


def test_a_path_without_a_file_is_told_by_why(tmp_path: Path) -> None:
    """Law: a link to nowhere is told with where it leads, and a pattern with what it means."""
    (tmp_path / "t.jsonl").symlink_to("gone")
    with pytest.raises(LibraryError, match="this link leads to gone, which is not there"):
        planned(tmp_path / "t.jsonl")
    with pytest.raises(LibraryError, match="no such file") as caught:
        planned("some/*.jsonl")
    assert "** any folders" in str(caught.value.hint)


NULL_TYPES = [{"id": f"t{n}", "type": None if n % 2 else "a"} for n in range(6)]


JSONC = [
    '{"id": "a", // one',
    '"text": "// no, ]  /* none",',
    '"n": +1,}, # two',
    '/* three, ] */ {"id": "b", "n": NaN},',
]


FIXABLE: dict[str, str | bytes] = {
    "comments.json": "\n".join(["// of ours", "[", *JSONC, "]"]),
    "comment inside.json": "\n".join(['{"v": 1, "tasks": [', *JSONC, "],}"]),
    "comments.jsonl": '# of ours\n{"id": "a"}\n{"id": "b"}\n',
    "commas.jsonl": '{"id": "a"},\n{"id": "b"},\n',
    "commas.json": '{"id": "a"},\n{"id": "b"},\n',
    "print.txt": str(NULL_TYPES).replace("type", "when"),
    "prints.jsonl": "".join(f"{task}\n" for task in TASKS),
    "dict.json": str({"tasks": TASKS}),
    "tasks.py": f"tasks = {TASKS}",
    "five.json5": "[{id: 'a', n: 1,}, {id: 'b'}]",
    "document.json5": "{tasks: [{id: 'a'}, {id: 'b'}]}",
    "lists.jsonl": "[1, 2]\n[3, 4]\n",
    "lists.json": "[[1, 2], 3]\n[[3, 4], 5]\n",
    "no names.csv": "What is 1?,1,A\nWhat is 2?,2,B\n",
    "no names.tsv.gz": gzip.compress(b"The boy laughed, and all of the girls did so too .\tx\nThe girl .\ty\n"),
    "same names.csv": "\n1;x;x\n2;x;y\n",
    "blanks.csv": 'q\n"What is 1, or 2?" \n"And 3?"  \n',
    "words.txt": "Do a\n\nDo b\n",
    "queries.sql": "SELECT 1\nSELECT 2\n",
    "run.conf": "# of ours\nDo a: [\nDo b: {\n",
    "tasks.xml": '<?xml version="1.0"?><all><task id="a"><q>Do <b>a</b></q><q>!</q></task><task id="b"/></all>',
    "flat.xml": "<!-- of ours --><tasks><task>Do a</task><task>Do b</task></tasks>",
    "names.json": json.dumps({"chrome": ["a", "b", "c"], "gimp": ["d"]}),
    "numbers.json": '{"a": [1e999, 2], "b": [1]}',
    "split.json": json.dumps({"columns": ["id", "q"], "index": [0, 1, 2], "data": [["a", 1], ["b", 2], ["c", 3]]}),
    "keyed splits.json": json.dumps({"train": {"a": {"q": 1}, "b": {"q": 2}}, "test": {"c": {"q": 1}}}),
    "harness.json": json.dumps({"results": {"x": {}}, "samples": {"x": TASKS}}),
    "deep.json": json.dumps({"data": {"test": TASKS}}),
    "cp1252.csv": b"id,text\na,it\x92s\nb,y\n",
    "two inside.json": json.dumps({"version": 1, "data": {"a": TASKS, "b": TASKS[:2]}}),
    "two lists.yaml": "a: [{id: a, call: !function f}, {id: b}]\nsteps: [{n: 2024-01-01}]\n",
    "two lists.toml.gz": gzip.compress(b"[[a]]\nid = 'a'\n[[a]]\nid = 'b'\n[[steps]]\nn = 2024-01-01\n"),
    "splits.json": json.dumps({"train": TASKS, "test": TASKS[:2], "version": 1}),
    "by id.json": json.dumps({f"t{n}": [{"role": "user"}] for n in range(12)}),
    "pandas.json": json.dumps({"id": {str(n): f"t{n}" for n in range(6)}, "q": {str(n): n for n in range(6)}}),
    "columns.json": json.dumps({"id": [f"t{n}" for n in range(6)], "q": [*range(6)]}, indent=1),
    "it's.json": json.dumps([[n, "a"] for n in range(6)]),
    "null.jsonl": "".join(json.dumps(task) + "\n" for task in NULL_TYPES),
    "null.json": json.dumps({"n": [1], "data": NULL_TYPES}),
    "nan.jsonl": "".join(json.dumps({"id": f"t{n}", "score": n / 2 or float("nan")}) + "\n" for n in range(6)),
    "nan.json": json.dumps({"data": [{"id": f"t{n}", "score": n / 2 or -float("inf")} for n in range(6)]}, indent=1),
    "packed.tsv.gz": gzip.compress(b"id\ttext\n" + b"".join(b't%d\t"so" they\n' % n for n in range(6))),
    "quotes.tsv": "id\ttext\n" + "".join(f't{n}\t"so" they say\n' for n in range(6)),
    "latin.csv": "id,text\n" + "".join(f"t{n},caf\xe9\n" for n in range(6)),
    "latin.jsonl": "".join(f'{{"id": "t{n}", "text": "caf\xe9"}}\n' for n in range(6)),
    "wide.jsonl": "".join(json.dumps(task) + "\n" for task in TASKS).encode("utf-16"),
}


@pytest.mark.parametrize("name", FIXABLE)
def test_a_refusal_says_what_plans_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Law: the option in the hint plans the file; or the command, on one line, writes a file that can be planned."""
    monkeypatch.chdir(tmp_path)
    path, content = Path(name), FIXABLE[name]
    raw = content if isinstance(content, bytes) else content.encode("latin-1")
    path.write_bytes(raw)
    with pytest.raises(LibraryError) as caught:
        planned(path)
    options = offered_place(caught.value)
    fixed = path if options else obeyed(caught.value, tmp_path, path)
    assert path.read_bytes() == raw
    assert len(plan(fixed, shards=2, num_instances=1, id_from="position", **options).shards) == 2


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


@pytest.mark.parametrize(
    ("name", "text", "first"),
    [
        ("t.csv", "What is 1?,1,A\nWhat is 2?,2,B\n", {"0": "What is 1?", "1": "1", "2": "A"}),
        ("t.csv", "1;x;x\n2;x;y\n", {"0": "1", "1": "x", "2": "x"}),
        ("$(touch ran).tsv", f"{'long ' * 9}\tx\ny\tz\n", {"0": "long " * 9, "1": "x"}),
        ("t.csv", "id;a;'b\"';a\n0;x;y;z\n", {"a": "x", "'b\"'": "y", "a.3": "z"}),
        ("t.csv", "Our tasks,,\nid,a,b\n0,x,y\n", {"a": "x", "b": "y"}),
        ("t.tsv", "# of ours, 2nd version\nid\ta\n0\tx\n", {"a": "x"}),
        ("t.csv", 'q,n\n"x, ""y""" ,1\n', {"q": 'x, "y" ', "n": "1"}),
        ("t.csv", 'q,n\n"x" y,1\n', {"q": '"x" y', "n": "1"}),
    ],
)
def test_what_mends_a_table_loses_nothing(tmp_path: Path, name: str, text: str, first: dict[str, str]) -> None:
    """Law: a first line that may be a task is one behind the command, a title is gone, and each column has a name.

    A quote is what it seems to be.
    """
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(LibraryError) as caught:
        planned(path)
    fixed = read_library(obeyed(caught.value, tmp_path, path), fields=Fields(id_from="position"), keep=("all",))
    assert json.loads(next(fixed.texts([0]))) == {"id": "0", "task_type": "task", **first}
    for way in (lambda: libraries.convert(path, tmp_path / "t.db"), lambda: libraries.stats(path)):
        with pytest.raises(LibraryError) as again:
            way()
        assert str(again.value.hint).partition("\n")[0] == str(caught.value.hint).partition("\n")[0]


def test_many_tables_without_names_lose_nothing(tmp_path: Path) -> None:
    """Law: the first line of each is a task behind the command, and the task has the name of its file."""
    folder = tmp_path / "it's $HOME"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.csv").write_text(f"What is {name}?,1\nWho is {name}?,2\n")
    with pytest.raises(LibraryError, match="has no id") as caught:
        planned(folder / "*.csv")
    fixed = obeyed(caught.value, tmp_path, folder)
    made = read_library(fixed, fields=Fields(id_field="0", type_field="file"))
    assert made.ids == ["What is a?", "Who is a?", "What is b?", "Who is b?"]
    assert made.info.types == {str(folder / f"{name}.csv"): 2 for name in "ab"}


def test_names_of_a_table_are_not_taken_for_a_task(tmp_path: Path) -> None:
    """Law: of words, and one column without a name, nothing is said about the first line."""
    path = tmp_path / "t.csv"
    for text in ("question,2nd answer\nx,y\n", "question,\nx,\n"):
        path.write_text(text)
        with pytest.raises(LibraryError, match="has no id") as caught:
            planned(path)
        assert str(caught.value.hint).startswith("name the field of the id")


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


def test_texts_in_xml_become_fields(tmp_path: Path) -> None:
    """Law: a task has the attributes and the parts of its element, with all text in them, or its own text."""
    path = tmp_path / "t.xml"
    for text, fields in (
        (FIXABLE["tasks.xml"], {"id": "a", "q": "Do a\n!"}),
        (FIXABLE["flat.xml"], {"task": "Do a"}),
    ):
        path.write_text(str(text))
        with pytest.raises(LibraryError) as caught:
            planned(path)
        fixed = obeyed(caught.value, tmp_path, path)
        assert json.loads(fixed.read_text().partition("\n")[0]) == fields


def test_a_list_inside_a_program_is_planned_from_python(tmp_path: Path) -> None:
    """Law: where Python does not begin with its list, no command is offered that takes its lines for tasks."""
    path = tmp_path / "tasks.py"
    for begin in ("from tau import Task", "# of ours"):
        path.write_text(f"{begin}\n\nTASKS = [Task(id='a')]\n")
        with pytest.raises(LibraryError) as caught:
            planned(path)
        assert str(caught.value.hint).endswith("; in Python: prealloc.plan(THE_LIST)")


def test_lines_of_a_file_that_is_called_json_are_no_tasks(tmp_path: Path) -> None:
    """Law: what is called so, packed or not, and is damaged, is not offered as a task a line."""
    for name in ("t.json", "t.jsonl", "t.ndjson.gz", "t.json5", "t.JSON"):
        (tmp_path / name).write_text("# of ours\nDo a: [\n")
        with pytest.raises(LibraryError, match="begins with") as caught:
            planned(tmp_path / name)
        assert str(caught.value.hint) == 'a library is {"tasks": [...]}, a bare [...], or one task a line'


def obeyed(error: LibraryError, folder: Path, path: Path) -> Path:
    """What the command in a hint wrote into the folder."""
    command = re.search(r": ((?:python3|iconv|zcat|find|cat|mkdir|tail) .+)", str(error.hint))
    assert command is not None
    assert command[1] in wrapped(str(error.hint), 30)
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(["sh", "-c", command[1]], check=True, cwd=folder, env={**os.environ, "PATH": paths})
    (fixed,) = (each for each in folder.iterdir() if each.name != path.name)
    return fixed


def test_an_archive_is_refused_with_what_opens_it(tmp_path: Path) -> None:
    """Law: the command leaves the tasks that were in it."""
    text = lines(tmp_path / "t.jsonl", TASKS)
    for kind in ("zip", "tar.gz"):
        (folder := tmp_path / kind).mkdir()
        path = folder / f"it's.{kind}"
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(text, "t.jsonl")
        else:
            with tarfile.open(path, "w:gz") as tar:
                tar.add(text, "t.jsonl")
        with pytest.raises(LibraryError) as caught:
            planned(path)
        fixed = obeyed(caught.value, folder, path)
        assert essence(planned(fixed, keep=["n", "meta"])) == essence(planned(text, keep=["n", "meta"]))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"a": [{"id": "x"}], "b": [{"id": "y"}]}, "several lists in it may be the tasks: 'a', 'b'"),
        ({"a": {"id": "x"}}, 'a JSON object without "tasks"'),
        ({"a": {"id": "x"}, "b": 1}, 'a JSON object without "tasks"'),
        ({"a": ["x"]}, 'a JSON object without "tasks"'),
        ({}, 'a JSON object without "tasks"'),
    ],
)
def test_an_object_that_may_be_several_things_is_refused(tmp_path: Path, document: Any, problem: str) -> None:
    """Law: nothing is guessed among several lists, and an object of anything else is none."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document, indent=1))
    with pytest.raises(LibraryError, match=problem) as caught:
        read_library(path)
    assert caught.value.where == f"{path}, byte 0, line 1"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PK\x03\x04rest", "a zip archive"),
        (b"PK\x03\x04".ljust(30, b"\0") + b"[Content_Types].xml", "a spreadsheet"),
        (b"PK\x03\x04".ljust(30, b"\0") + b"archive/data.pkl", "arrays or pickles"),
        (b"\n <html>", "HTML"),
        (b"\x80\x04\x95rest", "a pickle"),
        (b"ARROW1\0\0", "it cannot be read: "),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"%PDF-1.7", "a PDF"),
        ("{}".encode("utf-16"), "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"a.json".ljust(257, b"\0") + b"ustar", "a tar archive"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "packed twice"),
    ],
)
@pytest.mark.parametrize("name", ["t.json", "t.csv", "t.jsonl"])
def test_what_is_not_read_is_told_by_its_name(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    """Law: the first bytes say what a file is, whatever it is called and however it is read."""
    path = tmp_path / name
    path.write_bytes(content)
    for stream in (False, True):
        with pytest.raises(LibraryError, match=told) as caught:
            plan(path, stream=stream)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("address", "command"),
    [
        ("hf://datasets/a/b/data/test.parquet", "hf download a/b data/test.parquet --repo-type dataset"),
        ("https://example.org/x.json", "curl -LO https://example.org/x.json"),
        ("s3://bucket/x.json", "aws s3 cp s3://bucket/x.json ."),
    ],
)
def test_an_address_is_told_with_what_fetches_it(address: str, command: str) -> None:
    """Law: a library is a file here, given as text or as a path."""
    for library in (address, Path(address)):
        with pytest.raises(LibraryError, match="this is an address") as caught:
            read_library(library)
        assert command in str(caught.value.hint)
        with pytest.raises(LibraryError, match="this is an address"):
            libraries.index(library)


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("id,a\nx,1\ny\n", "the row has 1 cells, and the first line names 2", 3),
        ("id,id\nx,1\n", "two columns are called 'id'", None),
        ('id,a\nx,"1\n', "the table is damaged", 2),
        ("\n \nid,a\nx,1\ny\n", "the row has 1 cells", 5),
        ("id,a\nx,1\ny,\udce9\n", "this is not UTF-8: it has the byte 0xe9", 3),
        ("id,\udce9\nx,1\n", "this is not UTF-8", 1),
        ("id,a\n", "the library has no tasks", None),
        ("", "the library has no tasks", None),
    ],
)
def test_a_table_that_is_damaged_is_refused(tmp_path: Path, text: str, problem: str, line: int | None) -> None:
    """Law: cells that are missing, columns of one name, open quotes, bad UTF-8: each is told by its line."""
    path = tmp_path / "t.csv"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(LibraryError, match=problem) as caught:
        read_library(path)
    assert line is None or f"line {line}" in str(caught.value.where)


def test_no_place_is_told_in_lines_that_nobody_wrote(tmp_path: Path) -> None:
    """Law: a task of a table, of a folder or of Python is told by its number: no file has its bytes and lines."""
    tasks = [{"id": "a", "type": "x"}, {"id": "", "type": "x"}]
    table, folder = tmp_path / "t.csv", tmp_path / "folder"
    table.write_text("id,type\na,x\n,x\n")
    folder.mkdir()
    for name, task in zip("ab", tasks, strict=True):
        (folder / f"{name}.json").write_text(json.dumps(task))
    for library, where, file in ((table, table, ""), (folder, folder, f", in {folder / 'b.json'}"), (tasks, NAME, "")):
        with pytest.raises(LibraryError, match="the task's id is empty") as caught:
            read_library(library)
        assert caught.value.where == f"{where}, task 1 (id ''){file}"


def test_names_of_fields_are_told_on_one_line(tmp_path: Path) -> None:
    """Law: whatever a field is called, the refusal that lists it stays short, and shows what does not print."""
    lines(tmp_path / "t.jsonl", [{"a\n\x1b[31m": 1, "b" * 10_000: 2}])
    with pytest.raises(LibraryError, match="has no id") as caught:
        read_library(tmp_path / "t.jsonl")
    assert r"'a\n\x1b[31m', bbb" in caught.value.problem
    assert len(caught.value.problem) < 200
    assert caught.value.problem.isprintable()


def test_a_command_in_a_hint_runs_nothing_that_stands_in_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: whatever a name holds, a shell gets it as one word, and in a pattern it stands for itself."""
    monkeypatch.chdir(tmp_path)
    for name in ("-x", "$(touch ran)", "`touch ran`", "a'b\"c;touch ran", "z\\*[a]", "n\n\x1bé"):
        folder = tmp_path / f"of {name}"
        for file, text in (("1.json", '{"q": 1, "n": 1}'), ("2.json", '{"q": 2}'), (f"{name}.json", '{"x": 1}')):
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / file).write_text(text)
        with pytest.raises(LibraryError, match="few fields in common") as caught:
            read_library(folder)
        several = str(caught.value.hint).partition("such as ")[2].split(" or ")
        for pattern in several:
            given = subprocess.run(["bash", "-c", f"printf %s {pattern}"], check=True, capture_output=True).stdout
            assert read_library(os.fsdecode(given)).ids == ["1", "2"]
        (tmp_path / "t.json").write_text(json.dumps({name: [{"id": "a"}], "more": [{"q": 1}, {"q": 2}]}))
        with pytest.raises(LibraryError, match="several lists") as caught:
            read_library(tmp_path / "t.json")
        word = str(caught.value.hint).rpartition(" or ‹tasks_field› ")[2]
        given = subprocess.run(["bash", "-c", f"printf %s {word}"], check=True, capture_output=True).stdout
        assert given.decode() == name
    path = "https://x.org/$(touch ran)?a=1&b"
    with pytest.raises(LibraryError) as caught:
        read_library(path)
    command = re.sub(r".*?: curl -LO ", "echo ", str(caught.value.hint))
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    assert not (tmp_path / "ran").exists()


def test_files_without_a_field_in_common_are_not_all_tasks(tmp_path: Path) -> None:
    """Law: a list of the tasks above them is none, nor a second file beside each; the pattern finds the tasks."""
    above, beside = tmp_path / "above", tmp_path / "beside"
    for name in "abc":
        for path in (above / "tasks" / f"{name}.json", beside / name / "config.json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"prompt": name, "n": 1, "m": 2}))
        (beside / name / "checksums.yaml").write_text("zip: abc\n")
    (above / "all.json").write_text('{"chrome": ["a", "b", "c"]}')
    for folder, told in ((above, "all.json"), (beside, "checksums.yaml")):
        with pytest.raises(LibraryError, match="few fields in common") as caught:
            planned(folder)
        assert told in str(caught.value.where)
        assert read_library(offered_pattern(caught.value)).ids == ["a", "b", "c"]


def test_files_of_two_names_beside_each_other_are_not_all_tasks(tmp_path: Path) -> None:
    """Law: nor if they share an id; a pattern finds either. Names that only number the tasks are no kinds."""
    for folder in ("a", "b", "c"):
        (tmp_path / "two" / folder).mkdir(parents=True)
        (tmp_path / "one" / folder).mkdir(parents=True)
        (tmp_path / "two" / folder / "env.json").write_text(json.dumps({"id": folder, "image": "x", "cpus": 1}))
        (tmp_path / "two" / folder / "task.json").write_text(json.dumps({"id": folder, "prompt": "x"}))
        for name in ("1.json", "2.json"):
            text = {"id": f"{folder}{name}", "prompt": "x", **({"hint": "y"} if name == "2.json" else {})}
            (tmp_path / "one" / folder / name).write_text(json.dumps(text))
    with pytest.raises(LibraryError, match="few fields in common") as caught:
        planned(tmp_path / "two")
    assert read_library(offered_pattern(caught.value)).ids == ["a", "b", "c"]
    assert offered_pattern(caught.value).endswith("**/task.json")
    assert "**/env.json" in str(caught.value.hint)
    assert len(read_library(tmp_path / "one")) == 6


@pytest.mark.parametrize(
    ("tasks", "options", "problem"),
    [
        ({"a": 1}, {}, "an iterable of mappings, not dict"),
        (3, {}, "an iterable of mappings, not int"),
        ([1], {}, "the task is not a mapping but int"),
        ([{"id": "a", "when": object()}], {"keep": ["when"]}, "object is not a JSON value"),
        ([{"id": "a", "when": object()}], {"keep": "all"}, "object is not a JSON value"),
        ([], {}, "the library has no tasks"),
    ],
)
def test_what_in_python_is_no_library_is_refused(tasks: Any, options: dict[str, Any], problem: str) -> None:
    """Law: it is told as of any library; a value that nobody asked for may be anything."""
    with pytest.raises(LibraryError, match=problem):
        plan(tasks, num_instances=1, **options)
    assert plan([{"id": "a", "when": object()}], num_instances=1).shards[0].tasks[0].id == "a"
