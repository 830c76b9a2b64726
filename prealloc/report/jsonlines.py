"""`--json`: every event as a line of JSON."""

from __future__ import annotations

import json
from typing import IO

import msgspec

from prealloc.model.events import Event
from prealloc.report.reporter import Reporter, Stream


class JsonLinesReporter(Reporter):
    """Writes each event as soon as it is known, and nothing else."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = Stream(stream)

    def handle(self, event: Event, /) -> None:
        self._stream.write(json_line(event))


def json_line(event: Event) -> str:
    """The event as one line of JSON in ASCII, newline included.

    ASCII, because a stream's encoding is not ours to choose and JSON must be UTF-8: escapes are both. It also
    keeps lone surrogates (file names that are not UTF-8) and terminal controls harmless.
    """
    try:
        text = msgspec.json.encode(event).decode()
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 has no bytes for
        return json.dumps(msgspec.to_builtins(event)) + "\n"
    if text.isascii() and "\x7f" not in text:
        return text + "\n"
    return json.dumps(msgspec.json.decode(text)).replace("\x7f", "\\u007f") + "\n"
