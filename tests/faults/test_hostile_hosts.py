"""Row D12: strangers at the door of the master, and hosts that say what no host of ours says.

Each is refused, or fenced with a reason; the run goes on, and the master holds little more for it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import checker
import msgspec
import pytest
from harness import Session, Stage, wait_until
from hosts_lab import HostsLab
from scripted_host import ScriptedHost, ending
from websockets.exceptions import InvalidStatus

from prealloc.engines.base import ShardJob
from prealloc.engines.handover import JobEnded, Units, UnitsReturned
from prealloc.engines.hosts import wire
from prealloc.engines.hosts.spec import HostSpec, trusting
from prealloc.model.events import Note, ShardStarted

pytestmark = pytest.mark.fault

MOST_MORE = 128 * 2**20
"""Bytes that the master may hold for all of it."""
WITHIN_S = 6.0


# -- without a token ----------------------------------------------------------------------------------------------


def test_strangers(stage: Stage, lab: HostsLab) -> None:
    """Wrong tokens, no TLS, garbage, half a handshake and a thousand that say nothing: none takes part, all end."""
    stage.make_plan({f"g{n}": {"do": "gate"} for n in range(4)}, shards=2)
    session = lab.start(1)
    lab.join(session, "host-1", direct=True)
    stage.wait_for_start("g0")
    spec = lab.spec(session, "host-1")
    before = held(session)
    with pytest.raises(InvalidStatus, match="401"):
        ScriptedHost(msgspec.structs.replace(spec, token="x" * 43))
    with pytest.raises(InvalidStatus, match="401"):
        ScriptedHost(msgspec.structs.replace(spec, token=""))
    for raw in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(range(256)) * 1000, b"\x16\x03\x01\xff\xff", b"\n"):
        assert_ends(dial(spec), raw)
    for raw in (b"\0" * 5000, b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000, b"POST / HTTP/1.1\r\n\r\n"):
        assert_ends(with_tls(spec), raw)
    silent = [dial(spec) for _ in range(1000)]
    late = lab.join(session, "host-1", direct=True)  # who has a token comes through beside them
    assert late.end() == 1
    assert "started twice" in late.words()
    for each in silent:
        each.close()
    loris = with_tls(spec)
    threading.Thread(target=drip, args=(loris,), daemon=True).start()
    loris.settimeout(10 * WITHIN_S)
    assert_ends(loris, b"GET / HTTP/1.1\r\n")
    assert held(session) - before < MOST_MORE
    stage.let_go()
    assert session.wait() == 0
    assert not [lost for lost in session.of("host_lost") if lost["reason"] != "it has ended"]
    stage.check(session)


def dial(spec: HostSpec) -> socket.socket:
    return socket.create_connection(("127.0.0.1", spec.port), timeout=10 * WITHIN_S)


def with_tls(spec: HostSpec) -> ssl.SSLSocket:
    return trusting(spec.certificate).wrap_socket(dial(spec))


def drip(connection: socket.socket) -> None:
    """A header, a byte at a time."""
    try:
        while True:
            connection.sendall(b"x")
            time.sleep(0.2)
    except OSError:
        pass


def assert_ends(connection: socket.socket, raw: bytes) -> None:
    """What it sends is answered with an end, whatever is said before."""
    with connection:
        try:
            connection.sendall(raw)
            while connection.recv(4096):
                pass
        except TimeoutError:
            raise AssertionError(f"still open after {raw[:20]!r}") from None
        except OSError:
            pass


# -- with one -----------------------------------------------------------------------------------------------------


Attack = Callable[[ScriptedHost, ShardJob], None]


def lines(**more: Any) -> Attack:
    """An ending that is none."""
    return lambda host, job: host.write(own_file(host, job), ending(host.name, job, 1, **more))


def raw_line(raw: bytes) -> Attack:
    return lambda host, job: host.write(own_file(host, job), raw)


def in_file(name: str) -> Attack:
    return lambda host, job: host.write(name, ending(host.name, job, 1))


def says(make: Callable[[ScriptedHost, ShardJob], wire.Message]) -> Attack:
    return lambda host, job: host.say(make(host, job))


def frame(raw: bytes) -> Attack:
    return lambda host, job: host.send(raw)


def own_file(host: ScriptedHost, job: ShardJob, incarnation: int = 1) -> str:
    return f"{job.manifest.id}.{host.session:04}.{incarnation:04}.jsonl"


def nan(host: ScriptedHost, job: ShardJob) -> None:
    line = ending(host.name, job, 1).replace(b'"working_s":1.0', b'"working_s":NaN')
    assert b"NaN" in line
    host.write(own_file(host, job), line)


def hundred_megabytes(host: ScriptedHost, job: ShardJob) -> None:
    """The head of such a message, and as much of it as is taken."""
    with contextlib.suppress(OSError):
        host.connection.socket.sendall(b"\x82\xff" + struct.pack("!QI", 100 * 2**20, 0))
        for _ in range(1600):
            host.connection.socket.sendall(bytes(2**16))


def endless_line(host: ScriptedHost, job: ShardJob) -> None:
    for _ in range(80):
        host.write(own_file(host, job), b"x" * wire.PIECE)


def half_lines_in_many_files(host: ScriptedHost, job: ShardJob) -> None:
    for incarnation in range(2, 42):
        for _ in range(40):
            host.write(own_file(host, job, incarnation), b"x" * wire.PIECE)


def late_without_end(host: ScriptedHost, job: ShardJob) -> None:
    """Endings of a unit that it has decided before."""
    line = ending(host.name, job, 0, result=msgspec.Raw(b'"%s"' % (b"x" * 500_000)))
    for _ in range(140):
        host.write(own_file(host, job), line)


def workers_without_end(host: ScriptedHost, job: ShardJob) -> None:
    """A file for each, with a line of its own."""
    for incarnation in range(2, 1000):
        host.write(own_file(host, job, incarnation), ending(host.name, job, 0))


def logs_without_end(host: ScriptedHost, job: ShardJob) -> None:
    for _ in range(200):
        host.send(wire.frame(wire.Log(job.manifest.id), b"x" * wire.PIECE))


def notes_without_end(host: ScriptedHost, job: ShardJob) -> None:
    for _ in range(200):
        host.say(wire.Told((Note(text="x" * 10_000),)))


def gap(host: ScriptedHost, job: ShardJob) -> None:
    host.write(own_file(host, job), b"")
    host.send(wire.frame(wire.Lines(own_file(host, job), 10**6), ending(host.name, job, 1)))


def held_back(host: ScriptedHost, job: ShardJob) -> wire.Message:
    order = job.units.orders[0]
    return wire.Told((UnitsReturned(job=job.number, shard=job.shard, units=Units((order, order))),))


ATTACKS: Mapping[str, tuple[Attack, str]] = {
    "100 MB at once": (hundred_megabytes, "breaks the protocol"),
    "no message": (frame(b"x" * 100), "not a message"),
    "a message of no kind": (frame(bytes(16) + b'["root"]\n'), "Invalid value"),
    "nested": (frame(bytes(16) + b"[" * 100_000 + b"\n"), "it says what cannot be"),
    "a negative count": (frame(bytes(16) + b'["ask","k",-1,1,1]\n'), "int"),
    "NaN": (nan, "malformed"),
    "a clock that is none": (frame(bytes(16) + b'["beat",1e400,null,0,0,{},{},0,false]\n'), "it says what cannot be"),
    "a message is missing": (lambda host, job: host.send(wire.frame(wire.Bye(), number=99)), "is missing"),
    "bytes are missing": (gap, "are missing"),
    "half a line": (raw_line(b'{"shard":\n'), "line"),
    "an endless line": (endless_line, "a line of more than"),
    "half lines in many files": (half_lines_in_many_files, "lines that do not end"),
    "late lines without end": (late_without_end, "67 MB of endings of units that it does not have"),
    "workers without end": (workers_without_end, "more than 16 workers for each job and unit"),
    "logs without end": (logs_without_end, "more of logs"),
    "notes without end": (notes_without_end, "more sentences"),
    "a foreign shard": (lines(shard="shard-77"), "shard-77"),
    "a file of a foreign shard": (in_file("shard-77.0001.0001.jsonl"), "shard-77"),
    "a file of another session": (in_file("shard-00.0007.0001.jsonl"), "not a journal file of this session"),
    "a file elsewhere": (in_file("../../shard-00.0001.0001.jsonl"), "not a journal file"),
    "a unit that is not planned": (lines(task="nobody"), "nobody"),
    "a repeat that is not planned": (lines(repeat=7), "#7"),
    "for another host": (lines(host="host-1"), "speaks for another one"),
    "reused": (lines(reused="run"), "it "),
    "an absurd attempt": (lines(attempt=10**6), "is not its own"),
    "the master's line": (raw_line(b'{"kind":"session","session":1,"reopen_failed":true}\n'), "only the supervisor"),
    "an event of another shard": (
        says(
            lambda host, job: wire.Told(
                (ShardStarted(shard="shard-77", pid=1, units=1, incarnation=1, host=host.name),)
            )
        ),
        "shard-77",
    ),
    "an event of another host": (
        says(
            lambda host, job: wire.Told(
                (ShardStarted(shard=job.manifest.id, pid=1, units=1, incarnation=1, host="host-1"),)
            )
        ),
        "another host",
    ),
    "a unit twice": (says(held_back), "which it does not have"),
    "a lane": (says(lambda host, job: wire.Ask("k", 1, 1, 0)), "lane 'k'"),
}


def test_hosts_that_say_what_cannot_be(stage: Stage, lab: HostsLab) -> None:
    """Each is lost with the reason, and hears it; what it had said before stands; its units run elsewhere."""
    stage.make_plan({f"g{n:02}": {"do": "gate"} for n in range(2 * len(ATTACKS) + 8)}, shards=2)
    session = lab.start(1 + len(ATTACKS), "--room", "1", "-c", "1")
    lab.join(session, "host-1", direct=True)
    session.wait_for("attempt_started")
    before = held(session)
    for number, (what, (attack, reason)) in enumerate(ATTACKS.items(), start=2):
        with host_with_a_job(lab, session, f"host-{number}") as (host, job):
            attack(host, job)
            lost = session.wait_for("host_lost", host=host.name)
            assert reason in lost["reason"], what
            assert session.process.poll() is None, what
    more = held(session) - before
    assert more < MOST_MORE, f"{more / 2**20:.0f} MB"
    stage.let_go()
    assert session.wait() == 0
    assert {line["host"] for line in late_lines(session)} <= {f"host-{n}" for n in range(2, 99)}
    stage.check(session)


def test_hosts_that_are_lost_before_they_decide_anything(stage: Stage, lab: HostsLab) -> None:
    """However many in a row: one that works goes on. With the last one the run ends, and says why."""
    stage.make_plan({f"g{n}": {"do": "gate"} for n in range(8)}, shards=2)
    session = lab.start(6, "--room", "1", "-c", "1")
    first = lab.join(session, "host-1", direct=True)
    session.wait_for("attempt_started")
    for number in range(2, 6):
        host = ScriptedHost(lab.spec(session, f"host-{number}"))
        host.join()
        host.say(wire.Told((ShardStarted(shard="shard-77", pid=1, units=1, incarnation=1, host=host.name),)))
        session.wait_for("host_lost", host=host.name)
        host.close()
    assert first.process.poll() is None
    stage.let_go()
    assert session.wait() == 0
    assert session.census == {"ok": 8}
    stage.check(session)


def test_a_host_that_repeats_itself(stage: Stage, lab: HostsLab) -> None:
    """What comes twice counts once, in whatever pieces and on whatever connection; a second ending is late."""
    stage.make_plan({f"g{n}": {"do": "gate"} for n in range(8)}, shards=2)
    session = lab.start(2, "--room", "1", "-c", "1", lease="5s")
    lab.join(session, "host-1", direct=True)
    session.wait_for("attempt_started")
    with host_with_a_job(lab, session, "host-2") as (host, job):
        file = own_file(host, job)
        first, second = ending(host.name, job), ending(host.name, job, 1)
        for offset in (0, 10, 0):
            host.send(wire.frame(wire.Lines(file, offset), first[offset:]))
        host.write(file, second[:30])
        host.write(file, second[30:])
        host.send(wire.frame(wire.Lines(file, 0), first + second))
        host.write(file, second)
        wait_until(lambda: late_lines(session), "a late line")
        session.wait_for("attempt_ended", count=2, host=host.name)
        assert len(late_lines(session)) == 1
        assert len(session.of("attempt_ended", host=host.name)) == 2
    stage.let_go()
    assert session.wait() == 0
    stage.check(session)


def test_what_nobody_has_asked_for_changes_nothing(stage: Stage, lab: HostsLab) -> None:
    """Ends of jobs that it does not have, turns that were not given: not taken over."""
    stage.make_plan({f"g{n}": {"do": "gate"} for n in range(8)}, shards=2)
    session = lab.start(2, "--room", "1", "-c", "1", lease="5s")
    lab.join(session, "host-1", direct=True)
    session.wait_for("attempt_started")
    with host_with_a_job(lab, session, "host-2") as (host, job):
        host.say(wire.Told((JobEnded(job=job.number + 77, shard=job.shard),)))
        host.say(wire.Leave("k", 1))
        host.say(wire.Log("shard-77"))
        host.say(wire.Told((Note(text="heard"),)))
        wait_until(lambda: any("heard" in text for text in session.notes()), "the note")
    session.wait_for("host_lost", host="host-2")
    stage.let_go()
    assert session.wait() == 0
    assert session.census == {"ok": 8}
    stage.check(session)


@contextmanager
def host_with_a_job(lab: HostsLab, session: Session, name: str) -> Iterator[tuple[ScriptedHost, ShardJob]]:
    """A host that has decided a unit of its job, as any host would."""
    host = ScriptedHost(lab.spec(session, name))
    try:
        host.join()
        job = host.take_job()
        host.write(own_file(host, job), ending(host.name, job))
        host.hear(wire.Ack)
        yield host, job
    finally:
        host.close()


def late_lines(session: Session) -> list[dict[str, Any]]:
    return [line.content for line in checker.journal(session.run, []) if line.content.get("late")]


def held(session: Session) -> int:
    """The most bytes that the master has held so far."""
    status = Path(f"/proc/{session.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024
