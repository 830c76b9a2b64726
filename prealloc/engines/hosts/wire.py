"""What a host and the master say to each other: typed messages, numbered where one must not be lost.

A frame is a number (0: nothing is lost with it), the number of the last frame that has come from the other side, a
message as a JSON array, its tag first, and then, for some, bytes as they are. A host is not trusted: what cannot be
decoded, or says what cannot be, ends its part in the run.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import msgspec

from prealloc.engines.base import ShardJob
from prealloc.engines.handover import JobEnded, UnitsReturned
from prealloc.files.paths import SHARD_ID
from prealloc.lanes.limiter import Grant
from prealloc.model.document import UNREADABLE, Unreadable
from prealloc.model.events import AttemptStarted, LibraryOpenedByWorker, Note, ShardStarted, WorkerGone, WorkerLost
from prealloc.model.outcome import Answer
from prealloc.model.policy import RunPolicy
from prealloc.model.words import brief
from prealloc.worker.job import Count

PIECE = 2**18
"""Bytes of a file in one message: small enough that what is urgent never waits long behind it."""
END_LOG = 2**18
"""Bytes of the beginning and of the end of a log that are sent."""
MOST_FRAME = 2**20
"""Bytes of a frame from a host. What is larger comes in pieces."""

_header = struct.Struct("!QQ")
_Offset = Annotated[int, msgspec.Meta(ge=0, le=2**50)]
_Clock = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
_Name = Annotated[str, msgspec.Meta(max_length=200)]
_File = Annotated[str, msgspec.Meta(max_length=140)]
_Shard = Annotated[str, msgspec.Meta(pattern=f"^{SHARD_ID.pattern}$")]
_Text = Annotated[str, msgspec.Meta(max_length=20_000)]
_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=str.lower):
    """The root of all messages."""


ForPeople = ShardStarted | AttemptStarted | WorkerLost | WorkerGone | LibraryOpenedByWorker | Note

# -- from a host --------------------------------------------------------------------------------------------


class Hi(Message, frozen=True):
    """The first message of each connection."""

    launch: _Name
    """Drawn at random by each process: the engine may run a host twice."""
    version: _Name
    python: _Name
    machine: _Name
    room: Count | None
    """Shards at once, if it was told; None: it says so when it has seen how large slices are."""
    held: tuple[_Digest, ...] = ()
    """Files that it has been sent."""
    spool: str = ""
    """Where it writes. Logs come to the run's folder, so the master's notes name them there."""


class Ready(Message, frozen=True):
    """It has imported the worker function."""

    notes: tuple[_Text, ...]
    unset: tuple[_Name, ...]
    digest: _Name | None
    """Of the file of the worker's module."""


class Broken(Message, frozen=True):
    """It cannot import the worker function, or cannot go on."""

    kind: _Name
    """The name of the error's class."""
    problem: _Text
    where: _Text | None
    hint: _Text | None


class Lines(Message, frozen=True):
    """Bytes of a file of its journal, from an offset on: whole lines, or a piece of a long one."""

    file: _File
    offset: _Offset


class Awaited(Message, frozen=True):
    """The end of a job waits until what was sent of the journal is acknowledged."""


class Log(Message, frozen=True):
    """A part of a shard's log."""

    shard: _Shard


class Told(Message, frozen=True):
    """Things for people, and units that come back. The ends of attempts are in its journal.

    Before a JobEnded, all lines of its job have been acknowledged.
    """

    events: tuple[ForPeople | UnitsReturned | JobEnded, ...]


class Ask(Message, frozen=True):
    """One of its workers waits for a turn on a lane."""

    lane: _Text
    holder: Count
    turn: Count
    tokens: Count


class Done(Message, frozen=True):
    """The request of a turn is answered, or given up."""

    lane: _Text
    holder: Count
    turn: Count
    tokens: Count
    answer: Answer


class Leave(Message, frozen=True):
    """A worker is gone: it asks no more."""

    lane: _Text
    holder: Count


class Beat(Message, frozen=True):
    """Comes every second, and whenever it says something new."""

    clock: _Clock
    """Its own monotonic clock."""
    rtt_s: _Clock | None
    """The least that a message has taken there and back, lately."""
    ahead_s: _Clock
    """What the master's clock is ahead of its own, by that message."""
    room: Count
    """Further shards that it takes."""
    memory: dict[_Name, _Offset]
    """As of Engine.memory."""
    unbegun: dict[int, Count]
    """By job."""
    spool_left: _Offset
    wall: _Clock = 0.0
    """Its wall clock."""
    wall_s: _Clock = 0.0
    """What that is ahead of the master's, which fills this in."""
    draining: bool = False
    """It was told to end: it takes no more, and ends when what runs has ended."""


class Bye(Message, frozen=True):
    """From a host: it was told to end, and has nothing more to say. To a host: the run is over."""

    reason: _Text = ""


# -- to a host ----------------------------------------------------------------------------------------------


class Welcome(Message, frozen=True):
    """The answer to Hi: what has come so far of its files. It goes on from there."""

    acks: dict[str, int]


class Echo(Message, frozen=True):
    """The answer to a Beat, at once."""

    clock: float
    """The host's."""
    master: float
    """The master's."""


class Check(Message, frozen=True):
    """Import the worker function."""

    worker: str
    import_path: tuple[str, ...]
    libraries: tuple[str, ...]
    """Paths of task libraries, which no worker may open."""
    variables: tuple[str, ...]
    start_s: float
    environment: dict[str, str]
    """Keys that the user has asked to be passed on."""
    code: str | None
    """The digest of shipped code, which has been sent."""


class Open(Message, frozen=True):
    """Get ready for a session."""

    session: int
    policy: RunPolicy
    slice_bytes: int
    cleanup: str | None
    room: int
    """Shards at once at most, all memory aside."""
    all_logs: bool = False


class Blob(Message, frozen=True):
    """A piece of a file with this SHA-256."""

    sha256: str
    offset: int
    total: int


class Run(Message, frozen=True):
    """Start a job: a ShardJob, in a file that is sent, as is its slice."""

    job: str
    slice: str


class HandBack(Message, frozen=True, tag="back"):
    """As of Engine."""

    job: int
    units: int


class Allow(Message, frozen=True):
    """As of Engine."""

    tasks: dict[int, int]


class Halt(Message, frozen=True):
    """As of Engine; and why a lane has halted."""

    lane: str | None
    reason: str | None
    key_refused: bool


class Drain(Message, frozen=True):
    """As of Engine."""


class Stop(Message, frozen=True):
    """As of Engine."""


class Go(Message, frozen=True):
    """These turns come; their moments are in the master's clock."""

    turns: tuple[Grant[int], ...]


class Ack(Message, frozen=True):
    """These files are in the run's journal up to these offsets."""

    files: dict[str, int]


class Gone(Message, frozen=True):
    """The host has no part in the run any more: it ends all that it runs."""

    reason: str


FromHost = Hi | Ready | Broken | Lines | Awaited | Log | Told | Ask | Done | Leave | Beat | Bye
BEFORE_A_SESSION = Ready | Broken | Beat | Bye
ToHost = Welcome | Echo | Check | Open | Blob | Run | HandBack | Allow | Halt | Drain | Stop | Go | Ack | Gone | Bye

_encoder = msgspec.json.Encoder()
from_host = msgspec.json.Decoder(FromHost)
to_host = msgspec.json.Decoder(ToHost)
_jobs = msgspec.json.Decoder(ShardJob)


class Frame(NamedTuple):
    """A frame that has come."""

    number: int
    seen: int
    message: Any
    body: bytes


def frame(message: Message, body: bytes | memoryview = b"", *, number: int = 0, seen: int = 0) -> bytes:
    """The bytes that cross the link."""
    return b"".join((_header.pack(number, seen), _encoder.encode(message), b"\n", body))


def read_frame(raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Frame:
    """What they say. Raises Unreadable."""
    end = raw.find(b"\n", _header.size)
    if end < 0:
        raise Unreadable(f"{len(raw)} bytes that are not a message")
    number, seen = _header.unpack_from(raw)
    try:
        message = decoder.decode(memoryview(raw)[_header.size : end])
    except UNREADABLE as error:
        raise Unreadable(f"{brief(error)}; it began {raw[_header.size :][:60]!r}") from None
    return Frame(number, seen, message, raw[end + 1 :])


class Numbered:
    """The frames of both directions that must not be lost, each taken in once, over any number of connections."""

    def __init__(self) -> None:
        self.sent = 0
        """The last number that was given."""
        self._unseen: deque[tuple[int, Message]] = deque()
        self.seen = 0
        """The last number that has come."""

    def number(self, message: Message) -> bytes:
        """The frame of a message that is sent again and again until the other side has seen it."""
        self.sent += 1
        self._unseen.append((self.sent, message))
        return frame(message, number=self.sent, seen=self.seen)

    def plain(self, message: Message, body: bytes | memoryview = b"") -> bytes:
        """The frame of one that may be lost."""
        return frame(message, body, seen=self.seen)

    def again(self) -> Iterator[bytes]:
        """What the other side has not seen, for a new connection."""
        for number, message in self._unseen:
            yield frame(message, number=number, seen=self.seen)

    @property
    def all_seen(self) -> bool:
        """The other side has seen everything."""
        return not self._unseen

    @property
    def seen_there(self) -> int:
        """The last number that the other side has seen."""
        return self._unseen[0][0] - 1 if self._unseen else self.sent

    def take(self, found: Frame) -> bool:
        """Takes a frame in. False: it has come before. Raises Unreadable if one is missing before it."""
        while self._unseen and self._unseen[0][0] <= found.seen:
            self._unseen.popleft()
        if not found.number:
            return True
        if found.number > self.seen + 1:
            raise Unreadable(f"message {self.seen + 1} is missing")
        if found.number <= self.seen:
            return False
        self.seen = found.number
        return True


def pack_job(job: ShardJob) -> bytes:
    """In a file of its own, since a shard may have any number of tasks. Most of it is names, the same in every job."""
    return zlib.compress(_encoder.encode(job))


def unpack_job(raw: bytes) -> ShardJob:
    """Only for what the master has sent."""
    return _jobs.decode(zlib.decompress(raw))
