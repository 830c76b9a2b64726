"""Which fields of a task are its id, its type and its workflow: by any name, told or guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmarks_as_published import BENCHMARKS, COUNT, Benchmark
from msgspec import UNSET
from small_tasks import TASKS, essence, lines, planned

from prealloc.api import libraries
from prealloc.api.plans import plan, verify
from prealloc.errors import LibraryError, OptionsError
from prealloc.library import read_library
from prealloc.library.text import batches
from prealloc.model.fields import Fields


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
        ([{"index": "0", "name": "x"}, {"index": "1", "name": "y"}], ["x", "y"], ["task"] * 2),
        ([{"index": "0", "b_id": "x"}, {"index": "1", "b_id": "y"}], ["x", "y"], ["task"] * 2),
        ([{"index": "0", "b_id": "x"}, {"index": "1", "b_id": "x"}], ["0", "1"], ["task"] * 2),
        ([{"Index": 5, "name": "x"}, {"Index": 6, "name": "x"}], ["5", "6"], ["task"] * 2),
        ([{"id": "a", "level": 1}, {"id": "b", "level": 2}], ["a", "b"], ["1", "2"]),
        ([{"id": "a", "level": 1, "repo": "r"}, {"id": "b", "level": 2, "repo": "s"}], ["a", "b"], ["r", "s"]),
        ([{"id": "a", "sites": ["x", "y"]}, {"id": "b", "sites": ["z"]}], ["a", "b"], ["x+y", "z"]),
        ([{"id": "a", "type": ["x", "y"]}, {"id": "b", "type": "z"}], ["a", "b"], ["x+y", "z"]),
        ([{"id": "a", "task_type": ["x"], "type": "t"}, {"id": "b", "type": "u"}], ["a", "b"], ["t", "u"]),
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


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"Task ID": "a#", "Category": "x"}, ("Task ID", "Category")),
        ({"taskId": "a#", "Task-Type": "x", "Type": "y"}, ("taskId", "Task-Type")),
        ({"instanceId": "a#", "question_id": 1, "domain": "x", "Domain": "y"}, ("instanceId", "domain")),
        ({"_id": "a#", "id_": "x", "TYPE": "x"}, ("_id", "TYPE")),
    ],
)
def test_common_names_are_known_as_others_spell_them(
    tmp_path: Path, fields: dict[str, Any], told: tuple[str, str]
) -> None:
    """Law: capitals, spaces, hyphens and underscores between words do not matter; the exact name comes first."""
    tasks = [{name: str(value).replace("#", str(n)) for name, value in fields.items()} for n in range(4)]
    read = read_library(lines(tmp_path / "t.jsonl", tasks))
    assert read.info.fields == Fields(id_field=told[0], type_field=told[1])


@pytest.mark.parametrize(
    ("fields", "type", "why"),
    [
        ({"metadata": {"Category": "ab#"}}, "metadata.Category", ""),
        ({"meta": {"type": "x"}, "repo": "ab#"}, "repo", ""),
        ({"domain": "site#.com", "level": "ab#"}, "level", ""),
        ({"domain": "site#.com"}, None, "; domain has 24 values in 24 tasks"),
        ({"category": "ab#", "level": 2}, "level", ""),
        ({"category": "ab#"}, None, "; task 7 has no category"),
        ({"expected": {"type": "x"}}, None, ""),
    ],
)
@pytest.mark.parametrize("batch", [batches.BATCH, 1])
def test_a_type_is_shared_by_tasks_and_every_task_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, fields: dict[str, Any], type: str | None, why: str
) -> None:
    """Law: what differs in every task of many is no type; a note says why a field that some tasks have is not taken."""
    monkeypatch.setattr(batches, "BATCH", batch)
    text = json.dumps({"id": "t%d", **fields})
    tasks = [json.loads((text % n).replace("ab#", "ab"[n % 2]).replace("#", str(n))) for n in range(24)]
    if why.startswith("; task") or (type == "level" and "category" in fields):
        del tasks[7]["category"]
    read = read_library(lines(tmp_path / "t.jsonl", tasks))
    assert read.info.fields == (UNSET if type is None else Fields(type_field=type))
    assert read.note == (
        f"all tasks have type 'task' (use ‹type_field› to name a field with types{why})"
        if type is None
        else f"types are read from {type} (use ‹type_field› for another field)"
    )


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


def test_the_list_that_was_taken_is_told(tmp_path: Path) -> None:
    """Law: of a document that does not call them `tasks`, a note says which list the tasks are, however it is read."""
    for name, text in (("t.json", '{"v": 1, "providers": %s}'), ("t.yaml", "v: 1\nproviders: %s\n")):
        (tmp_path / name).write_text(text % json.dumps(TASKS))
        for options in ({}, {"stream": True}):
            notes: list[str] = []
            planned(tmp_path / name, notes=notes.append, keep=["n"], **options)
            assert notes[0].startswith("tasks are read from the list 'providers'; ids are read from task_id ")
    notes = []
    (tmp_path / "t.json").write_text('{"v": [1], "tasks": [{"id": "a", "type": "x", "workflow": 1}]}')
    plan(tmp_path / "t.json", num_instances=1, shards=1, notes=notes.append)
    assert notes == []


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


@pytest.mark.parametrize("indent", [None, 1])
def test_tasks_under_their_ids_are_indexed(tmp_path: Path, indent: int | None) -> None:
    """Law: by an index, tasks that have their id as a key are the same as by reading; some may have an own id."""
    path = tmp_path / "keyed.json"
    keyed = {f"k{n}": {**each, "id": f"own-{n}"} if n % 2 else each for n, each in enumerate(TASKS)}
    path.write_text(json.dumps({"about": 1, "tasks": {**keyed, "empty": {}}}, indent=indent))
    read = read_library(path, keep=("all",))
    libraries.index(path)
    indexed = read_library(path, keep=("all",))
    assert (read.way, indexed.way) == ("json", "index")
    assert [*indexed.ids] == read.ids == ["k0", "own-1", "k2", "own-3", "k4", "own-5", "empty"]
    assert indexed.tasks(range(7)) == read.tasks(range(7))
    assert [*map(json.loads, indexed.objects(range(7)))] == [*map(json.loads, read.objects(range(7)))]


def test_no_name_is_added_that_a_task_has(tmp_path: Path) -> None:
    """Law: tasks get an id and a type of ours only if they have none, by any way: else `stats` would show them."""
    pq.write_table(pa.table({"id": ["a", "b"], "type": ["x", "y"], "q": ["1", "2"]}), tmp_path / "t.parquet")
    (tmp_path / "t.json").write_text('{"a": {"type": "x", "q": 1}, "b": {"type": "y", "q": 2}}')
    for path in (tmp_path / "t.parquet", tmp_path / "t.json", tmp_path / "t.json"):
        assert [field.name for field in libraries.stats(path).fields] == ["id", "q", "type"]
        if path.suffix == ".json":
            libraries.index(path)  # for the last time
    assert libraries.stats(tmp_path / "t.json").way == "index"


@pytest.mark.parametrize("names", [("id", "type"), ("uid", "category")])
def test_a_first_task_that_is_cut_does_not_tell_how_tasks_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]
) -> None:
    """Law: where what looks like the next task is inside the first one, names are found as in one piece."""
    id, type = names
    tasks = [{id: f"t{n}", type: "ab"[n], "workflow": [{id: "x"}, {"n": []}, {id: "y" * 1500}]} for n in range(2)]
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"tasks": tasks}))
    whole = read_library(path)
    monkeypatch.setattr(batches, "BATCH", 1)
    pieces = read_library(path)
    assert (pieces.ids, pieces.types, pieces.note) == (whole.ids, whole.types, whole.note)
    assert pieces.info == whole.info
    assert [*pieces.texts(range(2))] == [*whole.texts(range(2))]
