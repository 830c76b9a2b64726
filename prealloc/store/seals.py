"""Seals: the length and SHA-256 of every journal file, so that a later edit is noticed.

They are lines of the supervisor's journal: at the end of a session, and at the start of a resume for what a killed
session has left. A file that has grown since is sealed again, and every seal of it must hold. They detect edits, not
forgery: who can write the journal can write a seal.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from prealloc.errors import JournalError
from prealloc.files.paths import RunPaths
from prealloc.files.regular import Unusable, open_regular
from prealloc.store.journal import journal_files
from prealloc.store.journal_lines import Sealed, SealedFile

_FILES_A_LINE = 1000
_PIECE = 2**20
_START = b'{"kind":"sealed"'

_decoder = msgspec.json.Decoder(Sealed)


def seals(run: RunPaths, upto: int) -> Iterator[Sealed]:
    """Seals of the whole lines of all files up to this session's that have none.

    A supervisor's file is sealed again when it has grown: its last lines are its session's end, and seals themselves.
    No other file may grow. Raises JournalError.
    """
    known = {each.file: each.bytes for seal in _read(run, []) for each in seal.files}
    files = [file for file in journal_files(run) if file.writer.session <= upto]
    grows = {_name(run, file.path) for file in files if file.writer.shard is None}
    found = []
    for path in (run.run_file, *(file.path for file in files)):
        name = _name(run, path)
        if name in known and name not in grows:
            continue
        try:
            made = _seal(path, name, whole=path == run.run_file)
        except (OSError, Unusable) as error:
            hint = "fix the disk, then `prealloc resume`; what finished is kept"
            raise JournalError(f"it cannot be read: {error}", where=str(path), hint=hint) from None
        if made.bytes != known.get(name):
            found.append(made)
    for at in range(0, len(found), _FILES_A_LINE):
        yield Sealed(at=time.time(), files=tuple(found[at : at + _FILES_A_LINE]))


class SealCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What the seals of a run say."""

    sealed: int
    """Files."""
    bytes: int
    edited: list[str]
    """A sentence for each file that is not as it was sealed."""
    not_sealed: list[str]
    """What no seal covers, in words."""


class RunSeals(SealCheck, frozen=True, kw_only=True):
    """The same of one run folder."""

    run: str
    running: bool
    """A session runs now; what it writes is sealed when it ends."""


NEVER = "logs/, lanes/, scores/, telemetry and the plan's copy are not sealed; the plan has digests of its own"


def check_seals(run: RunPaths) -> SealCheck:
    """Compares every file with every seal of it. Raises JournalError if the journal's folder cannot be read."""
    edited: list[str] = []
    seals_of: dict[str, list[SealedFile]] = {}
    for seal in _read(run, edited):
        for each in seal.files:
            seals_of.setdefault(each.file, []).append(each)
    files = journal_files(run)
    there = {_name(run, run.run_file): run.run_file, **{_name(run, file.path): file.path for file in files}}
    session_of = {_name(run, file.path): file.writer.session for file in files}
    sealed_sessions = {session_of[name] for name in seals_of if name in session_of}
    newest = next((_name(run, file.path) for file in reversed(files) if file.writer.shard is None), "")
    total, left = 0, []
    for name, path in there.items():
        own = seals_of.get(name, [])
        problem, size = _held(path, own)
        longest = max((each.bytes for each in own), default=0)
        total += longest
        added = problem is None and name != newest and _has_line(path, longest)
        if problem is not None:
            edited.append(f"{name}: {problem}")
        elif added and (own or session_of.get(name) in sealed_sessions):
            edited.append(f"{name}: {'lines were' if own else 'it was'} added after its session was sealed")
        elif size > longest:
            left.append(f"{name}: its last {size - longest:,} of {size:,} bytes" if longest else name)
    edited += [f"{name}: it is gone" for name in seals_of if name not in there]
    return SealCheck(sealed=len(seals_of), bytes=total, edited=edited, not_sealed=left)


def _held(path: Path, seals: Sequence[SealedFile]) -> tuple[str | None, int]:
    """What is wrong by these seals, and the size of the file. Its bytes are read once, whatever the number of seals."""
    lengths = sorted({each.bytes for each in seals})
    try:
        digests = _digests(path, lengths)
        size = path.stat().st_size
    except (OSError, Unusable) as error:
        return f"it cannot be read: {error}", 0
    for each in sorted(seals, key=lambda seal: seal.bytes):
        if size < each.bytes:
            return f"it has {size:,} bytes, and {each.bytes:,} were sealed", size
        if digests[each.bytes] != each.sha256:
            return f"its first {each.bytes:,} bytes are not those that were sealed", size
    return None, size


def _has_line(path: Path, offset: int) -> bool:
    """Whether a whole line stands behind these bytes. What a kill has cut is none."""
    with open(open_regular(path, inside=path.parent), "rb") as file:
        file.seek(offset)
        return any(b"\n" in piece for piece in iter(lambda: file.read(_PIECE), b""))


def _digests(path: Path, lengths: Iterable[int]) -> dict[int, str]:
    """The SHA-256 of the file's beginnings of these lengths, in rising order; of fewer bytes if it is shorter."""
    found = {}
    digest = hashlib.sha256()
    read = 0
    with open(open_regular(path, inside=path.parent), "rb") as file:
        for length in lengths:
            while read < length and (piece := file.read(min(_PIECE, length - read))):
                digest.update(piece)
                read += len(piece)
            found[length] = digest.copy().hexdigest()
    return found


def _seal(path: Path, name: str, *, whole: bool) -> SealedFile:
    """Of the whole lines: what a kill has cut is left, and may be moved aside by a repair."""
    sealed, behind = hashlib.sha256(), hashlib.sha256()
    length = read = 0
    with open(open_regular(path, inside=path.parent), "rb") as file:
        while piece := file.read(_PIECE):
            end = len(piece) if whole else piece.rfind(b"\n") + 1
            behind.update(piece[:end])
            if end:
                sealed, length = behind.copy(), read + end
            behind.update(piece[end:])
            read += len(piece)
    return SealedFile(file=name, bytes=length, sha256=sealed.hexdigest())


def _read(run: RunPaths, unreadable: list[str]) -> Iterator[Sealed]:
    """The seals in the supervisor's files. One that cannot be read is told in `unreadable`."""
    for file in journal_files(run):
        if file.writer.shard is not None:
            continue
        try:
            with open(open_regular(file.path, inside=run.journal), "rb") as stream:
                for number, line in enumerate(stream, 1):
                    if not line.startswith(_START):
                        continue
                    try:
                        yield _decoder.decode(line)
                    except msgspec.DecodeError:
                        if line.endswith(b"\n"):  # else a kill has cut it
                            unreadable.append(f"{_name(run, file.path)}: line {number} is a seal that cannot be read")
        except (OSError, Unusable) as error:
            unreadable.append(f"{_name(run, file.path)}: it cannot be read: {error}")


def _name(run: RunPaths, path: Path) -> str:
    return os.path.relpath(path, run.root)
