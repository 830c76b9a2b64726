"""Hypothesis against second opinions: strict JSON against the standard library, the fold against its oracle."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import oracles
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from prealloc.errors import JournalError
from prealloc.files.paths import RunPaths
from prealloc.files.strict_json import INT_MAX, INT_MIN, StrictJsonError, compact, loads
from prealloc.model.plan import Unit
from prealloc.store.fold import fold

BUDGET = examples(100)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
pieces = st.lists(
    st.sampled_from([
        *'{}[]:,"\\ \n\t-0123456789.eE+atrufalsn',
        '"a"', '"b":', '"\\u0061":', '"\\ud800"', '"\\ud83d\\ude00"', "1e999", "NaN", "Infinity", "0.1", "\ufeff", "é",
        "18446744073709551616", "18446744073709551615", "-9223372036854775809", '{"a":1,"a":1}', "[1]", "\x00", "\x7f",
    ]),
    max_size=14,
)  # fmt: skip


@BUDGET
@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_every_json_value_is_read_as_it_was_written(value: Any, ascii_only: bool, indent: int | None) -> None:
    """Law: what the standard library writes of a value that JSON knows, strict reading gives back."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert loads(text, what="x") == value
    assert json.loads(compact(text)) == value


@BUDGET
@given(pieces)
def test_no_text_is_read_otherwise_than_the_standard_library_reads_it(parts: list[str]) -> None:
    """Law: refused by both, or by us alone for integers past 64 bits, or read by both as the same value."""
    raw = "".join(parts).encode("utf-8", "surrogatepass")
    try:
        said: Any = oracles.strict(raw)
        known = True
    except (ValueError, RecursionError):
        known = False
    try:
        value = loads(raw, what="x")
    except StrictJsonError:
        assert not known or too_large(said)
        return
    assert known
    assert value == said or value != value


def too_large(value: Any) -> bool:
    """Whether an integer past 64 bits stands anywhere in it."""
    if isinstance(value, dict | list):
        return any(map(too_large, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and not INT_MIN <= value <= INT_MAX


lines = st.fixed_dictionaries(
    {
        "shard": st.sampled_from(["s"] * 8 + ["t"]),
        "task": st.sampled_from(["a", "b"] * 8 + ["c"]),
        "repeat": st.sampled_from([0, 1] * 6 + [2, -1, 2**64]),
        "attempt": st.sampled_from([1, 2, 3] * 6 + [0, 2**31 + 1, 1.5, "1"]),
        "status": st.sampled_from([*sorted(oracles.STATUSES)] * 3 + ["not_run", "fine"]),
        "started_at": st.sampled_from([0.0, 1.5]),
        "queued_s": st.just(0),
        "waiting_s": st.sampled_from([0.0] * 12 + [1e300]),
        "working_s": st.sampled_from([0.25] * 12 + [None]),
        "peak_rss": st.just(1),
    },
    optional={"result": values, "late": st.booleans(), "more": st.just(1), "error": st.none(), "reused": st.none()},
)
records = st.fixed_dictionaries({
    "kind": st.sampled_from(["session"] * 4 + ["shell"]),
    "session": st.sampled_from([1] * 8 + [2]),
    "reopen_failed": st.booleans(),
})  # fmt: skip
endings = st.sampled_from([b"\n"] * 20 + [b"", b"\r\n", b"\n\n", b" \n", b"\0\0\n", b"\0\0", b"}\n", b'{"shard":'])


def written(found: list[tuple[dict[str, Any], bytes]]) -> bytes:
    """The lines as bytes, each with its ending."""
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + ending for line, ending in found)


@BUDGET
@given(
    st.lists(st.tuples(records, endings), max_size=3),
    st.lists(st.tuples(lines, endings), max_size=6),
    st.lists(st.tuples(lines | records, endings), max_size=3),
)
def test_a_journal_means_what_its_lines_say_or_is_damage(
    told: list[tuple[dict[str, Any], bytes]],
    first: list[tuple[dict[str, Any], bytes]],
    second: list[tuple[dict[str, Any], bytes]],
) -> None:
    """Law: the fold is JournalError, or the very census that a second fold finds; and every outcome can be read."""
    units = [Unit("s", task, repeat) for repeat in (0, 1) for task in ("a", "b")]
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(JournalError):
        run = RunPaths(Path(folder))
        run.journal.mkdir()
        run.supervisor_journal(1).write_bytes(written(told))
        run.worker_journal("s", 1, 1).write_bytes(written(first))
        run.worker_journal("s", 1, 2).write_bytes(written(second))
        state = fold(run, units)
        assert state.census() == oracles.journal(run.journal, set(units))
        for unit, each in state.units.items():
            if each.outcome is not None:
                attempt = each.outcome.read()
                assert (attempt.shard, attempt.task, attempt.repeat, attempt.status) == (*unit, each.status)
