"""Input that must be refused: a typed error that names file, place and hint, and nothing worse."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prealloc.errors import LibraryError
from prealloc.library import read_library
from prealloc.sample_library.write import write_sample

WORKFLOW = {"steps": [{"name": "x", "id": "q", "workflow": 1}]}


def task(i: int) -> dict[str, Any]:
    return {"id": f"t{i}", "task_type": "a", "inputs": {"id": 1, "type": 2}, "workflow": WORKFLOW}


ALL = os.environ.get("PREALLOC_HOSTILE") == "all"
"""`make fuzz` and `make laws` set this: every byte of a library mutated to each of these, not to two in turn."""
BYTES = (b"\0", b'"', b"{", b"]", b":", b",", b"\\", b"\xff", b"7", b" ")

GOOD = [task(i) for i in range(4)]
TEXT = json.dumps({"tasks": GOOD}, indent=2)
LINES = "\n".join(map(json.dumps, GOOD))


def swap(old: str, new: str, text: str = TEXT) -> str:
    assert old in text
    return text.replace(old, new, 1)


def second(value: Any) -> str:
    return json.dumps([GOOD[0], value])


PLACE_2 = f", byte {len(json.dumps(GOOD[:1])) + 1}, line 1"
LINE_5 = f", task 4, byte {len(LINES) + 1}, line 5"
SHAPES = 'a library is {"tasks": [...]}, a bare [...], or one task a line'
TRUNCATED = "the file is truncated: copy or download it again"
HERE = "fix the file at this place, or write it again with what made it"
NAMES = 'give every task a string in "id" or "instance_id", and one in "task_type" or "type"'
UTF8 = "save it as UTF-8: iconv -f UTF-"

# name: (content, problem, place after the file's name, hint)
REFUSED: dict[str, tuple[str | bytes, str, str, str]] = {
    "empty": (b"", "the file is empty", "", "write the tasks into it, or give another file"),
    "blank": (" \n\t", "the file holds nothing but whitespace", "", "write the tasks into it"),
    "half": (TEXT[: len(TEXT) // 2], "the text ends ", ", task 1 (id 't1'), byte ", TRUNCATED),
    "in a string": (
        TEXT[: TEXT.rindex('"x"') + 2],
        "the text ends inside a string",
        "$.workflow.steps[0].name",
        TRUNCATED,
    ),
    "one byte less": (TEXT[:-1], "the text ends too early", ", after task 3, byte ", TRUNCATED),
    "words": ("hello", "this is neither a JSON object nor an array", ", byte 0, line 1", SHAPES),
    "scalar": ("\n5", "this is neither a JSON object nor an array", ", byte 1, line 2", SHAPES),
    "no tasks": ('{"a": 1}', 'a JSON object without "tasks"', ", byte 0, line 1", SHAPES),
    "tasks is an object": (
        '{"tasks": {"a": 1}}',
        "the task is not a JSON object",
        ", byte 16, line 1",
        "fix the file at this place",
    ),
    "tasks is an empty object": ('{"tasks": {}}', "the library has no tasks", "", "at least one task"),
    "tasks is null": (
        '{"tasks": null}',
        "'tasks' is neither a list nor an object of tasks",
        ", byte 10, line 1",
        SHAPES,
    ),
    "0 tasks": ('{"tasks": []}', "the library has no tasks", "", "give a library with at least one task"),
    "0 items": ("[]", "the library has no tasks", "", "give a library with at least one task"),
    "bad utf-8": (
        TEXT.encode().replace(b'"x"', b'"\xff"', 1),
        "byte 0xff",
        ", task 0 (id 't0'), byte ",
        "save the file as UTF-8",
    ),
    "cut utf-8": (
        TEXT.encode() + b"\xc3",
        "this is not UTF-8: byte 0xc3",
        ", task 3 (id 't3'), byte ",
        "save the file as UTF-8",
    ),
    "surrogate in utf-8": (TEXT.encode().replace(b'"x"', b'"\xed\xa0\x80"', 1), "byte 0xed", "task 0", "save the file"),
    "utf-16": (TEXT.encode("utf-16"), "starts with a UTF-16 or UTF-32 byte order mark", "", UTF8),
    "utf-16-be": (TEXT.encode("utf-16-be"), "is UTF-16, UTF-32 or binary", "", UTF8),
    "utf-32": (TEXT.encode("utf-32"), "UTF-16 or UTF-32 byte order mark", "", UTF8),
    "more": (
        TEXT + " x",
        "there is more text after the end of the library",
        ", after task 3, byte ",
        "remove what follows",
    ),
    "twice": (
        TEXT + TEXT,
        "there is more text after the end of the library",
        ", after task 3, byte ",
        "remove what follows",
    ),
    "a number": (second(5), "the task is not a JSON object", f", task 1{PLACE_2}", "make every task an object"),
    "null": (second(None), "the task is not a JSON object", f", task 1{PLACE_2}", "make every task an object"),
    "a list": (second([task(2)]), "the task is not a JSON object", f", task 1{PLACE_2}", "make every task an object"),
    "no id": (second({"type": "a"}), 'the task has no id ("id" or "instance_id")', f", task 1{PLACE_2}", NAMES),
    "no type": (second({"id": "z"}), "the task has no type", f", task 1 (id 'z'){PLACE_2}", NAMES),
    "id 5": (second({"id": 5, "type": "a"}), "the task's id is not a string: 5", f", task 1{PLACE_2}", NAMES),
    "id null": (second({"id": None, "type": "a"}), "the task's id is not a string", "task 1", NAMES),
    "id empty": (second({"id": "", "type": "a"}), "the task's id is empty", ", task 1 (id '')", NAMES),
    "id NUL": (second({"id": "a\0", "type": "a"}), "the task's id holds a zero character", "task 1", NAMES),
    "type list": (
        second({"id": "z", "type": ["a"]}),
        "the task's type is not a string: ['a']",
        "task 1 (id 'z')",
        NAMES,
    ),
    "type empty": (second({"id": "z", "type": ""}), "the task's type is empty", "task 1 (id 'z')", NAMES),
    "same ids": (
        json.dumps(GOOD + GOOD[1:2]),
        "1 id is there more than once: 't1' in tasks 1, 4",
        "",
        "an id of its own",
    ),
    "id twice": (
        swap('"id": "t1"', '"id": "t1", "id": "x"'),
        "the task has the key 'id' twice",
        "task 1",
        "keep one 'id'",
    ),
    "type twice": (
        swap('"task_type": "a"', '"task_type": "a", "task_type": "a"'),
        "key 'task_type' twice",
        "task 0",
        "keep",
    ),
    "loser twice": (
        second({"id": "z", "type": "t", "no": "u"}).replace('"no"', '"type"'),
        "'type' twice",
        "task 1",
        "keep",
    ),
    "disguised": (
        swap('"task_type": "a"', '"task_type": "a", "\\u0074ask_type": "a"'),
        "'task_type' twice",
        "task 0",
        "keep",
    ),
    "twice beside a disguised colon": (
        swap('"task_type": "a"', '"task_type": "a", "\\u003a": 1, "task_type": "a"'),
        "'task_type' twice",
        "task 0",
        "keep",
    ),
    "workflow twice": (
        swap('"workflow": {', '"workflow": {}, "workflow": {'),
        "'workflow' twice",
        "task 0 (id 't0')",
        "keep",
    ),
    "same workflow twice": (
        json.dumps([{**GOOD[0], "no": WORKFLOW}]).replace('"no"', '"workflow"'),
        "'workflow' twice",
        "task 0",
        "keep",
    ),
    "tasks twice": (
        '{"tasks": [], "tasks": ' + json.dumps(GOOD) + "}",
        "'tasks' is there twice",
        "byte 23",
        "one 'tasks'",
    ),
    "tasks twice, disguised": (
        '{"t\\u0061sks": [], "tasks": ' + json.dumps(GOOD) + "}",
        "'tasks' is there twice",
        "byte",
        "keep",
    ),
    "NaN": (swap('"type": 2', '"type": NaN'), "NaN is not a JSON number", "task 0 (id 't0')", HERE),
    "Infinity": (swap('"type": 2', '"type": -Infinity'), "-Infinity is not a JSON number", "at $.inputs.type", HERE),
    "deep": (swap('"type": 2', '"type": ' + "[" * 100_000), "nested deeper than 512", "task 0 (id 't0')", HERE),
    "deep and closed": (
        swap('"type": 2', '"type": ' + "[" * 99_999 + "]" * 99_999),
        "nested deeper than 512",
        "task 0",
        HERE,
    ),
    "brackets": ("[" * 100_000, "nested deeper than 512", "task 0", HERE),
    "braces": ('{"a":' * 100_000, "nested deeper than 512", "byte", HERE),
    "lone surrogate": (swap('"t1"', '"\\ud800"'), "a lone surrogate", "task 1, byte", HERE),
    "control character": (swap('"t1"', '"t\x011"'), "a control character (0x01)", "at $.id", HERE),
    "no comma": (swap("},", "}"), "expected a comma or the closing bracket", "task 0 (id 't0')", HERE),
    "no comma between tasks": (
        json.dumps(GOOD).replace('}, {"id": "t2"', '} {"id": "t2"'),
        "expected , or ]",
        "after task 1",
        HERE,
    ),
    "no value": (swap('"type": 2', '"type": '), "expected a value", "at $.inputs.type", HERE),
    "huge type": (swap('"task_type": "a"', '"task_type": 1e999'), "task 0 has no type", "", "with ‹type_field›"),
    "single quotes": ("{'tasks': []}", "expected", "byte 1, line 1", HERE),
    "a line cut": (LINES + '\n{"id": "z", "type":', "the text ends too early", ", task 4", TRUNCATED),
    "a line is a number": (
        LINES + "\n5",
        "the task is not a JSON object",
        LINE_5,
        "make every task",
    ),
    "a line without id": (LINES + "\n{}", "the task has no id", LINE_5, NAMES),
    "a line twice": (LINES + "\n" + LINES[: LINES.index("\n")], "'t0' in tasks 0, 4", "", "an id of its own"),
    "a key twice in a line": (LINES.replace('"task_type"', '"type": "a", "type"', 1), "'type' twice", "task 0", "keep"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_file_place_and_hint(tmp_path: Path, name: str) -> None:
    """Law: hostile or broken content gives a LibraryError that names file, place and hint."""
    content, problem, place, hint = REFUSED[name]
    path = tmp_path / "tasks_easy.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(LibraryError) as caught:
        read_library(path)
    error = caught.value
    assert problem in error.problem
    assert error.where is not None
    assert error.where.startswith(str(path))
    assert place in error.where
    assert hint in (error.hint or "")
    assert error.exit_code == 2
    assert len(str(error)) < 1500


def test_duplicate_ids_are_listed_up_to_ten(tmp_path: Path) -> None:
    """Law: many duplicate ids are counted, ten are named."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"id": f"t{i % 15}", "type": "a"} for i in range(45)]))
    with pytest.raises(LibraryError, match=r"15 ids are there more than once: 't0' in tasks 0, 15, 30; .*; and 5 more"):
        read_library(path)


def test_no_such_file(tmp_path: Path) -> None:
    """Law: a path that leads nowhere is an input error, whatever is wrong with it."""
    (tmp_path / "file").write_text("[]")
    for path in (tmp_path / "none.json", tmp_path / "file" / "x.json", tmp_path / ("x" * 300), Path("a\0b")):
        with pytest.raises(LibraryError) as caught:
            read_library(path)
        assert caught.value.where
        assert caught.value.hint


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a file that may not be read is an input error with its hint."""
    path = tmp_path / "x.json"
    path.write_text("[]")

    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may read everything, so chmod would show nothing
    with pytest.raises(LibraryError, match="no permission to read it") as caught:
        read_library(path)
    assert caught.value.hint == f"chmod u+r {path}, or run as its owner"


def make_fifo(path: Path) -> contextlib.AbstractContextManager[Any]:
    os.mkfifo(path)
    return contextlib.nullcontext()


def make_socket(path: Path) -> contextlib.AbstractContextManager[Any]:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    return contextlib.closing(server)


def make_link_to_device(path: Path) -> contextlib.AbstractContextManager[Any]:
    path.symlink_to("/dev/zero")
    return contextlib.nullcontext()


@pytest.mark.parametrize(
    ("make", "name"), [(make_fifo, "a FIFO"), (make_socket, "a socket"), (make_link_to_device, "a device")]
)
def test_what_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Any], name: str
) -> None:
    """Law: a FIFO, socket or device is refused at once and never waited for."""
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with make(Path("x.json")), pytest.raises(LibraryError, match=f"it is not a file but {name}") as caught:
        read_library("x.json")
    wanted = "cat x.json | prealloc plan -" if name == "a FIFO" else "give a regular file that nothing writes to"
    assert str(caught.value.hint).endswith(wanted)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    """Law: a library that is written at the same time is refused, not half read."""
    path = tmp_path / "x.json"
    path.write_text(TEXT)

    def grow(done: int, total: int) -> None:
        with path.open("a") as file:
            file.write(" ")

    with pytest.raises(LibraryError, match="the file was changed while it was read"):
        read_library(path, progress=grow)


def test_every_truncation_of_a_library(tmp_path: Path) -> None:
    """Law: no prefix of a library passes for a library, in no shape; the hint says truncated or empty."""
    path = tmp_path / "x.json"
    for text in (json.dumps({"tasks": GOOD[:2]}, indent=1), json.dumps(GOOD[:2])):
        for length in range(1, len(text), 1 if ALL else 2):
            path.write_text(text[:length])
            with pytest.raises(LibraryError) as caught:
                read_library(path)
            assert caught.value.hint == TRUNCATED, (length, str(caught.value))


def test_every_byte_mutated(tmp_path: Path) -> None:
    """Law: a mutated byte gives a library or a LibraryError, and nothing else ever."""
    path = tmp_path / "x.json"
    text = json.dumps({"tasks": GOOD[:2], "n": 1}).encode()
    accepted = 0
    told: list[LibraryError] = []
    for position in range(len(text)):
        for byte in BYTES if ALL else (BYTES[position % len(BYTES)], BYTES[-1 - position // 7 % len(BYTES)]):
            path.write_bytes(text[:position] + byte + text[position + 1 :])
            try:
                library = read_library(path)
                library.tasks(range(len(library)))
            except LibraryError as error:
                told.append(error)
            else:
                accepted += 1
    assert all(str(path) in str(error) and error.hint for error in told)
    assert 0 < accepted < len(told)


def test_damage_in_a_large_library_is_found_at_its_place(tmp_path: Path) -> None:
    """Law: the place is exact also where a library is large and its last task is broken."""
    path = tmp_path / "x.json"
    write_sample(path, tasks=40, workflow_bytes=300_000)
    text = path.read_bytes()
    at = text.rindex(b'"rank": ') + 8
    path.write_bytes(text[:at] + b"?" + text[at + 1 :])
    with pytest.raises(LibraryError, match=r"expected a value, found \?") as caught:
        read_library(path)
    where = caught.value.where or ""
    line = text.count(b"\n", 0, at) + 1
    assert f", byte {at}, line {line}, at $.workflow.rag_context." in where
    assert re.search(r", task 39 \(id 'task_[0-9a-f]{8}'\), ", where)


def test_a_key_twice_in_a_large_library_is_found_in_its_task(tmp_path: Path) -> None:
    """Law: the task is the right one however many there are, and however much of it is no workflow."""
    path = tmp_path / "x.json"
    tasks = [{"id": f"t{i}", "type": "a", "text": "word " * 4000} for i in range(60)]
    path.write_text(json.dumps(tasks).replace('"id": "t47", ', '"id": "t47", "type": "b", '))
    with pytest.raises(LibraryError, match=r"task 47 \(id 't47'\), byte .* the task has the key 'type' twice"):
        read_library(path)


def test_damage_in_one_giant_value(tmp_path: Path) -> None:
    """Law: where walking the value would take long, its place is told all the same."""
    path = tmp_path / "x.json"
    text = b'[{"id": "a", "type": "t", "workflow": [' + b"1," * 2_000_000 + b"?]}]"
    path.write_bytes(text)
    with pytest.raises(LibraryError) as caught:
        read_library(path)
    place = re.search(r"task 0 \(id 'a'\), byte (\d+)", caught.value.where or "")
    assert place is not None
    assert abs(int(place[1]) - text.index(b"?")) <= 1
