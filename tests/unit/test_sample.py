"""The sample library: reproducible, in proportion, and a library like any other."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from prealloc.errors import InputError, OptionsError
from prealloc.library import read_library
from prealloc.sample_library.stream import Stream, unique_32
from prealloc.sample_library.tasks import SHARES, printed_size, task, type_order
from prealloc.sample_library.tools import TOOLS
from prealloc.sample_library.write import write_sample


def test_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """Law: (tasks, workflow_bytes, seed) decide every byte, on every Python version and machine."""
    write_sample(tmp_path / "a.json", tasks=12, workflow_bytes=20_000, seed=7)
    digest = hashlib.sha256((tmp_path / "a.json").read_bytes()).hexdigest()
    assert digest == "62b0751f66fcef637058d8ab011b05beafb8f4ac7b173030768d5ade78315de2"


def test_stream_is_splitmix64() -> None:
    """Law: the stream is the published one: these are splitmix64's first numbers for the seed 1234567."""
    stream = Stream(0)
    stream._state = 1234567
    assert [stream.below(2**64) for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_ids_never_meet() -> None:
    """Law: 32 bits for 32 bits, each once."""
    assert len({unique_32(1, index) for index in range(100_000)}) == 100_000
    assert {unique_32(1, index) for index in range(100)} != {unique_32(2, index) for index in range(100)}


def test_types_keep_their_shares_in_every_prefix() -> None:
    """Law: 630 tasks have the real counts, and after any number each type is within one of its share."""
    order = list(islice(type_order(), 1260))
    assert dict(Counter(order[:630])) == SHARES
    counts: Counter[str] = Counter()
    for n, name in enumerate(order, 1):
        counts[name] += 1
        assert all(abs(counts[kind] - n * share / 630) < 1 for kind, share in SHARES.items())


def test_a_longer_sample_starts_like_a_shorter_one(tmp_path: Path) -> None:
    """Law: task i depends on seed and i alone."""
    short, long = (write_sample(tmp_path / f"{n}.jsonl", tasks=n, workflow_bytes=900).path for n in (5, 9))
    assert long.read_bytes().startswith(short.read_bytes())


def test_it_is_laid_out_like_json_dump(tmp_path: Path) -> None:
    """Law: the file is what json.dump writes with an indent of 2."""
    path = write_sample(tmp_path / "a.json", tasks=3).path
    text = path.read_text()
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
    assert json.loads(text)["metadata"]["num_tasks"] == 3


@pytest.mark.parametrize("size", [2_000, 9_000, 40_000, 84_000, 300_000])
def test_workflows_have_the_size_asked_for(size: int) -> None:
    """Law: printed with an indent of 2, workflows have the size asked for to within a tenth."""
    sizes = [printed_size(task(1, i, kind, size)["workflow"]) for i, kind in enumerate(islice(type_order(), 20))]
    assert 0.9 * size <= sum(sizes) / 20 <= 1.1 * size


def test_workflows_have_the_real_shape() -> None:
    """Law: at the default size, compact workflows have a bit more than half the bytes, and all the real parts."""
    workflow = task(1, 0, "data_pipeline", 84_000)["workflow"]
    compact = len(json.dumps(json.loads(msgspec.json.encode(workflow)), separators=(",", ":")))
    assert 0.5 < compact / 84_000 < 0.6
    assert {"optimal_sequence", "smart_workflow", "smart_actions", "rag_context", "error_handling"} <= set(workflow)
    assert len(TOOLS) == 30


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".json.gz", ".json.zst", ".ndjson.gz", ".jsonl.zst"])
def test_every_ending_holds_the_same_tasks(tmp_path: Path, ending: str) -> None:
    """Law: the ending decides how the tasks lie in the file, not which they are."""
    plain = read_library(write_sample(tmp_path / "plain.json", tasks=20, workflow_bytes=3_000).path)
    info = write_sample(tmp_path / f"tasks{ending}", tasks=20, workflow_bytes=3_000)
    library = read_library(info.path)
    assert library.tasks(range(20)) == plain.tasks(range(20))
    assert (info.tasks, info.types, info.bytes) == (20, library.info.types, info.path.stat().st_size)
    again = write_sample(tmp_path / f"again{ending}", tasks=20, workflow_bytes=3_000)
    assert again.path.read_bytes() == info.path.read_bytes()
    if ending.endswith(".gz"):
        assert again.path.read_bytes()[3:8] == bytes(5)  # neither a name nor a time in the header


def test_without_workflows(tmp_path: Path) -> None:
    """Law: with 0 bytes there are no workflows, and still all tasks."""
    library = read_library(write_sample(tmp_path / "a.json", tasks=10, workflow_bytes=0).path)
    assert library.counts.without_workflow == len(library) == 10
    assert all(name.startswith("task_") and len(name) == 13 for name in library.ids)


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    """Law: without force nothing is replaced; with force the file is whole, old or new."""
    path = tmp_path / "a.json"
    path.write_text('["mine"]')
    with pytest.raises(InputError, match="it already exists") as caught:
        write_sample(path, tasks=1)
    assert caught.value.where == str(path)
    assert "made-up tasks" in (caught.value.hint or "")
    assert path.read_text() == '["mine"]'
    write_sample(path, tasks=1, force=True)
    assert len(read_library(path)) == 1
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_file_that_comes_meanwhile_stays(tmp_path: Path) -> None:
    """Law: also a file that somebody else writes at the same time is not replaced."""
    path = tmp_path / "a.json"
    with pytest.raises(InputError, match="already exists"):
        write_sample(path, tasks=2, workflow_bytes=0, progress=lambda done, total: path.write_text("theirs") and None)
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_broken_off_sample_leaves_nothing(tmp_path: Path) -> None:
    """Law: whatever stops the writing, no part of a file is left, and the old one is as it was."""
    path = tmp_path / "a.json.gz"
    write_sample(path, tasks=1)
    before = path.read_bytes()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(path, tasks=2, workflow_bytes=0, force=True, progress=stop)
    assert os.listdir(tmp_path) == ["a.json.gz"]
    assert path.read_bytes() == before


def test_where_no_file_can_be_made(tmp_path: Path) -> None:
    """Law: a folder, or a path in no folder, is refused with its hint."""
    with pytest.raises(InputError, match="this is a folder"):
        write_sample(tmp_path, tasks=1, force=True)
    with pytest.raises(InputError, match="nothing can be made there") as caught:
        write_sample(tmp_path / "none" / "a.json", tasks=1)
    assert caught.value.hint == f"make the folder {tmp_path / 'none'} and check that you may write to it"


def test_wrong_numbers_are_told_together(tmp_path: Path) -> None:
    """Law: all mistakes at once, before anything is written."""
    with pytest.raises(OptionsError) as caught:
        write_sample(tmp_path / "a.json", tasks=0, workflow_bytes=-1, seed=-1)
    assert [m.where for m in caught.value.mistakes] == ["‹tasks›", "‹workflow_bytes›", "‹seed›"]
    assert os.listdir(tmp_path) == []


def test_progress(tmp_path: Path) -> None:
    """Law: progress counts tasks and ends at their number."""
    told: list[tuple[int, int]] = []
    write_sample(
        tmp_path / "a.json", tasks=3, workflow_bytes=0, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
