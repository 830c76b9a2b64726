"""Reading good libraries: every shape, spelling and compression gives the same tasks."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import signal
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import zstandard

from prealloc.errors import LibraryError, OptionsError
from prealloc.library import read_library
from prealloc.library.text.sources import file_source
from prealloc.model.fields import Fields
from prealloc.processes.setting import ProcessSetting

TASKS: list[dict[str, Any]] = [
    {"id": "a", "task_type": "x", "workflow": {"steps": [1, 2.50, "é :"]}, "note": {"b": 1}},
    {"id": "b", "task_type": "y", "workflow": None, "note": None},
    {"id": "c", "task_type": "x"},
    {"id": "d", "task_type": "x", "workflow": [], "inputs": {"id": 7, "type": "q", "workflow": [], "tasks": [1]}},
]

SHAPES: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "object.json": lambda tasks: json.dumps({"metadata": {"tasks": 4}, "tasks": tasks, "n": 1}, indent=2),
    "compact.json": lambda tasks: json.dumps({"tasks": tasks}, separators=(",", ":"), ensure_ascii=False),
    "array.json": lambda tasks: json.dumps(tasks, indent=1) + "\n",
    "lines.jsonl": lambda tasks: "\n".join(map(json.dumps, tasks)),
    "lines.ndjson": lambda tasks: "\r\n\r\n".join(map(json.dumps, tasks)) + "\r\n",
    "lines_by_content.json": lambda tasks: "\n" + "\n".join(map(json.dumps, tasks)) + "\n",
    "array_by_content.jsonl": lambda tasks: json.dumps(tasks),
    "object_by_content.jsonl": lambda tasks: json.dumps({"tasks": tasks}),
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def write(folder: Path, name: str, text: str | bytes, packer: str = "") -> Path:
    path = folder / (name + packer)
    path.write_bytes(PACKERS[packer](text if isinstance(text, bytes) else text.encode()))
    return path


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_same_tasks_in_every_shape(tmp_path: Path, shape: str, packer: str) -> None:
    """Law: shape, layout and compression change nothing in what a library says."""
    path = write(tmp_path, shape, SHAPES[shape](TASKS), packer)
    library = read_library(path, keep=("note",))
    assert (library.ids, library.types, len(library)) == (["a", "b", "c", "d"], ["x", "y", "x", "x"], 4)
    assert library.counts.without_workflow == 2
    assert library.took is None
    assert [task.workflow for task in library.tasks(range(4))] == [{"steps": [1, 2.5, "é :"]}, None, None, []]
    assert library.task(1).workflow_json == b"null"
    assert [task.extra_json for task in library.tasks(range(4))] == [
        b'{"note":{"b":1}}',
        b'{"note":null}',
        b"{}",
        b"{}",
    ]


@pytest.mark.parametrize("packer", PACKERS)
def test_compression_is_told_by_content(tmp_path: Path, packer: str) -> None:
    """Law: a name does not say how a file is packed; its first bytes do."""
    path = tmp_path / "library.json"
    path.write_bytes(PACKERS[packer](json.dumps(TASKS).encode()))
    assert read_library(path).ids == ["a", "b", "c", "d"]


def test_fingerprint_is_of_the_file_on_disk(tmp_path: Path) -> None:
    """Law: bytes and sha256 are those of the file as it lies there, packed or not; the path is absolute."""
    for packer in PACKERS:
        path = write(tmp_path, "tasks_easy.json", json.dumps({"tasks": TASKS}), packer)
        info = read_library(path).info
        data = path.read_bytes()
        assert (info.bytes, info.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert (info.path, info.name) == (str(path), path.name)
        assert (info.tasks, info.types, info.difficulty) == (4, {"x": 3, "y": 1}, None)


def test_the_first_spelling_wins(tmp_path: Path) -> None:
    """Law: of two spellings `id` and `task_type` win, and the other one may be anything."""
    tasks = [
        {"instance_id": "no", "id": "yes", "type": "no", "task_type": "yes"},
        {"id": "b", "instance_id": 5, "task_type": "t", "type": {"kind": [1]}},
        {"instance_id": "c", "type": "u"},
    ]
    library = read_library(write(tmp_path, "x.json", json.dumps(tasks)))
    assert (library.ids, library.types) == (["yes", "b", "c"], ["yes", "t", "u"])


@pytest.mark.parametrize("name", ["../../etc/passwd", "x" * 10_240, "a\nb\tc", "😀", " ", "\x01", "CON", "a/b"])
def test_ids_are_data(tmp_path: Path, name: str) -> None:
    """Law: any string that is not empty and has no NUL is an id."""
    library = read_library(write(tmp_path, "x.json", json.dumps([{"id": name, "type": name}])))
    assert (library.ids, library.types) == ([name], [name])
    assert library.task(0).id == name


def test_kept_fields_keep_their_spelling(tmp_path: Path) -> None:
    """Law: kept fields come in the order of their names, whatever the names, spelled as in the file, where present."""
    text = """[{"id":"a","type":"t","z 'é'":1.50, "b":{ "k" : "\\u00e9" }, "kept_0": 1},{"id":"b","type":"t"}]"""
    library = read_library(write(tmp_path, "x.json", text), keep=("z 'é'", "b", "kept_0", "none"))
    assert library.task(0).extra_json == """{"b":{"k":"\\u00e9"},"kept_0":1,"z 'é'":1.50}""".encode()
    assert library.task(1).extra_json == b"{}"


@pytest.mark.parametrize("spelled", [r"a\"b", r"a\u0022b"])
def test_a_field_of_any_name_is_kept(tmp_path: Path, spelled: str) -> None:
    """Law: a field whose name has quotes is kept, however the file spells them."""
    library = read_library(write(tmp_path, "x.json", f'[{{"id":"a","type":"t","{spelled}":1}}]'), keep=('a"b',))
    assert library.task(0).extra_json == rb'{"a\"b":1}'
    assert library.absent(['a"b', "c"]) == {"c"}


def test_keep_of_what_every_task_has_is_refused(tmp_path: Path) -> None:
    """Law: fields that are in every slice anyway cannot be kept a second time."""
    with pytest.raises(OptionsError, match="task_type, workflow is in every slice already"):
        read_library(tmp_path / "not-even-there.json", keep=("workflow", "task_type"))


def test_progress_ends_with_all_bytes(tmp_path: Path) -> None:
    """Law: progress is told in bytes of the file and ends at its size."""
    path = write(tmp_path, "x.json", json.dumps(TASKS))
    told: list[tuple[int, int]] = []
    read_library(path, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (path.stat().st_size,) * 2


def test_the_switch_interval_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: threads take turns as quickly as before once a library is read, damaged, or given up."""
    monkeypatch.setattr("prealloc.library.disk._PIECE", 99)  # a file of one piece needs no thread
    before = sys.getswitchinterval()
    good = write(tmp_path, "x.json", json.dumps(TASKS))
    during: list[float] = []
    read_library(good, progress=lambda done, total: during.append(sys.getswitchinterval()))
    assert min(during) < before == sys.getswitchinterval()
    with pytest.raises(LibraryError):
        read_library(write(tmp_path, "y.json", json.dumps(TASKS)[:-9]))
    with pytest.raises(KeyboardInterrupt):
        read_library(good, progress=Mock(side_effect=KeyboardInterrupt))
    assert sys.getswitchinterval() == before


def test_readers_that_overlap_leave_the_process_as_it_was(tmp_path: Path) -> None:
    """Law: who ends first takes nothing from who still reads, and the last one puts the settings back."""
    cell = "z" * 300_000  # more than the csv module takes by itself
    table = file_source(write(tmp_path, "t.csv", f"id,a\n{''.join(f'{n},{cell}{chr(10)}' for n in range(9))}"))
    before = sys.getswitchinterval(), csv.field_size_limit()
    one, other = (table.read(lambda piece: None, None) for _ in range(2))
    next(one)
    next(other)
    one.close()
    assert sys.getswitchinterval() < before[0]
    assert len(list(other)) == 8
    assert (sys.getswitchinterval(), csv.field_size_limit()) == before


def test_a_forked_process_has_settings_of_its_own() -> None:
    """Law: a fork takes along neither what other threads have wanted, nor the lock that one of them holds."""
    value = [5.0]
    setting = ProcessSetting(lambda: value[0], lambda new: value.__setitem__(0, new), min)
    with setting.at(1.0), setting._lock:  # as where another thread is just about to change it
        pid = os.fork()
        if pid == 0:
            signal.alarm(9)
            found = [value[0]]
            with setting.at(3.0):
                found.append(value[0])
            os._exit([*found, value[0]] != [5.0, 3.0, 5.0])
    assert os.waitpid(pid, 0)[1] == 0
    assert value == [5.0]


def test_a_selected_workflow_is_checked_an_unselected_one_is_not(tmp_path: Path) -> None:
    """Law: what is wrong inside a workflow is told, with task and path, when that task is asked for."""
    text = '{"tasks": [{"id": "good", "type": "t", "workflow": {"a": 1}},\n{"id": "bad", "type": "t", "workflow": %s}]}'
    for workflow, problem, where in (
        ('{"a": [1, {"b": 1e999}]}', "1e999 is not finite", "at workflow.a[1].b"),
        ('{"a": 1, "a": 2}', 'the key "a" is there twice', "at workflow.a"),
        ("123456789012345678901", "needs more than 64 bits", "at workflow"),
        ("[" * 600 + "]" * 600, "nested deeper than 512", "at workflow"),
    ):
        path = write(tmp_path, "x.json", text % workflow)
        library = read_library(path)
        assert library.task(0).workflow == {"a": 1}
        with pytest.raises(LibraryError) as caught:
            library.task(1)
        error = caught.value
        assert problem in error.problem
        assert error.where is not None
        assert error.where.startswith(f"{path}, task 1 (id 'bad'), byte ")
        assert ", line 2, " in error.where
        assert error.where.endswith(where)
        assert error.hint == "fix this value in the workflow of the task, or leave the task out"


def test_the_place_in_a_workflow_is_that_in_the_file(tmp_path: Path) -> None:
    """Law: the byte that is named is the byte in the file."""
    text = '[{"id": "a", "type": "t", "workflow": {"x": [1, 1e999]}}]'
    library = read_library(write(tmp_path, "x.json", text))
    with pytest.raises(LibraryError, match=f"byte {text.index('1e999')}, "):
        library.task(0)


def test_a_kept_field_is_checked_too(tmp_path: Path) -> None:
    """Law: a kept field is refused like a workflow, under its own name."""
    text = '[{"id": "a", "type": "t", "note": {"x": 1, "x": 1}}]'
    library = read_library(write(tmp_path, "x.json", text), keep=("note",))
    with pytest.raises(LibraryError, match=r"at note\.x: the key"):
        library.task(0)


def test_fields_of_the_same_names_deeper_down_are_fine(tmp_path: Path) -> None:
    """Law: only a task's own keys must be there once; nested ones, values and texts never count."""
    big = {"steps": ["word " * 50] * 20}
    tasks = [
        {
            "metadata": {"id": 1, "type": 2, "workflow": big, "tasks": []},
            "more": [{"id": 1, "type": 2, "workflow": 3}, {"id": 1}],
            "id": f"workflow{i}",
            "tags": ["id", "type", "workflow", "tasks", '"workflow": 1'],
            "workflow": {**big, "workflow": big, "i": i},
            "text": '"workflow": {"id": 1}, "id": \\" "tasks": [',
            "task_type": "tasks",
        }
        for i in range(50)
    ]
    for name, shape in SHAPES.items():
        library = read_library(write(tmp_path, name, shape(tasks)))
        assert [task.workflow for task in library.tasks(range(50))] == [task["workflow"] for task in tasks]


def test_the_same_key_twice_where_it_does_not_matter(tmp_path: Path) -> None:
    """Law: of fields that are not taken, nothing is asked but that they are JSON."""
    text = '{"n": 1, "n": 2, "tasks": [{"id": "a", "type": "t", "note": 1, "note": 2, "in": {"x": 1, "x": 2}}]}'
    path = write(tmp_path, "x.json", text)
    assert read_library(path).ids == ["a"]
    with pytest.raises(LibraryError, match="the key 'note' twice"):
        read_library(path, keep=("note",))


def test_what_stands_before_the_tasks_is_held_once(tmp_path: Path) -> None:
    """Law: a place is found behind what is no task in little more memory than that takes."""
    before = [{"n": n, "text": "x" * 1_000} for n in range(20_000)]
    path = write(tmp_path, "t.json", json.dumps({"other": before, "a": {"b": TASKS}}))
    tracemalloc.start()
    read_library(path, fields=Fields(tasks_field="a.b"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * path.stat().st_size
