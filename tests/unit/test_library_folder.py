"""Folders: which file is taken for a difficulty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_tasks import offered_pattern

from prealloc.api import libraries
from prealloc.errors import LibraryError
from prealloc.library import read_library
from prealloc.model.fields import Fields


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(json.dumps([{"id": name, "type": "t"}]))


def test_with_workflows_comes_first(tmp_path: Path) -> None:
    """Law: the file with workflows is taken, whatever lies beside it, and the choice is told."""
    put(tmp_path, "tasks_easy.json", "tasks_easy_with_workflows.json", "tasks_hard.json", "notes.txt")
    library = read_library(tmp_path, difficulty="easy")
    assert library.ids == ["tasks_easy_with_workflows.json"]
    assert library.took == "took tasks_easy_with_workflows.json for difficulty 'easy'"
    assert library.info.difficulty == "easy"
    library = read_library(tmp_path, difficulty="hard")
    assert library.ids == ["tasks_hard.json"]
    assert library.took == "took tasks_hard.json for difficulty 'hard', as no file has workflows"


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json.gz", ".jsonl.zst"])
def test_other_endings(tmp_path: Path, ending: str) -> None:
    """Law: every format that can be read is found in a folder."""
    put(tmp_path, f"tasks_easy{ending}")
    assert read_library(tmp_path, difficulty="easy").ids == [f"tasks_easy{ending}"]


def test_a_longer_difficulty_is_another_one(tmp_path: Path) -> None:
    """Law: `very_easy` beside `easy` does not make `easy` ambiguous."""
    put(tmp_path, "tasks_easy_with_workflows.json", "tasks_very_easy_with_workflows.json")
    assert read_library(tmp_path, difficulty="easy").ids == ["tasks_easy_with_workflows.json"]
    assert read_library(tmp_path, difficulty="very_easy").ids == ["tasks_very_easy_with_workflows.json"]


def test_hidden_files_are_of_no_difficulty(tmp_path: Path) -> None:
    """Law: what macOS leaves beside a copied file does not make its difficulty ambiguous."""
    put(tmp_path, "a_easy.json", "._a_easy.json")
    assert read_library(tmp_path, difficulty="easy").ids == ["a_easy.json"]


def test_several_of_the_same_rank_are_refused(tmp_path: Path) -> None:
    """Law: prealloc does not guess among equals; it lists them."""
    put(tmp_path, "a_easy.json", "b_easy.json")
    with pytest.raises(LibraryError, match=r"2 files are for difficulty 'easy': a_easy\.json, b_easy\.json") as caught:
        read_library(tmp_path, difficulty="easy")
    assert caught.value.where == str(tmp_path)
    assert caught.value.hint == "give the file itself in place of the folder"


def test_a_folder_needs_a_difficulty(tmp_path: Path) -> None:
    """Law: the hint lists the files, the difficulties that are there, and a pattern of all."""
    put(tmp_path, *(f"task_library_{d}_with_workflows.json" for d in ("easy", "very_easy", "hard", "very_hard")))
    put(tmp_path, "task_library_medium.json", "registry.json")
    with pytest.raises(LibraryError, match="this is a folder") as caught:
        read_library(tmp_path)
    given, _, others = str(caught.value.hint).partition("; or ‹difficulty›, one of: ")
    assert given == f"give one of its files: {', '.join(sorted(map(str, tmp_path.iterdir())))}"
    assert others.startswith("easy, hard, medium, very_easy, very_hard, or all of a kind: ")
    assert len(read_library(offered_pattern(caught.value))) == 6


def test_no_match_and_nothing_to_offer(tmp_path: Path) -> None:
    """Law: a folder without a match is refused, and the hint says what there is."""
    put(tmp_path, "notes.txt")
    with pytest.raises(LibraryError, match="no file here is for difficulty 'easy'") as caught:
        read_library(tmp_path, difficulty="easy")
    assert caught.value.hint == "give the library's file; this folder has none (.json, .jsonl, .csv, .parquet, ...)"


def test_a_file_with_a_difficulty_is_that_file(tmp_path: Path) -> None:
    """Law: a file is taken as it is; the difficulty then only names it."""
    put(tmp_path, "x.json")
    library = read_library(tmp_path / "x.json", difficulty="hard")
    assert (library.ids, library.took, library.info.difficulty) == (["x.json"], None, "hard")


def test_numbers_are_of_parts_and_no_difficulties(tmp_path: Path) -> None:
    """Law: of files that only numbers tell apart, the hint has a pattern of all."""
    put(tmp_path, *(f"dialogues_{n:03}.json" for n in (1, 2, 10)))
    with pytest.raises(LibraryError, match="this is a folder") as caught:
        read_library(tmp_path)
    assert str(caught.value.hint).startswith("give one of its files: ")
    library = read_library(offered_pattern(caught.value))
    assert library.ids == [f"dialogues_{n}.json" for n in ("001", "002", "010")]
    assert library.took == "took the tasks of 3 files"
    told: list[str] = []
    libraries.convert(tmp_path / "*.json", tmp_path / "all.jsonl", notes=told.append)
    libraries.stats(tmp_path / "*.json", notes=told.append)
    assert told == [library.took] * 2
    assert read_library(tmp_path, difficulty="002").ids == ["dialogues_002.json"]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({"a.csv": "\ufeffid,type\na,t\n", "b.csv": 'id,type\n"b,\n",t\n'}, ["a", "b,\n"]),
        ({"a.tsv": "id\ttype\na\tt\n", "x/b.tsv": "id\ttype\nb\tt\n"}, ["a", "b"]),
        ({"a.json": '[{"id": "a"}]', "b.json": '{"data": [{"id": "b"}]}'}, ["a", "b"]),
        ({"a.md": "Do a\n", "x/a.md": "Do b\n", "notes.txt": "\n"}, ["a", "x/a"]),
        ({"a.txt": "Do a\n", "b.txt": "Do b\n"}, ["a", "b"]),
        ({"a.md": "Do a\n", "b.md": "Do b\n", "README.md": "About.\n", "x/LICENSE.md": "MIT\n"}, ["a", "b"]),
        ({"README.md": "Do a\n", "Rest.md": "Do b\n", "Run.md": "Do c\n"}, ["README", "Rest", "Run"]),
        ({f"{name}/{file}": f"{name}\n" for name in "ab" for file in ("notes.md", "task.md", "go.mod")}, ["a", "b"]),
        (
            {
                f"{part}.jsonl": f'{{"id": "{part}"}}'
                for part in ("test", "train-00000-of-00002", "train-00001-of-00002")
            },
            ["train-00000-of-00002", "train-00001-of-00002"],
        ),
    ],
)
def test_a_pattern_of_all_files_of_a_kind_is_offered(tmp_path: Path, files: dict[str, str], names: list[str]) -> None:
    """Law: it leaves no row and no text out. First come those that only numbers tell apart, or called tasks."""
    folder = tmp_path / "it's [1]"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with pytest.raises(LibraryError, match="this is a folder") as caught:
        read_library(folder)
    assert read_library(offered_pattern(caught.value)).ids == names


@pytest.mark.parametrize(
    ("last", "problem", "place"),
    [
        ('{"id": "c", "type": "t"}\n{"id": "d"}\n', "the task has no type", "task 3 (id 'd'), in "),
        ('{"id": "c", "type": "t"}\n{"id": 4', "the text ends", "c.jsonl, task 1, byte 33, line 2"),
        ('{"id": "c", "id": "d", "type": "t"}\n', "the key 'id' twice", "task 2 (id 'd'), in "),
        ('{"id": "c", "type": "t", "workflow": [1e999]}\n', "is not finite", "task 2 (id 'c'), in "),
    ],
)
def test_what_is_wrong_is_told_with_its_file(tmp_path: Path, last: str, problem: str, place: str) -> None:
    """Law: of many files it is named, by whatever finds the mistake."""
    (tmp_path / "a.jsonl").write_text('{"id": "a", "type": "t"}\n')
    (tmp_path / "b.jsonl").write_text('{"id": "b", "type": "t"}')
    (tmp_path / "c.jsonl").write_text(last)
    with pytest.raises(LibraryError, match=problem) as caught:
        read_library(tmp_path / "*.jsonl").tasks(range(3))
    assert place in str(caught.value.where)
    assert str(tmp_path / "c.jsonl") in str(caught.value.where)


def test_the_first_task_without_a_name_is_told_with_its_file(tmp_path: Path) -> None:
    """Law: that holds for names that others have chosen, too."""
    for name, task in (("a", {"task_id": "x", "q": 1}), ("b", {"q": 2})):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(task) + "\n")
    with pytest.raises(LibraryError) as caught:
        read_library(tmp_path / "*.jsonl")
    assert caught.value.problem.startswith(f"task 1, in {tmp_path / 'b.jsonl'} has no id; ")


def test_the_folder_with_most_of_the_files_is_offered(tmp_path: Path) -> None:
    """Law: of a repository that is given as a whole; not where every folder has as many."""
    for name in "abc":
        (tmp_path / "tasks" / name).mkdir(parents=True)
        put(tmp_path / "tasks" / name, "one.json", "two.json")
    put(tmp_path, "package.json")
    with pytest.raises(LibraryError, match="this is a folder") as caught:
        read_library(tmp_path)
    assert f", or the folder {tmp_path / 'tasks'}, or all of a kind: " in str(caught.value.hint)
    with pytest.raises(LibraryError, match="this is a folder") as caught:
        read_library(tmp_path / "tasks")
    assert "the folder" not in str(caught.value.hint)


def test_copies_of_one_library_are_no_difficulties(tmp_path: Path) -> None:
    """Law: a difficulty that is offered can be given: a name in three formats says none."""
    put(tmp_path, "my_tasks.jsonl", "my_tasks.json")
    (tmp_path / "my_tasks.csv").write_text("id,type\na,t\n")
    with pytest.raises(LibraryError, match="with 3 files that may be libraries") as caught:
        read_library(tmp_path)
    assert "difficulty" not in str(caught.value.hint)


JOINED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "answers of the same name below": (
        {
            "a.jsonl": {"id": "a", "q": 1, "tools": [], "time": 2},
            "b.jsonl": {"id": "b", "q": 1, "tools": []},
            "answer/a.jsonl": {"id": "a", "ground": 1},
            "answer/b.jsonl": {"id": "b", "ground": 1},
        },
        ["a", "b"],
    ),
    "answers of more models than there are questions": (
        {
            **{f"{name}/question.jsonl": {"id": name, "turns": ["x"], "category": "c"} for name in "ab"},
            **{f"{n}/answer/{m}.jsonl": {"id": f"{n}{m}", "choices": [], "model": "m"} for n in "ab" for m in "xyz"},
        },
        ["a", "b"],
    ),
    "what says something of the tasks, in tables": (
        {**{f"{name}/eval.csv": {"id": name, "q": "x"} for name in "ab"}, "a/SKILL.md": "do", "b/SKILL.md": "do"},
        ["a", "b"],
    ),
    "projects beside a list of tasks": (
        {
            **{f"{name}.jsonl": {"id": name, "q": "x"} for name in "ab"},
            **{f"{name}/{file}.yml": {"name": name, "version": 1} for name in "abcd" for file in ("project", "schema")},
        },
        ["a", "b"],
    ),
    "tools beside tasks": (
        {**{f"test_{n}.json": [{"id": n, "q": 1}] for n in "ab"}, "tools.json": [{"toolkit": "x", "apis": []}]},
        ["a", "b"],
    ),
}


@pytest.mark.parametrize("name", JOINED)
def test_a_pattern_that_is_offered_finds_tasks_of_one_kind(tmp_path: Path, name: str) -> None:
    """Law: of the highest files, rather than of results below them; a pattern of all would be refused."""
    files, ids = JOINED[name]
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        header = path.endswith(".csv") and f"{','.join(content)}\n{','.join(content.values())}\n"
        (tmp_path / path).write_text(header or (content if isinstance(content, str) else json.dumps(content)))
    with pytest.raises(LibraryError, match="this is a folder") as caught:
        read_library(tmp_path)
    assert read_library(offered_pattern(caught.value), fields=Fields(id_field="id")).ids == ids
    assert str(caught.value.hint).count(" or '") == 0


def test_one_file_of_each_kind_is_offered_as_it_is(tmp_path: Path) -> None:
    """Law: no pattern finds questions with their answers; files with tasks are told first, whatever holds none last."""
    put_all = {"answers.jsonl": '{"id": "a", "answer": 1}', "a.json": '{"about": "x"}'}
    for name, text in {**put_all, "questions.jsonl": '{"id": "a", "q": 1, "level": 2, "tools": []}'}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(LibraryError, match="this is a folder") as caught:
        read_library(tmp_path)
    files = ", ".join(str(tmp_path / name) for name in ("answers.jsonl", "questions.jsonl", "a.json"))
    assert caught.value.hint == f"give one of its files: {files}"
    with pytest.raises(LibraryError, match="few fields in common") as caught:
        read_library(tmp_path / "*.jsonl", fields=Fields(id_from="position"))
    assert caught.value.where == str(tmp_path / "answers.jsonl")


def test_without_a_library_files_of_any_ending_are_offered(tmp_path: Path) -> None:
    """Law: where several have one, and are texts; a picture is none."""
    for name in ("level1/1_a.py", "level2/2_b.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("def forward(): ...\n")
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(LibraryError, match="a folder without a library") as caught:
        read_library(tmp_path)
    assert read_library(offered_pattern(caught.value)).ids == ["1_a", "2_b"]
    assert "png" not in str(caught.value.hint)


def test_texts_are_offered_beside_what_holds_no_tasks(tmp_path: Path) -> None:
    """Law: a document in the folder of a task hides its text as little as a list of names does."""
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "task.md").write_text(f"Do {name}")
        (tmp_path / name / "needs.yml").write_text("- chat\n- cloud\n")
        (tmp_path / name / "people.json").write_text('[["x"]]')
    with pytest.raises(LibraryError, match="6 files that may be libraries") as caught:
        read_library(tmp_path)
    assert read_library(offered_pattern(caught.value)).ids == ["a", "b", "c"]


def test_parts_without_a_field_in_common_are_not_one_library(tmp_path: Path) -> None:
    """Law: what lies beside the tasks, in files that are called as theirs are, is not planned with them."""
    (tmp_path / "dev.jsonl").write_text('{"q": "how many"}\n{"q": "how few"}\n')
    (tmp_path / "dev.tables.jsonl").write_text('{"header": ["q"]}\n')
    (tmp_path / "extra.csv").write_text("q,n\nx,1\n")
    with pytest.raises(LibraryError, match="few fields in common, so they are not of one kind") as caught:
        read_library(tmp_path / "*.jsonl", fields=Fields(id_from="position"))
    assert caught.value.where == str(tmp_path / "dev.tables.jsonl")
    assert len(read_library(tmp_path / "[de]*[!s].[jc]*", fields=Fields(id_from="position"))) == 3


def test_an_id_that_two_files_have_is_told_with_both(tmp_path: Path) -> None:
    """Law: of tasks in many files, whoever reads them tells which files hold the same id."""
    for name, ids in (("a", "xy"), ("b", "zx")):
        (tmp_path / f"{name}.jsonl").write_text("".join(f'{{"id": "{id}", "type": "t"}}\n' for id in ids))
    pattern, both = tmp_path / "*.jsonl", rf"'x' in tasks 0 \({tmp_path}/a.jsonl\), 3 \({tmp_path}/b.jsonl\)"
    for read in (lambda: read_library(pattern), lambda: libraries.convert(pattern, tmp_path / "t.pool")):
        with pytest.raises(LibraryError, match=both):
            read()
