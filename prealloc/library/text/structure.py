"""Whether a library says anything twice. msgspec silently takes the last of two equal keys.

Looking at 60 MB again would double the scan, so the workflows, which are most of it, are cut out first: they
are known as bytes and lie in order. What is left is small, and is decoded and encoded again: a key that was
there twice is gone then, and a colon with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw

from prealloc.library.disk import Buffer
from prealloc.library.rows import AnyRow, has
from prealloc.library.text.cursor import Cursor
from prealloc.library.text.document import Document
from prealloc.library.text.formats import Format

_OWN = frozenset({"id", "instance_id", "task_type", "type", "workflow"})
_WORKFLOW = re.compile(rb'"workflow"[ \t\n\r]*:[ \t\n\r]*')
_AFTER_VALUE = b" \t\n\r,}"
_BATCH = 256 << 10
_TRIES = 16
_SMALL_TASK = 1024

_fields = msgspec.json.Decoder(list[dict[str, Raw]])


def said_twice(fmt: Format, text: Buffer, rows: Sequence[AnyRow], keep: tuple[str, ...]) -> tuple[int, str] | None:
    """Position and key of the first task that has one of its own keys twice, or a kept one; None if none.

    Raises Damage if the library's "tasks" is there twice.
    """
    rest = _without_workflows(text, rows)
    if isinstance(fmt, Document):
        _refuse_tasks_twice(rest)
    return key_twice(fmt, rest, _OWN | set(keep))


def key_twice(fmt: Format, text: Buffer, watched: frozenset[str] | None = None) -> tuple[int, str] | None:
    """Position and key of the first task in a text that has one of these keys twice (None: any); None if none."""
    for first, batch in _batches(fmt.tasks(text, Raw)):
        if not _surely_once(batch):
            for position, task in enumerate(batch, first):
                key = _twice(task, watched)
                if key is not None:
                    return position, key
    return None


def _without_workflows(text: Buffer, rows: Sequence[AnyRow]) -> Buffer:
    """The text with a 0 in place of each workflow, as far as they are found; still the same tasks otherwise."""
    pieces: list[bytes | bytearray] = []
    if len(text) < _SMALL_TASK * len(rows):
        return text  # with tasks so small, cutting costs more than looking at all
    done = 0
    for row in rows:
        if not has(row.workflow):
            continue
        with memoryview(row.workflow) as raw:
            at = _find_value(text, done, raw)
            if at is None:  # it stays where it is, and so do those behind it
                break
            pieces += [text[done:at], b"0"]
            done = at + len(raw)
    if not pieces:
        return text
    pieces.append(text[done:])
    return b"".join(pieces)


def _find_value(text: Buffer, start: int, raw: memoryview) -> int | None:
    """Where the next `"workflow"` with this value lies, searched from the end of the one before.

    It may be a field of the same name deeper in the task. That does no harm: the bytes are the same and stand
    in a value's place, so what is left has the same keys.
    """
    for _ in range(_TRIES):
        match = _WORKFLOW.search(text, start)
        if match is None:
            return None
        start, end = match.end(), match.end() + len(raw)
        # A slice and startswith: memoryviews compare byte by byte, 25 times slower.
        if text[start:end].startswith(raw) and text[end : end + 1] in _AFTER_VALUE:
            return start
    return None


def _refuse_tasks_twice(rest: Buffer) -> None:
    first = rest.find(b'"tasks"')
    if first >= 0 and rest.find(b'"tasks"', first + 1) < 0 and rest.find(b"\\u") < 0:
        return  # once, and nowhere in disguise
    with memoryview(rest) as view:
        for _ in Document().starts(view):
            pass


def _batches(tasks: list[Raw]) -> Iterator[tuple[int, list[Raw]]]:
    batch: list[Raw] = []
    first = size = 0
    for position, task in enumerate(tasks):
        with memoryview(task) as view:
            size += len(view)
        batch.append(task)
        if size >= _BATCH:
            yield first, batch
            batch, first, size = [], position + 1, 0
    if batch:
        yield first, batch


def _surely_once(batch: list[Raw]) -> bool:
    text = b"[" + b",".join(batch) + b"]"
    again = msgspec.json.encode(_fields.decode(text))
    return text.count(b":") == again.count(b":") and b"\\u003" not in text


def _twice(task: Raw, watched: frozenset[str] | None) -> str | None:
    seen = set()
    with memoryview(task) as view:
        for key, _ in Cursor(view).fields(0):
            if key in seen and (watched is None or key in watched):
                return key
            seen.add(key)
    return None
