"""Laws of the library and of strict JSON, on generated values and against slow, independent oracles."""

from __future__ import annotations

import gzip
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from examples import examples
from prealloc.errors import LibraryError
from prealloc.files.strict_json import MAX_DEPTH, StrictJsonError, compact, loads
from prealloc.library import read_library

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["id", "type", "workflow", "tasks", '"workflow":', "a:b", "{[", "]}", "\\", "\u2028", "\0", "9" * 25]
)
NUMBERS = (
    st.integers(-(2**63), 2**64 - 1)
    | st.integers(-100, 100)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([10**18, 10**19, 2**63, 2**64 - 1, -(2**63), 1e-7, 1e300, -0.0])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=25,
)
INDENTS = st.sampled_from([None, 0, 1, 2, "\t"])


def spelled(value: Any, indent: int | str | None, escaped: bool) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=escaped)


def squeezed(value: Any, escaped: bool) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=escaped).encode()


def oracle(text: bytes) -> bool:
    """Whether the json module, told to be strict, takes the text: slow, and nothing in common with the code."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, _ in items:
            key.encode()
        if len({key for key, _ in items}) < len(items):
            raise ValueError("twice")
        return dict(items)

    def number(text: str) -> float:
        if not math.isfinite(float(text)):
            raise ValueError("not finite")
        return float(text)

    def integer(text: str) -> int:
        if not -(2**63) <= int(text) < 2**64:
            raise ValueError("too long")
        return int(text)

    def constant(text: str) -> None:
        raise ValueError(text)

    def depth(value: Any) -> int:
        deepest, level = 0, [value]
        while level:
            level = [v for v in level if isinstance(v, dict | list)]
            deepest += bool(level)
            level = [i for v in level for i in (v.values() if isinstance(v, dict) else v)]
        return deepest

    try:
        decoded = text.decode("utf-8")
        if decoded.startswith("\ufeff") or "\0" in decoded[:4]:
            return False
        value = json.loads(
            decoded, object_pairs_hook=pairs, parse_float=number, parse_int=integer, parse_constant=constant
        )
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates
    except ValueError:
        return False
    return depth(value) <= MAX_DEPTH


def taken(text: bytes) -> bool:
    try:
        compact(text)
    except StrictJsonError as error:
        refused = error
    else:
        return True
    assert refused.problem
    assert refused.offset is not None
    assert 0 <= refused.offset <= len(text)
    return False


@examples(100)
@given(VALUES, INDENTS, st.booleans())
def test_compact_is_json_without_whitespace(value: Any, indent: int | str | None, escaped: bool) -> None:
    """Law: however a value was laid out, its compact form is what json writes with the tightest separators."""
    assert compact(spelled(value, indent, escaped).encode()) == squeezed(value, escaped)


@examples(100)
@given(VALUES, INDENTS)
def test_loads_gives_the_value(value: Any, indent: int | str | None) -> None:
    """Law: loads(dumps(x)) == x."""
    assert loads(spelled(value, indent, True).encode(), what="x") == value


@examples(100)
@given(
    st.lists(
        st.from_regex(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
        | st.from_regex(r'"([a-z :{}\[\],]|\\u00[0-7][0-9a-fA-F]|\\/|\\")*"', fullmatch=True),
        max_size=6,
    ),
    st.sampled_from(["", " ", "\n  ", "\t\r\n"]),
)
def test_no_spelling_is_ever_changed(tokens: list[str], space: str) -> None:
    """Law: numbers and strings come out as they were spelled, byte by byte."""
    text = f"[{space}" + f"{space},{space}".join(tokens) + f"{space}]"
    assert compact(text.encode()) == f"[{','.join(tokens)}]".encode()
    nested = '{"a":' * 12 + text + "}" * 12  # deeper than the quickest proof goes
    assert compact(nested.encode()) == b'{"a":' * 12 + f"[{','.join(tokens)}]".encode() + b"}" * 12


PIECES = st.sampled_from(
    [
        *("{", "}", "[", "]", ",", ":", '"', " ", "\n", "\\", "0", "1", "-", ".", "e", "9" * 20, "1e999", "-0", "1.0"),
        *('"a":', '"a"', '"b":1', '"\\u0061":', '"\\ud800"', '"\\ud83d\\ude00"', '"\\udc00"', "NaN", "Infinity"),
        *(
            "null",
            "true",
            "false",
            "\x00",
            "\x01",
            "\ufeff",
            "é",
            '"é"',
            "18446744073709551615",
            "18446744073709551616",
        ),
        *("-9223372036854775808", "-9223372036854775809", '"\\u003a"', '":"', "[]", "{}", '""', '{"a":1,"a":1}'),
    ]
)


@examples(500)
@given(st.lists(PIECES, max_size=8).map("".join))
@example('{"a":1,"a":1}')
@example('{"b:c":1,"b:c":2,"d":"\\u003a"}')
@example("[" * 9 + "99999999999999999999" + "]" * 9)
@example("99999999999999999999")
@example("[" * 512 + "]" * 512)
@example("[" * 513 + "]" * 513)
def test_strictness_agrees_with_the_oracle_on_pieces(text: str) -> None:
    """Law: compact takes a text exactly if the json module, told to be strict, takes it."""
    assert taken(text.encode()) == oracle(text.encode())


@examples(500)
@given(VALUES, INDENTS, st.booleans(), st.data())
def test_strictness_agrees_with_the_oracle_on_mutations(
    value: Any, indent: int | str | None, escaped: bool, data: st.DataObject
) -> None:
    """Law: the same, for good texts with a piece put in, cut out or doubled, and for single bytes changed."""
    text = spelled(value, indent, escaped).encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    middle = data.draw(st.sampled_from([b"", text[start:end] * 2]) | PIECES.map(str.encode) | st.binary(max_size=2))
    mutated = text[:start] + middle + text[end:]
    assert taken(mutated) == oracle(mutated)


IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@st.composite
def tasks(draw: st.DrawFn) -> list[dict[str, Any]]:
    made = []
    for name in draw(st.lists(IDS, min_size=1, max_size=5, unique=True)):
        fields: dict[str, Any] = {
            draw(st.sampled_from(["id", "instance_id"])): name,
            draw(st.sampled_from(["task_type", "type"])): draw(IDS),
        }
        extra = draw(st.dictionaries(TEXT.filter(lambda k: k not in RESERVED), VALUES, max_size=3))
        if draw(st.booleans()):
            fields["workflow"] = draw(VALUES)
        fields |= extra
        made.append({key: fields[key] for key in draw(st.permutations(list(fields)))})
    return made


RESERVED = {"id", "instance_id", "task_type", "type", "workflow"}
PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("", lambda data: data),
    (".gz", gzip.compress),
    (".zst", lambda data: zstandard.ZstdCompressor().compress(data)),
]


def shapes(library: list[dict[str, Any]], indent: int | str | None, escaped: bool) -> dict[str, str]:
    document = {"metadata": {"tasks": []}, "tasks": library, "more": None}
    return {
        "document.json": spelled(document, indent, escaped),
        "array.json": spelled(library, indent, escaped),
        "lines.jsonl": "".join(f"{spelled(task, None, escaped)}\n" for task in library),
    }


@examples(60)
@given(tasks(), INDENTS, st.booleans(), st.sampled_from(PACKERS))
def test_every_shape_says_the_same(
    library: list[dict[str, Any]], indent: int | str | None, escaped: bool, packer: tuple[str, Any]
) -> None:
    """Law: any tasks, in any shape, layout and compression, give the same ids, types and workflow bytes."""
    ending, pack = packer
    with tempfile.TemporaryDirectory() as folder:
        for name, text in shapes(library, indent, escaped).items():
            path = Path(folder, name + ending)
            path.write_bytes(pack(text.encode()))
            read = read_library(path)
            assert read.ids == [task.get("id", task.get("instance_id")) for task in library]
            assert read.types == [task.get("task_type", task.get("type")) for task in library]
            workflows = [squeezed(task.get("workflow"), escaped) for task in library]
            assert [task.workflow_json for task in read.tasks(range(len(library)))] == workflows
            assert read.counts.without_workflow == workflows.count(b"null")


@examples(80)
@given(tasks(), INDENTS, st.data())
def test_an_own_key_twice_is_always_seen(
    library: list[dict[str, Any]], indent: int | str | None, data: st.DataObject
) -> None:
    """Law: wherever in a task one of its own keys is there a second time, and however spelled, it is refused."""
    index = data.draw(st.integers(0, len(library) - 1))
    key = data.draw(st.sampled_from(sorted(RESERVED & set(library[index]))))
    again = library[index][key] if data.draw(st.booleans()) else "other"
    marked = list(library)
    items = list(library[index].items())
    items.insert(data.draw(st.integers(0, len(items))), ("a mark, and no other", again))
    marked[index] = dict(items)
    spelling = data.draw(st.sampled_from([key, f"\\u00{ord(key[0]):02x}{key[1:]}"]))
    with tempfile.TemporaryDirectory() as folder:
        for name, text in shapes(marked, indent, False).items():
            path = Path(folder, name)
            path.write_text(text.replace("a mark, and no other", spelling), encoding="utf-8")
            with pytest.raises(LibraryError, match=f"the task has the key '{key}' twice") as caught:
                read_library(path)
            assert f", task {index} (id " in (caught.value.where or "")
