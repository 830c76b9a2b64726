"""Strict JSON: what is refused, where, and that nothing else is touched."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from prealloc.files.strict_json import MAX_DEPTH, StrictJsonError, compact, loads, place

DEEP = MAX_DEPTH * b"["

REFUSED = [
    (b"", "is empty", 0, "$"),
    (b" \n ", "is empty", 3, "$"),
    (b"[1, 2", "the text ends too early", 5, "$[1]"),
    (b'{"a": "x', "the text ends inside a string", 8, "$.a"),
    (b'{"a": [1, {"b": nul}]}', "expected a value, found n", 16, "$.a[1].b"),
    (b'{"a": 1 "b": 2}', "expected a comma or the closing bracket", 8, "$.a"),
    (b'{"a": 1,}', "expected a key, found }", 8, "$.a"),
    (b"[1,]", "expected a value, found ]", 3, "$[1]"),
    (b"[1}", "expected a comma or the closing bracket, found }", 2, "$[0]"),
    (b"{1: 2}", "expected a key or }, found 1", 1, "$"),
    (b'{"a" 1}', "expected a colon, found 1", 5, "$.a"),
    (b"[01]", "expected a comma or the closing bracket", 2, "$[0]"),
    (b"[1.]", "expected a comma or the closing bracket", 2, "$[0]"),
    (b"[+1]", "expected a value or ], found +", 1, "$[0]"),
    (b"[NaN]", "NaN is not a JSON number", 1, "$[0]"),
    (b"[-Infinity]", "-Infinity is not a JSON number", 1, "$[0]"),
    (b"[1, 1e999]", "the number 1e999 is not finite", 4, "$[1]"),
    (b"[-1E400]", "the number -1E400 is not finite", 1, "$[0]"),
    (b"18446744073709551616", "needs more than 64 bits", 0, "$"),
    (b"[18446744073709551616]", "needs more than 64 bits", 1, "$[0]"),
    (b"[-9223372036854775809]", "needs more than 64 bits", 1, "$[0]"),
    (b"[" + b"9" * 5000 + b"]", "needs more than 64 bits", 1, "$[0]"),
    (b'{"a": 1, "a": 2}', 'the key "a" is there twice in one object', 9, "$.a"),
    (b'{"a": 1, "\\u0061": 2}', "is there twice in one object", 9, "$.a"),
    (b'{"x:y": 1, "x:y": 2, "z": "\\u003a"}', "is there twice in one object", 11, '$["x:y"]'),
    (b'{"x": 1, "x": 2, "z": "\\u003a"}', "is there twice in one object", 9, "$.x"),
    (b'{"x": 1, "x": 2, "z": "\\u003A"}', "is there twice in one object", 9, "$.x"),
    (b'[{"b": [0, {"c": 1, "c": 1}]}]', "is there twice", 20, "$[0].b[1].c"),
    (b'["\\ud800"]', "a lone surrogate", 2, "$[0]"),
    (b'["x\\udc00y"]', "a lone surrogate", 3, "$[0]"),
    (b'["\\ud83d\\ud83d\\ude00"]', "a lone surrogate", 2, "$[0]"),
    (b'["\\ud83dx\\ude00"]', "a lone surrogate", 2, "$[0]"),
    (b'{"\\udfff": 1}', "a lone surrogate", 2, "$"),
    (b'["a\xff"]', "is not UTF-8", 3, "$[0]"),
    (b'["\xed\xa0\x80"]', "is not UTF-8", 2, "$[0]"),
    (b'["a\x01"]', "a control character (0x01) stands in a string unescaped", 3, "$[0]"),
    (b'["a\nb"]', "a control character (0x0a)", 3, "$[0]"),
    (b'["\\x41"]', "an escape that JSON does not have: \\x", 2, "$[0]"),
    (b'{"a": 1} x', "there is more text after the value", 9, "$"),
    (b'{"a": 1}{', "there is more text after the value", 8, "$"),
    (b"\xef\xbb\xbf{}", "starts with a UTF-8 byte order mark", 0, "$"),
    ("{}".encode("utf-16"), "UTF-16 or UTF-32 byte order mark", 0, "$"),
    ('{"a": 1}'.encode("utf-16-le"), "is UTF-16, UTF-32 or binary", 0, "$"),
    (DEEP + b"[" + b"]" * (MAX_DEPTH + 1), "nested deeper than 512", 512, None),
    (100_000 * b"[", "nested deeper than 512", 512, None),
    (100_000 * b'{"a":', "nested deeper than 512", 512 * 5, None),
]


@pytest.mark.parametrize(("text", "problem", "offset", "path"), REFUSED)
def test_refused_with_problem_offset_and_path(text: bytes, problem: str, offset: int, path: str | None) -> None:
    """Law: every text that is not strict JSON is a StrictJsonError that says what, at which byte, in which value.

    loads refuses the same, and names the document, line and column.
    """
    with pytest.raises(StrictJsonError) as caught:
        compact(text)
    assert problem in caught.value.problem
    assert (caught.value.offset, caught.value.path) == (offset, path)
    with pytest.raises(StrictJsonError, match=r"run\.json: ") as caught:
        loads(text, what="run.json")
    assert problem in str(caught.value)
    assert caught.value.line is not None


@pytest.mark.parametrize(
    "text",
    [
        b"null",
        b"[]",
        b"{}",
        b'""',
        b"-0",
        b"1E5",
        b"1.50",
        b"0.1e-7",
        b"1e-999",
        b"123456789012345678901234567890.0",
        b"[18446744073709551615,-9223372036854775808]",
        b'{"a":{"a":{"a":1}},"b":{"a":2}}',
        b'["1234567890123456789012345","a:1234567890123456789012"]',
        b'"\\u0061\\/\\u0000\\ud83d\\ude00"',
        b'"\\\\ud800"',
        '"déjà 😀"'.encode(),
        b'{"a:b":"::","c":"{[\\"]}"}',
        b'{"\\u003a":1,"b":"\\u003A"}',
        DEEP + b"]" * MAX_DEPTH,
        b'{"a":' * 40 + b'"1234567890123456789[{"' + b"}" * 40,
        b"[" * 20 + b"12345678901234567890,0.12345678901234567890" + b"]" * 20,
    ],
)
def test_compact_text_stays_as_it_is(text: bytes) -> None:
    """Law: numbers and strings keep their spelling, whatever it is; a compact text is its own compact form."""
    assert compact(text) == text
    assert compact(b" \r\n\t" + text + b"\n") == text


def test_whitespace_goes_only_between_tokens() -> None:
    """Law: whitespace inside strings is content."""
    assert compact(b'{ "a b" : [ 1 , " x " ] }') == b'{"a b":[1," x "]}'


def test_takes_msgspec_raw() -> None:
    """Law: a Raw is compacted like the bytes it shows."""
    assert compact(msgspec.Raw(b'{"a": 1}')) == b'{"a":1}'


def test_error_survives_pickling() -> None:
    """Law: every error pickles with all it says."""
    error = StrictJsonError("p", offset=3, path="$.a")
    error.line, error.column, error.what = 1, 4, "the manifest"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_loads_gives_values() -> None:
    """Law: a sound document becomes plain Python values."""
    assert loads(b' {"a": [1, 2.5, null, true, "x"]}\n', what="run.json") == {"a": [1, 2.5, None, True, "x"]}


def test_loads_counts_lines_and_characters() -> None:
    """Law: lines and columns count from 1, columns in characters."""
    with pytest.raises(StrictJsonError, match="line 3, column 4") as caught:
        loads('{\n"é": 1,\n"è"}'.encode(), what="x")
    assert caught.value.offset == 15
    assert place(b"a\nbc", 3) == (2, 2)


def test_message_stays_short_and_printable() -> None:
    """Law: hostile content cannot flood or garble a message."""
    with pytest.raises(StrictJsonError) as caught:
        compact(b'{"\\u001b[31m' + b"k" * 10_000 + b'": 1, "\\u001b[31m' + b"k" * 10_000 + b'": 1}')
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()
