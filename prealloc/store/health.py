"""Looks at every byte of a journal, and tells all that is wrong with it, where a reader stops at the first.

It goes by the same parser as the reader: both agree on what is damaged.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from prealloc.errors import JournalError
from prealloc.files.paths import RunPaths
from prealloc.model.plan import Unit
from prealloc.store.journal import JournalFile, parse_line, sort_folder, split_lines
from prealloc.store.journal_lines import AttemptLine, UnitRecord

_HEAD = re.compile(rb'"shard":("(?:[^"\\]|\\.)*"),"task":("(?:[^"\\]|\\.)*"),"repeat":(\d{1,18})')
"""How a line begins that was written for a unit, whatever became of its rest."""


class Kind(enum.StrEnum):
    """What is wrong with a piece of the journal."""

    DAMAGED = "damaged line"
    """Readers refuse it, and with it the whole journal."""
    UNPLANNED = "unplanned line"
    """The same: a line of a unit that the plan does not have."""
    TAIL = "unfinished tail"
    """Readers leave it out: a writer was killed in the middle of its last line."""
    STRANGER = "unknown file"
    """Readers refuse the folder that it lies in."""


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of the journal that is not a line of this run."""

    kind: Kind
    file: str
    """Its name in the journal folder."""
    line: int
    """Counted from 1; 0 for a whole file."""
    offset: int
    length: int
    """In bytes, the line feed with it."""
    why: str
    shard: str | None
    """Whose outcome it may have held: the shard of the file, None if that may be any."""
    unit: Unit | None
    """The unit, if so much of the line can still be read."""


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """Two lines for the same attempt at the same unit: a reader counts the first."""

    unit: Unit
    attempt: int
    first: str
    again: str
    """`file:line` of each."""


class FileHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One journal file: how much of it there is to read."""

    file: str
    lines: int
    bytes: int


class JournalHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A whole journal: its files, and all that is wrong with them."""

    files: tuple[FileHealth, ...]
    damage: tuple[Damage, ...]
    duplicates: tuple[Duplicate, ...]

    @property
    def readable(self) -> bool:
        """Whether status, resume and results accept it as it is."""
        return all(damage.kind is Kind.TAIL for damage in self.damage)


def examine(run: RunPaths, units: Collection[Unit] | None) -> JournalHealth:
    """Reads the whole journal. Without `units` (the plan cannot be read) lines are not held against the plan.

    Raises JournalError if a file cannot be read at all.
    """
    files, strangers = sort_folder(run)
    found: list[FileHealth] = []
    damage = [_stranger(path) for path in strangers]
    duplicates: list[Duplicate] = []
    seen: dict[tuple[Unit, int], str] = {}
    planned = None if units is None else set(units)
    for file in files:
        raw = read_whole(file.path)
        lines, end = split_lines(raw)
        found.append(FileHealth(file=file.path.name, lines=len(lines), bytes=len(raw)))
        offset = 0
        for number, line in enumerate(lines, start=1):
            try:
                content = parse_line(file, line, number)
            except JournalError as error:
                why = error.problem.partition(": ")[2]
                damage.append(_piece(file, Kind.DAMAGED, number, offset, line + b"\n", why, planned))
            else:
                unit = content.unit if isinstance(content, AttemptLine | UnitRecord) else None
                if unit is not None and planned is not None and unit not in planned:
                    why = f"the plan has no unit {unit}"
                    damage.append(_piece(file, Kind.UNPLANNED, number, offset, line + b"\n", why, planned))
                elif isinstance(content, AttemptLine) and not content.late:
                    key, place = (content.unit, content.attempt), f"{file.path.name}:{number}"
                    first = seen.setdefault(key, place)
                    if first != place:
                        duplicates.append(Duplicate(unit=key[0], attempt=key[1], first=first, again=place))
            offset += len(line) + 1
        if end < len(raw):
            damage.append(_tail(file, len(lines) + 1, end, raw[end:], planned))
    return JournalHealth(files=tuple(found), damage=tuple(damage), duplicates=tuple(duplicates))


def read_whole(path: Path) -> bytes:
    """All bytes of a journal file. Raises JournalError."""
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "check its owner and the disk"
        raise JournalError(f"it cannot be read: {error.strerror}", where=str(path), hint=hint) from error


def by_file(damage: Collection[Damage]) -> Iterator[tuple[str, list[Damage]]]:
    """The damage of each file in turn, strangers left out."""
    files: dict[str, list[Damage]] = {}
    for piece in damage:
        if piece.kind is not Kind.STRANGER:
            files.setdefault(piece.file, []).append(piece)
    yield from files.items()


def _piece(
    file: JournalFile, kind: Kind, number: int, offset: int, piece: bytes, why: str, planned: set[Unit] | None
) -> Damage:
    return Damage(
        kind=kind,
        file=file.path.name,
        line=number,
        offset=offset,
        length=len(piece),
        why=why,
        shard=file.writer.shard,
        unit=_legible(piece, planned),
    )


def _tail(file: JournalFile, number: int, offset: int, tail: bytes, planned: set[Unit] | None) -> Damage:
    text = tail.rstrip(b"\0")
    zeros = len(tail) - len(text)
    parts = [f"{len(text)} bytes of a line" if text else "", f"{zeros} zeros" if zeros else ""]
    why = " and ".join(part for part in parts if part) + " at its end, without a line feed"
    return _piece(file, Kind.TAIL, number, offset, tail, why, planned)


def _stranger(path: Path) -> Damage:
    why = "it was not written by prealloc"
    return Damage(kind=Kind.STRANGER, file=path.name, line=0, offset=0, length=0, why=why, shard=None, unit=None)


def _legible(piece: bytes, planned: set[Unit] | None) -> Unit | None:
    """The planned unit that a damaged line was written for, if its head is whole."""
    head = _HEAD.search(piece[:4096])
    if head is None:
        return None
    try:
        shard, task = (msgspec.json.decode(text, type=str) for text in head.groups()[:2])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    unit = Unit(shard, task, int(head[3]))
    return unit if planned is None or unit in planned else None
