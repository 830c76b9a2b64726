"""Generated workflows, kept from plan to plan: one append-only file per generator and version, a workflow a line.

A workflow is found by its task's id and by the digest of the whole task it was made from. Of two lines for one task the
first counts, for ever: so a plan made again is the same plan, whoever else was generating at the time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import msgspec

from prealloc.errors import InputError
from prealloc.files.atomic import writing
from prealloc.files.lock import exclusively
from prealloc.files.paths import workflow_cache_name
from prealloc.files.regular import Unusable, open_regular
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.model.document import UNREADABLE, Document

_OTHERWISE = "choose another ‹workflow_cache›"
MOST_WORKFLOW_BYTES = 64 * 2**20
_MOST_LINE_BYTES = MOST_WORKFLOW_BYTES + 2**20
_TO_ADD = os.O_RDWR | os.O_APPEND | os.O_CREAT


class WorkflowKey(NamedTuple):
    """What a workflow was made from."""

    task: str
    digest: str
    """The sha256 of the whole task as compact JSON."""


class _Line(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal["prealloc.workflow"] = "prealloc.workflow"
    version: Literal[1] = 1
    generator: str
    generator_version: str
    task: str
    task_sha256: str
    sha256: str
    """Of the workflow: what damage has touched is not taken for a workflow."""
    workflow: msgspec.Raw


_decoder = msgspec.json.Decoder(_Line)


class WorkflowCache:
    """What one version of a generator has made. Holds only the workflows that are asked for."""

    def __init__(self, folder: Path, generator: str, version: str) -> None:
        self.path = folder / workflow_cache_name(generator, version)
        self.damaged = 0
        """Lines that were ignored so far."""
        self._generator = generator
        self._version = version
        self._wanted: set[WorkflowKey] = set()
        self._found: dict[WorkflowKey, bytes] = {}
        self._read_to = 0

    def find(self, keys: Iterable[WorkflowKey]) -> dict[WorkflowKey, bytes]:
        """The workflows that are there for these keys, as compact JSON. A file that is missing has none."""
        self._wanted = set(keys)
        self._found, self._read_to, self.damaged = {}, 0, 0
        if os.path.lexists(self.path):
            with self._opened(os.O_RDONLY) as file:
                self._read_on(file)
        return dict(self._found)

    def prepare(self) -> None:
        """Raises InputError unless workflows can be added: before anyone pays for making one."""
        with writing(self.path.parent, InputError, otherwise=_OTHERWISE):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened(_TO_ADD):
            pass

    def add(self, key: WorkflowKey, workflow: bytes) -> bytes:
        """Keeps a workflow. Returns the one that counts: another's, if another planner was quicker with this key.

        Raises InputError, or CannotGoOn for a full disk.
        """
        if key not in self._wanted:  # it may be in what was read before it was asked for
            self._wanted.add(key)
            self._read_to = self.damaged = 0
        with self._opened(_TO_ADD) as file, exclusively(file.fileno()):
            self._read_on(file)
            if key not in self._found:
                # A killed planner may leave a line unfinished. It is closed so that it is not valid, even if only its
                # line feed was missing: no reader has counted it so far.
                torn = b"#\n" if os.fstat(file.fileno()).st_size > self._read_to else b""
                rest = memoryview(torn + self._line(key, workflow))
                while rest:
                    rest = rest[os.write(file.fileno(), rest) :]
                self._read_to = os.fstat(file.fileno()).st_size
                self._found[key] = workflow
        return self._found[key]

    @contextmanager
    def _opened(self, flags: int) -> Iterator[BinaryIO]:
        try:
            descriptor = open_regular(self.path, flags=flags)
        except Unusable as error:
            hint = f"remove it, or {_OTHERWISE}"
            raise InputError(str(error), where=str(self.path), hint=hint) from None
        with writing(self.path, InputError, otherwise=_OTHERWISE), open(descriptor, "rb") as file:
            yield file

    def _line(self, key: WorkflowKey, workflow: bytes) -> bytes:
        line = _Line(
            generator=self._generator,
            generator_version=self._version,
            task=key.task,
            task_sha256=key.digest,
            sha256=hashlib.sha256(workflow).hexdigest(),
            workflow=msgspec.Raw(workflow),
        )
        return msgspec.json.encode(line) + b"\n"

    def _read_on(self, file: BinaryIO) -> None:
        """Takes in the lines that were not there the last time, one at a time in memory."""
        file.seek(self._read_to)
        while line := file.readline(_MOST_LINE_BYTES):
            length, whole = len(line), line
            while line and not line.endswith(b"\n"):
                line = file.readline(_MOST_LINE_BYTES)
                length, whole = length + len(line), b""  # longer than any of ours, or the end
            if not line:
                return  # unfinished: somebody is writing it, or was killed while he did
            self._read_to += length
            self._take(whole)

    def _take(self, raw: bytes) -> None:
        try:
            line = _decoder.decode(raw)
            # Compact and strict as everything in a slice is; the digest is of the very bytes.
            whole = bytes(line.workflow)
            sound = compact(whole) == whole and hashlib.sha256(whole).hexdigest() == line.sha256
        except (*UNREADABLE, StrictJsonError):
            sound = False
        if not sound or (line.generator, line.generator_version) != (self._generator, self._version):
            self.damaged += 1
            return
        key = WorkflowKey(line.task, line.task_sha256)
        if key in self._wanted:
            self._found.setdefault(key, whole)
