"""What the commands on libraries say and leave: names, bounds, signals, bars, and what each error tells."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard
from command_line import Type

from examples import in_laws
from prealloc.api import libraries
from prealloc.cli.bar import Bar
from prealloc.errors import InputError, LibraryError, OptionsError
from prealloc.library import read_library
from prealloc.library.formats import FORMATS
from prealloc.library.new_file import new_file
from prealloc.library.unpack import SMALL, unpack_stream

LINES = '{"id":"a","type":"x","workflow":1}\n{"id":"b","type":"x","workflow":2}\n'
ODD = os.fsdecode(b"t\xff.jsonl")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "source.jsonl"
    path.write_text(LINES)
    return path


# -- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("p.gz", "pool"),
        ("p.ZST", "database"),
        ("p.pool.gz", "pool"),
        ("out.jsonl", "json"),
        ("out.ndjson.gz", "json"),
        ("out.json", "jsonl"),
        ("out.JSON", "parquet"),
        ("out.db", "parts"),
        ("out.parts", "jsonl"),
    ],
)
def test_to_must_not_contradict_the_ending(library: Path, tmp_path: Path, name: str, to: str) -> None:
    """Law: a name that tells another format than --to, or a packing that the format has not, is a mistake of --to."""
    with pytest.raises(OptionsError) as caught:
        libraries.convert(library, tmp_path / name, to=to)
    assert [mistake.where for mistake in caught.value.mistakes] == ["‹to›"]
    assert f"{to} contradicts {name}" in caught.value.problem
    assert os.listdir(tmp_path) == ["source.jsonl"]


@pytest.mark.parametrize(
    ("name", "to", "begins"),
    [
        ("OUT.DB", None, b"SQLite format 3"),
        ("OUT.SQLite3", "database", b"SQLite format 3"),
        ("T.JSON", None, b'{"tasks":['),
        ("T.JsonL.GZ", None, b"\x1f\x8b"),
        ("T.JSON.Zst", "json", b"\x28\xb5\x2f\xfd"),
        ("T.Pool", None, b"prealloc-pool"),
        ("t.gz", "json", b"\x1f\x8b"),
        ("t.dat", "jsonl", b'{"id":"a"'),
    ],
)
def test_endings_match_in_either_case(library: Path, tmp_path: Path, name: str, to: str | None, begins: bytes) -> None:
    """Law: the ending says the format and the packing in letters of either case, and what is written can be read."""
    libraries.convert(library, tmp_path / name, to=to)
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert sorted(read_library(tmp_path / name).ids) == ["a", "b"]


def test_only_json_is_packed() -> None:
    """Law: a format that is read by places in the file has no packed ending."""
    assert {target.name for target in FORMATS if target.packs} == {"json", "jsonl"}


def test_force_replaces_libraries_only(type_: Type, library: Path, tmp_path: Path) -> None:
    """Law: with --force a library is replaced; a file that is none would be lost, and stays as it was."""
    with contextlib.closing(sqlite3.connect(tmp_path / "mine.db")) as connection:
        connection.execute("CREATE TABLE mine (value)")
    (tmp_path / "mine.json").write_text("my notes")
    (tmp_path / "mine.pool").write_bytes(b"\x89PNG")
    before = {path: path.read_bytes() for path in tmp_path.glob("mine.*")}
    os.mkfifo(tmp_path / "mine.jsonl")
    for name in ("mine.db", "mine.json", "mine.pool", "mine.jsonl"):
        done = type_("library", "convert", "source.jsonl", name, "--force")
        assert (done.code, "not a task library, so --force leaves it alone" in done.err) == (2, True), name
    assert type_("library", "sample", "mine.json", "--force").code == 2
    assert {path: path.read_bytes() for path in before} == before
    (tmp_path / "t.db").touch()  # nothing is in it
    for name in ("t.json", "t.jsonl", "t.json.gz", "t.jsonl.zst", "t.db", "t.pool", "t.parquet", "t.parts"):
        for _ in range(2):
            assert type_("library", "convert", "source.jsonl", name, "--force").code == 0, name


# -- bounds -----------------------------------------------------------------------------------------------------


def dense(size: int) -> bytes:
    return zstandard.ZstdCompressor().compress(b" " * size)


NOISE = os.urandom(1 << 20)


@pytest.mark.parametrize(
    ("packed", "fits"),
    [
        (dense(SMALL), True),
        (dense(SMALL + 1), False),
        (dense(SMALL - len(NOISE)) + zstandard.ZstdCompressor().compress(NOISE * 2), True),
        (dense(SMALL + 1) + zstandard.ZstdCompressor().compress(NOISE), False),  # dense at first, not as a whole
        (zstandard.ZstdCompressor().compress(NOISE) + dense(SMALL + 1), True),
    ],
    ids=["small", "over", "small, then noise", "over, then noise", "noise first"],
)
def test_a_bomb_is_one_in_whatever_pieces_it_is_read(packed: bytes, fits: bool) -> None:
    """Law: what is a bomb does not depend on how large the pieces are in which it is read."""

    def in_pieces(size: int) -> int:
        return sum(map(len, unpack_stream((packed[at : at + size] for at in range(0, len(packed), size)), "f")))

    for read in (lambda: in_pieces(len(packed)), lambda: in_pieces(1024)):
        if fits:
            assert read() >= SMALL
        else:
            with pytest.raises(LibraryError, match="looks like a zstd bomb"):
                read()


@pytest.mark.parametrize(
    ("name", "noise_last"),
    [
        ("t.json.zst", False),
        ("t.json.gz", True),
        ("t.json", True),
        *(
            in_laws(f"t.json{packing}", noise_last)
            for packing, noise_last in ((".gz", False), (".zst", True), ("", False))
        ),
    ],
)
def test_no_writer_makes_what_readers_refuse(tmp_path: Path, name: str, noise_last: bool) -> None:
    """Law: a packed file is read again, or not written at all; one that is not packed is always written."""
    out = tmp_path / name

    def write(megabytes: int) -> None:
        with new_file(out, force=False) as put:
            for _ in range(megabytes):
                put(b" " * (1 << 20))
            if noise_last:
                put(NOISE)

    write(60)
    assert sum(map(len, unpack_stream(iter([out.read_bytes()]), "f"))) == (60 + noise_last) << 20
    out.unlink()
    if name == "t.json":
        write(80)
        assert out.stat().st_size == (80 + noise_last) << 20
    else:
        with pytest.raises(InputError, match="bomb") as caught:
            write(80)
        assert (caught.value.where, caught.value.hint) == (str(out), "write it unpacked")
        assert os.listdir(tmp_path) == []


# -- signals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("words", "while_in"),
    [
        (["sample", "new.json", "--tasks", "9"], "prealloc.sample_library.write.task"),
        (["convert", "source.jsonl", "new.db"], "prealloc.library.database.sqlar_pack"),
        (["index", "source.jsonl"], "prealloc.files.atomic.fault_point"),
    ],
    ids=["sample", "convert", "index"],
)
def test_a_signal_leaves_nothing(
    type_: Type,
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    while_in: str,
    number: signal.Signals,
) -> None:
    """Law: stopped while it writes, a command ends with 128 + signal, and the folder is as it was."""
    seen: list[list[str]] = []

    def kill(*args: object) -> bytes:
        seen.append(os.listdir(tmp_path))
        os.kill(os.getpid(), number)
        return b""

    monkeypatch.setattr(while_in, kill)
    before = signal.getsignal(number)
    done = type_("library", *words)
    assert done.code == 128 + number
    assert any(len(names) > 1 for names in seen)  # it was writing
    assert os.listdir(tmp_path) == ["source.jsonl"]
    assert signal.getsignal(number) == before


# -- bars -------------------------------------------------------------------------------------------------------


@contextmanager
def on_a_terminal(monkeypatch: pytest.MonkeyPatch, label: str) -> Iterator[Bar]:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = Bar(label, "DownloadColumn", shown=True, after_s=0.0, instead_of=None)
    try:
        yield bar
    finally:
        bar.stop()


@pytest.mark.parametrize(
    ("calls", "endless"),
    [
        ([(4, 10), (8, 10), (10, 10)], False),
        ([(10, 10)], False),
        ([(4, 4), (8, 8)], True),
        ([(4, 4), (8, 8), (9, 9)], True),
        ([(4, 10), (10, 10), (4, 20), (20, 20)], False),  # one library after the other
    ],
)
def test_a_pipe_has_no_end_in_sight(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, int]], endless: bool
) -> None:
    """Law: the bar of what has no known size goes to and fro; that of a file is full at its end, and only there."""
    with on_a_terminal(monkeypatch, "reading tasks_{difficulty}[red].json") as bar:
        for call in calls:
            bar(*call)
        assert bar.is_endless is endless


@pytest.mark.parametrize(("source", "unit"), [("source.jsonl", "bytes"), ("t.db", "tasks"), ("t.pool", "tasks")])
def test_a_conversion_counts_what_it_says(
    type_: Type, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, unit: str
) -> None:
    """Law: the bar has the unit of what it is told: bytes of a JSON file, else tasks."""
    if source != library.name:
        libraries.convert(library, tmp_path / source)
    units: list[str] = []
    last: list[tuple[int, int]] = []

    def bar(name: str) -> Any:
        @contextmanager
        def made(label: str, **how: Any) -> Iterator[Callable[[int, int], None]]:
            units.append(name)
            yield lambda done, total: last.append((done, total))

        return made

    monkeypatch.setattr("prealloc.cli.library.byte_progress", bar("bytes"))
    monkeypatch.setattr("prealloc.cli.library.task_progress", bar("tasks"))
    assert type_("library", "convert", source, "out.json").code == 0
    assert units == [unit]
    assert last[-1] == ((len(LINES), len(LINES)) if unit == "bytes" else (2, 2))
    assert type_("library", "sample", "sample.json", "--tasks", "3", "--workflow-bytes", "0").code == 0
    assert (units[-1], last[-1]) == ("tasks", (3, 3))


# -- what is no text --------------------------------------------------------------------------------------------


def test_a_name_that_is_no_text(type_: Type, tmp_path: Path) -> None:
    """Law: a library may be called what the system lets it be called: every command ends well, and tells JSON."""
    (tmp_path / ODD).write_text(LINES)
    out = os.fsdecode(b"o\xff")
    for words in (
        ["plan", ODD, "-n", "1", "--out", "plan"],
        ["plan", ODD, "-n", "1", "--stream", "--out", out],
        ["library", "stats", ODD],
        ["library", "convert", ODD, f"{out}.db"],
        ["library", "convert", ODD, f"{out}.parts"],
        ["library", "convert", ODD, f"{out}.parquet"],
        ["library", "convert", ODD, f"{out}.pool"],
        ["library", "index", ODD],
        ["library", "stats", ODD],
        *(["library", "stats", f"{out}.{ending}"] for ending in ("db", "parts", "parquet", "pool")),
        ["library", "sample", f"{out}.json", "--tasks", "1", "--workflow-bytes", "0"],
    ):
        plain = type_(*words, *(["--force"] if "--out" in words else []))
        assert (plain.code, "Traceback" in plain.err) == (0, False), words
        force = ["--force"] if words[1] in ("convert", "sample") or "--out" in words else []
        told = type_(*words, "--json", *force)
        assert told.code == 0, (words, told.err)
        assert "\\xff" in json.dumps(json.loads(told.out)).replace("\\\\", "\\"), words
    assert json.loads((tmp_path / "plan" / "plan.json").read_text())["libraries"][0]["name"] == "t\\xff.jsonl"


def test_an_error_of_a_name_that_is_no_text(type_: Type) -> None:
    """Law: an error about such a file is told like any other, with --json too."""
    done = type_("library", "stats", ODD, "--json")
    assert done.code == 2
    assert json.loads(done.out)["where"] == "t\\xff.jsonl"


# -- folders and difficulties -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["db", "sqlite", "sqlite3", "parquet", "pool", "parts"])
def test_every_format_is_found_in_a_folder(library: Path, tmp_path: Path, ending: str) -> None:
    """Law: what can be converted to is found by its difficulty; beside it a JSON file comes first, an index or not."""
    folder = tmp_path / "data"
    folder.mkdir()
    made = folder / f"tasks_easy.{ending}"
    libraries.convert(library, made)
    found = read_library(folder, difficulty="easy")
    assert found.info.path == str(made)
    assert found.took == f"took {made.name} for difficulty 'easy', as no file has workflows"
    assert libraries.convert(folder, tmp_path / "out.json", difficulty="easy").tasks == 2
    source = folder / "tasks_easy.jsonl"
    source.write_text(LINES)
    libraries.index(folder, difficulty="easy")
    assert read_library(folder, difficulty="easy").info.path == str(source)
    libraries.convert(library, folder / f"tasks_easy_with_workflows.{ending}")
    assert read_library(folder, difficulty="easy").info.name == f"tasks_easy_with_workflows.{ending}"


def test_a_folder_or_file_of_another_kind_is_none(library: Path, tmp_path: Path) -> None:
    """Law: a folder called .db and a file called .parts are no libraries, and make nothing ambiguous."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a_easy.db").mkdir()
    (folder / "b_easy.parts").touch()
    with pytest.raises(LibraryError, match="no file here"):
        read_library(folder, difficulty="easy")
    libraries.convert(library, folder / "c_easy.pool")
    assert read_library(folder, difficulty="easy").info.name == "c_easy.pool"


@pytest.mark.parametrize("words", [["index"], ["stats"], ["convert"]])
def test_a_difficulty_fills_a_path(type_: Type, tmp_path: Path, words: list[str]) -> None:
    """Law: {difficulty} in a path is what --difficulty says, as for a plan; without it that is a mistake."""
    (tmp_path / "tasks_easy.jsonl").write_text(LINES)
    more = ["out.db"] if words == ["convert"] else []
    done = type_("library", *words, "tasks_{difficulty}.jsonl", *more, "--difficulty", "easy", "--json")
    assert done.code == 0, done.err
    refused = type_("library", *words, "tasks_{difficulty}.jsonl", *more)
    assert refused.code == 2
    assert "needs a difficulty" in refused.err


# -- texts ------------------------------------------------------------------------------------------------------


def test_standard_input_has_no_index(type_: Type) -> None:
    """Law: why there is no index is told of what was given."""
    done = type_("library", "index", "-")
    assert done.code == 2
    assert "standard input cannot be indexed" in " ".join(done.err.split())


def test_what_cannot_be_an_id_is_no_second_one(tmp_path: Path) -> None:
    """Law: null or a number beside an id is no second id, under either spelling and in whatever format."""
    path = tmp_path / "t.jsonl"
    lines = [
        '"id":"a","instance_id":null',
        '"id":"b","instance_id":"c"',
        '"id":null,"instance_id":"d"',
        '"id":7,"instance_id":"e"',
    ]
    path.write_text("".join(f'{{{line},"type":"x"}}\n' for line in lines))
    assert read_library(path).counts.two_ids == 1
    for name in ("t.db", "t.parts", "t.parquet", "t.pool"):
        libraries.convert(path, tmp_path / name)
        assert read_library(tmp_path / name).counts.two_ids == 1


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.db", "t.parts", "t.parquet", "t.pool"])
def test_equal_ids_are_told_of_the_source(tmp_path: Path, name: str) -> None:
    """Law: ids that are there twice are told alike by every target: all of them, with their places in the source."""
    source = tmp_path / "source.jsonl"
    ids = ["a", "b", "a", "c", "b", "a"]
    source.write_text("".join(f'{{"id":"{id}","type":"x"}}\n' for id in ids))
    with pytest.raises(LibraryError) as caught:
        libraries.convert(source, tmp_path / name)
    assert caught.value.where == str(source)
    assert "2 ids are there more than once" in caught.value.problem
    assert "'a' in tasks 0, 2, 5" in caught.value.problem
    assert "'b' in tasks 1, 4" in caught.value.problem
    assert os.listdir(tmp_path) == ["source.jsonl"]


def test_the_way_is_a_word(type_: Type, library: Path, tmp_path: Path) -> None:
    """Law: stats tells how tasks are reached in a word of its own, not by the name of a class."""
    said = {"source.jsonl": "json"}
    for ending, way in (("db", "database"), ("parts", "parts"), ("parquet", "parquet"), ("pool", "pool")):
        libraries.convert(library, tmp_path / f"t.{ending}")
        said[f"t.{ending}"] = way
    for name, way in said.items():
        assert json.loads(type_("library", "stats", name, "--json").out)["way"] == way
        assert type_("library", "stats", name).code == 0
    type_("library", "index", "source.jsonl")
    assert json.loads(type_("library", "stats", "source.jsonl", "--json").out)["way"] == "index"


def test_a_terminal_as_the_library_is_told(tmp_path: Path) -> None:
    """Law: a plan that waits for what is typed says so; one that reads a pipe does not."""
    command = [sys.executable, "-m", "prealloc", "plan", "-", "-n", "1"]
    ours, theirs = pty.openpty()
    try:
        os.write(ours, LINES.encode() + b"\x04")
        done = subprocess.run(command, stdin=theirs, capture_output=True, cwd=tmp_path, timeout=60, check=False)
    finally:
        os.close(theirs)
        os.close(ours)
    assert (done.returncode, b"standard input, which is this terminal" in done.stderr) == (0, True)
    piped = subprocess.run(command, input=LINES.encode(), capture_output=True, cwd=tmp_path, timeout=60, check=False)
    assert (piped.returncode, b"standard input" in piped.stderr) == (0, False)
