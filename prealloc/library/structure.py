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

from prealloc.library.cursor import Cursor
from prealloc.library.disk import Buffer
from prealloc.library.document import Document
from prealloc.library.formats import Format
from prealloc.library.rows import AnyRow, has

_OWN = frozenset({"id", "instance_id", "task_type", "type", "workflow"})
_WORKFLOW = re.compile(rb'"workflow"[ \t\n\r]*:[ \t\n\r]*')
_AFTER_VALUE = b" \t\n\r,}"
_BATCH = 256 << 10

_fields = msgspec.json.Decoder(list[dict[str, Raw]])


def said_twice(fmt: Format, text: Buffer, rows: Sequence[AnyRow], keep: tuple[str, ...]) -> tuple[int, str] | None:
    """Position and key of the first task that has one of its own keys twice, or a kept one; None if none.

    Raises Damage if the library's "tasks" is there twice.
    """
    rest = _without_workflows(text, rows)
    if isinstance(fmt, Document):
        _refuse_tasks_twice(rest)
    watched = _OWN | set(keep)
    for first, batch in _batches(fmt.tasks(rest, Raw)):
        if not _surely_once(batch):
            for position, task in enumerate(batch, first):
                key = _twice(task, watched)
                if key is not None:
                    return position, key
    return None


def _without_workflows(text: Buffer, rows: Sequence[AnyRow]) -> Buffer:
    """The text with a 0 in place of each workflow, as far as they are found; still the same tasks otherwise.

    Each workflow is searched from the end of the one before. A match elsewhere does no harm: it is the same
    bytes in a value's place, so what is left says the same keys.
    """
    pieces: list[bytes | bytearray] = []
    done = 0
    for row in rows:
        if not has(row.workflow):
            continue
        match = _WORKFLOW.search(text, done)
        if match is None:  # spelled with escapes: it stays where it is
            break
        with memoryview(row.workflow) as raw:
            end = match.end() + len(raw)
            # A slice and startswith: comparing memoryviews compares byte by byte, 25 times slower.
            if not text[match.end() : end].startswith(raw) or text[end : end + 1] not in _AFTER_VALUE:
                break
        pieces += (text[done : match.end()], b"0")
        done = end
    if not pieces:
        return text
    pieces.append(text[done:])
    return b"".join(pieces)


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


def _twice(task: Raw, watched: frozenset[str]) -> str | None:
    seen = set()
    with memoryview(task) as view:
        for key, _ in Cursor(view).fields(0):
            if key in seen and key in watched:
                return key
            seen.add(key)
    return None
