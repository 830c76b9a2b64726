"""Libraries as people have them: fields by any name, any shape, any format, or Python's own objects."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from benchmarks_as_published import BENCHMARKS, COUNT, Benchmark

from examples import in_laws
from prealloc.api import libraries
from prealloc.api.plans import plan, verify
from prealloc.errors import LibraryError, OptionsError
from prealloc.library import read_library
from prealloc.library.text import batches, table
from prealloc.library.unpack import unpack_stream
from prealloc.model.fields import Fields
from prealloc.model.plan import Plan
from prealloc.model.words import quoted
from prealloc.report.page import wrapped
from prealloc.worker.guard import library_files

TASKS: list[dict[str, Any]] = [
    {"task_id": f"t{n}", "category": "ab"[n % 2], "n": n, "meta": {"uid": f"u{n}", "kind": ["x", "y"]}}
    for n in range(6)
]


def lines(path: Path, tasks: list[Any]) -> Path:
    path.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    return path


def planned(library: Any, **options: Any) -> Plan:
    return plan(library, shards=2, num_instances=2, **options)


def essence(made: Plan) -> tuple[Any, ...]:
    return made.id, made.slices, made.file.shards


# -- public benchmarks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_a_public_benchmark_is_planned_as_it_is(tmp_path: Path, benchmark: Benchmark) -> None:
    """Law: one call plans it, with an option at most where a name cannot be guessed; every field can be kept."""
    path = benchmark.write(tmp_path)
    made = planned(path, keep="all", **benchmark.options)
    tasks = [task for shard in made.shards for task in shard.tasks]
    assert len({task.id for task in tasks}) == 4
    library = read_library(path, fields=Fields(**benchmark.options))  # type: ignore[arg-type]
    assert (library.ids[0], library.types[0]) == (benchmark.id, benchmark.type)
    assert len(library.ids) in (COUNT, 2 * COUNT)
    assert all(task.extra for task in tasks) or tasks[0].id == "t0"


@pytest.mark.parametrize(
    "benchmark", [each for each in BENCHMARKS.values() if "id_from" in each.options or "id_field" in each.options]
)
def test_a_benchmark_without_ids_is_refused_with_what_works(tmp_path: Path, benchmark: Benchmark) -> None:
    """Law: the refusal names the fields that there are, and both ways out; each of them works."""
    path = benchmark.write(tmp_path)
    with pytest.raises(LibraryError, match="task 0 has no id; the first task has the fields ") as caught:
        planned(path)
    assert "‹id_field›" in str(caught.value.hint)
    for id_from in ("content", "position"):
        assert f"‹id_from› {id_from}" in str(caught.value.hint)
        assert len(planned(path, id_from=id_from).shards) == 2


def test_what_may_be_given_as_a_field_is_told(tmp_path: Path) -> None:
    """Law: the fields that a refusal names can be given as they stand there, also those inside objects."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"sample": {"uid": f"s{n}"}, "a.b": 1, "meta": {}} for n in range(4)]))
    with pytest.raises(LibraryError, match=r"the first task has the fields sample\.uid, a\.b\n"):
        planned(path)
    assert {task.id for shard in planned(path, id_field="sample.uid").shards for task in shard.tasks} == {
        "s0",
        "s1",
        "s2",
        "s3",
    }
    with pytest.raises(LibraryError) as caught:
        planned(path, id_field="sample.uidd")
    assert "sample.uid" in str(caught.value.hint)


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
        ("latin.toml", "not UTF-8: line 2 has the byte 0xe9"),
        ("base60.yaml", "an integer past 64 bits; make it a string, line 1, column 14"),
        ("nested.yaml", "nested too deeply"),
        ("tag.yaml", "not what its tag 'bool' says, line 2"),
        ("twice.yaml", "a key is there twice, line 2"),
        ("merged.yaml", "its anchors make far more of it"),
    ):
        with pytest.raises(LibraryError, match=problem):
            planned(tmp_path / name)


def test_a_task_in_yaml_may_have_the_fields_of_another(tmp_path: Path) -> None:
    """Law: what a task says itself comes before what it merges; several documents of lists are one list."""
    (tmp_path / "t.yaml").write_text("- &a {id: a, n: 1, m: 1}\n- &b {<<: *a, id: b, n: 2}\n---\n- {id: c, n: 3}\n")
    library = read_library(tmp_path / "t.yaml", keep=("n", "m"))
    assert [library.task(n).extra for n in range(3)] == [{"n": 1, "m": 1}, {"n": 2, "m": 1}, {"n": 3}]


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


def test_a_path_without_a_file_is_told_by_why(tmp_path: Path) -> None:
    """Law: a link to nowhere is told with where it leads, and a pattern with the command that joins its files."""
    (tmp_path / "t.jsonl").symlink_to("gone")
    with pytest.raises(LibraryError, match="this link leads to gone, which is not there"):
        planned(tmp_path / "t.jsonl")
    with pytest.raises(LibraryError, match="no such file") as caught:
        planned("some/*.jsonl")
    assert "cat some/*.jsonl > tasks.jsonl" in str(caught.value.hint)


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
    "words.txt": "Do a\nDo b\n",
    "names.json": json.dumps({"chrome": ["a", "b", "c"], "gimp": ["d"]}),
    "numbers.json": '{"a": [1e999, 2], "b": [1]}',
    "split.json": json.dumps({"columns": ["id", "q"], "index": [0, 1, 2], "data": [["a", 1], ["b", 2], ["c", 3]]}),
    "object.json": json.dumps({"tasks": {"a": {"q": 1}, "b": {"q": 2}}}),
    "keyed splits.json": json.dumps({"train": {"a": {"q": 1}, "b": {"q": 2}}, "test": {"c": {"q": 1}}}),
    "harness.json": json.dumps({"results": {"x": {}}, "samples": {"x": TASKS}}),
    "deep.json": json.dumps({"data": {"test": TASKS}}),
    "cp1252.csv": b"id,text\na,it\x92s\nb,y\n",
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
    "shards/0.jsonl": "".join(json.dumps(task) + "\n" for task in TASKS),
}


@pytest.mark.parametrize("name", FIXABLE)
def test_a_refusal_names_a_command_that_fixes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Law: the command in the hint is on one line, and writes a file that can be planned; the file itself stays."""
    monkeypatch.chdir(tmp_path)
    path, content = Path(name), FIXABLE[name]
    path.parent.mkdir(exist_ok=True)
    raw = content if isinstance(content, bytes) else content.encode("latin-1")
    path.write_bytes(raw)
    if name.startswith("shards"):
        path.with_name("1.jsonl").write_text('{"task_id": "u", "category": "a"}\n')
        path = path.parent
    with pytest.raises(LibraryError) as caught:
        planned(path)
    fixed = obeyed(caught.value, tmp_path, path)
    assert Path(name).read_bytes() == raw
    assert len(plan(fixed, shards=2, num_instances=1, id_from="position").shards) == 2


def obeyed(error: LibraryError, folder: Path, path: Path) -> Path:
    """What the command in a hint wrote into the folder."""
    command = re.search(r": ((?:python3|iconv|zcat|find|cat|mkdir) .+)", str(error.hint))
    assert command is not None
    assert command[1] in wrapped(str(error.hint), 30)
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(["sh", "-c", command[1]], check=True, cwd=folder, env={**os.environ, "PATH": paths})
    (fixed,) = (each for each in folder.iterdir() if each.name != path.name)
    return fixed


def test_an_archive_and_an_arrow_file_are_refused_with_what_opens_them(tmp_path: Path) -> None:
    """Law: the command leaves the tasks that were in it, also of a data set that `datasets` saved to a folder."""
    import pyarrow as pa
    from pyarrow import feather

    text, table, made = lines(tmp_path / "t.jsonl", TASKS), pa.Table.from_pylist(TASKS), tmp_path / "made"
    for kind in ("zip", "tar.gz", "feather", "arrow", "saved"):
        (folder := tmp_path / kind).mkdir()
        path = folder / f"it's.{kind}"
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(text, "t.jsonl")
        elif kind == "tar.gz":
            with tarfile.open(path, "w:gz") as tar:
                tar.add(text, "t.jsonl")
        elif kind == "feather":
            feather.write_feather(table, str(path))
        else:
            made = path if kind == "arrow" else path / "data-00000-of-00001.arrow"
            made.parent.mkdir(exist_ok=True)
            with pa.ipc.new_stream(made, table.schema) as stream:
                stream.write_table(table)
            if kind == "saved":
                (path / "state.json").write_text('{"version": 1}')
                (path / "dataset_info.json").write_text('{"version": 1}')
        with pytest.raises(LibraryError) as caught:
            planned(path)
        fixed = obeyed(caught.value, folder, path)
        assert essence(planned(fixed, keep=["n", "meta"])) == essence(planned(text, keep=["n", "meta"]))


def test_a_number_of_any_length_is_an_id_everywhere(tmp_path: Path) -> None:
    """Law: what is planned can be converted, and the copy gives the same plan; damage beside the id is told."""
    path = lines(tmp_path / "t.jsonl", [{"id": 10**30 + n, "type": "a"} for n in range(6)])
    libraries.convert(path, tmp_path / "t.db")
    assert planned(tmp_path / "t.db").slices == planned(path).slices
    path.write_text('{"id": 1, "n": 1}\n{"id": 2, "n": [10000000000000000000000]}\n')
    with pytest.raises(LibraryError, match="more than 64 bits") as caught:
        libraries.convert(path, tmp_path / "x.db")
    assert "task 1" in str(caught.value.where)
    assert "n[0]" in str(caught.value.where)


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


# -- which field ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "ids", "types"),
    [
        ([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], ["a", "b"], ["task"] * 2),  # strings before numbers
        ([{"id": "x", "uid": "a"}, {"id": "x", "uid": "b"}], ["a", "b"], ["task"] * 2),  # distinct ones first
        ([{"id": 1, "name": "a"}, {"id": 2}], ["1", "2"], ["task"] * 2),  # a name in every task
        ([{"uid": "a", "task_id": "b"}, {"uid": "c", "task_id": "d"}], ["b", "d"], ["task"] * 2),  # by their order
        ([{"id": 1, "instance_id": "a"}, {"id": None, "instance_id": "b"}], ["a", "b"], ["task"] * 2),
        ([{"id": 1, "instance_id": "a", "type": "t"}, {"id": "b", "type": "t"}], ["a", "b"], ["t", "t"]),
        ([{"a_id": "x", "b_id": 1}, {"a_id": "x", "b_id": 2}], ["1", "2"], ["task"] * 2),  # where no other tells apart
        ([{"_id": {"$oid": "x"}}, {"_id": {"$oid": "y"}}], ["x", "y"], ["task"] * 2),
        ([{"a": {"Record ID": "x"}}, {"a": {"Record ID": "y"}}], ["x", "y"], ["task"] * 2),
        ([{"name": 1, "b_id": "x"}, {"name": 2, "b_id": "y"}], ["1", "2"], ["task"] * 2),
        ([{"id": "a", "level": 1}, {"id": "b", "level": 2}], ["a", "b"], ["1", "2"]),
        ([{"id": "a", "level": 1, "repo": "r"}, {"id": "b", "level": 2, "repo": "s"}], ["a", "b"], ["r", "s"]),
        ([{"id": "a", "sites": ["x", "y"]}, {"id": "b", "sites": ["z"]}], ["a", "b"], ["x+y", "z"]),
        ([{"id": "a", "sites": ["x"]}, {"id": "b", "sites": []}], ["a", "b"], ["task"] * 2),
        ([{"id": "a", "domain": "d"}, {"id": "b"}], ["a", "b"], ["task"] * 2),
    ],
)
@pytest.mark.parametrize("batch", [batches.BATCH, 1])
def test_the_best_of_the_common_names_is_taken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    tasks: list[dict[str, Any]],
    ids: list[str],
    types: list[str],
) -> None:
    """Law: a name that holds distinct strings in every task, then numbers, whatever the first tasks show.

    Told alike by every way to read.
    """
    monkeypatch.setattr(batches, "BATCH", batch)
    path = lines(tmp_path / "t.jsonl", tasks)
    library = read_library(path)
    assert (list(library.ids), list(library.types)) == (ids, types)
    assert read_library(tasks).ids == ids
    wanted = essence(plan(path, num_instances=2))
    assert essence(plan(path, num_instances=2, stream=True)) == wanted
    libraries.index(path)
    indexed = read_library(path)
    assert indexed.way == "index"
    assert sorted(indexed.ids) == sorted(ids)
    assert essence(plan(path, num_instances=2)) == wanted


def test_the_choice_is_told_once_and_stands_in_the_plan(tmp_path: Path) -> None:
    """Law: one note says which fields were taken; a plan of tasks that are spelled as ours are says nothing of it."""
    path, notes = lines(tmp_path / "t.jsonl", TASKS), list[str]()
    made = planned(path, notes=notes.append, keep=["n"])
    assert notes[0] == (
        "ids are read from task_id (use ‹id_field› for another field); "
        "types are read from category (use ‹type_field› for another field)"
    )
    assert made.file.libraries[0].fields == Fields(id_field="task_id", type_field="category")
    asked = planned(path, id_field="task_id", type_field="category", keep=["n"], notes=notes.append)
    assert essence(asked) == essence(made)
    assert not any("read from" in note for note in notes[1:])
    ours = [{"id": each["task_id"], "type": each["category"], "n": each["n"]} for each in TASKS]
    same = planned(lines(tmp_path / "ours.jsonl", ours), keep=["n"])
    assert essence(same) == essence(made)
    assert b'"fields"' not in msgspec.json.encode(same.file)


def test_dotted_paths_and_workflows_of_another_name(tmp_path: Path) -> None:
    """Law: a.b is b in the object a, unless a field is called so; a workflow goes out under its own name."""
    path = lines(tmp_path / "t.jsonl", [{**task, "steps": [task["n"], 1.50]} for task in TASKS])
    made = planned(path, id_field="meta.uid", type_field="meta.kind", workflow_field="steps")
    task = made.shards[0].tasks[0]
    assert (task.id[0], task.type) == ("u", "x+y")
    assert task.workflow == [int(task.id[1:]), 1.5]
    nested = planned(path, workflow_field="meta.kind")
    assert {tuple(task.workflow) for shard in nested.shards for task in shard.tasks} == {("x", "y")}
    dotted = lines(tmp_path / "d.jsonl", [{"a.b": f"x{n}", "a": {"b": "no"}} for n in range(4)])
    assert read_library(dotted, fields=Fields(id_field="a.b")).ids == ["x0", "x1", "x2", "x3"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"id_field": "task"}, ["‹id_field› task: task 0 has no such field", "did you mean task_id?"]),
        (
            {"id_field": "meta"},
            ["task 0 has {'uid': 'u0', 'kind': ['x', 'y']} in meta, which is not a name"],
        ),
        (
            {"id_field": "nope", "type_field": "nor", "workflow_field": "neither"},
            [
                "‹id_field› nope",
                "‹type_field› nor",
                "‹workflow_field› neither: no task has",
                "task_id, category, n, meta",
            ],
        ),
    ],
)
def test_all_that_is_missing_is_told_at_once(tmp_path: Path, options: dict[str, Any], told: list[str]) -> None:
    """Law: every field that is not there, with what the first task has and what was probably meant."""
    with pytest.raises(LibraryError) as caught:
        planned(lines(tmp_path / "t.jsonl", TASKS), **options)
    for text in told:
        assert text in str(caught.value)


def test_ids_from_content_do_not_depend_on_order_and_ids_from_position_do(tmp_path: Path) -> None:
    """Law: a digest names a task wherever it stands and however it is laid out; a place does not, and that is told."""
    tasks = [{"question": f"q{n}", "answer": n} for n in range(6)]
    one = lines(tmp_path / "one.jsonl", tasks)
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"data": [dict(reversed(each.items())) for each in reversed(tasks)]}, indent=1))
    a, b = (planned(path, id_from="content", keep="all") for path in (one, other))
    assert essence(a) == essence(b)
    notes: list[str] = []
    a, b = (planned(path, id_from="position", keep="all", notes=notes.append) for path in (one, other))
    assert a.id != b.id
    assert "so their order matters" in notes[0]
    assert a.file.libraries[0].fields == Fields(id_from="position")
    with pytest.raises(LibraryError, match="more than once"):
        planned(lines(tmp_path / "twice.jsonl", [tasks[0], tasks[0], *tasks]), id_from="content")
    with pytest.raises(OptionsError, match="both say what a task's id is"):
        planned(one, id_from="content", id_field="question")


def test_a_field_that_ends_in_id_is_no_id_where_it_could_be_another(tmp_path: Path) -> None:
    """Law: it is not taken where some tasks have a common name, nor where two tasks share it."""
    for number, tasks in enumerate(([{"id": "a", "b_id": "x"}, {"b_id": "y"}], [{"b_id": "x"}, {"b_id": "x"}])):
        with pytest.raises(LibraryError, match="no id"):
            read_library(lines(tmp_path / f"{number}.jsonl", tasks))


def test_a_type_that_only_some_tasks_have_is_refused(tmp_path: Path) -> None:
    """Law: some tasks with a type and some without are a mistake, whichever comes first."""
    tasks = [{"id": "a", "type": "x"}, {"id": "b"}]
    for number, order in enumerate((tasks, tasks[::-1])):
        with pytest.raises(LibraryError, match="no type"):
            read_library(lines(tmp_path / f"{number}.jsonl", order))


def test_verify_reads_a_library_as_its_plan_did(tmp_path: Path) -> None:
    """Law: what a plan has noted of the fields is what its library is compared by; another field is told apart."""
    path = lines(tmp_path / "t.jsonl", TASKS)
    planned(path, out=tmp_path / "plan", id_field="meta.uid", keep=["n"])
    verify(tmp_path / "plan", library=path)
    verify(tmp_path / "plan", library=path, id_field="meta.uid")
    with pytest.raises(Exception, match="no longer in it"):
        verify(tmp_path / "plan", library=path, id_field="task_id")


def test_an_index_of_other_names_is_left_aside(tmp_path: Path) -> None:
    """Law: an index serves those who name the fields as it does, or not at all; a changed file is never misread."""
    path = lines(tmp_path / "t.jsonl", TASKS)
    libraries.index(path, id_field="meta.uid")
    assert sorted(read_library(path).ids) == [f"u{n}" for n in range(6)]
    notes: list[str] = []
    assert read_library(path, fields=Fields(id_field="task_id"), notes=notes.append).ids == [f"t{n}" for n in range(6)]
    assert "named by other options" in notes[0]
    keyed = tmp_path / "keyed.json"
    keyed.write_text(json.dumps({each["task_id"]: each for each in TASKS}))
    with pytest.raises(LibraryError, match="cannot be indexed"):
        libraries.index(keyed)


# -- shapes and formats -----------------------------------------------------------------------------------------


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


def test_tasks_come_before_all_other_lists(tmp_path: Path) -> None:
    """Law: "tasks" are the tasks, wherever they stand among other lists and objects."""
    path = tmp_path / "t.json"
    other = {"authors": [{"name": "a"}, {"name": "b"}], "more": {"x": {}}}
    for document in ({**other, "tasks": TASKS}, {"tasks": TASKS, **other}):
        path.write_text(json.dumps(document))
        assert read_library(path).ids == [f"t{n}" for n in range(6)]


def test_a_key_is_the_id_of_a_task_without_one(tmp_path: Path) -> None:
    """Law: in an object of tasks the key names each that has no id; damage is told by its place in the file."""
    path = tmp_path / "t.json"
    path.write_text('{"a": {"x": 1}, "b": {"id": "own"}, "c": {}}')
    assert read_library(path).ids == ["a", "own", "c"]
    path.write_text('{"a": {"x": 1},\n "b": {"x": 1, "x": 2}}')
    with pytest.raises(LibraryError, match="the key 'x' twice") as caught:
        read_library(path)
    assert "line 2" in str(caught.value.where)


PACKERS = {".gz": gzip.compress, ".zst": zstandard.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("ending", PACKERS)
def test_a_packed_file_is_read_cut_and_damaged_ones_are_refused(tmp_path: Path, ending: str) -> None:
    """Law: every packing is told by its first bytes; what is cut or changed is told, and what follows it too."""
    text = "".join(json.dumps(task) + "\n" for task in TASKS).encode()
    packed = PACKERS[ending](text)
    path = tmp_path / f"t.jsonl{ending}"
    for content in (packed, PACKERS[ending](text[:100]) + PACKERS[ending](text[100:])):
        path.write_bytes(content)
        assert read_library(path).ids == [f"t{n}" for n in range(6)]
    for content, problem in ((packed[:-9], "ends too early"), (packed + b"x", "something else follows")):
        path.write_bytes(content)
        with pytest.raises(LibraryError, match=problem):
            read_library(path)
    out = tmp_path / f"out.jsonl{ending}"
    path.write_bytes(packed)
    libraries.convert(path, out)
    assert essence(planned(out, keep=["n"])) == essence(planned(path, keep=["n"]))


@pytest.mark.parametrize("ending", [in_laws(each) if each in (".bz2", ".xz") else each for each in PACKERS])
def test_a_bomb_is_refused_before_it_takes_memory(ending: str) -> None:
    """Law: what unpacks to far more than it is, is refused by every packing, and comes in small pieces until then."""
    packed = {**PACKERS, ".xz": partial(lzma.compress, preset=0)}[ending](b" " * (80 << 20))
    sizes: list[int] = []
    with pytest.raises(LibraryError, match=r"looks like an? \w+ bomb"):
        sizes.extend(map(len, unpack_stream(iter([packed]), "t")))
    assert max(sizes) <= 16 << 20


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PK\x03\x04rest", "a zip archive"),
        (b"PK\x03\x04".ljust(30, b"\0") + b"[Content_Types].xml", "a spreadsheet"),
        (b"PK\x03\x04".ljust(30, b"\0") + b"archive/data.pkl", "arrays or pickles"),
        (b"\n <html>", "HTML"),
        (b"\x80\x04\x95rest", "a pickle"),
        (b"ARROW1\0\0", "an Arrow file"),
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


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("id,a\nx,1\ny\n", "the row has 1 cells, and the first line names 2", 3),
        ("id,id\nx,1\n", "two columns are called 'id'", None),
        ('id,a\nx,"1\n', "the table is damaged", 2),
        ("\n \nid,a\nx,1\ny\n", "the row has 1 cells", 5),
        ("id,a\nx,1\ny,\udce9\n", "the table is not UTF-8: it has the byte 0xe9", 3),
        ("id,\udce9\nx,1\n", "the table is not UTF-8", 1),
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
    for library, where in ((table, table), (folder, folder), (tasks, "tasks in Python")):
        with pytest.raises(LibraryError, match="the task's id is empty") as caught:
            read_library(library)
        assert caught.value.where == f"{where}, task 1 (id '')"


def test_cells_are_text_of_any_size(tmp_path: Path) -> None:
    """Law: a cell is a string as it stands, with commas, quotes, line breaks, and more than the csv module's 128 KB."""
    path = tmp_path / "t.csv"
    path.write_bytes(b'id,a\r\nx,"1,""2""\r\n3"\r\n\r\ny,' + b"z" * 300_000 + b"\r\n")
    library = read_library(path, keep=("a",))
    assert [task.extra["a"] for task in library.tasks([0, 1])] == ['1,"2"\r\n3', "z" * 300_000]


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
    rows = [json.loads(row) for row in table.lines_of_table(iter(pieces), ",", "t.csv")]
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
    """Law: whatever a name holds, a shell gets it as one word that is no option, and `find` as no pattern."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "-x.json",
        "$(touch ran).json",
        "`touch ran`.json",
        "a'b\"c;touch ran.json",
        "z\\*[a].json",
        "n\n\x1bé.json",
    ):
        echo = subprocess.run(["bash", "-c", f"printf %s {quoted(name)}"], check=True, capture_output=True, text=True)
        assert echo.stdout.removeprefix("./") == name
        assert quoted(name).isprintable()
        folder = tmp_path / f"of {name}"
        folder.mkdir()
        for file, text in (
            ("a.json", '{"q": 1, "n": 1}'),
            ("b.json", '{"q": 2}'),
            (name, '{"x": 1}'),
            ("za.json", '{"q": 3}'),
        ):
            (folder / file).write_text(text)
        with pytest.raises(LibraryError, match="no field in common") as caught:
            read_library(folder)
        subprocess.run(
            ["bash", "-c", str(caught.value.hint).rpartition("move those of this name away: ")[2]], check=True
        )
        assert read_library(folder).ids == ["a", "b", "za"]
    for path in ("https://x.org/$(touch ran)?a=1&b", "$(touch ran)*.json"):
        with pytest.raises(LibraryError) as caught:
            read_library(path)
        command = re.sub(r".*?: (curl -LO|cat) ", "echo ", str(caught.value.hint)).partition(" > ")[0]
        subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    assert not (tmp_path / "ran").exists()


def test_files_without_a_field_in_common_are_not_all_tasks(tmp_path: Path) -> None:
    """Law: a list of the tasks above them is none, nor a second file beside each; the command leaves the tasks."""
    above, beside = tmp_path / "above", tmp_path / "beside"
    for name in "abc":
        for path in (above / "tasks" / f"{name}.json", beside / name / "config.json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"prompt": name, "n": 1, "m": 2}))
        (beside / name / "checksums.yaml").write_text("zip: abc\n")
    (above / "all.json").write_text('{"chrome": ["a", "b", "c"]}')
    for folder, told in ((above, "all.json"), (beside, "checksums.yaml")):
        with pytest.raises(LibraryError, match="no field in common") as caught:
            planned(folder)
        assert told in str(caught.value.where)
        subprocess.run(["sh", "-c", str(caught.value.hint).rpartition(": ")[2]], check=True)
        assert read_library(folder).ids == ["a", "b", "c"]


def test_the_guard_knows_every_file_of_a_folder(tmp_path: Path) -> None:
    """Law: a run counts whoever opens a task's own file, wherever in the folder it lies."""
    path = BENCHMARKS["Terminal-Bench"].write(tmp_path)
    files = library_files([planned(path, keep="all").file.libraries[0].path])
    assert {(file.stat().st_dev, file.stat().st_ino) for file in path.rglob("*")} < files
    assert library_files(["tasks in Python"]) == frozenset()


# -- in Python --------------------------------------------------------------------------------------------------


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


# -- which tasks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_only_listed_tasks_are_planned_and_excluded_ones_are_not(tmp_path: Path, stream: bool) -> None:
    """Law: lists leave the plan that a library of these tasks alone would give, by every way to read."""
    path = lines(tmp_path / "t.jsonl", TASKS)
    some = planned(lines(tmp_path / "some.jsonl", TASKS[1:5]), keep=["n"])
    (tmp_path / "ids").write_text("t1\nt2\n\nt3\nt4\n")
    (tmp_path / "not.json").write_text('["t0", "t5", "never there"]')
    for lists in ({"ids": tmp_path / "ids"}, {"exclude_ids": tmp_path / "not.json"}, {"ids": ["t1", "t2", "t3", "t4"]}):
        made = planned(path, keep=["n"], stream=stream, **lists)
        assert essence(made) == essence(some)
        assert list(made.file.libraries[0].listed) == list(lists)  # type: ignore[arg-type]
    libraries.index(path)
    assert essence(planned(path, keep=["n"], exclude_ids=["t0", "t5"])) == essence(some)
    with pytest.raises(OptionsError, match=r"5 tasks are asked for, but there are 4 \(a 2, b 2\)"):
        plan(path, num_instances=5, exclude_ids=["t0", "t5"], stream=stream)
    with pytest.raises(OptionsError, match="1 of them are not in the library: nope"):
        planned(path, ids=["nope", "t1"], stream=stream)
    with pytest.raises(OptionsError, match="no id is left"):
        planned(path, ids=["t1"], exclude_ids=["t1"])
    with pytest.raises(OptionsError, match="cannot be read"):
        planned(path, ids=tmp_path / "none")


def test_a_share_of_the_tasks(tmp_path: Path) -> None:
    """Law: a share is the plan of the number that it is, of the tasks that can be chosen; nothing else is a share."""
    path = lines(tmp_path / "t.jsonl", TASKS)
    for share, number in (("50%", 3), ("1%", 1), ("100%", 6), ("42%", 3)):
        assert plan(path, num_instances=share).id == plan(path, num_instances=number).id
    assert plan(path, num_instances="67%", types=["a"]).id == plan(path, num_instances=2, types=["a"]).id
    for wrong in ("0%", "101%", "x%", "-5%"):
        with pytest.raises(OptionsError, match="not a whole number"):
            plan(path, num_instances=wrong)
    with pytest.raises(OptionsError, match="a share is of all types together"):
        plan(path, num_instances="50%", per_type=True)


def test_a_type_may_have_commas(tmp_path: Path) -> None:
    """Law: a text with commas is the type that is called so; where there is none, the types between the commas."""
    tasks = [{"id": f"{kind}{n}", "type": kind} for kind in ("a", "b", "a, b") for n in range(3)]
    path = lines(tmp_path / "t.jsonl", tasks)
    for stream in (False, True):
        whole = plan(path, types=["a, b"], num_instances=3, stream=stream)
        assert {task.type for task in whole.shards[0].tasks} == {"a, b"}
        assert whole.spec.types == ("a, b",)
        several = plan(path, types=["a,b"], num_instances=6, stream=stream)
        assert several.id == plan(path, types=["a", "b"], num_instances=6).id


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
