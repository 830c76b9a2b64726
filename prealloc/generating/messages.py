"""What the master and the generator's process say to each other: one JSON object a line, in turns."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from prealloc.store.workflow_cache import MOST_WORKFLOW_BYTES

MOST_ANSWER_BYTES = MOST_WORKFLOW_BYTES + 2**20


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To a task: the workflow, or the problem. The first one, without either, says that the generator is imported."""

    workflow: Raw | UnsetType = UNSET
    problem: str | None = None
    hint: str | None = None
