"""LightweightTask made from plain values."""

from __future__ import annotations

import math
from typing import Any

import pytest

from prealloc import LibraryError, LightweightTask


@pytest.mark.parametrize("value", [math.nan, {"a": [math.inf]}, b"x", {1, 2}, {1: 2}, "\udcff", 2**64], ids=repr)
def test_what_is_no_json_is_refused_and_never_bent(value: Any) -> None:
    """NaN does not become null, nor bytes text: from_dict, kept fields and the constructor refuse alike."""
    with pytest.raises(LibraryError, match="workflow"):
        LightweightTask.from_dict({"id": "a", "type": "t", "workflow": value})
    with pytest.raises(LibraryError, match="extra"):
        LightweightTask.from_dict({"id": "a", "type": "t", "k": value}, keep=("k",))
    with pytest.raises(LibraryError, match="workflow"):
        LightweightTask(id="a", type="t", workflow=value)  # type: ignore[call-arg]


@pytest.mark.parametrize("task", [[1], None, "id", {"id": 1, "type": "t"}, {"id": "\udcff", "type": "t"}, {"id": "a"}])
def test_what_is_no_task_is_a_library_error(task: Any) -> None:
    """One kind of error, with the hint."""
    with pytest.raises(LibraryError) as caught:
        LightweightTask.from_dict(task)
    assert caught.value.hint
