"""The JSON form of values that are not JSON but have one obvious form: numpy's numbers, models, dates, paths, sets.

Only for results that cannot be written as they are. Types of other packages are known by what they have, so nothing
is imported for them. A field that has no such form becomes null and is named; all others are kept.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import numbers
import operator
import os
import uuid
from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec

from prealloc.model.json_value import MOST_DEPTH, NoJson, Place, check_scalar, check_text, path_of
from prealloc.model.words import brief, shown

_SCALARS = (type(None), bool, int, float, str)
_BINARY = bytes | bytearray | memoryview


class _NoForm(Exception):
    """The value has no obvious JSON form."""


_Slot = tuple[Place, Any, Any]
"""A value, the list or dict that gets its form, and the index or key there."""


def json_form(value: Any, name: str) -> tuple[Any, list[str]]:
    """The value in dicts, lists, text and numbers, and a sentence for each field without a form, which is null."""
    whole = [None]
    flaws: list[str] = []
    sets: list[list[Any]] = []
    left: list[_Slot] = [((value, None, name, 0), whole, 0)]
    while left:  # without recursion, as in check_json
        place, into, at = left.pop()
        item = place[0]
        try:
            if type(item) in _SCALARS:
                check_scalar(item, place)
                into[at] = item
                continue
            _refuse_endless(place)
            if isinstance(item, Mapping):
                into[at], inner = _object(item, place, flaws)
            elif isinstance(item, Sequence | Set) and not isinstance(item, str | _BINARY):
                into[at], inner = _array(item, place)
                if isinstance(item, Set):
                    sets.append(into[at])
            else:
                inner = [((_step(item), place, None, place[3] + 1), into, at)]
            left += reversed(inner)
        except NoJson as flaw:
            flaws.append(str(flaw))
        except _NoForm as flaw:
            flaws.append(f"{path_of(place)}: {flaw}")
        except Exception as error:  # the methods of a model may do anything
            flaws.append(f"{path_of(place)}: {type(error).__name__}: {error}")
    for form in reversed(sets):  # those inside first
        _sort(form)
    return whole[0], [brief(flaw) for flaw in flaws]


def _refuse_endless(place: Place) -> None:
    item, outer, _, depth = place
    while outer is not None and outer[0] is not item:
        outer = outer[1]
    if outer is not None or depth >= MOST_DEPTH:
        raise NoJson(f"{path_of(place)[:200]}: nested deeper than {MOST_DEPTH}, or a cycle")


def _object(item: Mapping[Any, Any], place: Place, flaws: list[str]) -> tuple[dict[str, Any], list[_Slot]]:
    form: dict[str, Any] = {}
    inner: list[_Slot] = []
    for key, value in item.items():
        text = _key(key)
        if text is None or text in form:
            why = "is not text" if text is None else "is there twice"
            flaws.append(f"{path_of(place)}: the key {shown(key)} {why}")
            continue
        check_text(text, path_of(place))
        form[text] = None  # keeps the order
        inner.append(((value, place, text, place[3] + 1), form, text))
    return form, inner


def _array(item: Sequence[Any] | Set[Any], place: Place) -> tuple[list[Any], list[_Slot]]:
    form: list[Any] = [None] * len(item)
    named = not isinstance(item, Set)
    return form, [
        ((value, place, index if named else None, place[3] + 1), form, index) for index, value in enumerate(item)
    ]


def _key(key: Any) -> str | None:
    """A key as text: JSON has no other keys. None if it has no form, or not that of text or a whole number."""
    try:
        while type(key) not in _SCALARS:
            key = _step(key)
    except _NoForm:
        return None
    return str(key) if type(key) in (int, str) else None


def _step(item: Any) -> Any:
    """One step towards JSON: what is returned may need further ones. Raises _NoForm if it has no JSON form."""
    if isinstance(item, _BINARY):
        raise _no_form(item)
    for kinds, form in _FORMS:
        if isinstance(item, kinds):
            return form(item)
    cls = type(item)
    for name, shape in _SHAPES:
        # Of the type: an object may answer to any name.
        if hasattr(cls, name) and type(stepped := shape(item)) is not cls:
            return stepped
    for kind, number in _NUMBERS:
        if isinstance(item, kind):
            return number(item)
    raise _no_form(item)


def _no_form(item: Any) -> _NoForm:
    return _NoForm(f"{type(item).__name__} has no obvious JSON form; return dicts, lists, text, numbers")


def _decimal(number: decimal.Decimal) -> int | float:
    # A whole number stays one, unless it is written with a point or as 1E+9.
    return int(number) if number.as_tuple().exponent == 0 else float(number)


def _array_like(item: Any) -> Any:
    """An array, or one number of it, as numpy and others have them."""
    kind = getattr(getattr(item, "dtype", None), "kind", "")
    if kind == "M":  # its list would hold dates, or nanoseconds, or None
        return item.astype(str).tolist()
    if kind == "m":  # a span of time: text or seconds?
        raise _no_form(item)
    return item.tolist()


_FORMS: tuple[tuple[Any, Any], ...] = (
    (enum.Enum, lambda item: item.value),
    (str, str.__str__),
    (decimal.Decimal, _decimal),
    (datetime.date | datetime.time, lambda item: item.isoformat()),
    (uuid.UUID, str),
    (os.PathLike, os.fspath),
)
_SHAPES: tuple[tuple[str, Any], ...] = (
    ("model_dump", lambda item: item.model_dump()),
    ("__dataclass_fields__", lambda item: {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}),
    ("__struct_fields__", lambda item: {name: getattr(item, name) for name in item.__struct_fields__}),
    ("__attrs_attrs__", lambda item: {field.name: getattr(item, field.name) for field in item.__attrs_attrs__}),
    ("tolist", _array_like),
)
_NUMBERS: tuple[tuple[Any, Any], ...] = ((numbers.Integral, operator.index), (numbers.Real, float))


def _sort(items: list[Any]) -> None:
    try:
        items.sort()
    except TypeError:  # numbers and text, or objects
        items.sort(key=msgspec.json.encode)
