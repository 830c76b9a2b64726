"""What an outside program tells of its units: JSON lines in a file that grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.model.document import Unreadable, heard
from prealloc.model.outcome import ErrorInfo, Status
from prealloc.model.secret import masked
from prealloc.worker.result import no_json, write_result

_SHOWN = 120


class _Line(msgspec.Struct, frozen=True):
    """A line as the program writes it. Further fields are its own business."""

    task: Annotated[str, msgspec.Meta(min_length=1)]
    repeat: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    status: Literal["ok", "failed", "timeout", "crashed", "out_of_memory", "infra"] = "ok"
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str | dict[str, Any] | None = None
    working_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0


class Reported(msgspec.Struct, frozen=True):
    """One unit's outcome, as told."""

    task: str
    repeat: int
    status: Status
    result: msgspec.Raw | None
    error: ErrorInfo | None
    working_s: float


_lines = msgspec.json.Decoder(_Line)


class ResultsTail:
    """Reads whole lines of a file that another process appends to, each once."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._offset = 0
        self._number = 0

    def new(self) -> Iterator[Reported | str]:
        """The outcomes of the lines that are new; for a line that tells none, a sentence that says why."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                read = file.read()
        except FileNotFoundError:
            return  # nothing has been told yet
        whole = read[: read.rfind(b"\n") + 1]  # the last line may still be written
        self._offset += len(whole)
        for raw in whole.split(b"\n")[:-1]:
            self._number += 1
            if raw.strip():
                yield self._parse(raw)

    def _parse(self, raw: bytes) -> Reported | str:
        where = f"line {self._number} of {self._path}"
        try:
            if len(raw) > self._most_bytes:
                raise StrictJsonError(f"{len(raw)} bytes, the limit is {self._most_bytes}")
            line = heard(_lines, compact(raw))
        except (Unreadable, StrictJsonError) as error:
            rest = self._without_flaws(raw)
            if rest is None:
                return f"{where} is no result: {error}"[: _SHOWN + len(where)]
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
        )

    def _without_flaws(self, raw: bytes) -> _Line | None:
        """The line as `failed`, its result without what is no JSON: NaN, most of all. None if that is not its flaw."""
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
