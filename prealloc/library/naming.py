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
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.base import refused
from prealloc.library.duplicate_ids import equal_hashes, sorted_positions
from prealloc.library.rows import FIELDS, NOTHING, are_names, fields_of, is_name, named, texts_at, values_at
from prealloc.library.text.other_formats import if_without_names
from prealloc.model.document import UNREADABLE
from prealloc.model.fields import Fields
from prealloc.model.options import did_you_mean
from prealloc.model.spelling import ID_SPELLINGS, ONE_TYPE, OTHER_IDS, OTHER_TYPES, TYPE_SPELLINGS
from prealloc.model.task_hash import stable_hashes
from prealloc.model.words import cut, shown, word

Texts = Callable[[], Iterable[bytes | Raw]]
"""Gives the texts of some tasks, where somebody asks for them."""

_SHOWN = 12
_MAY_BE_ID = re.compile(r"(([_ .-]|\A)(id|ID|Id|\$oid)|[a-z]I[dD])(_?v?\d+)?\Z|\A[iI]ndex\Z")
_ABOUT = ("metadata", "meta", "info")
"""Objects in tasks that may hold the type."""
_FEW_TASKS = 10
"""Tasks that may well have a type each."""
_MOST_TYPES = 4096
_MAY_BE_ONE = re.compile(rb'\d+|"[^"\s]{1,100}"')
"""A value that may well be an id."""


def _word(name: str) -> str:
    """A name as others spell it too: `Task ID`, `task-id` and `taskId` are `task_id`. (`_id` is not `id`.)"""
    return re.sub(r"[ -]|(?<=.)_", "", name).lower()


def _spelled(common: Iterable[str], first: Mapping[str, Raw], ours: tuple[str, ...]) -> list[str]:
    """The fields of the first task that are called by these common names, in their order: it has all that every has."""
    there = {_word(name): name for name in reversed([*first]) if name not in ours}
    found = (name if name in first else there.get(_word(name)) for name in common)
    return [*filter(None, dict.fromkeys(found))]


def _paths(task: Mapping[str, Raw]) -> list[str]:
    """What may be given as a field: names, and `a.b` for what is in an object a."""
    found = []
    for name, text in task.items():
        found += [f"{name}.{each}" for each in fields_of(text)] if bytes(text)[:1] == b"{" else [name]
    return found


def _id(value: Any) -> str | None:
    return str(value) if type(value) is int else value if is_name(value) else None


def _type(value: Any) -> str | None:
    if isinstance(value, list):
        names = [_id(each) for each in value]
        return "+".join(name for name in names if name) if names and None not in names else None
    return _id(value)


def needed(asked: Fields, keep: Iterable[str]) -> frozenset[str]:
    """The fields whose values somebody asked for."""
    paths = [path for path in (asked.id_field, asked.type_field, asked.workflow_field or "workflow") if path]
    return frozenset({*keep, *paths, *(path.partition(".")[0] for path in paths)})


@dataclass(eq=False)
class Column:
    """Names of tasks, as long as every task so far had one."""

    names: tuple[str, ...] = ()
    """Fields, tried in this order in each task; none where names are made."""
    read: Callable[[Any], str | None] = _id
    """Gives the name that a value is; None if it is none."""
    make: Callable[[range, Texts], list[str]] | None = None
    """Gives names to the tasks at some places, where no field is asked."""
    is_late: bool = False
    """Whether it is called as an id is, but by no common name: it is one if it tells all tasks apart."""
    kind: type | None = None
    """What the names are: strings, or numbers in their place; None as long as no task had one."""
    lacking: int | None = None
    """The first task without a name."""
    instead: Any = None
    """What that first task has there."""
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    """Of the names, where they are to be distinct."""
    kinds: set[str] = field(default_factory=set)
    """The names, where they are to be few; no more than somewhat above _MOST_TYPES."""

    def take(self, places: range, rows: Sequence[Any], texts: Texts) -> list[str] | None:
        """The names of the tasks at the next places; None once a task has had none."""
        if self.make is not None:
            return self.make(places, texts)
        if self.lacking is not None and self.kind is not None:  # there is nothing more to learn
            return None
        columns = [found for name in self.names if (found := values_at(rows, name)).count(None) < len(found)]
        if columns and self.kind in (None, str) and are_names(columns[0]):  # many times quicker than one by one
            self.kind = str
            return columns[0] if self.lacking is None else None
        found = []
        for place, *values in zip(places if columns else places[:1], *columns, strict=True):
            name, kind = self._first(values)
            if name is None or self.kind not in (None, kind):
                if self.lacking is None:
                    self.lacking, self.instead = place, next((each for each in values if each is not None), None)
            else:
                self.kind = kind
                found.append(name)
        return found if self.lacking is None else None

    def _first(self, values: Iterable[Any]) -> tuple[str | None, type | None]:
        """The first that is a string, else the first that is a number; and which of them it is."""
        found = [(name, int if type(value) is int else str) for value in values if (name := self.read(value))]
        return next((each for each in found if each[1] is str), found[0] if found else (None, None))

    @property
    def is_called_id(self) -> bool:
        """Whether it is surely meant as an id, by its name: what is called a name, key or index may be none."""
        return any(name.lower().endswith("id") for name in self.names)

    def problem(self, what: str) -> str:
        """What the first task without a name has."""
        if self.instead is None:
            return f"no {what}"
        why = "which is not a name"
        if self.kind is not None and self.read(self.instead) is not None:
            why = f"where those before have {'numbers' if self.kind is int else 'text'}"
        return f"{shown(self.instead)} in {self.names[0]}, {why}"

    @property
    def said(self) -> str | None:
        """The field, as a plan tells it: None for our spellings, which are two, and for names that are made."""
        return self.names[0] if len(self.names) == 1 else None

    @property
    def has_twice(self) -> bool:
        """Whether any name is there twice."""
        return bool(equal_hashes(self.hashes, sorted_positions(self.hashes)))


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
    """A task's object as ours are spelled: with this id and type, and as workflow what the field `workflow` holds.

    An id or type that the task says itself by one of our spellings is not put in again.
    """
    fields: dict[str, Any] = FIELDS.decode(text)
    if workflow is not None:
        (flow,) = texts_at([fields], workflow)
        fields = {name: raw for name, raw in fields.items() if name not in ("workflow", workflow)}
        if flow is not NOTHING:
            fields["workflow"] = flow
    own_id = own_type = None
    with suppress(*UNREADABLE):
        own_id, own_type = named(fields)
    names = {} if own_id == id else {"id": id}
    if own_type != type:
        names["task_type"] = type
    return msgspec.json.encode(names | fields | names)  # they stand first, whatever stood there


class Naming(NamedTuple):
    """How the tasks of a library are named."""

    ids: Column
    types: Column
    fields: Fields
    """The choice, for the plan: fields that are spelled as ours are left out."""
    note: str | None
    """The choice in a sentence; None if there was nothing to choose."""

    def own(self, text: bytes | Raw, id: str, type: str) -> bytes:
        """A task's object as we spell it."""
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
        may_be_ours: bool = False,
    ) -> None:
        """`first`: the fields of the first task. `known`: the choice, when the library is read again.

        `task` tells in words which task has a number. `may_be_ours`: if the first task is spelled as ours are, all must
        be, and what is not is a mistake.
        """
        self._asked = asked
        self._paths = paths = _paths(first)
        self._where = where
        self._task = task
        self._seen = 0
        self.workflow = asked.workflow_field or "workflow"
        """The field of the workflows."""
        self._maybe: list[Column] = []
        """Where no field is called as an id is: those that may be one, for the refusal."""
        self.is_ours = may_be_ours and all(
            any(bytes(first.get(name, NOTHING))[:1] == b'"' for name in spellings)
            for spellings in (ID_SPELLINGS, TYPE_SPELLINGS)
        )
        if self.is_ours:
            self.ids, self.types = [Column(ID_SPELLINGS, kind=str)], [Column(TYPE_SPELLINGS, kind=str)]
            return
        if asked.id_from is not None:
            self.ids = [Column(make=_digests if asked.id_from == "content" else lambda places, _: [*map(str, places)])]
        elif asked.id_field is not None:
            self.ids = [Column((asked.id_field,))]
        else:
            common = _spelled(OTHER_IDS, first, ID_SPELLINGS)
            late = [path for path in paths if _MAY_BE_ID.search(path) and path not in (*ID_SPELLINGS, *common)]
            late.sort(key=lambda path: path.lower() == "index")
            self.ids = [Column(ID_SPELLINGS), *(Column((name,)) for name in common)]
            self.ids += [Column((path,), is_late=True) for path in late]
            if len(self.ids) == 1:
                self._maybe = [Column((name,)) for name, text in first.items() if _MAY_BE_ONE.fullmatch(text)]
        if asked.type_field is not None:
            self.types = [Column((asked.type_field,), _type)]
        else:
            inside = [path for about in reversed(_ABOUT) for path in paths if path.startswith(f"{about}.")]
            nested = {_word(path.partition(".")[2]): path for path in inside}
            common = _spelled(OTHER_TYPES, first, TYPE_SPELLINGS)
            common = common or [nested[each] for each in map(_word, OTHER_TYPES) if each in nested]
            self.types = [Column(TYPE_SPELLINGS, _type), *(Column((name,), _type) for name in common)]
            self.types.append(Column(make=lambda places, _: [ONE_TYPE] * len(places)))
        if known is not None:
            self.ids = [column for column in self.ids if column.names == known.ids.names]
            self.types = [column for column in self.types if column.names == known.types.names]

    def heads(self) -> list[str]:
        """The fields that the columns look into."""
        names = (name for column in (*self.ids, *self._maybe, *self.types) for name in column.names)
        return sorted({head for name in names for head in (name, name.partition(".")[0])})

    def take(self, rows: Sequence[Any], texts: Texts) -> dict[Column, list[str]]:
        """The names of the next tasks by each column that has them all."""
        places = range(self._seen, self._seen + len(rows))
        self._seen += len(rows)
        ids = [*self.ids, *self._maybe]
        taken = ((column, column.take(places, rows, texts)) for column in (*ids, *self.types))
        named = {column: names for column, names in taken if names is not None}
        for column in ids if len(ids) > 1 else ():
            column.hashes.extend(stable_hashes(named.get(column, ())))
        for column in self.types[1:]:
            if len(column.kinds) <= _MOST_TYPES:
                column.kinds.update(named.get(column, ()))
        return named

    def best(self) -> tuple[Column | None, Column | None]:
        """The best column of each kind, by the tasks so far; None if no column names them all."""
        ids, types = ([column for column in columns if column.lacking is None] for columns in (self.ids, self.types))
        # If some tasks have an id by a common name, or a type by ours, all must.
        has_id = any(column.kind and column.is_called_id and not column.is_late for column in self.ids)
        ids = [column for column in ids if not (column.is_late and (has_id or column.has_twice))]
        types = [column for column in types if not (column.make and self.types[0].kind)]
        if self._seen > _FEW_TASKS:  # a type is shared by several tasks
            types = [column for column in types if len(column.kinds) < min(self._seen, _MOST_TYPES)]
        # min() takes the first, in the order of the common names, of those that are equally good
        id = min(ids, key=lambda column: (column.has_twice, column.is_late, column.kind is int), default=None)
        type = min(types, key=lambda column: (column.make is not None, column.kind is int), default=None)
        return id, type

    def chosen(self, *, has_workflow: bool) -> Naming:
        """The best column of each kind, where any task has a workflow. Raises LibraryError with all that is missing."""
        id, type = self.best()
        lost = None if has_workflow else self._asked.workflow_field
        if id is None or type is None or lost:
            raise self._missing(id, type, lost)
        fields = msgspec.structs.replace(self._asked, id_field=id.said, type_field=type.said)
        return Naming(id, type, fields, self._note(fields, type))

    def _note(self, found: Fields, type: Column) -> str | None:
        told, asked = [], self._asked
        if asked.id_from == "position":
            told.append("a task's id is its place in the library, so their order matters")
        if found.id_field != asked.id_field:
            told.append(f"ids are read from {found.id_field} (use ‹id_field› for another field)")
        if not type.names:
            left = "".join(f"; {self._why_not(column)}" for column in self.types if column.kind is not None)
            told.append(f"all tasks have type {ONE_TYPE!r} (use ‹type_field› to name a field with types{left})")
        elif found.type_field != asked.type_field:
            told.append(f"types are read from {found.type_field} (use ‹type_field› for another field)")
        return "; ".join(told) or None

    def _why_not(self, column: Column) -> str:
        """Why a field that some tasks have is not their type."""
        name, kinds = column.names[0], len(column.kinds)
        if column.lacking is not None:
            return f"task {column.lacking} has {column.problem(name)}"
        more = f"more than {_MOST_TYPES:,}" if kinds > _MOST_TYPES else f"{kinds:,}"
        return f"{name} has {more} values in {self._seen:,} tasks"

    def _missing(self, id: Column | None, type: Column | None, flow: str | None) -> LibraryError:
        problems, hints, paths, asked = [], [], self._paths, self._asked
        kinds = [("id", asked.id_field, self.ids)] if id is None else []
        kinds += [("type", asked.type_field, self.types)] if type is None else []
        for what, name, columns in kinds:
            first, option = columns[0], f"‹{what}_field›"
            # Of our own spelling, if it is there at all; else of the field that goes furthest.
            best = max(
                (column for column in columns if not column.is_late),
                key=lambda column: (column is first and column.kind is not None, column.lacking or 0),
            )
            task = self._task(best.lacking or 0)
            if name is not None:
                problems.append(f"{option} {name}: {task} has {best.problem('such field')}")
                hints.append(did_you_mean(name, paths))
                continue
            problems.append(f"{task} has {best.problem(what)}")
            hints.append(f"name the field of the {what} with {option}")
            if what == "id":
                distinct = [column for column in self._maybe if column.lacking is None and not column.has_twice]
                if such := min(distinct, key=lambda column: column.kind is int, default=None):
                    hints[-1] += f", such as {option} {word(such.names[0])}"
                hints.append("or give ‹id_from› content (a digest of each task) or ‹id_from› position (its place)")
        if flow:
            problems.append(f"‹workflow_field› {flow}: no task has such a field")
            hints.append(did_you_mean(flow, paths))
        names = [cut(path if path.strip() and path.isprintable() else ascii(path)) for path in paths[:_SHOWN]]
        there = ", ".join([*names, "..."] if len(paths) > _SHOWN else names)
        problem = f"{'; '.join(problems)}; the first task has {f'the fields {there}' if there else 'no fields'}"
        way = if_without_names(self._where, paths) if id is None and asked.id_field is None else None
        return LibraryError(problem, where=self._where, hint="\n".join(filter(None, [way, "; ".join(hints)])))
