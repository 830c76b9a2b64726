"""Where the tasks lie in a JSON document: at a place that is named, or the only place that they can be at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.library.rows import FIELDS
from prealloc.library.text.cursor import Cursor, Origin
from prealloc.library.text.refuse import rewrite_json
from prealloc.model.words import listed, shown, word

ROOT = "."
"""The place of a document itself."""
SHAPES = 'a library is {"tasks": [...]}, a bare [...], or one task a line'

_LISTS_SHOWN = 10
_LOOKED_INTO = 20
# Objects in a document: more would copy it.
_COLUMN = re.compile(rb'\[|\{[ \t\n\r]*"0"')
_Column = list[Raw] | dict[str, Raw]
_KIND = bytes.maketrans(b"-123456789f", b"0000000000t")  # of a JSON value, by its first byte
_LIST_OF_OBJECTS = re.compile(rb"\[[ \t\n\r]*\{")
_SPLIT = ("columns", "data")  # the names and the rows of a table, as pandas and W&B call them
_EACH = "{key: {'list': d[key]} for key in d}"

Value = tuple[str, int, int]
"""A key of a document, where its value begins, and where it ends."""
_Found = tuple[int, tuple[str, ...], frozenset[str]]
"""What may be tasks: its size, its place, and the keys of its first task."""


def rest_of(path: str, key: str) -> str | None:
    """What is left of a path behind a key; None where it does not lead there."""
    if path in (key, "*"):
        return ""
    if path.startswith((f"{key}.", "*.")):
        return path[len(key) + 1 :] if path.startswith(f"{key}.") else path[2:]
    return None


def only_place(text: bytearray, values: Sequence[Value], origin: Origin) -> str | None:
    """The only list of objects of a document without "tasks", by its key; None if all its values are tasks.

    Raises LibraryError, with the places that may be named, if there is not one such list, and not every value an
    object; or if another place was named.
    """
    asked, where = origin.source.tasks_field, origin.source.where
    lists = [(end - at, (key,), keys) for key, at, end in values if (keys := _keys(text, at)) is not None]
    if len(lists) == 1 and asked is None:
        return lists[0][1][0]
    split = [value for value in values if value[0] in _SPLIT]
    columns = split if len(split) == 2 else values
    if len(columns) > 1 and not lists and all(_COLUMN.match(text, at) for _, at, _ in columns):
        _refuse_columns(text, columns, where)
    at_brace = [value for value in values if text[value[1] : value[1] + 1] == b"{"]
    objects = [(key, FIELDS.decode(text[at:end])) for key, at, end in at_brace[:_LOOKED_INTO]]
    deeper = [found for key, fields in objects for found in _libraries_in(key, fields)]
    sets = [{(name, bytes(raw)[:1]) for name, raw in fields.items()} for _, fields in objects if fields]
    shared = set.intersection(*sets) if len(sets) > 1 else set()
    alike = not deeper or (shared and ("tasks", b"[") not in shared)
    if len(values) == len(at_brace) > 1 and alike and asked is None:
        return None
    there = ", ".join(ascii(key) for key, *_ in values[:_LISTS_SHOWN]) or "nothing"
    problem, hint = f'a JSON object without "tasks": it has {there}', SHAPES
    if len(values) == len(objects) == 1 and objects[0][1]:
        hint = f"if {shown(values[0][0])} is its id: ‹tasks_field› {ROOT}"
    if several := lists or deeper:
        hint = f"name the tasks: {_named(several)}"
    if asked is not None:
        problem = f"‹tasks_field› {asked}: there are no such tasks; the document has {there}"
    elif lists:
        problem = f"several lists in it may be the tasks: {listed(ascii(path[0]) for _, path, _ in lists)}"
    if len(values) == len(lists) > _LISTS_SHOWN:
        hint = f"make every task an object: {rewrite_json(where, _EACH)}"
    raise LibraryError(problem, where=", ".join(filter(None, [where, origin.at()])), hint=hint)


def _refuse_columns(text: bytearray, values: Sequence[Value], where: str) -> NoReturn:
    """Raises LibraryError for a document that has the values of each field together, or nothing but names."""
    columns = [msgspec.json.decode(text[at:end], type=_Column) for _, at, end in values]
    kinds = [{bytes(cell)[:1].translate(_KIND) for cell in each} for each in columns if isinstance(each, list)]
    made = "[dict(zip(d, row)) for row in zip(*(x.values() if isinstance(x, dict) else x for x in d.values()))]"
    if {key for key, *_ in values} == {*_SPLIT}:
        made = "[dict(zip(d['columns'], row)) for row in d['data']]"
    elif any(len(kind - {b"n"}) > 1 for kind in kinds):
        made = _EACH
    elif len(set(map(len, columns))) > 1:
        made = "[{'id': str(id), 'type': key} for key in d for id in d[key]]"
    hint = f"make tasks of them: {rewrite_json(where, made)}"
    raise LibraryError("it holds lists or columns, not tasks", where=where, hint=hint)


def _libraries_in(key: str, fields: dict[str, Raw]) -> Iterator[_Found]:
    """What may be tasks in an object of a document."""
    for name, raw in fields.items():
        if (keys := _keys(bytes(raw))) is not None:
            yield len(memoryview(raw)), (key, name), keys
    if len(fields) > 1 and all(bytes(raw)[:1] == b"{" for raw in fields.values()):
        yield sum(len(memoryview(raw)) for raw in fields.values()), (key,), frozenset("{")


def _keys(text: bytes | bytearray, at: int = 0) -> frozenset[str] | None:
    """The keys of the first object in a list of objects; None where none begins."""
    found = _LIST_OF_OBJECTS.match(text, at)
    return found and frozenset(Cursor(text, found.end() - 1).fields())


def _named(found: Sequence[_Found]) -> str:
    """How to name each of these, the largest first; before them all, if of any two first tasks one has all keys."""
    found = sorted(found, reverse=True)
    paths, keys = [path for _, path, _ in found], sorted((keys for *_, keys in found), key=len)
    if len(found) > 1 == len({*map(len, paths)}) and keys[0] and all(map(frozenset.issubset, keys, keys[1:])):
        paths.insert(0, tuple(names[0] if len({*names}) == 1 else "*" for names in zip(*paths, strict=True)))
    return listed((f"‹tasks_field› {word('.'.join(path))}" for path in paths), sep=" or ")
