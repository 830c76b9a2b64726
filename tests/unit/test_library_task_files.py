"""Folders of a file per task: what is told of them, and what is refused because it may be something else."""

from __future__ import annotations

import json
import os
import re
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from small_tasks import offered_pattern, offered_place, planned

from prealloc.errors import LibraryError
from prealloc.library import read_library
from prealloc.library.text import files
from prealloc.library.text.files import of_files
from prealloc.model.fields import COMMON, Fields

EXAMPLES = [{"input": f"question {n}", "target": "(A)"} for n in range(4)]


def put(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("above", [0, 1, 2])
def test_a_folder_a_task_holds_files_of_one_name(tmp_path: Path, above: int) -> None:
    """Law: they count where they are most of the files so high; what is above them, or in their folders, is no task."""
    put(tmp_path, {f"{name}.json": {"prompt": "of all", "more": 1} for name in "xy"[:above]})
    put(tmp_path, {f"tasks/{name}/task.json": {"prompt": name} for name in "abc"})
    put(tmp_path, {"tasks/a/data/input.json": {"prompt": 1}, "tasks/a/data/output.json": {"prompt": 2}})
    assert read_library(tmp_path).ids == ["a", "b", "c"]
    put(tmp_path / "most", {f"{name}.json": {"prompt": name} for name in "xyz"})
    put(tmp_path / "most", {f"{name}/task.json": {"prompt": name} for name in "ab"})
    assert len(read_library(tmp_path / "most")) == 5
    shutil.rmtree(tmp_path / "most")
    put(tmp_path, {"tasks/a/other.json": {"prompt": "d"}})
    assert len(read_library(tmp_path)) == 6 + above


def test_it_is_told_that_files_were_taken_for_tasks(tmp_path: Path) -> None:
    """Law: who meant the lists in the files sees it at once."""
    folder = put(tmp_path, {f"{name}.json": {"name": name, "examples": EXAMPLES} for name in "ab"})
    assert read_library(folder).took == "took each of 2 files as a task; the first has a list 'examples'"
    assert read_library(put(tmp_path / "c", {"t.json": {"id": "x"}})).took == "took one file as a task"


def test_a_document_alone_in_a_folder_is_the_library(tmp_path: Path) -> None:
    """Law: a list in it makes it one; nobody has a folder for a single task with a list."""
    library = read_library(put(tmp_path, {"t.json": {"canary": "x", "examples": [{"id": "a"}, {"id": "b"}]}}))
    assert (library.ids, library.took) == (["a", "b"], "took t.json, the only library in this folder")


def test_a_document_beside_another_library_is_no_task(tmp_path: Path) -> None:
    """Law: what says something of a table is not the one task of a folder; what `datasets` writes is no choice."""
    for name in ("package.json", "dataset_infos.json"):
        (put(tmp_path / name, {name: {"name": "x"}}) / "t.csv").write_text("id,type\na,x\nb,y\n")
    with pytest.raises(LibraryError, match="a folder with 2 files that may be libraries"):
        planned(tmp_path / "package.json")
    assert read_library(tmp_path / "dataset_infos.json").ids == ["a", "b"]


@pytest.mark.parametrize("names", [("navigate.json", "it's ruin.json"), ("a/evals.json", "b/evals.json")])
def test_lists_in_files_without_ids_are_not_left_out(tmp_path: Path, names: tuple[str, str]) -> None:
    """Law: where the items of every file may be the tasks as well, that is asked."""
    folder = put(tmp_path / "of $HOME", {name: {"canary": "x", "examples": EXAMPLES} for name in names})
    with pytest.raises(LibraryError, match="each of the 2 files holds a list 'examples'") as caught:
        planned(folder)
    items, files = str(caught.value.hint).splitlines()
    assert files == "if each file is a task, give ‹id_from› content"
    assert items.endswith("give ‹tasks_field› examples, and ‹type_field› file for a type a file")
    for library in (folder, folder / "**" / "*.json"):
        made = planned(library, id_from="position", type_field="file", **offered_place(caught.value))
        (told,) = made.file.libraries
        assert told.types == dict.fromkeys(["a", "b"] if "/" in names[0] else ["it's ruin", "navigate"], 4)
    assert len(read_library(folder, fields=Fields(id_from="content"))) == 2
    told = "took each of 2 files as a task; the first has a list 'examples'"
    assert read_library(folder / "**" / "*.json").took == told


def test_steps_of_a_task_are_not_taken_for_tasks(tmp_path: Path) -> None:
    """Law: a file with an id of its own is a task, and so is one of which a list is the smaller part.

    And an object that holds objects of two kinds."""
    put(tmp_path / "ids", {f"{n}.json": {"id": f"t{n}", "steps": EXAMPLES} for n in range(3)})
    put(tmp_path / "two", {f"{n}.json": {"given": {"q": n}, "expected": {"a": n}} for n in range(3)})
    assert read_library(tmp_path / "two").ids == ["0", "1", "2"]
    put(tmp_path / "long", {f"{n}.json": {"prompt": "x" * 1000, "steps": EXAMPLES} for n in range(3)})
    assert read_library(tmp_path / "ids").ids == ["t0", "t1", "t2"]
    assert read_library(tmp_path / "long").ids == ["0", "1", "2"]


def test_a_file_without_what_all_others_have_is_told(tmp_path: Path) -> None:
    """Law: it may be no task; where several files lack a field, nobody has to know."""
    put(tmp_path, {f"{n}.json": {"user": "x", "date": 1, "day": 2, "task": n, "check": []} for n in range(4)})
    put(tmp_path, {"default.json": {"user": "x", "date": 1, "day": 2}})
    lacks = f"{tmp_path / 'default.json'} has no check, task, which all others have"
    assert read_library(tmp_path).took == f"took each of 5 files as a task; {lacks}"
    put(tmp_path / "few", {f"{n}.json": {"user": "x", "date": 1, **({"hint": "y"} if n else {})} for n in range(3)})
    assert read_library(tmp_path / "few").took == "took each of 3 files as a task"
    shutil.rmtree(tmp_path / "few")
    put(tmp_path, {"more.json": {"user": "x", "date": 1, "day": 2}})
    assert read_library(tmp_path).took == "took each of 6 files as a task"


@pytest.mark.parametrize("odd", ["a_schema.json", "schema.json"])
def test_a_file_without_an_id_beside_others_is_not_a_task(tmp_path: Path, odd: str) -> None:
    """Law: file names are ids only where no file has one; the pattern finds the tasks."""
    folder = put(tmp_path, {f"t{n}.json": {"id": f"t{n}", "type": "x", "q": n} for n in range(3)})
    put(folder, {odd: {"type": "object", "q": "a number"}})
    with pytest.raises(LibraryError, match="the file has no id, and most others have one") as caught:
        planned(folder)
    assert caught.value.where == str(folder / odd)
    assert read_library(offered_pattern(caught.value)).ids == ["t0", "t1", "t2"]
    few = put(
        tmp_path / "few", {f"{n}.json": {"q": n, **({"id": "x", "name": "y"} if n == 0 else {})} for n in range(3)}
    )
    assert read_library(few).ids == ["x", "1", "2"]


def test_files_that_are_not_tasks_are_left_out_by_a_pattern(tmp_path: Path) -> None:
    """Law: a pattern is offered that finds the tasks alone, if there is one; who gives a pattern decides."""
    folder = put(tmp_path, {f"{n}.json": {"instruction": "x", "app": n} for n in range(3)})
    put(folder, {"settings.json": {"email": "x"}, "it's *all*.json": {"chrome": []}})
    with pytest.raises(LibraryError, match="few fields in common") as caught:
        planned(folder)
    assert read_library(offered_pattern(caught.value)).ids == ["0", "1", "2"]
    assert len(read_library(folder / "*.json")) == 5
    put(tmp_path / "registry", {f"{n}.json": {f"eval {n}": 1} for n in range(3)})
    with pytest.raises(LibraryError, match="few fields in common") as caught:
        planned(tmp_path / "registry")
    assert str(caught.value.hint).startswith("give those that are tasks by a pattern, such as ")
    assert read_library(offered_pattern(caught.value)).ids == ["0", "1", "2"]


def test_half_of_the_files_may_be_odd(tmp_path: Path) -> None:
    """Law: what the others have in common finds them, though a list of them lies above."""
    put(tmp_path, {f"tasks/{name}/{name}1.json": {"id": name, "prompt": "x", "check": 1} for name in "ab"})
    put(tmp_path, {"all.json": {"a": ["a1"], "b": ["b1"]}, "settings/mail/settings.json": {"email": "x"}})
    with pytest.raises(LibraryError, match="few fields in common") as caught:
        planned(tmp_path)
    assert read_library(offered_pattern(caught.value)).ids == ["a", "b"]


def test_two_kinds_of_files_in_each_folder_are_not_all_tasks(tmp_path: Path) -> None:
    """Law: nor where they have a field in common, nor where one is no object; patterns find either kind."""
    folder = put(tmp_path / "two", {f"{name}/env.json": {"about": "x", "image": "y"} for name in "abc"})
    put(folder, {f"{name}/task.json": {"about": "x", "prompt": name} for name in "abc"})
    with pytest.raises(LibraryError, match="few fields in common") as caught:
        planned(folder)
    assert offered_pattern(caught.value) == str(folder / "**" / "task.json")
    assert str(folder / "**" / "env.json") in str(caught.value.hint)
    assert read_library(offered_pattern(caught.value)).ids == ["a", "b", "c"]
    put(tmp_path / "apps", {f"{name}/metadata.json": {"difficulty": "easy"} for name in "abc"})
    put(tmp_path / "apps", {f"{name}/solutions.json": ["print(1)"] for name in "abc"})
    with pytest.raises(LibraryError, match="does not hold an object") as caught:
        planned(tmp_path / "apps")
    assert read_library(offered_pattern(caught.value)).ids == ["a", "b", "c"]


def test_a_library_beside_what_says_something_of_it_is_offered(tmp_path: Path) -> None:
    """Law: where no file is like the others, the one that has tasks is meant."""
    put(tmp_path, {"about.json": {"a": ["b"]}, "schema.json": {"$schema": "x"}, "tasks.json": {"tasks": [{"id": "a"}]}})
    with pytest.raises(LibraryError, match="few fields in common") as caught:
        planned(tmp_path)
    assert read_library(offered_pattern(caught.value)).ids == ["a"]


@pytest.mark.parametrize(
    ("file", "problem", "option", "count"),
    [
        ({"guid": "x", "behaviors": EXAMPLES}, "each of the 2 files holds a list 'behaviors'", "if each file", 8),
        (
            {f"q{n}": each for n, each in enumerate(EXAMPLES)},
            "the 2 files holds an object of tasks by their ids",
            "if each file",
            8,
        ),
        ({"id": "", "cases": [{"id": "a"}, {"id": "b"}]}, "holds a list 'cases'", "‹id_field› id", 4),
    ],
)
def test_what_is_a_library_alone_may_be_one_in_a_folder(
    tmp_path: Path, file: dict[str, Any], problem: str, option: str, count: int
) -> None:
    """Law: whatever its list is called, and where its tasks lie by their ids; of files with ids, if all items have."""
    folder = put(tmp_path, {f"{name}.json": file | ({"id": name} if "id" in file else {}) for name in "ab"})
    with pytest.raises(LibraryError, match=problem) as caught:
        read_library(folder)
    assert option in str(caught.value.hint)
    assert len(read_library(folder, fields=Fields(id_from="position", **offered_place(caught.value)))) == count


def test_files_with_lists_of_two_names_are_libraries_each(tmp_path: Path) -> None:
    """Law: no place finds the tasks of all, so one of the files is to be given."""
    lists = {"questions": EXAMPLES, "annotations": EXAMPLES}
    folder = put(tmp_path, {f"{name}.json": {"info": 1, "license": 2, name: lists[name]} for name in lists})
    with pytest.raises(LibraryError, match="holds a list 'annotations' or 'questions'") as caught:
        read_library(folder)
    assert "give one of the files: " in str(caught.value.hint)


@pytest.mark.parametrize(
    ("files", "given"),
    [
        ({"db.json": {"users": {}}, "split.json": {"train": ["a"]}, "tasks.json": [{"id": "a"}]}, "tasks.json"),
        ({"db.json": [["a"], ["b"]], "a.json": {"about": "x"}, "q.json": {"a": {"q": 1}, "b": {"q": 2}}}, "q.json"),
        (
            {"card.json": {"name": "x", "text": "y" * 99, "baselines": [{}]}, "set.json": {"examples": EXAMPLES}},
            "set.json",
        ),
        ({"a.json": {"3": "yes", "4": "no"}, "pqa.json": {"1": {"q": 1}, "2": {"q": 2}}}, "pqa.json"),
    ],
)
def test_a_file_alone_is_offered_as_it_is(tmp_path: Path, files: dict[str, Any], given: str) -> None:
    """Law: rather than a pattern of one file, which would be one task; first a list, then a document."""
    with pytest.raises(LibraryError) as caught:
        read_library(put(tmp_path, files))
    assert str(caught.value.hint).startswith("give a file that holds tasks, such as ")
    assert offered_pattern(caught.value) == str(tmp_path / given)


def test_patterns_are_of_the_folder_before_those_below(tmp_path: Path) -> None:
    """Law: an example below the tasks may have the id of one of them; lists are offered before what splits them."""
    folder = put(tmp_path / "web", {f"{n}.json": {"task_id": n, "q": n} for n in range(3)})
    put(folder, {"all.json": [{"task_id": 0, "q": 0}], "examples/1.json": {"task_id": 1, "q": 1}})
    with pytest.raises(LibraryError, match="does not hold an object") as caught:
        read_library(folder)
    assert read_library(offered_pattern(caught.value)).ids == ["0", "1", "2"]
    for pattern in re.findall(r"'(.+?)'", str(caught.value.hint)):
        assert len(read_library(pattern, fields=Fields(id_from="position"))) in (3, 4)
    for name in "ab":
        put(tmp_path / "domains" / name, {"tasks.json": [{"id": name}], "split_tasks.json": {"train": [name]}})
        put(tmp_path / "domains" / name, {"db.json": {"users": {}}})
    with pytest.raises(LibraryError, match="does not hold an object") as caught:
        read_library(tmp_path / "domains")
    assert read_library(offered_pattern(caught.value)).ids == ["a", "b"]


def test_the_longest_list_of_a_file_may_be_its_tasks(tmp_path: Path) -> None:
    """Law: shorter lists beside it, of examples for a prompt, do not hide it."""
    files = {f"{n}.json": {"Definition": "x", "Positive Examples": EXAMPLES[:1], "Instances": EXAMPLES} for n in "ab"}
    with pytest.raises(LibraryError, match="each of the 2 files holds a list 'Instances'") as caught:
        planned(put(tmp_path, files))
    assert len(read_library(tmp_path, fields=Fields(id_from="position", **offered_place(caught.value)))) == 8


@pytest.mark.parametrize("pattern", ["", "*/*.json"])
def test_the_name_of_its_file_is_a_field_of_a_task(tmp_path: Path, pattern: str) -> None:
    """Law: where somebody asks for it; so it tells apart tasks whose ids are there twice."""
    put(tmp_path, {f"{name}/t.json": {"id": "0", "type": "x"} for name in "ab"})
    with pytest.raises(LibraryError, match="more than once"):
        planned(tmp_path / pattern)
    assert read_library(tmp_path / pattern, fields=Fields(id_field="file")).ids == ["a", "b"]


def test_a_text_is_a_field_of_its_task(tmp_path: Path) -> None:
    """Law: as it is in its file, without a byte order mark."""
    for name, text in (("a", "\ufeffDo a\n"), ("b", " Do b\r\n")):
        (tmp_path / f"{name}.md").write_bytes(text.encode())
    library = read_library(tmp_path / "*.md", keep=("text",))
    assert [task.extra["text"] for task in library.tasks([0, 1])] == ["Do a\n", " Do b\r\n"]
    assert (library.took, read_library(tmp_path / "a*").took) == (
        "took each of 2 files as a task",
        "took one file as a task",
    )


def test_a_pattern_leaves_no_file_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a link to nowhere, a pipe and a folder that cannot be read are told, where tasks may be behind them.

    The first two in a folder as well.
    """
    put(tmp_path, {"a/0.json": {"id": "x"}, "b/0.json": {"id": "y"}})
    pattern = tmp_path / "**" / "*.json"
    assert read_library(pattern).ids == ["x", "y"]
    (tmp_path / "b" / "1.json").symlink_to("nowhere")
    for library in (pattern, tmp_path):
        with pytest.raises(LibraryError, match="this link leads to nowhere, which is not there"):
            read_library(library)
    (tmp_path / "b" / "1.json").unlink()
    os.mkfifo(tmp_path / "b" / "1.json")
    for library in (pattern, tmp_path):
        with pytest.raises(LibraryError, match="FIFO"):
            read_library(library)
    (tmp_path / "b" / "1.json").unlink()
    access = os.access  # root may read everything, so chmod would show nothing
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "b" and access(path, mode))
    for last in ("*/*.json", "*/0.json", "**/0.json", "**"):
        with pytest.raises(LibraryError, match="the folder cannot be read") as caught:
            read_library(tmp_path / last)
        assert Path(str(caught.value.where)) == tmp_path / "b"
    assert read_library(tmp_path / "a" / "*.json").ids == ["x"]


def test_a_pattern_gives_no_file_twice(tmp_path: Path) -> None:
    """Law: folders that a pattern finds by several ways, as links do, do not double their tasks."""
    folder = put(tmp_path, {"v2/deep/q.json": {"q": 1}, "v2/r.json": {"q": 2}})
    assert read_library(folder / "**" / "**" / "*.json").ids == ["q", "r"]
    for link, target in (("latest", "v2"), ("v2/loop", ".")):
        (folder / link).symlink_to(target)
        with pytest.raises(LibraryError, match=r"by a link, it is also"):
            read_library(folder / "**" / "*.json")
        (folder / link).unlink()
    (folder / "s.json").symlink_to("v2/r.json")  # a file of another name may well say the same
    assert read_library(folder / "**" / "*.json").ids == ["s", "q", "r"]


def test_the_first_file_of_a_pattern_tells_what_a_file_is(tmp_path: Path) -> None:
    """Law: tasks by their ids are a library, whatever the name JSON is parsed, and a text has no byte order mark."""
    by_id = {"tasks": {"a": {"q": 1}, "b": {"q": 2}}}
    put(tmp_path, {"l/0.json": by_id, "l/1.json": {"canary": 1, "tasks": {"c": {"q": 3}}}})
    assert read_library(tmp_path / "l" / "*.json").ids == ["a", "b", "c"]
    put(tmp_path, {f"s/{name}/state.json": {"id": f"of {name}", "tasks": {"left": 3}} for name in "xy"})
    assert read_library(tmp_path / "s" / "*" / "state.json").ids == ["of x", "of y"]
    (tmp_path / "t.md").write_text("Sort.", encoding="utf-8-sig")
    (task,) = read_library(tmp_path / "*.md", keep=("text",)).tasks([0])
    assert task.extra == {"text": "Sort."}


def test_a_task_among_lists_of_tasks_is_not_searched(tmp_path: Path) -> None:
    """Law: a list in a task is not taken for tasks, because the first file of a pattern is a list of them."""
    put(tmp_path, {"0.json": [{"id": "a"}]})
    (tmp_path / "1.json").write_text(json.dumps({"id": "b", "messages": [{"id": "m"}]}, indent=1))
    with pytest.raises(LibraryError, match="a task with the list 'messages', and the first file is none"):
        read_library(tmp_path / "*.json")


def test_the_first_file_of_a_pattern_is_not_held(tmp_path: Path) -> None:
    """Law: to tell a list, lines and {"tasks": [...]} from a task, their beginning is enough."""
    tasks = [{"id": str(n), "text": "x" * 1_000} for n in range(20_000)]
    put(tmp_path, {"a.json": tasks, "b.json": {"tasks": tasks}})
    (tmp_path / "c.json").write_text("".join(f"{json.dumps(task)}\n" for task in tasks))
    for name in "abc":
        tracemalloc.start()
        source = of_files(tmp_path / f"[{name}].json", COMMON, ())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert source is not None
        assert source.took == ["took the tasks of one file"]
        assert peak < 10 << 20


def test_a_part_that_grows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: the size that is proved of a file is that of its content, or nothing is read."""
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": name}))

    def grows(path: Path) -> int:
        size = path.stat().st_size
        path.write_text(f"{path.read_text()}\n{json.dumps({'id': 'more'})}")
        return size

    monkeypatch.setattr(files, "bytes_of", grows)
    with pytest.raises(LibraryError, match="the file was changed while it was read"):
        read_library(tmp_path / "*.jsonl")


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Law: by their endings, where nothing else does: two files are no type together, nor have one id."""
    for name in ("a.jsonl", "a.ndjson"):
        (tmp_path / name).write_text(json.dumps({"id": name}))
    assert read_library(tmp_path / "*", fields=Fields(type_field="file")).types == ["a.jsonl", "a.ndjson"]
    for name in ("t/a.md", "t/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("Do a.")
    assert read_library(tmp_path / "t" / "*").ids == ["a.md", "a.txt"]
