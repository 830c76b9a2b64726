"""The timeout that a task names itself, in the field that --timeout-field names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prealloc.errors import Mistake
from prealloc.model.options import Seconds
from prealloc.model.words import cut

_READER = Seconds(above=True)


def own_timeouts(tasks: Iterable[tuple[str, Mapping[str, Any]]], field: str, found: list[Mistake]) -> dict[int, float]:
    """Seconds by the task's place among these (id, further fields); none for a task whose field is null or not there.

    Adds a mistake for each value that is not a time.
    """
    seconds = {}
    for place, (id, fields) in enumerate(tasks):
        if fields.get(field) is not None:
            seconds[place] = float(_READER.read(f"task {cut(id)} {field}", fields[field], found))
    return seconds
