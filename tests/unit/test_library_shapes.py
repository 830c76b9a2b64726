"""Shapes and formats in which people have their tasks: text, tables, packed files, folders, Python's own objects."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zstandard
from benchmarks_as_published import BENCHMARKS
from small_tasks import TASKS, essence, lines, planned

from prealloc.api import libraries
from prealloc.errors import LibraryError
from prealloc.library import read_library
from prealloc.library.text.other_formats import as_json
from prealloc.worker.guard import library_files


def test_one_file_of_yaml_or_toml_is_read_as_json_is(tmp_path: Path) -> None:
    """Law: a list, an object with one, several documents, packed or not: one plan, however the tasks are written.

    What is no such text is refused, also 300 bytes that would be 30 GB.
    """
    import yaml

    wanted = essence(planned(lines(tmp_path / "t.jsonl", TASKS), keep=["meta", "n"]))
    dump = partial(yaml.safe_dump, sort_keys=False)
    texts = {
        "list.yaml": dump(TASKS),
        "object.yml": dump({"version": 1, "data": TASKS}),
        "documents.yaml": yaml.safe_dump_all(TASKS, sort_keys=False),
        "keyed.yaml": dump({str(task["n"]): task for task in TASKS}),
        "t.toml": "".join(
            f"[[data]]\ntask_id = '{task['task_id']}'\ncategory = '{task['category']}'\nn = {task['n']}\n"
            f"[data.meta]\nuid = '{task['meta']['uid']}'\nkind = ['x', 'y']\n"
            for task in TASKS
        ),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        named = {"id_field": "task_id"} if name == "keyed.yaml" else {}
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        for written in (name, f"{name}.gz"):
            assert essence(planned(tmp_path / written, keep=["meta", "n"], **named)) == wanted
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "bad.toml").write_text("a = nan")
    (tmp_path / "deep.toml").write_text(f"[[tasks]]\n{'a.' * 20_000}a = 1")
    (tmp_path / "key.toml").write_text(f"[{'a . ' * 20_000}a]")
    (tmp_path / "latin.toml").write_bytes(b'[[tasks]]\nid = "\xe9"')
    (tmp_path / "base60.yaml").write_text(f"- {{id: a, n: 1{':59' * 2_000}}}")
    (tmp_path / "nested.yaml").write_text("[" * 2_000)
    (tmp_path / "tag.yaml").write_text("- id: a\n  solved: !!bool perhaps")
    (tmp_path / "twice.yaml").write_text("- &a {id: a, n: 1}\n- {<<: *a, id: b, id: c}")
    keys, uses = ", ".join(f"k{n}: 1" for n in range(3_000)), ", ".join(["{<<: *a}"] * 500)
    (tmp_path / "merged.yaml").write_text(f"a: &a {{{keys}}}\nb: [{uses}]")
    powers = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    (tmp_path / "bomb.yaml").write_text(f"a0: &a0 [x]\n{powers}")
    for name, problem in (
        ("bad.yaml", "not YAML that JSON can hold"),
        ("bomb.yaml", "its anchors make far more of it"),
        ("bad.toml", "a: nan is not a JSON number"),
        ("deep.toml", "a key of 200 parts or more"),
        ("key.toml", "a key of 200 parts or more"),
        ("latin.toml", "not UTF-8: it has the byte 0xe9"),
        ("base60.yaml", "an integer past 64 bits; make it a string, line 1, column 14"),
        ("nested.yaml", "nested too deeply"),
        ("tag.yaml", "not what its tag 'bool' says, line 2"),
        ("twice.yaml", "a key is there twice, line 2"),
        ("merged.yaml", "its anchors make far more of it"),
    ):
        with pytest.raises(LibraryError, match=problem):
            planned(tmp_path / name)


def test_a_key_in_yaml_is_its_text(tmp_path: Path) -> None:
    """Law: a key is text as it is written, whatever it would be as a value; two of one text are one key twice."""
    path = tmp_path / "t.yaml"
    path.write_text("1: {on: x}\nno: {~: y}\n&a 0x1F: {n: *a}\n2024-01-01: {1.50: [z]}\n")
    library = read_library(path, keep=("all",))
    assert library.ids == ["1", "no", "0x1F", "2024-01-01"]
    assert [task.extra for task in library.tasks(range(4))] == [{"on": "x"}, {"~": "y"}, {"n": 31}, {"1.50": ["z"]}]
    path.write_text("1: {q: x}\n'1': {q: y}\n")
    with pytest.raises(LibraryError, match="a key is there twice"):
        read_library(path)


def test_a_task_in_yaml_may_have_the_fields_of_another(tmp_path: Path) -> None:
    """Law: what a task says itself comes before what it merges; several documents of lists are one list."""
    (tmp_path / "t.yaml").write_text("- &a {id: a, n: 1, m: 1}\n- &b {<<: *a, id: b, n: 2}\n---\n- {id: c, n: 3}\n")
    library = read_library(tmp_path / "t.yaml", keep=("n", "m"))
    assert [library.task(n).extra for n in range(3)] == [{"n": 1, "m": 1}, {"n": 2, "m": 1}, {"n": 3}]


def test_a_value_with_a_tag_of_its_own_is_its_text(tmp_path: Path) -> None:
    """Law: what a benchmark's own loader would make of it is not known here; only of text it is known what it says."""
    path = tmp_path / "t.yaml"
    path.write_text("- {id: a, type: x, call: !function utils.f, sub: !Sub 'a b', n: !none }\n")
    keep = ("call", "sub", "n")
    assert read_library(path, keep=keep).task(0).extra == {
        "call": "!function utils.f",
        "sub": "!Sub a b",
        "n": "!none",
    }
    for value in ("!Ref {a: b}", "!list [a]", "!!python/name:os.system x"):
        path.write_text(f"- {{id: a, type: x, call: {value}}}\n")
        with pytest.raises(LibraryError, match="could not determine a constructor for the tag"):
            read_library(path)


def test_a_date_is_its_text(tmp_path: Path) -> None:
    """Law: JSON has no dates, so that what YAML and TOML take for one is kept as ISO 8601 writes it."""
    (tmp_path / "t.yaml").write_text("- {id: a, type: x, at: 2024-05-27T07:32:00, day: 2024-05-27}\n")
    (tmp_path / "t.toml").write_text("[[data]]\nid = 'a'\ntype = 'x'\nat = 2024-05-27 07:32:00\nday = 2024-05-27\n")
    for name in ("t.yaml", "t.toml"):
        extra = read_library(tmp_path / name, keep=("at", "day")).task(0).extra
        assert extra == {"at": "2024-05-27T07:32:00", "day": "2024-05-27"}


def test_the_only_library_in_a_folder_is_taken(tmp_path: Path) -> None:
    """Law: one file that is called as libraries are is the library, however deep it lies; of several none is taken.

    What `datasets` writes of a library beside it is no task.
    """
    (tmp_path / "t.yaml").write_text("[{id: a}, {id: b}]")
    assert read_library(tmp_path).ids == ["a", "b"]
    (tmp_path / "t.yaml").write_text("q: 1")
    assert read_library(tmp_path).ids == ["t"]  # a task by itself
    (tmp_path / "t.yaml").rename(tmp_path / "README.md")
    (tmp_path / "dataset_infos.json").write_text('{"default": {}}')
    (tmp_path / "tasks").mkdir()
    lines(tmp_path / "tasks" / "test.jsonl", TASKS)
    notes: list[str] = []
    assert planned(tmp_path, notes=notes.append).id == planned(tmp_path / "tasks" / "test.jsonl").id
    assert f"took {Path('tasks', 'test.jsonl')}, the only library in this folder" in notes
    (tmp_path / "tasks" / "more.csv").write_text("id\na\n")
    with pytest.raises(LibraryError, match="this is a folder") as caught:
        planned(tmp_path)
    assert f"give one of its files: {tmp_path / 'tasks' / 'more.csv'}, {tmp_path}" in str(caught.value.hint)


def test_other_marks_separate_cells_where_there_are_no_commas(tmp_path: Path) -> None:
    """Law: a .csv whose first line has no comma is read by its semicolons, tabs or bars; any other by commas."""
    rows = [["id", "type", "n", "m, comma"], *([f"t{n}", "a", f"{n},5", ""] for n in range(6))]
    made = []
    for delimiter in ";,\t|":
        with open(tmp_path / "t.csv", "w", newline="") as file:
            file.write("\n \n")  # empty lines before the first are none
            csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
        made.append(essence(planned(tmp_path / "t.csv", keep=["n"])))
    assert made == made[:1] * 4


def test_objects_of_several_lines_are_tasks_whatever_the_file_is_called(tmp_path: Path) -> None:
    """Law: objects one behind the other are tasks; an object alone, or with other text behind it, is no such file."""
    (tmp_path / "t.json").write_text("\n".join(json.dumps(task, indent=2) for task in TASKS))
    assert essence(planned(tmp_path / "t.json")) == essence(planned(lines(tmp_path / "t.jsonl", TASKS)))
    for behind in ("", "\n[]", "\n]"):
        (tmp_path / "t.json").write_text(json.dumps({"q": 1, "x": 2}, indent=2) + behind)
        with pytest.raises(LibraryError, match='without "tasks"'):
            planned(tmp_path / "t.json")


def test_in_a_folder_per_task_other_files_are_no_tasks(tmp_path: Path) -> None:
    """Law: where the highest files are all called alike, these are the tasks."""
    for n in range(6):
        (tmp_path / f"t{n}" / "tests").mkdir(parents=True)
        (tmp_path / f"t{n}" / "task.json").write_text('{"q": 1}')
        (tmp_path / f"t{n}" / "tests" / "config.json").write_text("{}")
        (tmp_path / f"t{n}" / "examples.jsonl").write_text("{}")
    assert sorted(read_library(tmp_path).ids) == [f"t{n}" for n in range(6)]


def test_tasks_come_before_all_other_lists(tmp_path: Path) -> None:
    """Law: "tasks" are the tasks, wherever they stand among other lists and objects."""
    path = tmp_path / "t.json"
    other = {"authors": [{"name": "a"}, {"name": "b"}], "more": {"x": {}}}
    for document in ({**other, "tasks": TASKS}, {"tasks": TASKS, **other}):
        path.write_text(json.dumps(document))
        assert read_library(path).ids == [f"t{n}" for n in range(6)]


@pytest.mark.parametrize(
    "beside",
    [{"run": {"tasks": 2}}, {"run": {"tasks": [{"id": "x"}]}}, {"z": {"x": []}}, {"n": {"a": {"b": 1}}}],
)
@pytest.mark.parametrize("name", ["run.tasks", "*", "*.x", "n.a"])
def test_the_only_list_may_have_any_name(tmp_path: Path, name: str, beside: dict[str, Any]) -> None:
    """Law: the only list of a document holds its tasks, also if its name could be a place; so says an index."""
    path = tmp_path / "t.json"
    for document in ({**beside, name: TASKS}, {name: TASKS, **beside}):
        path.write_text(json.dumps(document))
        assert read_library(path).ids == [f"t{n}" for n in range(6)]
        libraries.index(path)
        assert [*read_library(path).ids] == [f"t{n}" for n in range(6)]
    path.write_text(json.dumps({name: TASKS})[:-1] + f', "{name}": 5}}')
    with pytest.raises(LibraryError, match="is there twice"):
        read_library(path)


def test_a_key_is_the_id_of_a_task_without_one(tmp_path: Path) -> None:
    """Law: in an object of tasks the key names each that has no id; damage is told by its place in the file."""
    path = tmp_path / "t.json"
    path.write_text('{"a": {"x": 1}, "b": {"id": "own"}, "c": {}}')
    assert read_library(path).ids == ["a", "own", "c"]
    text = '{"a": {"x": 1},\n "b": {"x": 1, "x": 2}, "c": {}}'
    path.write_text(text)
    with pytest.raises(LibraryError, match="the key 'x' twice") as caught:
        read_library(path)
    byte = text.rindex('{"x"')
    assert str(caught.value.where).endswith(f", task 1 (id 'b'), byte {byte}, line 2")
    path.write_text('{"tasks": {"a": {"x": 1, "x": 2}, "b": {"y": nil}}}')
    with pytest.raises(LibraryError, match="the key 'x' twice"):  # which comes first
        read_library(path)
    path.write_text('{"tasks": {"a": {"x": 1}, "b": {"y": nil}}}')
    with pytest.raises(LibraryError, match="a value, found n") as caught:
        read_library(path)
    assert "after task 0, byte 37" in str(caught.value.where)
    path.write_text('{"a": {"x": 1},\n "a":\n {"x": 2}}')
    with pytest.raises(LibraryError, match="'a' is there twice") as caught:
        read_library(path)
    assert "byte 17, line 2" in str(caught.value.where)


PACKERS = {".gz": gzip.compress, ".zst": zstandard.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("ending", PACKERS)
def test_a_packed_file_is_read_and_written(tmp_path: Path, ending: str) -> None:
    """Law: a library may be packed by whatever is in use, and is written so where its name says it."""
    path = tmp_path / f"t.jsonl{ending}"
    path.write_bytes(PACKERS[ending]("".join(json.dumps(task) + "\n" for task in TASKS).encode()))
    assert read_library(path).ids == [f"t{n}" for n in range(6)]
    out = tmp_path / f"out.jsonl{ending}"
    libraries.convert(path, out)
    assert essence(planned(out, keep=["n"])) == essence(planned(path, keep=["n"]))


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.csv"])
def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path, name: str) -> None:
    """Law: a mark in front of UTF-8 changes nothing, also for an index, which tells places in the file."""
    ours = [{"id": each["task_id"], "type": each["category"], "n": str(each["n"])} for each in TASKS]
    texts = {
        "t.jsonl": "".join(json.dumps(each) + "\n" for each in ours),
        "t.json": json.dumps({"tasks": ours}),
        "t.csv": "id,type,n\n" + "".join(f"{each['id']},{each['type']},{each['n']}\n" for each in ours),
    }
    path = tmp_path / name
    path.write_text(texts[name])
    wanted = essence(planned(path, keep=["n"]))
    path.write_bytes(BOM + path.read_bytes())
    assert essence(planned(path, keep=["n"])) == wanted
    assert essence(planned(path, keep=["n"], stream=True)) == wanted
    if name != "t.csv":
        libraries.index(path)
        assert read_library(path).way == "index"
        assert essence(planned(path, keep=["n"])) == wanted


def test_cells_are_text_of_any_size(tmp_path: Path) -> None:
    """Law: a cell is a string as it stands, with commas, quotes, line breaks, and more than the csv module's 128 KB."""
    path = tmp_path / "t.csv"
    path.write_bytes(b'id,a\r\nx,"1,""2""\r\n3"\r\n\r\ny,' + b"z" * 300_000 + b"\r\n")
    library = read_library(path, keep=("a",))
    assert [task.extra["a"] for task in library.tasks([0, 1])] == ['1,"2"\r\n3', "z" * 300_000]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("id,q,\na,x,\n,,\n\nb,y,\n,,,\n", [{"id": "a", "q": "x", "": ""}, {"id": "b", "q": "y", "": ""}]),
        ('id, "q, r", n \na, "x, y",1 \n', [{"id": "a", "q, r": "x, y", "n": "1 "}]),
        ('id,"q, r",n \na, x, 1\n', [{"id": "a", "q, r": " x", "n": " 1"}]),
        (",q\n7,x\n", [{"index": "7", "q": "x"}]),
        (",index\n7,x\n", [{"": "7", "index": "x"}]),
        ("q,\nx,7\n", [{"q": "x", "": "7"}]),
    ],
)
def test_a_table_is_read_as_spreadsheets_and_pandas_write_it(text: str, rows: list[dict[str, str]]) -> None:
    """Law: rows without text are none; blanks around names, or behind each mark, are no part; an index has a name."""
    made = [json.loads(row) for row in as_json(iter([text.encode()]), ".csv", "t.csv")]
    assert made == rows


def test_blanks_do_not_tell_columns_apart() -> None:
    """Law: two names that differ in blanks are one; a title has no title of its own in a table of one column."""
    for text, told in (("q,q \nx,y\n", "two columns are called 'q'"), ("q\nx\ny,z\n", "the row has 2 cells")):
        with pytest.raises(LibraryError, match=told) as caught:
            [*as_json(iter([text.encode()]), ".csv", "t.csv")]
        assert "title" not in str(caught.value.hint)


def test_a_long_cell_is_not_joined_again_with_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: the work for a table grows with its length, however long a cell is; line breaks are kept between pieces."""
    searched = 0

    class Counted(io.StringIO):
        def __init__(self, text: str, newline: str) -> None:
            nonlocal searched
            searched += len(text)
            super().__init__(text, newline)

    monkeypatch.setattr(io, "StringIO", Counted)
    pieces = [b"id,c\r", b'\na,"', *[b"x" * 100] * 500, b"\r", b'\n"', b"\r\nb,y"]
    rows = [json.loads(row) for row in as_json(iter(pieces), ".csv", "t.csv")]
    assert rows == [{"id": "a", "c": "x" * 50_000 + "\r\n"}, {"id": "b", "c": "y"}]
    assert searched < 200_000


def test_a_folder_names_its_tasks(tmp_path: Path) -> None:
    """Law: ids come from the files, or from their folders where the files are called alike; a stranger is told."""
    for name in ("a", "b"):
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / f"{name}.json").write_text(json.dumps({"prompt": name, "by_id": f"{name}!"}))
        (tmp_path / "folders" / name).mkdir(parents=True)
        (tmp_path / "folders" / name / "task.yaml").write_text(f"prompt: {name}\nday: 2024-01-01\n")
    assert read_library(tmp_path / "files").ids == ["a", "b"]
    library = read_library(tmp_path / "folders", keep=("day",))
    assert library.ids == ["a", "b"]
    assert library.task(0).extra == {"day": "2024-01-01"}
    for name, content, problem in (
        ("c.json", "[1]", "does not hold an object"),
        ("c.json", '{"a":', "ends too early"),
        ("c.yaml", "a: 1\na: 2", "a key is there twice"),
        ("c.yaml", "a: [", "not YAML that JSON can hold"),
    ):
        (tmp_path / "files" / name).write_text(content)
        with pytest.raises(LibraryError, match=problem) as caught:
            read_library(tmp_path / "files")
        assert str(caught.value.where).startswith(str(tmp_path / "files" / name))
        (tmp_path / "files" / name).unlink()


@pytest.fixture
def deep_path(tmp_path: Path) -> Iterator[Path]:
    """A folder with more below it than Python can call: pytest, which removes folders by recursion, could not."""
    yield tmp_path
    subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)


def test_no_folder_below_a_folder_of_tasks_is_left_out(deep_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a folder that cannot be read is told; hidden ones do not count; names may be any bytes."""
    deep = deep_path.joinpath(*["d"] * 1_200)
    for number in range(0, 1_201, 100):
        deep_path.joinpath(*["d"] * number).mkdir(exist_ok=True, parents=True)
    (deep / "deep.json").write_text('{"q": 1}')
    (deep_path / ".git").mkdir()
    (deep_path / ".git" / "hidden.json").write_text('{"q": 1}')
    Path(os.fsdecode(bytes(deep_path) + b"/\xff.json")).write_text('{"q": 1}')
    assert read_library(deep_path).ids == ["deep", r"\xff"]
    scandir = os.scandir

    def denied(path: Path) -> Any:
        if path.name == "d":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(LibraryError, match="the folder cannot be read: Permission denied") as caught:
        read_library(deep_path)
    assert caught.value.where == str(deep_path / "d")


def test_the_guard_knows_every_file_of_a_folder(tmp_path: Path) -> None:
    """Law: a run counts whoever opens a task's own file, wherever in the folder it lies."""
    path = BENCHMARKS["Terminal-Bench"].write(tmp_path)
    (deep := path / "of" / "one" / "kind").mkdir(parents=True)
    (path / "fix-0" / "task.yaml").rename(deep / "task.yaml")
    files = library_files([planned(path, keep="all").file.libraries[0].path])
    assert {(file.stat().st_dev, file.stat().st_ino) for file in path.rglob("*")} < files
    assert library_files(["tasks in Python"]) == frozenset()


class Frame:
    """Rows as polars or pandas give them, for all that is asked of them."""

    def __init__(self, rows: list[dict[str, Any]], kind: str) -> None:
        self.columns = list(rows[0])
        if kind == "polars":
            self.iter_rows = lambda named: iter(rows) if named else None
        else:
            self.to_dict = lambda orient: rows if orient == "records" else None


def test_tasks_in_python_give_the_plan_of_their_file(tmp_path: Path) -> None:
    """Law: a list, a generator, an Arrow table and frames give, byte for byte, what a file of the same tasks gives."""
    import numpy as np
    import pyarrow as pa

    wanted = essence(planned(lines(tmp_path / "t.jsonl", TASKS), keep=["n", "meta"]))
    numbers = [{**task, "n": np.int64(task["n"]), "other": np.datetime64("2024-01-01")} for task in TASKS]
    tasks: list[Any] = [TASKS, (task for task in TASKS), pa.Table.from_pylist(TASKS), numbers]
    for library in [*tasks, Frame(TASKS, "polars"), Frame(TASKS, "pandas")]:
        assert essence(planned(library, keep=["n", "meta"])) == wanted
    made = planned(TASKS)
    assert made.file.libraries[0].path == "tasks in Python"
    libraries.convert(TASKS, tmp_path / "t.db")
    assert essence(planned(tmp_path / "t.db", keep=["n", "meta"])) == wanted


def test_from_standard_input(tmp_path: Path) -> None:
    """Law: names are followed in one pass, since a pipe is read once."""
    path = lines(tmp_path / "t.jsonl", [{"id": 1, **task} for task in TASKS[:-1]] + [{"id": 1, "task_id": "t5"}])
    wanted = planned(path, keep=["n"])
    read, write = os.pipe()
    os.write(write, path.read_bytes())
    os.close(write)
    before = os.dup(0)
    try:
        os.dup2(read, 0)
        assert essence(planned("-", keep=["n"])) == essence(wanted)
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(read)
