"""Laws of texts that are read piece by piece: wherever a piece ends, the same is read, or refused, by every way."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from small_tasks import piped, whole_essence

from examples import examples
from prealloc.api.plans import plan
from prealloc.errors import LibraryError
from prealloc.files.paths import index_places
from prealloc.library import read_library
from prealloc.library.packed.index import TaskIndex, make_index
from prealloc.library.text import batches
from prealloc.library.text.library import TextLibrary
from prealloc.library.text.sources import file_source
from prealloc.model.plan_spec import PlanSpec
from prealloc.planning.shortlist import Shortlist

PIECES = st.sampled_from(
    [
        *(
            '{"id":"a","type":"t"}',
            '{"id":"b","type":"t","workflow":[1,{"x":null}]}',
            '{"instance_id":"c","task_type":"u"}',
        ),
        *(
            '{"id":"a","type":"t","id":"z"}',
            '{"id":1,"type":"t"}',
            '{"type":"t"}',
            '{"id":"d"}',
            "{}",
            "[]",
            "7",
            '"x"',
        ),
        *("{", "}", "[", "]", ",", ":", '"', " ", "\n", '"tasks":', '"tasks"', '"other":', "null", "12", "\\", "\x01"),
        *('{"tasks":[', "]}", "],", '"more":{"tasks":[1]}', "\u00e9", '{"id":"\u00e9","type":"t"}'),
    ]
)


def verdict(path: Path, way: str) -> tuple[Any, ...]:
    try:
        if way == "whole":
            library = read_library(path)
            return ("fine", sorted(zip(library.ids, library.types, strict=True)))
        everything = Shortlist(PlanSpec.checked(whole=True), [1])
        if way == "stream":
            streamed = TextLibrary(file_source(path), lambda: everything)
            return ("fine", sorted(zip(streamed.ids, streamed.types, strict=True)))
        make_index(path)
        with TaskIndex.open(path) as index:
            assert [task.id for task in index.tasks(range(len(index)))] == list(index.ids)
            return ("fine", sorted(zip(index.ids, index.types, strict=True)))
    except LibraryError as error:
        return ("refused", error.problem, error.where)
    finally:
        for place in index_places(path):
            place.unlink(missing_ok=True)


@examples(600, allow=[HealthCheck.too_slow])
@given(st.lists(PIECES, max_size=9), st.binary(max_size=2), st.sampled_from(["t.json", "t.jsonl"]), st.integers(1, 40))
@example(['{"tasks":[', '{"id":"a","type":"t"}', "]}", "x"], b"", "t.json", 3)
@example(['{"tasks":[', '{"id":"a","type":"t"}', ",", '{"id":"a","type":"t"}', "]}"], b"", "t.json", 3)
@example(['{"tasks":', "null", "}"], b"", "t.json", 3)
@example(["[", '{"id":"a","type":"t"}', "]", "x"], b"", "t.json", 3)
@example(['{"tasks":[', '{"id":"a","type":"t"}', "],", '"tasks":', "[]", "}"], b"", "t.json", 3)
@example(["{", '"tasks":', "[", "]", ",", "}"], b"", "t.json", 3)
@example(["\n", '{"id":"a","type":"t"}'], b"", "t.json", 1)
def test_what_is_no_library_is_none_by_any_way(pieces: list[str], tail: bytes, name: str, batch: int) -> None:
    """Law: one pass in small pieces takes and refuses what reading it whole does."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder, name)
        path.write_bytes("".join(pieces).encode() + tail)
        whole = verdict(path, "whole")
        patch.setattr(batches, "BATCH", batch)
        patch.setattr("prealloc.library.disk._PIECE", batch)
        for way in ("stream", "index"):
            found = verdict(path, way)
            assert found[0] == whole[0], (way, found, whole)
            if whole[0] == "fine":
                assert found == whole


TOKENS = r"""
{"a": -1.5e-07, "tasks" : [ {"id":"\u00e9\ud83d\ude00\n", "type": "t",
  "workflow": [true, false , null, -0]},
  {"x":-12345678901234567890e-1,"instance_id":"b","task_type":"u","workflow":{"\"" : {}, "" :[ ] }}  ] , "z": 7}
"""


@pytest.mark.parametrize("size", range(1, 40))
def test_wherever_a_piece_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Law: every token of JSON may be cut anywhere by the pieces that a file comes in."""
    path = tmp_path / "t.json"
    path.write_text(TOKENS)  # a line break comes first, since the first line is never cut
    whole = verdict(path, "whole")
    monkeypatch.setattr(batches, "BATCH", 1)
    monkeypatch.setattr("prealloc.library.disk._PIECE", size)
    assert verdict(path, "stream") == whole == verdict(path, "index")
    assert whole[0] == "fine"


@pytest.mark.parametrize("size", range(1, 9))
def test_a_byte_that_is_not_utf8_is_told_at_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Law: wherever pieces end, the byte that is named is the first that UTF-8 does not have, in its line and task."""
    path = tmp_path / "t.json"
    good = '[{"id":"\u00e9","type":"t"},\n{"id":"b","type":"\u00e4\U0001f600'.encode()
    monkeypatch.setattr("prealloc.library.disk._PIECE", size)
    monkeypatch.setattr(batches, "BATCH", size)
    for bad in (b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80"):
        for more in (b'"}]', b""):
            path.write_bytes(good + bad + more)
            with pytest.raises(LibraryError, match="this is not UTF-8") as caught:
                read_library(path)
            assert caught.value.where == f"{path}, task 1 (id 'b'), byte {len(good)}, line 2"


def test_standard_input_goes_on_where_it_is(tmp_path: Path) -> None:
    """Law: of a file on standard input, what was read before is no part of the library."""
    lines = [json.dumps({"id": f"t{n}", "type": "a"}) for n in range(3)]
    with piped("\n".join(["a comment", *lines]).encode()):
        os.lseek(0, len("a comment\n"), os.SEEK_SET)
        assert sorted(task.id for task in plan("-", whole=True).shards[0].tasks) == ["t0", "t1", "t2"]


def test_standard_input_is_a_pipe_too(tmp_path: Path) -> None:
    """Law 2, with a pipe that gives its bytes bit by bit, as `zcat` does."""
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"id": f"t{n}", "type": "a", "workflow": [n]}) for n in range(500)))
    script = "import sys, time\nfor part in sys.stdin: sys.stdout.write(part); sys.stdout.flush()"
    import subprocess

    with (
        path.open() as file,
        subprocess.Popen([sys.executable, "-c", script], stdin=file, stdout=subprocess.PIPE) as source,
    ):
        assert source.stdout is not None
        before = os.dup(0)
        try:
            os.dup2(source.stdout.fileno(), 0)
            made = plan("-", shards=3, num_instances=5)
        finally:
            os.dup2(before, 0)
            os.close(before)
    assert whole_essence(made) == whole_essence(plan(path, shards=3, num_instances=5))
    assert made.file.libraries[0].path == "-"
    assert made.file.libraries[0].bytes == path.stat().st_size
