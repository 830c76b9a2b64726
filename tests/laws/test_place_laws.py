"""Laws of places in a document: who names one gets the tasks that are there, by whatever way it is read."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given
from hypothesis import strategies as st
from small_tasks import piped

from examples import examples
from prealloc.errors import LibraryError
from prealloc.library import read_library
from prealloc.library.text import batches
from prealloc.model.fields import Fields

KEYS = ("a", "b", "a.b", "tasks", "\u00e9", "k" * 600)
_OTHER = (1, "x", None, [1], [], {}, {"p": 1}, [[{"id": "no"}]])


@st.composite
def places(draw: st.DrawFn) -> tuple[str, str]:
    """A place, and the text of a document with tasks at some places and other things at others."""
    number = iter(range(1000))

    def task() -> dict[str, Any]:
        inside = {"tasks": [{"id": "no"}], "a": {"b": [{"id": "no"}]}}
        made = {"id": str(next(number)), "inside": inside} if draw(st.booleans()) else {"id": str(next(number))}
        return made | ({} if draw(st.booleans()) and "*" in path else {"type": "t"})

    def value(depth: int) -> Any:
        kind = draw(st.sampled_from(["list", "list", "by id", "object", "object", "other"][: None if depth < 2 else 2]))
        if kind == "list":
            return [task() for _ in range(draw(st.integers(0, 3)))]
        if kind == "other":
            return draw(st.sampled_from(_OTHER))
        keys = draw(st.lists(st.sampled_from(KEYS), max_size=4, unique=True))
        return {key: task() if kind == "by id" else value(depth + 1) for key in keys}

    path = ".".join(draw(st.lists(st.sampled_from([*KEYS[:2], "*", "*"]), min_size=1, max_size=3)))
    document = {key: value(0) for key in draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True))}
    text = json.dumps(document, indent=draw(st.sampled_from([None, 1, "\t"])), ensure_ascii=draw(st.booleans()))
    return path, draw(st.sampled_from(["", "\ufeff"])) + text.replace("[", "[" + " " * draw(st.sampled_from([0, 600])))


def there(
    value: Any, names: list[str], title: str | None = None
) -> Iterator[tuple[type, list[tuple[str, str]] | None]]:
    """The tasks at each place that these names lead to, and what holds them; None where something else is."""
    for key, inner in value.items():
        if names[0] in ("*", key) or key == ".".join(names):
            rest, name = ([] if key == ".".join(names) else names[1:]), key if names[0] == "*" else title
            tasks = (
                inner.items() if isinstance(inner, dict) else [(None, t) for t in inner] if type(inner) is list else []
            )
            is_one = bool(tasks) and isinstance(next(iter(tasks))[1], dict)
            if rest:
                yield from there(inner, rest, name) if isinstance(inner, dict) else ()
            elif is_one or names[0] != "*":
                fine = isinstance(inner, list | dict) and all(isinstance(t, dict) for _, t in tasks)
                yield type(inner), [(t.get("id", key), t.get("type", name)) for key, t in tasks] if fine else None


@examples(200, allow=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(places(), st.integers(1, 400), st.integers(1, 400))
@example(("*", json.dumps({"a": {"k" * 600: {"id": "0"}}, "b": {"k": {"id": "1"}}})), 9, 9)
@example(("*", json.dumps({"a": [{"id": "0"}], "b": [{"id": "1"}]}).replace("[", f"[{' ' * 600}")), 9, 9)
def test_a_place_has_the_tasks_that_python_finds_there(place: tuple[str, str], piece: int, batch: int) -> None:
    """Law: wherever pieces end, from a file, packed or piped; a list behind `*` is the type of tasks without one."""
    path, text = place
    found = [*there(json.loads(text.removeprefix("\ufeff")), path.split("."))]
    kinds, held = {kind for kind, _ in found}, [tasks for _, tasks in found]
    wanted = None if None in held or len(kinds) > 1 else [task for tasks in held for task in tasks or ()]
    assume(wanted is None or all(id.isdigit() for id, _ in wanted))  # not objects of others
    if not wanted or (len(found) > 1 and "*" not in path):
        wanted = None
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        plain, packed = Path(folder, "t.json"), Path(folder, "t.json.gz")
        plain.write_text(text)
        packed.write_bytes(gzip.compress(text.encode()))
        patch.setattr("prealloc.library.disk._PIECE", piece)
        patch.setattr("prealloc.library.disk._ahead", lambda read: (piece for piece in iter(read, b"")))
        patch.setattr(batches, "BATCH", batch)
        for library in (plain, packed, "-", Path(folder, "*.json")):
            with piped(text.encode()):
                try:
                    read = read_library(library, fields=Fields(tasks_field=path), shortlist=lambda: None)
                except LibraryError:
                    assert wanted is None
                else:
                    assert [*zip(read.ids, read.types, strict=True)] == wanted
