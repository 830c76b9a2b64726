"""What the lines of a journal say: attempts, and records, which carry a `kind`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec

from prealloc.files.strict_json import MOST_WALKED, StrictJsonError, compact, has_surely_short_integers
from prealloc.model.outcome import MOST_ATTEMPTS, Attempt, Seconds, verdict
from prealloc.model.part import Part
from prealloc.model.plan import Unit
from prealloc.model.policy import MOST_RESULT_BYTES
from prealloc.model.prices import Price
from prealloc.model.provenance import Provenance
from prealloc.model.steer import Change
from prealloc.model.usage import Usage

NO_RESULT = msgspec.Raw(b"null")


class AttemptLine(Attempt, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """An attempt as its line has it: the result is JSON text, which only those decode who want to see it."""

    result: msgspec.Raw = NO_RESULT

    @property
    def unit(self) -> Unit:
        return Unit(self.shard, self.task, self.repeat)

    def without_result(self) -> AttemptLine:
        """All that is held in memory of an attempt; the shard's name is the same object in all of them."""
        return msgspec.structs.replace(self, shard=sys.intern(self.shard), result=NO_RESULT)

    def told(self) -> AttemptLine:
        """What is said of it to other processes."""
        if self.error is None:
            return msgspec.structs.replace(self, result=NO_RESULT)
        return msgspec.structs.replace(self, result=NO_RESULT, error=self.error.brief())

    def judged(self) -> AttemptLine:
        """The same with the verdict of its result: the first version of the format left that to the reader."""
        if self.success is not None or self.result is NO_RESULT:
            return self
        return msgspec.structs.replace(self, **verdict(_values.decode(self.result))._asdict())


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower):
    """What is noted besides endings."""


class SessionStarted(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="session", omit_defaults=True):
    """A master took up the run: `run` is session 1, each resume the next."""

    session: int
    reopen_failed: bool
    """`resume --failed`: outcomes that are final but not ok are open again from here on."""
    started_at: Seconds | None = None
    """Wall clock, as all times of records. None: of a version that did not note it."""
    part: Part | None = None
    """What it was asked for; None: everything that is open."""
    options: dict[str, Any] = {}
    """Fields of RunPolicy that have other values from here on than run.json says."""
    on_end: str | None = None
    """The command that gets the summary from here on, empty for none; None: the one that run.json names."""
    prices: dict[str, Price] = {}
    """Of tokens by model, from here on; none: those of run.json."""
    made_with: Provenance | None = None
    """What its code was; None: as run.json says."""


class Reopened(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="reopened"):
    """These units are open again from here on, though they have ended: `resume --failed` for a part of a run."""

    units: tuple[tuple[str, str, int], ...]
    """(shard, task, repeat)."""


class SessionEnded(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="session_end"):
    """It came to its end, or was stopped by the user. Without this line: it was killed, or could not go on."""

    session: int
    ended_at: Seconds


class SealedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many bytes at the beginning of a file had this SHA-256."""

    file: str
    """Its place in the run folder."""
    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str


class Sealed(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sealed"):
    """What stood in the journal's files at this time, so that a later edit is noticed."""

    at: Seconds
    files: tuple[SealedFile, ...]


class Steered(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="steered", omit_defaults=True):
    """From here on the session goes on in another way."""

    at: Seconds
    stopped: str | None = None
    """A limit of the whole run is reached, and nothing more starts: which one."""
    change: Change | None = None
    """What `prealloc ctl` has asked for."""


class WorkerStarted(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="worker", omit_defaults=True):
    """A worker process was started for a shard."""

    shard: str
    incarnation: int
    pid: int
    units: int
    started_at: Seconds | None = None
    lane: str | None = None
    """The lane that serves it."""
    host: str | None = None
    """The host that the process id is of; None: the machine of the master."""


class WorkerEnded(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="worker_end", omit_defaults=True):
    """It is gone for certain, in whatever way, and its units have been decided or handed on."""

    shard: str
    incarnation: int
    ended_at: Seconds
    lost: str | None = None
    """Why, if it died or was killed."""


class UnitRecord(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is noted of an attempt at a unit."""

    shard: str
    task: str
    repeat: int
    attempt: Annotated[int, msgspec.Meta(ge=1, le=MOST_ATTEMPTS)]

    @property
    def unit(self) -> Unit:
        return Unit(self.shard, self.task, self.repeat)


class SoloDeath(UnitRecord, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="death"):
    """A unit's worker died while the unit was alone in it. The count must survive the master."""

    reason: str


class LibraryOpen(Record, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="library_open"):
    """A worker of this shard (the fork server, if empty) tried to open the task library."""

    shard: str
    path: str


class AttemptRecord(UnitRecord, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is noted of an attempt so that somebody can clean up after it, should its process be killed."""


class AttemptBegan(AttemptRecord, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="began"):
    """Written in runs with --cleanup only, before the function is called."""


class Noted(AttemptRecord, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="note"):
    """What the function recorded with `ctx.note`."""

    value: Any


class AttemptLost(AttemptRecord, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="lost", omit_defaults=True):
    """Its worker died while it ran, which decided nothing: the unit is tried again."""

    reason: str
    usage: Usage | None = None
    """What it had used by then, as far as it has said so."""


class CleanedUp(AttemptRecord, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="clean"):
    """The attempt has come back and cleaned up by itself, or --cleanup has done it in its stead."""


AnyRecord = (
    SessionStarted
    | Reopened
    | Steered
    | Sealed
    | SessionEnded
    | WorkerStarted
    | WorkerEnded
    | SoloDeath
    | LibraryOpen
    | AttemptBegan
    | Noted
    | AttemptLost
    | CleanedUp
)

MOST_LINE_BYTES = MOST_RESULT_BYTES + 2**20
"""The largest result, and around it an error with its traceback, ids and numbers."""

attempt_lines = msgspec.json.Decoder(AttemptLine)
_values = msgspec.json.Decoder()
record_lines = msgspec.json.Decoder(AnyRecord)
encoder = msgspec.json.Encoder()


def with_result(line: AttemptLine) -> Attempt:
    """The attempt as people want it, its result decoded."""
    return Attempt(**{**msgspec.structs.asdict(line), "result": _values.decode(line.result)})


def refuse_twice(line: bytes) -> None:
    """One text has one meaning: of two equal keys msgspec would take the last. Raises StrictJsonError."""
    same = encoder.encode(_values.decode(line)) == line
    if same and (has_surely_short_integers(line) or len(line) > MOST_WALKED):
        return
    if len(line) > MOST_WALKED:
        raise StrictJsonError("it is not as prealloc writes it")
    compact(line)
