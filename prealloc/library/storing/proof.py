"""Proves that stored tasks are those that were written: a digest for each, and one fingerprint for all.

Every part of what is hashed stands behind its length, so that no two tasks and no two libraries read alike.
"""

from __future__ import annotations

import hashlib

DIGEST_BYTES = 16
_NONE = (2**64 - 1).to_bytes(8, "big")
"""In place of the length of a workflow that is missing. One that is null has 4 bytes."""


def digest(id: str, type: str, workflow: bytes | None, fields: bytes) -> bytes:
    """The digest of a task: blake2b, 128 bits, over its id, type, workflow text and the text of its other fields."""
    whole = hashlib.blake2b(_text(id) + _text(type), digest_size=DIGEST_BYTES)
    if workflow is None:
        whole.update(_NONE)
    else:
        whole.update(len(workflow).to_bytes(8, "big"))
        whole.update(workflow)
    whole.update(len(fields).to_bytes(8, "big"))
    whole.update(fields)
    return whole.digest()


class Fingerprint:
    """The sha256 of a library's content: ids, types and digests in their order, and at the end the counts."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, id: str, type: str, digest: bytes) -> None:
        self._hash.update(_text(id) + _text(type) + digest)

    def sealed(self, *, tasks: int, without_workflow: int, two_ids: int) -> str:
        """64 hex digits. The counts are in it because nothing else would prove them."""
        sealed = self._hash.copy()
        for count in (tasks, without_workflow, two_ids):
            sealed.update(count.to_bytes(8, "big"))
        return sealed.hexdigest()


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "big") + raw
