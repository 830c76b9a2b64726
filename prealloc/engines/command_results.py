"""The results that an outside program reports: JSON lines in a file that grows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from prealloc.files.regular import Missing, open_regular
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.model.document import Unreadable, heard
from prealloc.model.outcome import ErrorInfo, Status
from prealloc.model.secret import masked
from prealloc.worker.result import no_json, write_result

_SHOWN = 120
_LONGER = 8
"""A unit whose result is too large is `failed`, with what fits of it. A line this many times too large is not read."""
_HINT = "write each result as a line of its own: file.write(json.dumps(result) + '\\n')"


class _Line(msgspec.Struct, frozen=True):
    """A line as the program writes it. Further fields are its own business."""

    task: Annotated[str, msgspec.Meta(min_length=1)]
    repeat: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    status: Literal["ok", "failed", "timeout", "crashed", "out_of_memory", "infra"] = "ok"
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str | dict[str, Any] | None = None
    working_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0
    usage: Any = None


class Reported(msgspec.Struct, frozen=True):
    """One unit's outcome, as told."""

    task: str
    repeat: int
    status: Status
    result: msgspec.Raw | None
    error: ErrorInfo | None
    working_s: float
    usage: Any = None
    """What it has used, as the program says it."""


_lines = msgspec.json.Decoder(_Line)


class ResultsTail:
    """Reads the lines of a file that another process appends to, each once."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.lines = 0
        """Those that have been read."""
        self._path = path
        self._most_bytes = most_bytes
        self._longest = _LONGER * most_bytes
        self._offset = 0
        self._size = 0
        self._too_long = False
        """It stands in the middle of such a line."""

    def skip(self) -> None:
        """Leaves out what is there now."""
        for _ in self.new(ended=True):
            pass
        self.lines = 0

    def new(self, *, ended: bool = False) -> Iterator[Reported | str]:
        """The outcomes of the lines that are new; for a line without one, a sentence that says why.

        The last line is taken for whole when it ends with a line feed, or when the process has `ended`. Raises Unusable
        if anything but a file of this folder is there: waiting does not help.
        """
        try:
            descriptor = open_regular(self._path, inside=self._path.parent)
        except Missing:
            return  # nothing has been told yet
        with open(descriptor, "rb") as file:
            size, before = os.fstat(descriptor).st_size, self._size
            if size == before and not ended:
                return
            self._size = size
            if size < self._offset:
                self._offset = size
                yield f"{self._path} has become shorter; only append to it; it is read on from its new end"
            file.seek(self._offset)
            while raw := file.readline(self._longest + 1):
                is_whole, is_part = raw.endswith(b"\n"), len(raw) > self._longest
                if not (is_whole or is_part or ended):
                    return  # it may still be written
                self._offset += len(raw)
                continued, self._too_long = self._too_long, is_part and not is_whole
                if not continued:
                    self.lines += 1
                    if raw.strip():
                        yield self._parse(raw.rstrip(b"\n"))

    def _parse(self, raw: bytes) -> Reported | str:
        where = f"line {self.lines} of {self._path}"
        if self._too_long:
            return f"{where} is not a result: it has more than {self._longest} bytes"
        try:
            if len(raw) > self._most_bytes:
                raise StrictJsonError(f"{len(raw)} bytes, but the limit is {self._most_bytes}")
            line = heard(_lines, compact(raw))
        except (Unreadable, StrictJsonError) as error:
            if raw.lstrip().startswith(b"["):
                return f"{where} is not a result: it begins an array; {_HINT}"
            rest = self._without_flaws(raw)
            if rest is None:
                return f"{where} is not a result: {error}"[: _SHOWN + len(where)]
            line = rest
        status = Status(line.status)
        null = bytes(line.result) == b"null"
        return Reported(
            line.task,
            line.repeat,
            status,
            None if null and status is not Status.OK else line.result,
            _error(line.error) if status is not Status.OK else None,
            round(line.working_s, 6),
            line.usage,
        )

    def _without_flaws(self, raw: bytes) -> _Line | None:
        """The line as `failed`, its result without what is not JSON, such as NaN. None if the line has another flaw."""
        try:
            told = json.loads(raw)  # takes what the json of Python and of others writes
            written = write_result(told["result"], self._most_bytes)
            error = no_json(written.flaws)
            if error is None:
                return None
            told |= {"result": written.value, "status": "failed", "error": msgspec.to_builtins(error)}
            return _lines.decode(msgspec.json.encode(told))
        except (ValueError, TypeError, LookupError, RecursionError):
            return None


def _error(told: str | dict[str, Any] | None) -> ErrorInfo:
    """The error in the program's words; it may tell `type` and `message`, or just a text."""
    if isinstance(told, dict):
        return ErrorInfo(type=str(told.get("type", "Reported")), message=masked(str(told.get("message", ""))))
    return ErrorInfo(type="Reported", message=masked(told or ""))
