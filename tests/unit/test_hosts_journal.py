"""A host's journal in the run's: which bytes are taken over, what is refused, and that a late line changes nothing."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from run_events import attempt_line
from run_setup import setup_in

from prealloc.engines.hosts import replica
from prealloc.engines.hosts.replica import GivenShard, Replica
from prealloc.model.document import Unreadable
from prealloc.model.outcome import Status
from prealloc.model.plan import Unit
from prealloc.model.policy import RunPolicy
from prealloc.store.fold import fold
from prealloc.store.journal_lines import SessionStarted, WorkerStarted
from prealloc.store.spools import note_spools, unheard

FILE = "shard-00.0001.0001.jsonl"
UNIT = Unit("shard-00", "a", 0)


def line(**more: Any) -> bytes:
    """The line of an ending."""
    return msgspec.json.encode(attempt_line(**{"shard": "shard-00", "task": "a", "host": "host-1"} | more)) + b"\n"


class Bench:
    """The journal of one run, to which any number of hosts write."""

    def __init__(self, root: Path) -> None:
        self.setup = setup_in(root, RunPolicy())
        self.paths, self.journal = self.setup.paths, self.setup.journal
        self.journal.append(SessionStarted(session=1, reopen_failed=False))
        self._numbers = count(1)
        self._hosts: list[Replica] = []

    def host(self, name: str, *, holds: bool = True) -> Replica:
        """One more host that has the shard."""
        shards = {"shard-00": GivenShard({"a": 0, "b": 1}, 1)}
        made = Replica(name, self.setup, shards, lambda shard: next(self._numbers), lambda line: holds)
        self._hosts.append(made)
        return made

    def outcome(self) -> tuple[Status, int | None]:
        """What became of the unit, and by which attempt."""
        state = fold(self.paths, [UNIT, UNIT._replace(task="b")]).units[UNIT]
        return state.status, state.outcome.attempt.attempt if state.outcome is not None else None

    def written(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.paths.journal.iterdir() if "supervisor" not in path.name}

    def close(self) -> None:
        for host in self._hosts:
            host.close()
        self.journal.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def taken(host: Replica, file: str, offset: int, raw: bytes) -> list[bool]:
    """Whether each of these lines is late."""
    return [copied.late for copied in host.take(file, offset, raw)]


def test_the_same_bytes_are_in_the_journal(bench: Bench) -> None:
    """In whatever pieces they come, and however often: each line is there once, byte for byte, and is acknowledged."""
    host, both = bench.host("host-1"), line() + line(task="b", result=msgspec.Raw(b'{"x":"' + b"y" * 3000 + b'"}'))
    for end in (10, 5, 400, 1000, len(both)):
        list(host.take(FILE, 0, both[:end]))
        assert host.acks[FILE] == both[:end].rfind(b"\n") + 1
    assert bench.written() == {FILE: both}
    assert host.new_acks() == {FILE: len(both)}
    assert host.new_acks() == {}


def test_few_files_of_a_host_are_open_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many workers it starts, and whichever of them goes on: the lines of each are in its file, in order."""
    monkeypatch.setattr(replica, "MOST_OPEN", 2)
    host, sizes = bench.host("host-1"), Counter[str]()
    before = len(os.listdir("/proc/self/fd"))
    for attempt, incarnation in enumerate((1, 2, 3, 1, 4, 2, 2, 1, 3), start=1):
        file = FILE.replace("0001.jsonl", f"{incarnation:04}.jsonl")
        raw = line(attempt=attempt, again=True)
        list(host.take(file, sizes[file], raw))
        sizes[file] += len(raw)
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    attempts = {number: re.findall(rb'"attempt":(\d+)', raw) for number, raw in enumerate(bench.written().values())}
    assert sorted(attempts.values()) == [[b"1", b"4", b"8"], [b"2", b"6", b"7"], [b"3", b"9"], [b"5"]]
    assert host.new_acks() == sizes
    host.finish("shard-00")
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(Unreadable, match="whose end was told"):
        list(host.take(FILE, sizes[FILE], line()))


def test_what_had_come_of_a_line_comes_again(bench: Bench) -> None:
    """A new connection begins at what is acknowledged: half a line that had come is not taken for its beginning."""
    host, both = bench.host("host-1"), line() + line(task="b")
    list(host.take(FILE, 0, both[:-20]))
    acked = host.begin_again()[FILE]
    list(host.take(FILE, acked, both[acked:]))
    assert bench.written() == {FILE: both}


def test_two_hosts_of_a_shard_never_meet_in_a_file(bench: Bench) -> None:
    """The master numbers the files; what a host's supervisor says of a worker has that number, and the host's name."""
    first, second = bench.host("host-1"), bench.host("host-2")
    told = WorkerStarted(shard="shard-00", incarnation=1, pid=7, units=1, host="host-2")
    list(first.take(FILE, 0, line()))
    list(second.take("supervisor.0001.jsonl", 0, msgspec.json.encode(told) + b"\n"))
    list(second.take(FILE, 0, line(task="b", host="host-2")))
    assert sorted(bench.written()) == [FILE, "shard-00.0001.0002.jsonl"]
    assert b'"incarnation":2,"pid":7' in bench.paths.supervisor_journal(1).read_bytes()


@pytest.mark.parametrize("why", ["the host is lost", "the unit is another host's now"])
@pytest.mark.parametrize("status", [Status.OK, Status.INFRA])
def test_a_late_line_changes_no_outcome(bench: Bench, why: str, status: Status) -> None:
    """A line that an old host still sends is kept as evidence: the fold says before and after it what was told."""
    old, new = bench.host("host-1", holds=why == "the host is lost"), bench.host("host-2")
    list(old.take(FILE, 0, line(task="b")))  # so its file has the lower number, and is folded first
    old.fenced = why == "the host is lost"
    list(new.take(FILE, 0, line(host="host-2", attempt=2, status=Status.FAILED)))
    assert bench.outcome() == (Status.FAILED, 2)
    assert taken(old, FILE, len(line(task="b")), line(status=status)) == [True]
    assert bench.outcome() == (Status.FAILED, 2)
    assert b'"late":true' in bench.written()[FILE]


@pytest.mark.parametrize(
    ("file", "raw"),
    [
        (FILE, line(host="host-2")),
        (FILE, line(task="z")),
        (FILE, line(repeat=1)),
        (FILE, line(shard="shard-01")),
        (FILE, line(reused="elsewhere/")),
        (FILE, line()[:-2] + b',"x":1}\n'),
        (FILE, b'{"shard":"shard-00","shard":"shard-00"' + line()[19:]),
        (FILE, line(result=msgspec.Raw(b"NaN"))),
        (FILE, b"\0" * 100 + b"\n"),
        ("shard-01.0001.0001.jsonl", line(shard="shard-01")),
        ("shard-00.0002.0001.jsonl", line()),
        ("../run.json", line()),
        ("supervisor.0001.jsonl", msgspec.json.encode(SessionStarted(session=1, reopen_failed=True)) + b"\n"),
    ],
)
def test_what_a_host_may_not_say(bench: Bench, file: str, raw: bytes) -> None:
    """Another's unit, a unit or file that there is not, a line that prealloc does not write: nothing of it is kept."""
    host = bench.host("host-1")
    before = bench.paths.supervisor_journal(1).read_bytes()
    with pytest.raises(Unreadable):
        list(host.take(file, 0, raw))
    assert not any(bench.written().values())
    assert bench.paths.supervisor_journal(1).read_bytes() == before


def test_bytes_that_are_missing(bench: Bench) -> None:
    """A file is taken over from its beginning on, without a gap."""
    with pytest.raises(Unreadable, match="missing"):
        list(bench.host("host-1").take(FILE, 1, line()))


def test_what_hosts_wrote_and_nobody_heard(bench: Bench, tmp_path: Path) -> None:
    """A resume takes in what decides an open unit: not what is decided, late, another's, unplanned or damaged."""
    spools = tmp_path / "shared"
    note_spools(bench.paths, spools)
    told = {
        "host-1": [line(), line(task="b", late=True), line(task="z")],
        "host-2": [line(host="host-2", status=Status.INFRA), line()],
        "host-3": [line(task="b", host="host-3", result=msgspec.Raw(b"[1]")), b"\0\n"],
        "host-4": [line(task="b", host="host-4", attempt=3, result=msgspec.Raw(b"[2]"))],
    }
    for host, lines in told.items():
        (spools / host / "journal").mkdir(parents=True)
        (spools / host / "journal" / FILE).write_bytes(b"".join(lines))
    b = Unit("shard-00", "b", 0)
    found = unheard(bench.paths, fold(bench.paths, [UNIT, b]))
    assert [(each.task, each.host) for each in found.lines] == [("a", "host-1"), ("b", "host-3")]
    assert bytes(found.lines[1].result) == b"[1]"
    assert ["host-3" in note for note in found.notes] == [True, False]
    list(bench.host("host-9").take(FILE, 0, line(host="host-9", status=Status.FAILED)))
    found = unheard(bench.paths, fold(bench.paths, [UNIT, b]))
    assert [each.task for each in found.lines] == ["b"]
