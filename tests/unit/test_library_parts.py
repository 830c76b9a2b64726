"""Task libraries as folders of parts: what only they have. What holds for every format: contract/test_formats.py."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from stored import BOX_BYTES, PROVED, RECORDS, all_of, record, write_all

from prealloc.errors import InputError, LibraryError
from prealloc.library import parts
from prealloc.library.packed.table import ColumnsBuilder, Head
from prealloc.library.parts import FORMAT, INDEX, NAMES, Part, new_parts

PARTS = ("part-00000.jsonl.zst", "part-00001.jsonl.zst", "part-00002.jsonl.zst")


written, opened = PROVED["parts"].write, PROVED["parts"].open


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "library")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, as they are."""
    seen: list[str] = []
    real = parts.read_regular

    def counted(path: Path, **more: Any) -> bytes:
        seen.append(path.name)
        return real(path, **more)

    monkeypatch.setattr(parts, "read_regular", counted)
    return seen


def change(
    folder: Path, edit: Callable[[dict[str, Any]], object] = lambda index: None, names: bytes | None = None
) -> None:
    """Changes the index, or the names, and makes the check right again, as nobody would by accident."""
    value = json.loads((folder / INDEX).read_bytes())
    edit(value)
    (folder / NAMES).write_bytes((folder / NAMES).read_bytes() if names is None else names)
    head = FORMAT.sealed(FORMAT.fields(value, Head[list[Part]], ""), (folder / NAMES).read_bytes())
    (folder / INDEX).write_bytes(FORMAT.encode(head))


def repack(folder: Path, file: str, raw: bytes, raw_bytes: int | None = None) -> None:
    """Puts other lines into a part, and into the index what makes them look right."""
    packed = zstandard.ZstdCompressor().compress(raw)
    (folder / file).write_bytes(packed)
    said = {"bytes": len(packed), "sha256": hashlib.sha256(packed).hexdigest()}
    said |= {"raw_bytes": len(raw) if raw_bytes is None else raw_bytes}
    change(folder, lambda index: next(part for part in index["texts"] if part["file"] == file).update(said))


def test_only_the_parts_asked_for_are_read(folder: Path, reads: list[str]) -> None:
    """Law: opening reads no part; tasks read the parts they are in, each once, even if the order jumps."""
    library = opened(folder)
    assert reads == [INDEX, NAMES]
    last = len(RECORDS) - 1
    library.tasks([last, 0, last, 1, 0])
    assert reads == [INDEX, NAMES, PARTS[-1], PARTS[0]]


def test_a_part_is_about_as_large_as_asked(folder: Path) -> None:
    """Law: a part ends with the task that fills it; its index says what is in it."""
    index = json.loads((folder / INDEX).read_bytes())
    assert [part["file"] for part in index["texts"]] == list(PARTS)
    assert sum(part["tasks"] for part in index["texts"]) == len(RECORDS)
    assert all(part["raw_bytes"] >= BOX_BYTES for part in index["texts"][:-1])
    assert all(sum(part["types"].values()) == part["tasks"] for part in index["texts"])


@pytest.mark.parametrize("name", [INDEX, NAMES, PARTS[0]])
@pytest.mark.parametrize("what", ["missing", "a link out", "a folder", "a FIFO", "empty", "another's"])
def test_a_file_that_is_not_there_as_written_is_refused(tmp_path: Path, folder: Path, name: str, what: str) -> None:
    """Law: whatever lies in a file's place, it is refused and named, and nothing outside the folder is read."""
    path = folder / name
    good = path.read_bytes()
    path.unlink()
    if what == "a link out":
        (tmp_path / "outside").write_bytes(good)
        path.symlink_to(tmp_path / "outside")
    elif what == "a folder":
        path.mkdir()
    elif what == "a FIFO":
        os.mkfifo(path)
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "another's":
        path.write_bytes((folder / PARTS[1]).read_bytes())
    with pytest.raises(LibraryError) as caught:
        all_of(opened(folder))
    assert caught.value.where == str(path)
    assert caught.value.hint


NO_FILE = "part [01] cannot be a file of this name and size"
OTHER_TYPES = r"the types of part-0000.\.jsonl\.zst are not those in names.table"
EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a path": (lambda index: index["texts"][0].update(file="../part-00000.jsonl.zst"), NO_FILE),
    "an absolute path": (lambda index: index["texts"][0].update(file="/etc/passwd"), NO_FILE),
    "the same part twice": (lambda index: index["texts"][1].update(file=PARTS[0]), NO_FILE),
    "a part of none": (lambda index: index["texts"][0].update(tasks=0), NO_FILE),
    "a part below none": (lambda index: index["texts"][0].update(tasks=-1), NO_FILE),
    "a task more": (lambda index: index["texts"][0].update(tasks=99), "do not add up to 9 tasks"),
    "no parts": (lambda index: index.update(texts=[]), "do not add up"),
    "a part less": (lambda index: index["texts"].pop(), "do not add up"),
    "another end": (lambda index: [index["texts"][n].update(tasks=4) for n in (0, 1)], OTHER_TYPES),
    "a bomb": (lambda index: index["texts"][0].update(raw_bytes=2**40), NO_FILE),
    "no bytes": (lambda index: index["texts"][0].update(raw_bytes=0), NO_FILE),
    "a count": (lambda index: index.update(without_workflow=10), "its counts are impossible"),
    "a count below none": (lambda index: index.update(two_ids=-1), "its counts are impossible"),
    "types of a part": (lambda index: index["texts"][0]["types"].update({"type 0": 7}), OTHER_TYPES),
    "types": (lambda index: index["types"].reverse(), OTHER_TYPES),
    "a type less": (lambda index: index["types"].pop(), "its columns do not fit"),
    "no types": (lambda index: index.update(types=[]), "its columns do not fit"),
    "an empty type": (lambda index: index["types"].append(""), "its columns do not fit"),
    "no tasks": (lambda index: index.update(tasks=0, texts=[]), "has no tasks"),
    "a task less": (
        lambda index: (index.update(tasks=8, two_ids=8), index["texts"][0].update(tasks=4)),
        "its columns do not fit",
    ),
    "more tasks": (
        lambda index: (index.update(tasks=2**60), index["texts"][0].update(tasks=2**60 - 4)),
        "it is truncated",
    ),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_index_that_cannot_be_is_refused(folder: Path, what: str) -> None:
    """Law: an index is not believed only because its check is right."""
    edit, problem = EDITS[what]
    change(folder, edit)
    with pytest.raises(LibraryError, match=problem):
        opened(folder)


def test_a_value_changed_by_hand_is_refused(folder: Path) -> None:
    """Law: counts that nothing else proves are proved by the check."""
    path = folder / INDEX
    path.write_bytes(path.read_bytes().replace(b'"without_workflow": 2', b'"without_workflow": 1'))
    with pytest.raises(LibraryError, match="its content is not what was written"):
        opened(folder)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a JSON document"),
        ("[]", "is not a prealloc-library-parts document"),
        ('{"format": "prealloc.plan"}', "is not a prealloc-library-parts document"),
        ('{"format": "prealloc-library-parts", "version": true}', "version True, this prealloc reads"),
        ('{"format": "prealloc-library-parts", "version": 1}', "a field is wrong"),
        ('{"format": "prealloc-library-parts", "version": 1, "version": 1}', "is there twice"),
        ('{"format": "prealloc-library-parts", "version": 1, "more": 1}', "a field is wrong"),
        ("[" * 100_000, "is not a JSON document"),
    ],
)
def test_an_index_that_is_none_is_refused(folder: Path, text: str, problem: str) -> None:
    """Law: format and version are looked at first, then nothing may be missing, strange or there twice."""
    (folder / INDEX).write_text(text)
    with pytest.raises(LibraryError, match=problem) as caught:
        opened(folder)
    assert caught.value.hint


def names_of(ids: list[str], types: list[str]) -> bytes:
    """The columns of tasks of these names that are as long as those of a library could be."""
    columns, zeros = ColumnsBuilder(), [0] * len(ids)
    columns.extend(ids, types, start=zeros, length=zeros)
    return b"".join(columns.pack(FORMAT, [])[1])


@pytest.mark.parametrize("id", ["", "a\0", "\0"])
def test_names_that_are_none_are_refused(folder: Path, id: str) -> None:
    """Law: ids are checked like those of a JSON library when they are read, even where the check is right."""
    ids = [one.id for one in RECORDS]
    change(folder, names=names_of([*ids[:4], id, *ids[5:]], [one.type for one in RECORDS]))
    with pytest.raises(LibraryError, match="the id of task 4 is not a text that can be one") as caught:
        list(opened(folder).ids)
    assert caught.value.where == str(folder / NAMES)


def test_names_that_are_there_twice_are_refused(folder: Path) -> None:
    """Law: ids that several tasks have are told as those of a JSON library are."""
    ids = [one.id for one in RECORDS]
    change(folder, names=names_of([*ids[:4], ids[0], *ids[5:]], ["type 0"] * len(ids)))
    with pytest.raises(LibraryError, match=r"1 id is there more than once: 't-0.*' in tasks 0, 4"):
        opened(folder)


def test_hashes_that_are_not_those_of_the_ids_are_refused(folder: Path) -> None:
    """Law: a plan draws by them, and what is there twice is found by them, so nobody can write others."""
    names = bytearray((folder / NAMES).read_bytes())
    names[0] ^= 1
    change(folder, names=bytes(names))
    with pytest.raises(LibraryError, match="its hashes are not those of its ids"):
        opened(folder)


def test_names_cut_or_with_more_behind_are_refused(folder: Path) -> None:
    """Law: the columns are as long as the tasks' number says, even where the check is right."""
    names = (folder / NAMES).read_bytes()
    for other in (names[:-1], names + b"x", names[: 36 * len(RECORDS) - 1], b""):
        change(folder, names=other)
        with pytest.raises(LibraryError, match=r"do not fit|truncated"):
            opened(folder)


@pytest.mark.parametrize("what", ["larger", "smaller", "no zstd", "no sha256"])
def test_a_part_that_is_not_as_stated_is_refused(folder: Path, what: str) -> None:
    """Law: a part whose sha256 is right must still hold the bytes that were stated."""
    path = folder / PARTS[0]
    raw = zstandard.ZstdDecompressor().decompress(path.read_bytes())
    if what in ("larger", "smaller"):
        repack(folder, PARTS[0], raw + b"{}\n" if what == "larger" else raw[:-1], len(raw))
    elif what == "no zstd":
        path.write_bytes(raw)
        said = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        change(folder, lambda index: index["texts"][0].update(said))
    else:
        change(folder, lambda index: index["texts"][0].update(sha256="x"))
    library = opened(folder)
    with pytest.raises(LibraryError) as caught:
        library.task(0)
    assert caught.value.where == str(path)


def test_another_task_in_a_place_is_refused(folder: Path) -> None:
    """Law: what lies where a task should be is that very task."""
    raw = zstandard.ZstdDecompressor().decompress((folder / PARTS[0]).read_bytes())
    for other in (raw[::-1], b"".join(raw.splitlines(keepends=True)[::-1])):
        repack(folder, PARTS[0], other)
        with pytest.raises(LibraryError, match=r"another task is where this one should be|it is not a task"):
            opened(folder).task(0)


def test_what_packs_too_well_is_refused_when_it_is_written(tmp_path: Path) -> None:
    """Law: what the reader would take for a bomb is not written."""
    large = record("a", "t", '"' + "a" * (65 << 20) + '"')
    with pytest.raises(LibraryError, match="would be taken for a zstd bomb"):
        write_all(new_parts(tmp_path / "x", force=False), [large])
    assert os.listdir(tmp_path) == []


def test_only_a_library_of_parts_is_replaced(tmp_path: Path, folder: Path) -> None:
    """Law: a folder that is none, or in which there is anything else, stays as it is, with --force too."""
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "thesis.tex").touch()
    for other in (thesis, thesis / "thesis.tex"):
        with pytest.raises(InputError, match="so ‹force› leaves it alone"):
            write_all(new_parts(other, force=True), RECORDS)
    (folder / "notes.txt").write_text("mine")
    (folder / "sub").mkdir()
    with pytest.raises(InputError, match=r"leaves it alone: notes\.txt, sub/\n"):
        write_all(new_parts(folder, force=True), RECORDS)
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
    (folder / "sub").rmdir()
    assert sorted(os.listdir(tmp_path)) == ["library", "thesis"]
    written(folder, RECORDS[:2])
    assert len(opened(folder)) == 2
    assert sorted(os.listdir(tmp_path)) == ["library", "thesis"]
