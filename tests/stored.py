"""Tasks of all kinds, every format to store them in, and what must come of a stored library that was spoiled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from prealloc.errors import LibraryError
from prealloc.library import read_library
from prealloc.library.base import Add, Library, Record
from prealloc.library.convert import new_json, new_lines
from prealloc.library.database import DatabaseLibrary, new_database
from prealloc.library.packed.index import TaskIndex, make_index
from prealloc.library.packed.pool import SharedTaskPool, new_pool
from prealloc.library.parquet.library import ParquetLibrary, new_parquet
from prealloc.library.parts import PartsLibrary, new_parts

BOX_BYTES = 600
"""Of a part or row group: RECORDS fill three."""

WORKFLOWS = (
    None,
    "null",
    "{}",
    '{"steps":[1e5,1.0,-0.0,2.50,18446744073709551615,{"deep":[[],{}]}]}',
    '["\\u00e9","é","\\/","\\ud83d\\ude00","😀","\\u0000","a\\nb"]',
    '""',
    "0",
    '{"words":"' + "word " * 400 + '"}',
    json.dumps([str(n * 7919 % 10_007) for n in range(300)], separators=(",", ":")),
)


def record(id: str, type: str, workflow: str | None, more: str = "") -> Record:
    """A task as a writer takes it: `more` are further fields, each with a comma in front."""
    names = f'"id":{json.dumps(id)},"task_type":{json.dumps(type)}'
    flow = "" if workflow is None else f',"workflow":{workflow}'
    return Record(id, type, f"{{{names}{more}{flow}}}".encode())


RECORDS = tuple(
    record(f"t-{i}-é/../{'x' * i}", f"type {i % 3}", workflow, f',"instance_id":"other","note":[{i},1.50,"\\u00e9"]')
    for i, workflow in enumerate(WORKFLOWS)
)
NO_WORKFLOW = 2

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_number = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | _number | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)
_name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@st.composite
def some_records(draw: st.DrawFn) -> list[Record]:
    """Any tasks at all, with ids that differ."""
    ids = draw(st.lists(_name, min_size=1, max_size=12, unique=True))
    found = []
    for id in ids:
        workflow = draw(st.none() | st.builds(compact_json, _json))
        found.append(record(id, draw(_name), workflow, f',"more":{compact_json(draw(_json))}'))
    return found


def compact_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@contextmanager
def _new_index(path: Path, *, force: bool) -> Iterator[Add]:
    with new_lines(path, force=force) as add:
        yield add
    make_index(path)


class Format(NamedTuple):
    """A way to store tasks. What proves them lies in `proof(path)`; nothing proves JSON."""

    new: Callable[..., AbstractContextManager[Add]]
    opener: Callable[..., Library]
    proof: Callable[[Path], list[Path]] = lambda path: [path]

    def write(self, path: Path, records: Iterable[Record] = (), then: Exception | None = None) -> Path:
        """Writes the records (none: RECORDS), replacing what is there, and then raises `then` if there is such."""
        write_all(self.new(path, force=True), records or RECORDS, then)
        return path

    def open(self, path: Path) -> Any:
        return self.opener(path, keep=("note",))


PROVED = {
    "database": Format(new_database, DatabaseLibrary),
    "parts": Format(partial(new_parts, part_bytes=BOX_BYTES), PartsLibrary, lambda path: sorted(path.iterdir())),
    "parquet": Format(partial(new_parquet, group_bytes=BOX_BYTES), ParquetLibrary),
    "pool": Format(new_pool, SharedTaskPool),
    "index": Format(_new_index, TaskIndex.open, lambda path: [path.with_name(f"{path.name}.index")]),
}
FORMATS = PROVED | {"json": Format(new_json, read_library), "jsonl": Format(new_lines, read_library)}


def all_of(library: Any) -> tuple[Any, ...]:
    """All that a library says."""
    positions = range(len(library))
    tasks = library.tasks(positions)
    return (
        list(library.ids),
        list(library.types),
        library.counts.without_workflow,
        library.counts.two_ids,
        library.info.tasks,
        library.info.types,
        list(library.texts(positions)),
        [(task.id, task.type, task.workflow_json, task.extra_json) for task in tasks],
    )


def is_refused_or_the_same(open_: Callable[[], Any], whole: tuple[Any, ...]) -> bool:
    """Whether a spoiled library was refused; if it was not, it says what it said when it was whole."""
    try:
        found = all_of(open_())
    except LibraryError as refusal:
        error = refusal
    else:
        assert found == whole
        return False
    assert error.where
    assert error.hint
    assert error.problem.isprintable()
    assert len(str(error)) < 2_000
    return True


def write_all(new: AbstractContextManager[Add], records: Iterable[Record], then: Exception | None = None) -> None:
    """Gives the records to a new writer, and then raises `then` if there is such."""
    with new as add:
        for one in records:
            add(one)
        if then is not None:
            raise then


@cache
def full_places(good: bytes) -> list[int]:
    """Where bytes are not 0. Most of a small database is free space, and nothing is told by spoiling that."""
    return [at for at, byte in enumerate(good) if byte]


@st.composite
def spoiled(draw: st.DrawFn, good: bytes) -> bytes:
    """The bytes with up to three of them changed, cut off, with a piece cut out, with more behind, or turned about."""
    kind = draw(st.sampled_from(["change", "change", "cut", "shorter by a few", "piece out", "append", "turn"]))
    if kind in ("cut", "turn"):
        at = draw(st.integers(0, len(good) - 1))
        return good[:at] if kind == "cut" else good[at:] + good[:at]
    if kind == "shorter by a few":
        return good[: -draw(st.integers(1, 64))]
    if kind == "append":
        return good + draw(st.binary(min_size=1, max_size=64))
    place = st.sampled_from(full_places(good))
    start = draw(place)
    if kind == "piece out":
        return good[:start] + good[start + draw(st.integers(1, 64)) :]
    raw = bytearray(good)
    for at in {start, *draw(st.lists(place, max_size=2))}:
        raw[at] ^= draw(st.integers(1, 255))
    return bytes(raw)
