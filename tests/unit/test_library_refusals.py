"""What is no library is refused by its name, with what would help; a command that is offered works."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from small_tasks import TASKS, essence, lines, obeyed, offered_pattern, offered_place, planned

from prealloc.api import libraries
from prealloc.api.plans import plan
from prealloc.errors import LibraryError
from prealloc.library import read_library
from prealloc.library.text.sources import IN_PYTHON
from prealloc.model.fields import Fields


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
    "semicolons.csv.gz": gzip.compress(b"1;x\n2;y\n"),
    "same names.csv": "\n1;x;x\n2;x;y\n",
    "blanks.csv": 'q\n"What is 1, or 2?" \n"And 3?"  \n',
    "blanks.csv.gz": gzip.compress(b'q,n\n"So, yes" ,1\n"No" ,2\n'),
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
    for library, where, file in (
        (table, table, ""),
        (folder, folder, f", in {folder / 'b.json'}"),
        (tasks, IN_PYTHON, ""),
    ):
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
