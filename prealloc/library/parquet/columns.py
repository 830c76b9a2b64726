"""Which columns of a foreign Parquet file can be the fields of tasks, and their values as JSON.

pyarrow is optional, and imported only where such a file is used.
"""

from __future__ import annotations

from typing import Any

from prealloc.model.json_value import NoJson

MOST_DEPTH = 64
"""Lists, structs and maps within each other."""


def storage(type: Any) -> Any:
    """The type that values of this type are stored as: pyarrow's `json`, say, is a string."""
    import pyarrow as pa

    while isinstance(type, pa.BaseExtensionType):
        type = type.storage_type
    return type


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
    """Whether values of this type are strings."""
    from pyarrow import types as is_

    type = storage(type)
    if is_.is_dictionary(type):
        type = type.value_type
    return bool(is_.is_string(type) or is_.is_large_string(type) or is_.is_string_view(type))


def unfit(type: Any, depth: int = 0) -> str | None:
    """The name of the first type within `type` whose values are not JSON; None if all of them are."""
    from pyarrow import types as is_

    if depth > MOST_DEPTH:
        return "a type nested too deep"
    if depth == 0:
        type = storage(type)
        if is_.is_dictionary(type):
            type = type.value_type
    if _is_scalar(type):
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


def _is_scalar(type: Any) -> bool:
    from pyarrow import types as is_

    # Not the half float: pyarrow gives numpy's, if there is numpy.
    kinds = (
        is_.is_null,
        is_.is_boolean,
        is_.is_integer,
        is_.is_float32,
        is_.is_float64,
        is_.is_string,
        is_.is_large_string,
        is_.is_string_view,
    )
    return any(is_kind(type) for is_kind in kinds)


def plain(value: Any, type: Any) -> Any:
    """What pyarrow makes of a value, with objects for its maps, which are lists of pairs. Raises NoJson."""
    from pyarrow import types as is_

    if value is None or _is_scalar(type):
        return value
    if is_.is_struct(type):
        return {name: plain(item, type.field(name).type) for name, item in value.items()}
    if is_.is_map(type):
        found = {key: plain(item, type.item_type) for key, item in value}
        if len(found) < len(value):
            raise NoJson("a map has a key twice")
        return found
    return [plain(item, type.value_type) for item in value]
