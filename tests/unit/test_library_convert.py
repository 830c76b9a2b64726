"""convert, and the commands on libraries: whole or not at all, every field, every mistake, and what JSON says."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from command_line import Type

from prealloc.api import libraries
from prealloc.api.plans import plan, verify
from prealloc.api.shards import copies_of
from prealloc.errors import InputError, LibraryError, LibraryOpened, OptionsError, PlanError
from prealloc.library import disk, read_library
from prealloc.library.formats import FORMATS
from prealloc.library.text import batches
from prealloc.worker.guard import LibraryGuard, library_files

NAMES = {
    "json": "t.json",
    "jsonl": "t.jsonl",
    "database": "t.db",
    "parts": "t.parts",
    "parquet": "t.parquet",
    "pool": "t.pool",
}
TASK = (
    '{"instance_id":"a","id":"b","type":"x","task_type":"y","more":[1e5,"\\u00e9\\/"],"workflow":{"n":1.50,"z":null}}'
)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "source.jsonl"
    path.write_text(TASK + '\n{"id":"c","type":"y"}\n{"id":"d","type":"y","workflow":null}\n')
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_target_has_a_name() -> None:
    """The table below knows every format that there is."""
    assert [target.name for target in FORMATS] == list(NAMES)


@pytest.mark.parametrize("name", NAMES.values())
def test_every_field_goes_along(library: Path, tmp_path: Path, name: str) -> None:
    """Law: through any format and back: the same tasks in the same order, the same fields, the same spelling."""
    made = libraries.convert(library, tmp_path / name)
    assert (made.tasks, made.format) == (3, next(key for key, value in NAMES.items() if value == name))
    libraries.convert(tmp_path / name, tmp_path / "back.jsonl")
    lines = (tmp_path / "back.jsonl").read_text().splitlines()
    assert lines[0] == TASK  # its workflow comes last already
    assert [json.loads(line) for line in lines] == [json.loads(line) for line in library.read_text().splitlines()]
    assert made.bytes > 0


@pytest.mark.parametrize("name", NAMES.values())
def test_whole_or_not_at_all(tmp_path: Path, name: str) -> None:
    """Law: where the source turns out to be damaged, nothing is there; and what was there stays as it was."""
    damaged = tmp_path / "damaged.jsonl"
    fine = "\n".join(json.dumps({"id": f"t{n}", "type": "a", "workflow": "x" * 3000}) for n in range(50))
    for text in (
        fine + '\n{"id":"z"',
        fine + '\n{"id":"t7","type":"a"}',
        fine + '\n{"id":"z","type":"a","workflow":[1,1e999]}',
    ):
        damaged.write_text(text)
        before = contents(tmp_path)
        with pytest.raises(LibraryError):
            libraries.convert(damaged, tmp_path / name)
        assert contents(tmp_path) == before
        assert not (tmp_path / name).exists()
    damaged.write_text(fine)
    libraries.convert(damaged, tmp_path / name)
    damaged.write_text(fine + '\n{"id":"t7","type":"a"}')
    before = contents(tmp_path)
    with pytest.raises(InputError):
        libraries.convert(damaged, tmp_path / name)  # it already exists
    with pytest.raises(LibraryError):
        libraries.convert(damaged, tmp_path / name, force=True)
    assert contents(tmp_path) == before


def test_no_task_of_a_text_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a text is converted piece by piece, in less than half of its size, whatever its tasks call their ids."""
    monkeypatch.setattr(batches, "BATCH", 1 << 16)
    monkeypatch.setattr(disk, "_PIECE", 1 << 16)
    tasks = [{"ref": f"r{n}", "workflow": "x" * 40_000} for n in range(100)]
    for name, text in (
        ("t.json", json.dumps(tasks)),
        ("t.jsonl", "\n".join(map(json.dumps, tasks))),
        ("t.csv", "ref,workflow\n" + "\n".join(f"{task['ref']},{task['workflow']}" for task in tasks)),
    ):
        (tmp_path / name).write_text(text)
        tracemalloc.start()
        made = libraries.convert(tmp_path / name, tmp_path / f"{name}.db", id_field="ref")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert made.tasks == len(tasks)
        assert peak < len(text) // 2
        assert next(iter(read_library(tmp_path / f"{name}.db").ids)) == "r0"


def test_a_library_may_be_converted_in_place(library: Path) -> None:
    """Law: with --force even the source itself may be replaced: it is read before the new one takes its place."""
    libraries.convert(library, library, force=True)
    assert len(read_library(library).ids) == 3


def test_no_such_format(library: Path, tmp_path: Path) -> None:
    """Law: a name that tells no format, and a format that there is not, are mistakes that name those there are."""
    with pytest.raises(OptionsError, match=r"\.parquet"):
        libraries.convert(library, tmp_path / "t.xml")
    with pytest.raises(OptionsError, match="there is no format 'xml'"):
        libraries.convert(library, tmp_path / "t.json", to="xml")
    made = libraries.convert(library, tmp_path / "no ending", to="database")
    assert made.format == "database"


@pytest.mark.parametrize("name", NAMES.values())
def test_a_worker_opens_no_library_of_any_format(library: Path, tmp_path: Path, name: str) -> None:
    """Law 1: the guard knows every file that a library consists of."""
    libraries.convert(library, tmp_path / name)
    path = tmp_path / name
    told: list[str] = []
    guard = LibraryGuard()
    guard.protect(library_files([str(path)]), told.append)
    for file in [path] if path.is_file() else list(path.iterdir()):
        with pytest.raises(LibraryOpened):
            file.read_bytes()
    with pytest.raises(LibraryOpened):
        read_library(path)
    guard.protect(frozenset(), told.append)
    assert told


@pytest.mark.parametrize("name", NAMES.values())
def test_a_copy_of_a_library_of_any_format_is_known(library: Path, tmp_path: Path, name: str) -> None:
    """Of each file that it consists of, at another path; a file of that size alone is none, nor one that is allowed."""
    libraries.convert(library, tmp_path / name)
    path = tmp_path / name
    files = [path] if path.is_file() else list(path.iterdir())
    contents = [file.read_bytes() for file in files]
    guard = LibraryGuard()
    guard.protect_too(frozenset(), copies_of([read_library(path).info]))
    copy = tmp_path / "copy"
    for content in contents:
        copy.write_bytes(content)
        with pytest.raises(LibraryOpened, match=r"test_library_convert\.py:.* in test_a_copy_of"):
            copy.read_bytes()
        copy.unlink()
        copy.write_bytes(bytes(len(content)))
        assert not any(copy.read_bytes())
        copy.write_bytes(content)
        guard.allow(hashlib.sha256(content).hexdigest())
        assert copy.read_bytes() == content


def test_a_worker_opens_no_part_of_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 1: nor a copy of one; whatever the current folder is called, and whatever is gone by then."""
    (folder := tmp_path / "of [1]").mkdir()
    monkeypatch.chdir(folder)
    for name in "ab":
        # What this guard refuses, it refuses in later tests too.
        Path(f"{name}.jsonl").write_text(json.dumps({"id": f"{name} of a pattern", "type": "t"}))
    info = read_library("*.jsonl").info
    Path("0.jsonl").symlink_to("nowhere")
    (copy := tmp_path / "copy").write_bytes(Path("b.jsonl").read_bytes())
    guard = LibraryGuard()
    guard.protect(library_files([info.path]), lambda path: None)
    for part in (Path("a.jsonl"), Path("b.jsonl")):
        with pytest.raises(LibraryOpened):
            part.read_bytes()
    guard.protect(frozenset(), lambda path: None)
    guard.protect_too(frozenset(), copies_of([info]))
    with pytest.raises(LibraryOpened):
        copy.read_bytes()


GENERATOR = """
def make(task):
    return {"keys": list(task), "from": task}
"""


def test_generated_workflows_are_the_same_by_every_format(type_: Type, tmp_path: Path) -> None:
    """Law 2 with a generator that looks at the order of keys; and what was generated once is not made again."""
    path = tmp_path / "t.json"
    tasks = [
        '{"id":"a","workflow":null,"type":"t","to\\u006fls":[1.50]}',
        '{"workflow":null,"instance_id":"b","type":"t"}',
        '{"id":"c","type":"t","workflow":5}',
        '{"type":"t","id":"d"}',
    ]
    path.write_text(f'{{"tasks":[{",".join(tasks)}]}}')
    (tmp_path / "gen.py").write_text(GENERATOR)
    words = ["-n", "4", "--generate-workflows", "gen:make", "--workflow-cache", "cache", "--json"]
    ids = set()
    for number, name in enumerate(("t.json", *(f"x{name}" for name in NAMES.values()))):
        if name != "t.json":
            libraries.convert(path, tmp_path / name)
        for more in ([], ["--stream"]):
            done = type_("plan", name, *words, *more)
            ids.add(json.loads(done.out)["plan"]["id"])
            assert ("3 generated" in done.err) == (number == 0 and not more), done.err
    assert len(ids) == 1


@pytest.mark.parametrize("name", NAMES.values())
def test_a_plan_is_verified_by_a_library_of_any_format(library: Path, tmp_path: Path, name: str) -> None:
    """Law: verify compares every planned task, wherever the library keeps it, and names the one that changed."""
    libraries.convert(library, tmp_path / name)
    plan(library, whole=True, out=tmp_path / "plan")
    verify(tmp_path / "plan", library=tmp_path / name)
    library.write_text(library.read_text().replace("1.50", "1.5"))
    libraries.convert(library, tmp_path / name, force=True)
    with pytest.raises(PlanError, match="1 planned tasks are not as planned: b"):
        verify(tmp_path / "plan", library=tmp_path / name)


def test_a_file_that_is_written_to_meanwhile(library: Path, tmp_path: Path) -> None:
    """Law: what is read in pieces is of one moment: a file rewritten while it is read is refused by every way."""

    def rewrite(done: int, total: int) -> None:
        library.write_bytes(library.read_bytes() + b'{"id":"late","type":"y"}\n')

    for read in (
        lambda: plan(library, num_instances=1, stream=True, progress=rewrite),
        lambda: plan(library, num_instances=1, progress=rewrite),
        lambda: libraries.convert(library, tmp_path / "t.db", progress=rewrite),
        lambda: libraries.index(library, progress=rewrite),
    ):
        with pytest.raises(LibraryError, match="changed while it was read"):
            read()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.jsonl"]


def test_parts_are_one_library(library: Path, tmp_path: Path) -> None:
    """Law: a folder of parts is no folder of difficulties, which would all be the same tasks."""
    libraries.convert(library, tmp_path / "t.parts")
    with pytest.raises(OptionsError, match="is one library, but difficulty is a factor"):
        plan(tmp_path / "t.parts", num_instances=1, factors={"difficulty": ["easy", "hard"]})


def test_a_closed_standard_input(tmp_path: Path) -> None:
    """Law: where there is no standard input, `-` is refused with exit code 2: nothing comes from it."""
    command = f"exec {shlex.quote(sys.executable)} -m prealloc plan - <&-"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "the file is empty" in done.stderr
    assert "Traceback" not in done.stderr


# -- commands ---------------------------------------------------------------------------------------------------


def values(text: str) -> Any:
    assert len(text.splitlines()) == 1
    return json.loads(text)


def test_the_commands(type_: Type, library: Path, tmp_path: Path) -> None:
    """index, convert, stats and a plan from each, as a user types them, with people's output and with --json."""
    assert "3 tasks" in type_("library", "index", "source.jsonl").out
    assert values(type_("library", "index", "source.jsonl", "--json").out)["info"]["tasks"] == 3
    assert values(type_("library", "index", "source.jsonl", "--check", "--json").out)["fits"] is True
    assert "3 tasks" in type_("library", "convert", "source.jsonl", "t.db").out
    stats = type_("library", "stats", "t.db", "--reads", "50")
    assert "a SQLite database" in stats.out
    assert "50 random reads" in stats.out
    told = values(type_("library", "stats", "source.jsonl", "--reads", "50", "--cache", "1k", "--json").out)
    assert told["way"] == "index"
    assert [(each["type"], each["tasks"]) for each in told["types"]] == [("y", 3)]
    assert told["trial"]["reads"] == 50
    assert 0 < told["trial"]["hit_rate"] <= 1
    plans = [type_("plan", name, "-n", "2", "--json") for name in ("source.jsonl", "t.db")]
    assert len({values(done.out)["plan"]["id"] for done in plans}) == 1


def test_an_index_that_does_not_fit_is_a_note(type_: Type, library: Path) -> None:
    """A plan from a changed library says that its index is left aside, how to fix it, and is made all the same."""
    type_("library", "index", "source.jsonl")
    os.utime(library, ns=(1, 1))
    done = type_("plan", "source.jsonl", "-n", "2", "--out", "plan")
    assert done.code == 0
    assert "prealloc library index source.jsonl" in " ".join(done.err.split())
    refused = type_("library", "index", "source.jsonl", "--check")
    assert refused.code == 2
    assert "changed since it was indexed" in refused.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["library", "stats", "none.json"], ["there is no such file"]),
        (
            ["library", "stats", "source.jsonl", "--reads", "-1", "--sampled", "0", "--cache", "x"],
            ["--reads", "--sampled", "--cache"],
        ),
        (["library", "index", "t.gz"], ["packed"]),
        (["library", "index", "t.db"], ["without an index"]),
        (["library", "index", "source.jsonl", "--check"], ["has no index"]),
        (["library", "convert", "source.jsonl", "t.db"], ["already exists"]),
        (["library", "convert", "source.jsonl", "t.xml"], [".parquet"]),
        (["library", "convert", "-", "t.json"], ["only once"]),
        (["library", "stats", "-"], ["only once"]),
        (["verify", "plan", "--library", "-"], ["only once"]),
    ],
)
def test_mistakes(type_: Type, library: Path, tmp_path: Path, words: list[str], told: list[str]) -> None:
    """Bad input: exit code 2, every mistake told, nothing changed."""
    libraries.convert(library, tmp_path / "t.db")
    libraries.convert(library, tmp_path / "t.json.gz")
    (tmp_path / "t.json.gz").rename(tmp_path / "t.gz")
    type_("plan", "t.db", "-n", "2", "--out", "plan")
    before = contents(tmp_path)
    done = type_(*words)
    assert done.code == 2
    for text in told:
        assert text in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert contents(tmp_path) == before
