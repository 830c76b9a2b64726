"""What a host writes: a run folder of its own, with the slices that it was sent, its journal and its logs.

The master gets the journal's bytes, file by file, from where it has said that it has them. What it has not said so of
is kept here, and sent again when the link is back.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from prealloc.engines.hosts.wire import END_LOG, PIECE, Blob, Lines
from prealloc.errors import EngineError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.paths import RunPaths

MOST_UNACKED = 4 * 2**20
"""Bytes that are on their way at once; more waits on the disk."""


class Spool:
    """In the folder `root`, which the caller has made."""

    def __init__(self, root: Path) -> None:
        self.paths = RunPaths(root)
        self._sent: dict[str, int] = {}
        self._acked: dict[str, int] = {}
        self.logs_sent: dict[str, int] = {}
        """How much of each shard's log has been sent."""
        self.whole_logs = False
        """Long ones are sent from their beginning to their end, not both ends alone."""
        with must_write(root, EngineError):
            fault_point(Point.SPOOL_FOLDERS)
            for folder in (self.paths.plan.root, self.paths.plan.slices, self.paths.journal, self.paths.logs):
                folder.mkdir(exist_ok=True)
        self.received = root / "received"

    # -- what is sent to it ---------------------------------------------------------------------------------

    def held(self) -> tuple[str, ...]:
        """The digests of the files that it has."""
        return tuple(path.stem for path in self.paths.plan.slices.iterdir() if path.suffix == ".json")

    def file(self, sha256: str) -> Path:
        """A file that it was sent. All lie among the slices, which is where slices are looked for."""
        return self.paths.plan.slice(sha256)

    def take(self, piece: Blob, raw: bytes) -> None:
        """Takes a piece of a file in. Raises EngineError if the whole is not what it should be."""
        path = self.paths.plan.slices / f"{piece.sha256}.part"
        with must_write(path, EngineError):
            fault_point(Point.SPOOL_RECEIVE)
            with open(path, "r+b" if piece.offset else "wb") as file:
                file.seek(piece.offset)
                file.write(raw)
        if piece.offset + len(raw) < piece.total:
            return
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != piece.sha256:
            raise EngineError("what the master has sent has another digest than it should", where=str(path))
        os.replace(path, self.file(piece.sha256))

    # -- its journal ----------------------------------------------------------------------------------------

    def begin_again(self, acked: Mapping[str, int]) -> None:
        """There is a new connection: all that was not acknowledged is sent anew."""
        self._acked = dict(acked)
        self._sent = dict(acked)

    def ack(self, files: Mapping[str, int]) -> None:
        """The master has these files up to there."""
        for file, offset in files.items():
            self._acked[file] = max(offset, self._acked.get(file, 0))
            self._sent[file] = max(self._acked[file], self._sent.get(file, 0))

    def sizes(self) -> dict[str, int]:
        """How long its files are now."""
        with os.scandir(self.paths.journal) as entries:
            return {entry.name: entry.stat().st_size for entry in entries}

    def is_acked(self, sizes: Mapping[str, int]) -> bool:
        """Whether the master has all files up to there."""
        return all(self._acked.get(file, 0) >= size for file, size in sizes.items())

    def pieces(self) -> Iterator[tuple[Lines, bytes]]:
        """What can be sent now: whole lines, and long ones in pieces."""
        left = MOST_UNACKED - sum(sent - self._acked.get(file, 0) for file, sent in self._sent.items())
        for file, size in sorted(self.sizes().items()):
            offset = self._sent.get(file, 0)
            while offset < size and left > 0:
                with open(self.paths.journal / file, "rb") as opened:
                    opened.seek(offset)
                    raw = opened.read(PIECE)
                    end = raw.rfind(b"\n") + 1
                    if not end:
                        if not any(b"\n" in chunk for chunk in iter(partial(opened.read, PIECE), b"")):
                            break
                        end = len(raw)
                yield Lines(file, offset), raw[:end]
                offset += end
                left -= end
                self._sent[file] = offset

    # -- its logs -------------------------------------------------------------------------------------------

    def more_of_log(self, shard: str) -> Iterator[bytes]:
        """What has been added to a shard's log since this was called last, in pieces."""
        path, begin = self.paths.log(shard), self.logs_sent.get(shard, 0)
        size = path.stat().st_size if path.exists() else 0
        self.logs_sent[shard] = size
        return self._cut(path, begin if begin <= size else 0, size)  # else it was cut

    def _cut(self, path: Path, begin: int, size: int) -> Iterator[bytes]:
        spans = [(begin, size)] if size > begin else []
        if size - begin > 2 * END_LOG and not self.whole_logs:
            spans = [(begin, begin + END_LOG), (size - END_LOG, size)]
        for number, (start, end) in enumerate(spans):
            if number:
                yield f"\n[prealloc: {start - spans[0][1]} bytes are on the host alone: {path}]\n".encode()
            with open(path, "rb") as file:
                file.seek(start)
                while start < end and (raw := file.read(min(PIECE, end - start))):
                    start += len(raw)
                    yield raw

    # -- its end --------------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Removes all that was written."""
        for each in self.paths.root.iterdir():
            shutil.rmtree(each, ignore_errors=True)

    def left_bytes(self) -> int:
        """Free space where it lies."""
        return shutil.disk_usage(self.paths.root).free
