"""Moves what is not a line of a run out of its journal, byte for byte. Nothing is ever deleted.

A piece is durable in `journal-aside/` before the journal's file is replaced, in one step, by what is left of it.
So a kill at any moment loses no byte; at worst a piece lies aside and is still in its file, and is then moved
once more by the next repair.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from prealloc.errors import JournalError
from prealloc.files.atomic import fsync_folder, write_file
from prealloc.files.paths import RunPaths, readable_name
from prealloc.store.health import Damage, JournalHealth, Kind, by_file, read_whole


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that stood together in a journal file, or a whole stray file; and where they are now."""

    file: str
    line: int
    """The first of them, counted in the file as it was; 0 for a whole file."""
    lines: int
    bytes: int
    aside: str
    why: str
    """What is wrong with the first."""


def repair(run: RunPaths, health: JournalHealth) -> list[Moved]:
    """Moves all damage that `health` names aside. The caller holds the run's lock, and no worker lives.

    Raises JournalError if the disk does not take it; what was moved by then is moved, the rest is as it was.
    """
    if not health.damage:
        return []
    moved: list[Moved] = []
    sizes = {file.file: file.bytes for file in health.files}
    try:
        run.aside.mkdir(exist_ok=True)
        fsync_folder(run.root)
        for stranger in (damage for damage in health.damage if damage.kind is Kind.STRANGER):
            moved.append(_move_file(run, stranger))
        for name, damage in by_file(health.damage):
            moved += _move_pieces(run, name, damage, sizes[name])
    except OSError as error:
        where = error.filename or str(run.journal)
        hint = "free space or fix the disk, then repair again; no byte of the journal is lost"
        raise JournalError(f"it cannot be repaired: {error.strerror}", where=where, hint=hint) from error
    return moved


def _move_file(run: RunPaths, stranger: Damage) -> Moved:
    source, target = run.journal / stranger.file, _free_name(run, stranger.file, itertools.count(1))
    size = source.lstat().st_size
    os.rename(source, target)
    fsync_folder(run.aside)
    fsync_folder(run.journal)
    file, aside = readable_name(stranger.file), readable_name(str(target))
    return Moved(file=file, line=0, lines=0, bytes=size, aside=aside, why=stranger.why)


def _move_pieces(run: RunPaths, name: str, damage: list[Damage], size: int) -> list[Moved]:
    path = run.journal / name
    raw = read_whole(path)
    if len(raw) != size:
        hint = "find what writes to it, and stop it"
        raise JournalError("it changed while it was repaired", where=str(path), hint=hint)
    moved: list[Moved] = []
    kept: list[bytes] = []
    numbers = itertools.count(1)
    at = 0
    for together in _neighbours(damage):
        start, end = together[0].offset, together[-1].offset + together[-1].length
        target = _free_name(run, name, numbers)
        write_file(target, raw[start:end], fsync=True)
        kept.append(raw[at:start])
        at = end
        moved.append(
            Moved(
                file=name,
                line=together[0].line,
                lines=len(together),
                bytes=end - start,
                aside=readable_name(str(target)),
                why=together[0].why,
            )
        )
    kept.append(raw[at:])
    # Not built in the journal folder: what a kill would leave there is a stranger to every reader.
    write_file(path, b"".join(kept), fsync=True, by_way_of=run.aside)
    return moved


def _neighbours(damage: list[Damage]) -> Iterator[list[Damage]]:
    """The pieces of one file in their order, those that touch together."""
    together: list[Damage] = []
    for piece in sorted(damage, key=lambda piece: piece.offset):
        if together and together[-1].offset + together[-1].length != piece.offset:
            yield together
            together = []
        together.append(piece)
    yield together


def _free_name(run: RunPaths, name: str, numbers: Iterator[int]) -> Path:
    return next(path for n in numbers if not os.path.lexists(path := run.aside_piece(name, n)))
