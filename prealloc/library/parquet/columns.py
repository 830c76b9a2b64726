"""Which columns of a foreign Parquet file can be the fields of tasks, and their values as JSON.

pyarrow is optional, and imported only where such a file is used.
"""

from __future__ import annotations

from typing import Any

MOST_DEPTH = 64
"""Lists, structs and maps within each other."""

_TEXTS = frozenset({"string", "large_string", "string_view"})
_SCALARS = _TEXTS | {"null", "bool", "float", "double"}
# Not the half float: pyarrow gives numpy's, if there is numpy.


def _plain(type: Any) -> Any:
    """The type that values of this type are stored as: pyarrow's `json`, say, is a string."""
    import pyarrow as pa

    while isinstance(type, pa.BaseExtensionType):
        type = type.storage_type
    return type.value_type if pa.types.is_dictionary(type) else type


def stored(array: Any) -> Any:
    """The array as its storage type, with its values as such: not as a dictionary of them, nor as views."""
    import pyarrow as pa

    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    # Views are what Polars writes; few functions of pyarrow take them.
    return array.cast(pa.large_string()) if pa.types.is_string_view(array.type) else array


def is_text(type: Any) -> bool:
    return str(_plain(type)) in _TEXTS


def unfit(type: Any, depth: int = 0) -> str | None:
    """The name of the first type within `type` whose values are not JSON; None if all of them are."""
    from pyarrow import types as is_

    if depth > MOST_DEPTH:
        return "a type nested too deep"
    if depth == 0:
        type = _plain(type)
    if is_.is_integer(type) or str(type) in _SCALARS:
        return None
    inner: list[Any]
    if is_.is_list(type) or is_.is_large_list(type) or is_.is_fixed_size_list(type):
        inner = [type.value_type]
    elif is_.is_struct(type):
        fields = [type.field(i) for i in range(type.num_fields)]
        if len({field.name for field in fields}) < len(fields):
            return "a struct with two fields of one name"
        inner = [field.type for field in fields]
    elif is_.is_map(type):
        if not is_text(type.key_type):
            return f"a map with keys of {type.key_type}"
        inner = [type.item_type]
    else:
        return str(type)
    return next((found for found in (unfit(one, depth + 1) for one in inner) if found), None)
