"""What is read of a stored library when it is opened: its format and version, its tasks' names, counts and digests.

A digest proves each task, and one fingerprint all of them, to be what was written. Every part of what is hashed
stands behind its length, so that no two tasks and no two libraries read alike.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, loads
from prealloc.library.base import AGAIN, Record
from prealloc.library.duplicate_ids import refuse_duplicates_among
from prealloc.library.rows import Counts, is_name
from prealloc.library.text.refuse import no_tasks
from prealloc.model.task_hash import stable_hashes, utf8
from prealloc.model.words import brief, shown

DIGEST_BYTES = 16
_NO_WORKFLOW = (2**64 - 1).to_bytes(8, "big")
"""In place of the length of a workflow that is missing. One that is null has 4 bytes."""

T = TypeVar("T", bound=msgspec.Struct)

StoredRow = tuple[Any, Any, bytes | None]
"""What should be the id and the type of a task, and its digest; None where nothing proves it."""


class StoredFormat(NamedTuple):
    """A stored format: its name and version, and where to get another file if one of them is damaged."""

    name: str
    version: int
    again: str = AGAIN

    def encode(self, fields: msgspec.Struct) -> bytes:
        """The JSON document of these fields: format and version stand first."""
        return msgspec.json.encode({"format": self.name, "version": self.version, **msgspec.structs.asdict(fields)})

    def sealed(self, fields: T, seal: str, *more: bytes | memoryview) -> T:
        """These fields, of which `seal` is the sha256 of their document without it and of what else there is."""
        whole = hashlib.sha256(self.encode(msgspec.structs.replace(fields, **{seal: ""})))
        for piece in more:
            whole.update(piece)
        return msgspec.structs.replace(fields, **{seal: whole.hexdigest()})

    def decode(self, text: bytes, shape: type[T], where: str) -> T:
        """The fields of such a document. Raises LibraryError."""
        try:
            value = loads(text, what=where)
        except StrictJsonError as error:
            raise self.damaged(f"it is not a JSON document: {error}", where) from None
        return self.fields(value, shape, where)

    def fields(self, value: object, shape: type[T], where: str) -> T:
        """The same of a value that has been decoded."""
        if not isinstance(value, dict) or value.get("format") != self.name:
            raise self.damaged(f"it is not a {self.name} document", where)
        self.refuse_version(value.get("version"), where)
        fields: dict[str, Any] = {name: item for name, item in value.items() if name not in ("format", "version")}
        try:
            return msgspec.convert(fields, shape)
        except msgspec.ValidationError as error:
            raise self.damaged(f"a field is wrong: {brief(error)}", where) from None

    def refuse_version(self, found: object, where: str) -> None:
        """Raises LibraryError for any version but this one."""
        if found != self.version or type(found) is not int:
            raise LibraryError(
                f"it has version {shown(found)}, this prealloc reads version {self.version}:"
                " it was written by a newer prealloc, or is damaged",
                where=where,
                hint=f"use the prealloc that wrote it; or {self.again}",
            )

    def damaged(self, problem: str, where: str) -> LibraryError:
        """The error of a file that is of this format, or should be, and is not what was written."""
        return LibraryError(problem, where=where, hint=self.again)


def checked_names(
    rows: Iterable[StoredRow], format: StoredFormat, *, where: str, row: str, meta: Meta | None = None
) -> tuple[list[str], list[str]]:
    """Ids and types, in their order. `row` is the word for what holds them (`row`, `line`), for messages.

    Raises LibraryError for an id or type that is not a string, empty or has a NUL, for an id that is there twice, if
    there are no tasks, and unless they are those that `meta` was written of. Rows count from 0.
    """
    ids: list[str] = []
    types: list[str] = []
    fingerprint = Fingerprint()
    for id, type, proof in rows:
        if not (is_name(id) and is_name(type)):
            word, value = ("type", type) if is_name(id) else ("id", id)
            problem = f"the task has no {word}" if value is None else f"{shown(value)} cannot be the {word} of a task"
            raise format.damaged(problem, f"{where}, {row} {len(ids)} (counted from 0)")
        ids.append(id)
        types.append(sys.intern(type))  # one object per type, not one per task
        if proof is not None:
            fingerprint.add(id, type, proof)
    if not ids:
        raise no_tasks(where)
    if len(set(ids)) < len(ids):
        refuse_duplicates_among(array("Q", stable_hashes(ids)), ids.__getitem__, where)
    if meta is not None:
        tasks = len(ids)
        possible = meta.tasks == tasks and 0 <= meta.without_workflow <= tasks and 0 <= meta.two_ids <= tasks
        fingerprint.counts = meta
        if not possible or fingerprint.meta() != meta:
            raise format.damaged("its tasks are not those that were written", where)
    return ids, types


class Meta(Counts, kw_only=True, forbid_unknown_fields=True):
    """What a library says of all its tasks. `sha256` is their fingerprint."""

    sha256: str


def digest(id: str, type: str, workflow: bytes | None, fields: bytes) -> bytes:
    """The digest of a task: blake2b, 128 bits, over its id, type, workflow text and the text of its other fields."""
    whole = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in (utf8(id), utf8(type), workflow, fields):
        whole.update(_NO_WORKFLOW if part is None else len(part).to_bytes(8, "big"))
        whole.update(part or b"")
    return whole.digest()


class Fingerprint:
    """The sha256 of a library's content: ids, types and digests in their order, and at the end the counts."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.counts = Counts(0, 0, 0)
        """Of these tasks: they are hashed too, because nothing else would prove them."""

    def add(self, id: str, type: str, digest: bytes) -> None:
        self._hash.update(_text(id) + _text(type) + digest)

    def seal(self, record: Record) -> tuple[bytes, bytes | None, bytes]:
        """The digest of a task that is written, its workflow, and its other fields."""
        workflow, fields = record.split()
        proof = digest(record.id, record.type, workflow, fields)
        self.add(record.id, record.type, proof)
        self.counts.add([record.row])
        return proof, workflow, fields

    def meta(self) -> Meta:
        """What to write of these tasks."""
        sealed = self._hash.copy()
        numbers = (self.counts.tasks, self.counts.without_workflow, self.counts.two_ids)
        for number in numbers:
            sealed.update(number.to_bytes(8, "big"))
        return Meta(*numbers, sha256=sealed.hexdigest())


def _text(text: str) -> bytes:
    raw = utf8(text)
    return len(raw).to_bytes(8, "big") + raw
