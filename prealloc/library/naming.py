"""Which field of a library's tasks is their id, and which their type, where they are not spelled as ours are.

A field that may be one (a `Column`) is followed through all tasks, in the one pass that reads them: standard input is
read once. At the end a column that names every task decides: distinct strings before numbers, then by the order of
the common names.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.base import fields_of, refused
from prealloc.library.duplicate_ids import equal_hashes, sorted_positions
from prealloc.library.rows import FIELDS, NOTHING, NULL, are_names, is_name
from prealloc.library.text.other_formats import if_without_names
from prealloc.model.document import UNREADABLE
from prealloc.model.fields import COMMON, Fields
from prealloc.model.options import did_you_mean
from prealloc.model.spelling import ID_SPELLINGS, ONE_TYPE, OTHER_IDS, OTHER_TYPES, TYPE_SPELLINGS
from prealloc.model.task_hash import stable_hashes
from prealloc.model.words import cut, shown, word

Look = Callable[[str], Sequence[Raw]]
"""Gives the texts of a field of some tasks, NOTHING where one does not have it."""

Texts = Callable[[], Sequence[Raw]]
"""Gives the texts of the same tasks, where somebody asks for them."""

_SHOWN = 12
_MAY_BE_ID = re.compile(r"(([_ .-]|\A)(id|ID|Id|\$oid)|[a-z]I[dD])(_?v?\d+)?\Z|\A[iI]ndex\Z")
_ABOUT = ("metadata", "meta", "info")
"""Objects in tasks that may hold the type."""
_FEW_TASKS = 10
"""Tasks that may well have a type each."""
_MOST_TYPES = 4096
_MAY_BE_ONE = re.compile(rb'\d+|"[^"\s]{1,100}"')
"""A value that may well be an id."""


def is_ours(text: bytes | memoryview) -> bool:
    """Whether a task is spelled as ours are. Then all of its library must be, and what is not is a mistake."""
    try:
        task = FIELDS.decode(text)
    except UNREADABLE:
        return True  # the exact way tells what it is
    return all(
        any(bytes(task[name])[:1] == b'"' for name in spellings if name in task)
        for spellings in (ID_SPELLINGS, TYPE_SPELLINGS)
    )


def raw_at(task: Mapping[str, Raw], path: str) -> Raw | None:
    """The text of a field: that of this name, or `a.b` as b in the object a. None if it is missing."""
    if path in task:
        return task[path]
    head, _, rest = path.partition(".")
    return raw_at(fields_of(task[head]), rest) if rest and head in task else None


def _word(name: str) -> str:
    """A name as others spell it too: `Task ID`, `task-id` and `taskId` are `task_id`. (`_id` is not `id`.)"""
    return re.sub(r"[ -]|(?<=.)_", "", name).lower()


def _paths(task: Mapping[str, Raw]) -> list[str]:
    """What may be given as a field: names, and `a.b` for what is in an object a."""
    found = []
    for name, text in task.items():
        inside = bytes(text).lstrip()
        found += [f"{name}.{each}" for each in fields_of(inside)] if inside.startswith(b"{") else [name]
    return found


def texts_at(look: Look, path: str) -> Sequence[Raw]:
    """The texts of a field of tasks: that of this name, or `a.b` as b in the object a; NOTHING if it is missing."""
    texts, (head, _, rest) = look(path), path.partition(".")
    if not rest or NOTHING not in texts:
        return texts
    inside = (raw_at(fields_of(outer), rest) or NOTHING for outer in look(head))
    return [found if text is NOTHING else text for text, found in zip(texts, inside, strict=True)]


def _values(look: Look, path: str) -> list[Any]:
    """The value of a field in each task; None if it is missing, or cannot be decoded: then it is not a name."""
    texts = texts_at(look, path)
    if texts.count(NOTHING) == len(texts):
        return [None] * len(texts)
    texts = [NULL if text is NOTHING else text for text in texts]
    try:  # of all at once, which is many times quicker
        whole: list[Any] = msgspec.json.decode(b"[%b]" % b",".join(texts))
        return whole
    except UNREADABLE:
        found = [None] * len(texts)
        for place, text in enumerate(texts):
            with suppress(*UNREADABLE):
                found[place] = msgspec.json.decode(text)
        return found


def _own(value: Any) -> str | None:
    return value if is_name(value) else None


def _id(value: Any) -> str | None:
    return str(value) if type(value) is int else _own(value)


def _type(value: Any) -> str | None:
    if isinstance(value, list):
        names = [_id(each) for each in value]
        return "+".join(name for name in names if name) if names and None not in names else None
    return _id(value)


def needed(asked: Fields, keep: Iterable[str]) -> frozenset[str]:
    """The fields whose values somebody asked for."""
    paths = [path for path in (asked.id_field, asked.type_field, asked.workflow_field or "workflow") if path]
    return frozenset({*keep, *paths, *(path.partition(".")[0] for path in paths)})


class Column:
    """Names of tasks, as long as every task so far had one."""

    def __init__(self, names: tuple[str, ...], read: Callable[[Any], str | None]) -> None:
        self.names = names
        """Fields, tried in this order in each task."""
        self.kind: type | None = None
        """What the names are: strings, or numbers in their place; None as long as no task had one."""
        self.lacking: int | None = None
        """The first task without a name."""
        self.instead: Any = None
        """What that first task has there."""
        self.hashes = array("Q")
        """Of the names, where they are to be distinct."""
        self.kinds = set[str]()
        """The names, where they are to be few; no more than somewhat above _MOST_TYPES."""
        self._read = read

    def take(self, places: range, look: Look, texts: Texts) -> list[str] | None:
        """The names of the tasks at the next places; None from the first on that has none."""
        if self.lacking is not None and self.kind is not None:  # there is nothing more to learn
            return None
        columns = [found for name in self.names if (found := _values(look, name)).count(None) < len(found)]
        if columns and self.kind in (None, str) and are_names(columns[0]):  # many times quicker than one by one
            self.kind = str
            return columns[0] if self.lacking is None else None
        found = []
        for place, *values in zip(places if columns else places[:1], *columns, strict=True):
            name, kind = self._name(values)
            if name is None or self.kind not in (None, kind):
                if self.lacking is None:
                    self.lacking, self.instead = place, next((each for each in values if each is not None), None)
            else:
                self.kind = kind
                found.append(name)
        return found if self.lacking is None else None

    def _name(self, values: Sequence[Any]) -> tuple[str | None, type | None]:
        """The first that is a string; else the first that is a number; and which of them it is."""
        kinds = [(name, int if type(value) is int else str) for value in values if (name := self._read(value))]
        return next((each for each in kinds if each[1] is str), kinds[0] if kinds else (None, None))

    @property
    def is_called_id(self) -> bool:
        """Whether it is surely meant as an id, by its name: what is called a name, key or index may be none."""
        return any(name.lower().endswith("id") for name in self.names)

    def problem(self, word: str) -> str:
        """What the first task without a name has."""
        if self.instead is None:
            return f"no {word}"
        if self.kind is not None and self._read(self.instead) is not None:
            before = "numbers" if self.kind is int else "text"
            return f"{shown(self.instead)} in {self.names[0]}, where those before have {before}"
        return f"{shown(self.instead)} in {self.names[0]}, which is not a name"

    def said(self, ours: tuple[str, ...]) -> str | None:
        """The field, unless it is spelled as ours is."""
        return self.names[0] if self.names and self.names != ours else None

    @property
    def has_twice(self) -> bool:
        """Whether any name is there twice."""
        return bool(equal_hashes(self.hashes, sorted_positions(self.hashes)))


class _Made(Column):
    """Names that no field has: `make` gives them for the tasks at some places."""

    def __init__(self, make: Callable[[range, Texts], list[str]]) -> None:
        super().__init__((), _id)
        self._make = make

    def take(self, places: range, look: Look, texts: Texts) -> list[str] | None:
        return self._make(places, texts)


def _digests(places: range, texts: Texts) -> list[str]:
    """The digest of each task: the same in whatever order and layout its fields are."""
    found = []
    for place, text in zip(places, texts(), strict=True):
        try:
            fields = FIELDS.decode(compact(text))
        except StrictJsonError as error:
            raise refused(error, f"task {place}") from None
        whole = msgspec.json.encode(dict(sorted(fields.items())))
        found.append(hashlib.blake2b(whole, digest_size=16).hexdigest())
    return found


def own_text(text: bytes | Raw, id: str, type: str, workflow: str | None) -> bytes:
    """A task's object as ours are spelled: with this id and type, and as workflow what the field `workflow` holds."""
    fields: dict[str, Any] = FIELDS.decode(text)
    if workflow is not None:
        flow = raw_at(fields, workflow)
        fields.pop("workflow", None)
        fields.pop(workflow, None)
        if flow is not None:
            fields["workflow"] = flow
    names = {"id": id, "task_type": type}  # they stand first, whatever stood there
    return msgspec.json.encode(names | fields | names)


class Naming(NamedTuple):
    """How the tasks of a library are named."""

    ids: Column
    types: Column
    fields: Fields
    """The choice, for the plan: fields that are spelled as ours are left out."""
    note: str | None
    """The choice in a sentence; None where there was nothing to choose."""

    def own(self, text: bytes | Raw, id: str, type: str) -> bytes:
        """A task's object as we spell it."""
        is_ours = (self.ids.names, self.types.names, self.fields) == (ID_SPELLINGS, TYPE_SPELLINGS, COMMON)
        if is_ours and int not in (self.ids.kind, self.types.kind):
            return bytes(text)
        return own_text(text, id, type, self.fields.workflow_field)


class Names:
    """All columns of a library that may name its tasks."""

    def __init__(
        self,
        asked: Fields,
        first: Mapping[str, Raw],
        where: str,
        known: Naming | None = None,
        task: Callable[[int], str] = "task {}".format,
        is_ours: bool = False,
    ) -> None:
        """`first`: the fields of the first task. `known`: what was told when it was read before.

        `task` tells in words which task has a number. `is_ours`: all tasks must be spelled as ours are.
        """
        self._asked = asked
        self._first = first
        self._where = where
        self._task = task
        self._seen = 0
        self.late: list[Column] = []
        """Ids where no common name is any: fields that are called so, if they tell all tasks apart."""
        self._maybe: list[Column] = []
        """Where no field is called as an id is: those that may be one, for the refusal."""
        self.is_ours = is_ours
        if is_ours:
            self.ids, self.types = [Column(ID_SPELLINGS, _own)], [Column(TYPE_SPELLINGS, _own)]
            return
        self.ids = self._columns(asked.id_field, (ID_SPELLINGS, *OTHER_IDS), _id)
        if asked.id_field is None:
            common = {name for column in self.ids for name in column.names}
            late = [path for path in _paths(first) if _MAY_BE_ID.search(path) and path not in common]
            self.late = [Column((path,), _id) for path in sorted(late, key=lambda path: path.lower() == "index")]
            self.ids += self.late
        if len(self.ids) == 1 and asked.id_field is None is asked.id_from:
            self._maybe = [Column((name,), _id) for name, text in first.items() if _MAY_BE_ONE.fullmatch(text)]
        if asked.id_from is not None:
            self.ids = [_Made(_digests if asked.id_from == "content" else lambda places, _: [*map(str, places)])]
        self.types = self._columns(asked.type_field, (TYPE_SPELLINGS, *OTHER_TYPES), _type)
        if len(self.types) == 1 and asked.type_field is None:
            paths = [path.partition(".") for path in _paths(first)]
            nested = {
                _word(rest): f"{head}.{rest}" for about in reversed(_ABOUT) for head, _, rest in paths if head == about
            }
            self.types += [Column((nested[word],), _type) for word in map(_word, OTHER_TYPES) if word in nested]
        if asked.type_field is None:
            self.types.append(_Made(lambda places, _: [ONE_TYPE] * len(places)))
        if known is not None:
            self.ids = [column for column in self.ids if column.names == known.ids.names]
            self.types = [column for column in self.types if column.names == known.types.names]

    def _columns(self, asked: str | None, common: Sequence[Any], read: Callable[[Any], str | None]) -> list[Column]:
        if asked is not None:
            return [Column((asked,), read)]
        ours, *others = common
        there = {_word(name): name for name in reversed([*self._first]) if name not in ours}
        # A field that every task has is in the first. Ours is always tried: a task may have either spelling.
        found = (name if name in self._first else there.get(_word(name)) for name in others)
        return [Column(ours, read), *(Column((name,), read) for name in dict.fromkeys(found) if name)]

    def heads(self) -> list[str]:
        """The fields that the columns look into."""
        names = (name for column in (*self.ids, *self._maybe, *self.types) for name in column.names)
        return sorted({head for name in names for head in (name, name.partition(".")[0])})

    def take(self, count: int, look: Look, texts: Texts) -> dict[Column, list[str]]:
        """The names of the next `count` tasks by each column that has them all."""
        places = range(self._seen, self._seen + count)
        self._seen += count
        found = {column: column.take(places, look, texts) for column in (*self.ids, *self._maybe, *self.types)}
        named = {column: names for column, names in found.items() if names is not None}
        ids = [*self.ids, *self._maybe]
        for column in ids if len(ids) > 1 else ():
            column.hashes.extend(stable_hashes(named.get(column, ())))
        for column in self.types[1:]:
            if len(column.kinds) <= _MOST_TYPES:
                column.kinds.update(named.get(column, ()))
        return named

    def workflows(self, look: Look) -> Sequence[Raw]:
        """The texts of the workflows of some tasks."""
        return texts_at(look, self._asked.workflow_field or "workflow")

    def best(self) -> tuple[Column | None, Column | None]:
        """The best column of each kind, by the tasks so far; None where none names them all."""
        common = any(
            column.kind is not None and (column.is_called_id or (column.lacking is None and not column.has_twice))
            for column in self.ids
            if column not in self.late
        )
        late = [column for column in self.late if common or column.has_twice]
        ids = [column for column in self.ids if column.lacking is None and column not in late]
        types = [column for column in self.types if column.lacking is None and not self._differs(column)]
        ours = self.types[0]
        if self._asked.type_field is None and ours.kind and ours.lacking is not None and len(types) == 1:
            types = []  # some tasks have a type: then all must
        # min() takes the first, in the order of the common names, of those that are equally good
        id = min(ids, key=lambda column: (column.has_twice, column.kind is int), default=None)
        type = min(types, key=lambda column: (isinstance(column, _Made), column.kind is int), default=None)
        return id, type

    def _differs(self, column: Column) -> bool:
        """Whether what might be types tells all tasks apart, or nearly."""
        return self._seen > _FEW_TASKS and len(column.kinds) >= min(self._seen, _MOST_TYPES)

    def chosen(self, *, has_workflow: bool) -> Naming:
        """The best column of each kind, where any task has a workflow. Raises LibraryError with all that is missing."""
        id, type = self.best()
        lost = None if has_workflow else self._asked.workflow_field
        if id is None or type is None or lost:
            raise self._missing(id, type, lost)
        said = {"id_field": id.said(ID_SPELLINGS), "type_field": type.said(TYPE_SPELLINGS)}
        fields = msgspec.structs.replace(self._asked, **said)
        left = "; ".join(filter(None, map(self._why_not, self.types[:-1]))) if not type.names else None
        return Naming(id, type, fields, _note(self._asked, fields, no_types=left))

    def _why_not(self, column: Column) -> str | None:
        """Why a field that some tasks have is not their type."""
        if column.kind is None:
            return None
        name = column.names[0]
        if column.lacking is None:
            more = f"more than {_MOST_TYPES:,}" if len(column.kinds) > _MOST_TYPES else f"{len(column.kinds):,}"
            return f"{name} has {more} values in {self._seen:,} tasks"
        return f"task {column.lacking} has {column.problem(name)}"

    def _missing(self, id: Column | None, type: Column | None, flow: str | None) -> LibraryError:
        problems, hints, paths, asked = [], [], _paths(self._first), self._asked
        kinds = (("id", asked.id_field, id, self.ids), ("type", asked.type_field, type, self.types))
        for what, name, found, columns in kinds:
            if found is not None:
                continue
            first, option = columns[0], f"‹{what}_field›"
            if name is not None:
                problems.append(f"{option} {name}: {self._task(first.lacking or 0)} has {first.problem('such field')}")
                hints.append(did_you_mean(name, paths))
            else:
                # Of our own spelling, if it is there at all; else of the field that goes furthest.
                columns = [column for column in columns if column not in self.late]
                best = max(
                    columns,
                    key=lambda column: (column is first and column.kind is not None, column.lacking or 0),
                )
                problems.append(f"{self._task(best.lacking or 0)} has {best.problem(what)}")
                distinct = (each for each in self._maybe if each.lacking is None and not each.has_twice)
                such = min(distinct, key=lambda each: each.kind is int, default=None) if what == "id" else None
                example = "" if such is None else f", such as {option} {word(such.names[0])}"
                hints.append(f"name the field of the {what} with {option}{example}")
                if what == "id":
                    hints.append("or give ‹id_from› content (a digest of each task) or ‹id_from› position (its place)")
        if flow:
            problems.append(f"‹workflow_field› {flow}: no task has such a field")
            hints.append(did_you_mean(flow, paths))
        names = [cut(path if path.strip() and path.isprintable() else ascii(path)) for path in paths[:_SHOWN]]
        there = ", ".join([*names, "..."] if len(paths) > _SHOWN else names)
        problem = f"{'; '.join(problems)}; the first task has {f'the fields {there}' if there else 'no fields'}"
        way = if_without_names(self._where, [*self._first]) if id is None and asked.id_field is None else None
        return LibraryError(problem, where=self._where, hint="\n".join(filter(None, [way, "; ".join(hints)])))


def _note(asked: Fields, found: Fields, *, no_types: str | None) -> str | None:
    """`no_types`: why fields that may be the type are not; None where one is."""
    told = []
    if asked.id_from == "position":
        told.append("a task's id is its place in the library, so their order matters")
    if found.id_field != asked.id_field:
        told.append(f"ids are read from {found.id_field} (use ‹id_field› for another field)")
    if no_types is not None:
        why = f"; {no_types}" if no_types else ""
        told.append(f"all tasks have type {ONE_TYPE!r} (use ‹type_field› to name a field with types{why})")
    elif found.type_field != asked.type_field:
        told.append(f"types are read from {found.type_field} (use ‹type_field› for another field)")
    return "; ".join(told) or None
