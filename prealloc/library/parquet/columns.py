"""Which columns of a foreign Parquet file can be the fields of tasks, and their values as JSON."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyarrow import types as is_

MOST_DEPTH = 64
"""Lists, structs and maps within each other."""

_TEXTS = frozenset({"string", "large_string", "string_view"})
_SCALARS = _TEXTS | {"null", "bool", "float", "double"}
# Not the half float: pyarrow gives numpy's, if there is numpy.


def _plain(type: Any) -> Any:
    """The type that values of this type are stored as: pyarrow's `json`, say, is a string."""
    while isinstance(type, pa.BaseExtensionType):
        type = type.storage_type
    return type.value_type if is_.is_dictionary(type) else type


def stored(array: Any) -> Any:
    """The array as its storage type, with its values as such: not as a dictionary of them, nor as views."""
    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    if is_.is_dictionary(array.type):
        array = array.dictionary_decode()
    # Views are what Polars writes; few functions of pyarrow take them.
    return array.cast(pa.large_string()) if is_.is_string_view(array.type) else array


def is_text(type: Any) -> bool:
    return str(_plain(type)) in _TEXTS


def unfit(type: Any, depth: int = 0) -> str | None:
    """The name of the first type within `type` whose values are not JSON; None if all of them are."""
    if depth > MOST_DEPTH:
        return "a type nested too deep"
    if depth == 0:
        type = _plain(type)
    if is_.is_integer(type) or str(type) in _SCALARS:
        return None
    lists = (is_.is_list, is_.is_large_list, is_.is_fixed_size_list)
    if not any(is_one(type) for is_one in (*lists, is_.is_struct, is_.is_map)):
        return str(type)
    if is_.is_map(type) and not is_text(type.key_type):
        return f"a map with keys of {type.key_type}"
    inner = [type.field(i) for i in range(type.num_fields)]
    if len({field.name for field in inner}) < len(inner):
        return "a struct with two fields of one name"
    return next((found for field in inner if (found := unfit(field.type, depth + 1))), None)
