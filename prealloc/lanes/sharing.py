"""A lane's limits over all runs of a user on this machine: who takes a turn looks at what the others have taken.

The same lane is: the same endpoint and the same key. Neither is written anywhere: the file's name is an HMAC of both
under a random secret of the user's own. A lane whose key the master does not have is known by its name.

Sharing never stops a run. Where the file cannot be used, a note says so, and each run keeps to its lanes by itself.
"""

from __future__ import annotations

import contextlib
import hmac
import math
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from prealloc.files.lock import can_lock
from prealloc.files.paths import SharedPaths, runtime_folder
from prealloc.files.private import private_folder, secret
from prealloc.files.regular import Unusable
from prealloc.lanes.accounts import Account, Accounts
from prealloc.lanes.lane_file import Damaged, LaneFile
from prealloc.lanes.pacing import UNLIMITED_S
from prealloc.model.cell import settings_of
from prealloc.model.lane import Lane

BEAT_S = 1.0
"""How often a run shows that it is there, and looks whether the file is."""
SOON_S = 0.1
"""How soon it writes down what has been settled."""
STUCK_S = 1.0
"""Nobody keeps the lock for so long, unless he was stopped meanwhile."""
AGAIN_S = 10.0
"""How long a file that cannot be used is left alone."""
REFILL_S = 1.5
"""How long after a file was damaged the other runs have surely written their accounts into it again."""

_DIGITS = 32


class OneRun:
    """A lane that is not shared: nothing is asked of anybody."""

    late_s = UNLIMITED_S
    """How late a request may use its slot."""
    paused_until = 0.0
    """Until when other runs know the server to be closed."""
    is_shared = False
    """Another run uses the lane now."""

    def declare(self, spacing_s: float, late_s: float, tokens_per_minute: int | None) -> None:
        """Says what limits the lane has in this run now."""

    @contextmanager
    def turn(self, now: float, *, wanted: bool) -> Iterator[bool]:
        """While the block runs, no other run gives turns. False: none can be given just now."""
        yield wanted

    def earliest(self, at: float, tokens: int) -> float:
        """The first moment from `at` on, as far as the other runs are concerned. In a turn only, as `take`."""
        return at

    def take(self, at: float, tokens: int) -> int:
        """Takes the slot of this moment. Gives the tokens that count for it."""
        return tokens

    def settle(self, at: float, counted: int, tokens: int) -> None:
        """Says how many tokens it has really used."""

    def pause(self, until: float) -> None:
        """The server has asked for a pause, which is for all."""

    def notes(self) -> Sequence[str]:
        """What the user should know, since the last call."""
        return ()

    def close(self) -> None:
        """The run ends: what it has declared binds nobody any more."""


class SharedLane(OneRun):
    """A lane of this run among the same lane of others. `where` gives the path of their file, or raises Unusable."""

    def __init__(self, where: Callable[[], Path]) -> None:
        self._where = where
        self._accounts = Accounts(secrets.token_hex(8))
        self._file: LaneFile | None = None
        self._looked_at = 0.0
        """When it was looked whether the file is where others find it."""
        self._again_at = 0.0
        """Not before then it is tried to open the file."""
        self._refilled_at = 0.0
        """Not before then turns are given."""
        self._busy_since: float | None = None
        self._written_at = 0.0
        self._changed = self._urgent = False
        """Since it was written; in a way that others wait to hear of."""
        self._notes: list[str] = []

    def declare(self, spacing_s: float, late_s: float, tokens_per_minute: int | None) -> None:
        own = self._accounts.own
        if (own.spacing_s, own.late_s, own.tokens_per_minute) != (spacing_s, late_s, tokens_per_minute):
            own.spacing_s, own.late_s, own.tokens_per_minute = spacing_s, late_s, tokens_per_minute
            self._urgent = True

    @contextmanager
    def turn(self, now: float, *, wanted: bool) -> Iterator[bool]:
        due = self._urgent or now - self._written_at >= (SOON_S if self._changed else BEAT_S)
        if not (wanted or due):
            yield False
            return
        file = self._open(now)
        if file is None:
            yield wanted
        elif not self._has(file, now):
            yield wanted and self._is_stuck(file, now)
        else:
            try:
                yield wanted and now >= self._refilled_at
            finally:
                self._write(file, now)

    def earliest(self, at: float, tokens: int) -> float:
        return self._accounts.earliest(at, tokens)

    def take(self, at: float, tokens: int) -> int:
        return self._accounts.take(at, tokens)

    def settle(self, at: float, counted: int, tokens: int) -> None:
        self._accounts.settle(at, counted, tokens)
        self._changed = self._changed or tokens != counted

    def pause(self, until: float) -> None:
        self._accounts.own.paused_until = until
        self._urgent = True

    def notes(self) -> Sequence[str]:
        notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        if self._file is None:
            return
        own = self._accounts.own
        own.seen_at = 0.0
        with contextlib.suppress(OSError, Damaged):  # then it binds the others until it is old
            if self._file.lock():
                self._file.write([own, *(each for each in self._file.read() if each.run != own.run)])
        self._let_go()

    # -- inside ---------------------------------------------------------------------------------------------

    def _open(self, now: float) -> LaneFile | None:
        """The file, if it can be used. At each beat it is looked whether that is still the one that others find."""
        if self._file is not None and now - self._looked_at < BEAT_S:
            return self._file
        if self._file is None and now < self._again_at:
            return None
        self._looked_at = now
        try:
            path = self._where()
            if self._file is None or not self._file.is_at(path):
                self._let_go()
                self._file = LaneFile(path)
        except (Unusable, OSError) as error:
            self._lose(str(error), now)
        return self._file

    def _has(self, file: LaneFile, now: float) -> bool:
        """Takes the lock, and takes in what the others have. False: another run has it."""
        try:
            if not file.lock():
                return False
            self._busy_since = None
            self._meet(file.read(), now)
        except Damaged as error:
            self._notes.append(f"{file.path} was damaged ({error}) and is made anew: runs share a lane's limits by it")
            self._meet((), now)
            self._refilled_at = now + REFILL_S
        except OSError as error:
            self._lose(f"{file.path}: {error.strerror or error}", now)
            return False
        return True

    def _meet(self, found: Iterable[Account], now: float) -> None:
        self._accounts.meet(found, now)
        self.late_s, self.is_shared = self._accounts.late_s, self._accounts.is_shared
        self.paused_until = self._accounts.paused_until

    def _is_stuck(self, file: LaneFile, now: float) -> bool:
        """Whether to go on without the lock, which somebody else has."""
        if self._busy_since is None:
            self._busy_since = now
        elif self._busy_since + STUCK_S < now < math.inf:
            self._notes.append(_alone(f"{file.path}: another run keeps it locked (is one stopped?)"))
            self._busy_since = -math.inf
        return self._file is None or self._busy_since == -math.inf

    def _write(self, file: LaneFile, now: float) -> None:
        """Writes our account into the file, and lets the next one have it."""
        self._accounts.own.seen_at = self._written_at = now
        self._accounts.forget_before(now)
        try:
            file.write([self._accounts.own, *self._accounts.others])
            file.unlock()
            self._changed = self._urgent = False
        except OSError as error:
            self._lose(f"{file.path}: {error.strerror or error}", now)

    def _lose(self, why: str, now: float) -> None:
        """The file cannot be used: for a while this run keeps to the lane by itself."""
        self._notes.append(_alone(why))
        self._meet((), now)
        self._again_at = now + AGAIN_S
        self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _alone(why: str) -> str:
    return f"this run keeps to its lanes' limits by itself, whatever other runs do: {why}"


def shared_lanes(lanes: Sequence[Lane], settings: Mapping[str, Any]) -> Callable[[Lane], OneRun]:
    """For each lane of a run with these settings: how it is shared with other runs."""
    if not can_lock:
        return lambda lane: OneRun()
    known = Counter(_known_by(lane, settings) for lane in lanes)

    def share(lane: Lane) -> OneRun:
        # Two lanes of one run that have one key: the user has divided it, so they are two everywhere.
        name = (lane.name,) if known[_known_by(lane, settings)] > 1 else ()

        def where() -> Path:
            paths = SharedPaths(private_folder(runtime_folder()))
            told = msgspec.json.encode([*_known_by(lane, settings), *name])
            return paths.lane(hmac.digest(secret(paths.secret), told, "sha256").hex()[:_DIGITS])

        return SharedLane(where)

    return share


def _known_by(lane: Lane, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Endpoint and key of a lane, or its name."""
    merged = settings_of({}, lane, dict(settings))
    endpoint = [str(merged.get(name) or "").rstrip("/") for name in ("base_url", "deployment")]
    key = os.environ.get(lane.key_env, "") if lane.key_env is not None else ""
    return (*endpoint, *(("key", key) if key else ("name", lane.name)))
