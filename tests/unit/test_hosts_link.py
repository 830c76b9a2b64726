"""The link between a host and the master, on loopback: who is let in, what a stranger can do, what a cut loses."""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prealloc.engines.hosts import wire
from prealloc.engines.hosts.caller import Caller
from prealloc.engines.hosts.link import SWITCH_S, Closed, Failed, Heard, LinkThread, Mailbox, News, Opened
from prealloc.engines.hosts.listener import STRANGERS, Listener
from prealloc.engines.hosts.spec import HostSpec, Identity, new_identity
from prealloc.model.document import Unreadable
from prealloc.processes.setting import SWITCH_INTERVAL

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def identity() -> Identity:
    return new_identity()


@pytest.fixture
def listener(identity: Identity) -> Iterator[Listener]:
    made = Listener("127.0.0.1", 0, identity, lambda name, raw: None)
    made.admit("good", "host-1")
    yield made
    made.close()


def spec(listener: Listener, identity: Identity, token: str = "good") -> HostSpec:
    return HostSpec(
        name="host-1",
        addresses=("127.0.0.1",),
        port=listener.port,
        certificate=identity.certificate,
        token=token,
        lease_s=5.0,
    )


@contextlib.contextmanager
def calling(given: HostSpec) -> Iterator[Caller]:
    caller = Caller(given)
    try:
        yield caller
    finally:
        caller.close()


def until(side: Listener | Caller, found: Callable[[News], bool]) -> News:
    """The first such news; what comes before it is dropped."""
    end = time.monotonic() + PATIENCE_S
    poll = select.poll()
    poll.register(side.mailbox.fileno(), select.POLLIN)
    while time.monotonic() < end:
        for news in side.mailbox.take():
            if found(news):
                return news
        poll.poll(100)
    raise AssertionError("nothing of the kind has come")


def opened(side: Listener | Caller) -> Opened:
    news = until(side, lambda news: isinstance(news, Opened))
    assert isinstance(news, Opened)
    return news


def heard(side: Listener | Caller) -> bytes:
    news = until(side, lambda news: isinstance(news, Heard))
    assert isinstance(news, Heard)
    return news.raw


def test_frames_go_both_ways_in_order(listener: Listener, identity: Identity) -> None:
    """What is urgent comes in the order in which it was sent, before what is only fed; pieces may be of any bytes."""
    with calling(spec(listener, identity)) as caller:
        there, here = opened(listener).link, opened(caller).link
        there.feed(iter([b"bulk"]))
        for number in range(50):
            here.send(b"%d\n\0\xff" % number)
        assert [heard(listener)] == [b"0\n\0\xff"]
        assert heard(caller) == b"bulk"
        there.close()
        assert until(caller, lambda news: isinstance(news, Closed))
        assert opened(caller)  # it calls again


def test_a_connection_that_is_there_at_once(
    listener: Listener, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken also if the thread that has asked for it is the slower one, as on a busy machine."""

    class Slow(LinkThread):
        def __init__(self, work: Callable[[], Any]) -> None:
            super().__init__(work)
            time.sleep(0.3)

    monkeypatch.setattr("prealloc.engines.hosts.caller.LinkThread", Slow)
    with calling(spec(listener, identity)) as caller:
        assert opened(caller)
        opened(listener).link.close()


def test_what_waits_is_counted() -> None:
    """To the byte, while one thread puts in and another takes out; what is looked at counts yet."""
    mailbox = Mailbox()
    link: Any = None
    news = [Heard(link, b"x" * (number % 1000), 0.0) for number in range(50_000)]
    putting = threading.Thread(target=lambda: [mailbox.put(each) for each in news])
    taken = []
    with SWITCH_INTERVAL.at(SWITCH_S):
        putting.start()
        while len(taken) < len(news):
            for each in mailbox.take():
                assert mailbox.held >= len(each.raw)
                taken.append(each)
        putting.join()
    assert taken == news
    assert mailbox.held == 0
    mailbox.close()


@pytest.mark.parametrize("token", ["bad", "", "Good"])
def test_a_token_that_nobody_knows(listener: Listener, identity: Identity, token: str) -> None:
    """It is refused before anything is taken in, and the host is told for good."""
    with calling(spec(listener, identity, token)) as caller:
        news = until(caller, lambda news: isinstance(news, Failed))
        assert isinstance(news, Failed)
        assert news.final
        assert "token" in news.reason
    assert [*listener.mailbox.take()] == []


def test_a_master_that_is_gone(listener: Listener, identity: Identity) -> None:
    """Refused three times in a row: there is no process that listens any more."""
    given = spec(listener, identity)
    listener.close()
    with calling(given) as caller:
        news = until(caller, lambda news: isinstance(news, Failed) and news.final)
    assert isinstance(news, Failed)
    assert "refused" in news.reason.lower()


def test_another_masters_certificate(listener: Listener) -> None:
    """A host speaks to the master of its spec alone: another one never sees its token."""
    with calling(spec(listener, new_identity())) as caller:
        news = until(caller, lambda news: isinstance(news, Failed))
        assert isinstance(news, Failed)
        assert not news.final
    assert [*listener.mailbox.take()] == []


def test_strangers_that_say_nothing(listener: Listener, identity: Identity) -> None:
    """Of any number of silent connections few are held, and a host is let in all the same."""
    strangers = []
    for _ in range(3 * STRANGERS):
        strangers.append(socket.create_connection(("127.0.0.1", listener.port)))
    with calling(spec(listener, identity)) as caller:
        assert opened(listener).link.name == "host-1"
        assert opened(caller)
    dropped = 0
    for each in strangers:
        each.settimeout(PATIENCE_S if dropped < 2 * STRANGERS else 0.01)
        with contextlib.suppress(OSError):
            dropped += each.recv(1) == b""
    assert dropped >= 2 * STRANGERS
    for each in strangers:
        each.close()


@pytest.mark.parametrize("after_ms", range(0, 20, 2))
def test_a_close_in_the_middle_of_handshakes(identity: Identity, after_ms: int) -> None:
    """Strangers are hung up on, however far they are, and nothing of theirs stays open: Python would warn of it."""
    made = Listener("127.0.0.1", 0, identity, lambda name, raw: None)
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(calling(spec(made, identity, "bad"))) for _ in range(4)]
        time.sleep(after_ms / 1000)
        for each in strangers:
            each.stop()  # it calls no other time
        made.close()
        gc.collect()


def test_garbage_and_messages_that_are_too_long(listener: Listener, identity: Identity) -> None:
    """They end their own connection, and nothing else."""
    context = ssl.create_default_context(cadata=identity.certificate)
    context.check_hostname = False
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" * 100, b"\0" * 100_000):
        with socket.create_connection(("127.0.0.1", listener.port)) as raw, contextlib.suppress(OSError):
            raw.sendall(said)
            raw.settimeout(PATIENCE_S)
            while raw.recv(4096):
                pass
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", listener.port)) as raw,
            context.wrap_socket(raw) as inside,
        ):
            inside.sendall(said)
            inside.settimeout(PATIENCE_S)
            while inside.recv(4096):
                pass
    with calling(spec(listener, identity)) as caller:
        link = opened(caller).link
        link.send(b"x" * (wire.MOST_FRAME + 10_000))
        closed = until(listener, lambda news: isinstance(news, Closed))
        assert isinstance(closed, Closed)
        link = opened(caller).link
        link.send(b"still here")
        assert heard(listener) == b"still here"


def test_what_must_not_be_lost_comes_once() -> None:
    """Over any number of connections each numbered message is taken in once, in order; a gap is refused."""
    here, there = wire.Numbered(), wire.Numbered()
    messages = [wire.Leave("lane", number) for number in range(5)]
    raw = [here.number(message) for message in messages]
    first = wire.read_frame(raw[0], wire.from_host)
    assert there.take(first)
    again = [wire.read_frame(each, wire.from_host) for each in here.again()]  # the connection ended
    assert [there.take(each) for each in again] == [False, True, True, True, True]
    here.take(wire.read_frame(there.plain(wire.Ack({})), wire.to_host))
    assert here.all_seen
    with pytest.raises(Unreadable, match="missing"):
        there.take(wire.read_frame(wire.frame(messages[0], number=7), wire.from_host))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 16,
        b"\0" * 16 + b"\n",
        b"\0" * 16 + b'["nothing"]\n',
        b"\0" * 16 + b'["gone","a host may not say this"]\n',
        b"\0" * 16 + b'["lines","f",-1]\n',
        b"\0" * 16 + b'["ask","lane",1,1,' + b"9" * 400 + b"]\n",
        b"\0" * 16 + b'["log","../../etc/passwd",true]\n',
        b"\0" * 16 + b'["beat",NaN,null,0,0,{},{},0,0,0,false]\n',
        b"\0" * 16 + b"[" * 5000 + b"\n",
    ],
)
def test_a_frame_that_says_what_cannot_be(raw: bytes) -> None:
    """It is refused whole, as one kind of error."""
    with pytest.raises(Unreadable):
        wire.read_frame(raw, wire.from_host)
