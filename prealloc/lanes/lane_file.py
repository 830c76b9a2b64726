"""The file in which the runs of a user on this machine keep their accounts of one lane.

    prealloc lane 1 <CRC-32 of the rest> <its length>
    {"boot": "...", "accounts": [...]}

A few hundred bytes, read and written whole by whoever has it locked, for some microseconds. Nobody waits for the lock:
who does not get it asks again in a moment. What lies behind the length is of an earlier, longer state.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from prealloc.files.faultpoint import Point, fault_point
from prealloc.files.lock import try_exclusively, unlock
from prealloc.files.regular import open_regular
from prealloc.lanes.accounts import Account
from prealloc.model.document import UNREADABLE
from prealloc.processes.boot import boot_id
from prealloc.processes.forks import forks

_HEAD = re.compile(rb"prealloc lane 1 ([0-9a-f]{8}) ([0-9]{7})\n")
_HEAD_BYTES = 33
_MOST_BYTES = 2**20


class Damaged(Exception):
    """It is not what was written into it; says why."""


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    boot: str
    """The clock of the accounts began with it."""
    accounts: list[Account]


_decoder = msgspec.json.Decoder(_Body)
_encoder = msgspec.json.Encoder()


class LaneFile:
    """One such file, open. Raises Unusable when it is made, and OSError for what the system refuses later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._boot = boot_id()  # without one, accounts of a clock that began anew are told by their times
        self._descriptor = open_regular(path, inside=path.parent, flags=os.O_RDWR | os.O_CREAT, mode=0o600)
        forks.keep_from(self._descriptor)

    def lock(self) -> bool:
        """Takes the lock, if nobody has it."""
        return try_exclusively(self._descriptor)

    def unlock(self) -> None:
        """Lets the next one have it."""
        unlock(self._descriptor)

    def read(self) -> list[Account]:
        """The accounts in it. Raises Damaged."""
        raw = os.pread(self._descriptor, _MOST_BYTES, 0)
        if not raw:
            return []
        head = _HEAD.match(raw)
        if head is None:
            raise Damaged("it does not begin as such a file does")
        text = raw[_HEAD_BYTES : _HEAD_BYTES + int(head[2])]
        if zlib.crc32(text) != int(head[1], 16):
            raise Damaged("its digest is another")
        try:
            body = _decoder.decode(text)
        except UNREADABLE as error:
            raise Damaged(str(error)) from None
        return body.accounts if body.boot == self._boot else []

    def write(self, accounts: Sequence[Account]) -> None:
        """Replaces what is in it."""
        text = _encoder.encode(_Body(self._boot, list(accounts)))
        raw = b"prealloc lane 1 %08x %07d\n%b" % (zlib.crc32(text), len(text), text)
        fault_point(Point.LANE_WRITE, self._descriptor, raw)
        written = os.pwrite(self._descriptor, raw, 0)
        if written < len(raw):
            raise OSError("it was not written whole")

    def is_at(self, path: Path) -> bool:
        """Whether it is the file of this path: it may have been removed, with its folder, when the user logged out."""
        mine = os.fstat(self._descriptor)
        try:
            there = os.stat(path)
        except OSError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def close(self) -> None:
        """Lets go of it."""
        forks.forget(self._descriptor)
        os.close(self._descriptor)
