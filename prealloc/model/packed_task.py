"""A task as it travels: what LightweightTask is made of. Whoever only passes tasks on need not load pydantic for it."""

from __future__ import annotations

from typing import NamedTuple


class PackedTask(NamedTuple):
    """`LightweightTask.trusted(*packed)` is the task: nothing of it is decoded here."""

    id: str
    type: str
    workflow_json: bytes
    extra_json: bytes
