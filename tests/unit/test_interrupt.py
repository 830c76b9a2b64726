"""An exception thrown into a thread: it meets the user's code or nobody, whenever it comes."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from prealloc.errors import Cancelled
from prealloc.worker.interrupt import Call, shielded


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Threads take turns every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def beside(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def spin(seconds: float) -> int:
    """Bytecode, at each of which an exception may come."""
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        count += 1
    return count


@contextlib.contextmanager
def interrupted(call: Call, after_s: float = 0.0) -> Iterator[threading.Event]:
    """Gives an event: when it is set, and so much later, another thread interrupts the call. Waits for that thread."""
    inside = threading.Event()

    def interrupt() -> None:
        inside.wait()
        spin(after_s)
        call.interrupt()

    other = beside(interrupt)
    yield inside
    other.join()


def test_it_meets_the_call_or_nobody() -> None:
    """A thousand calls that are interrupted at about their end: nothing is raised outside of `run`."""
    met = 0
    for number in range(1000):
        call = Call()
        with interrupted(call, number % 50 * 2e-6) as inside:

            def work(inside: threading.Event = inside, number: int = number) -> None:
                inside.set()
                spin(50e-6 * 2 ** (number // 100))  # a busy machine lets the other come late, some interpreters too

            try:
                call.run(work)
            except Cancelled:
                met += 1
            spin(20e-6)  # here, or anywhere below, it would be raised in the worker's own code
        spin(20e-6)
    assert 0 < met < 1000, "all came at the same side: that tells nothing"


def test_before_the_call_begins() -> None:
    """Whoever is interrupted before it begins does not begin."""
    call = Call()
    call.interrupt()
    begun: list[int] = []
    with pytest.raises(Cancelled):
        call.run(begun.append, 1)
    assert not begun


def test_our_own_work_is_finished_first() -> None:
    """What is shielded runs to its end, then the exception comes; nested shields are one."""
    call, done = Call(), []

    def message() -> None:
        inside.set()
        while not call.interrupted:
            time.sleep(0.001)
        spin(0.002)
        done.append("inner")

    def outer() -> None:
        shielded(message)()
        spin(0.002)
        done.append("outer")

    def work() -> None:
        shielded(outer)()
        done.append("never")

    with interrupted(call) as inside, pytest.raises(Cancelled):
        call.run(work)
    assert done == ["inner", "outer"]


def test_it_comes_before_our_own_work_begins() -> None:
    """An exception that was thrown just before a shield comes before the work: in the midst of it never."""
    for number in range(300):
        call = Call()
        steps: list[int] = []

        def message(steps: list[int] = steps) -> None:
            steps.append(1)
            spin(30e-6)
            steps.append(2)

        def work(inside: threading.Event, message: Callable[[], None] = message) -> None:
            inside.set()
            for _ in range(20):
                shielded(message)()

        with interrupted(call, number * 1e-6) as inside, contextlib.suppress(Cancelled):
            call.run(work, inside)
        assert steps == [1, 2] * (len(steps) // 2)


def test_once_only() -> None:
    """What the call does after its end is its cleaning up: that is not interrupted again."""
    call, cleaned = Call(), []

    def work() -> None:
        try:
            inside.set()
            while True:
                time.sleep(0.001)
        finally:
            call.interrupt()
            spin(0.002)
            cleaned.append(True)

    with interrupted(call) as inside, pytest.raises(Cancelled):
        call.run(work)
    assert cleaned == [True]


def test_a_coroutine_is_cancelled() -> None:
    """On an event loop the call gets its cancellation, and no exception in the loop's thread."""
    call, cleaned = Call(), []

    async def work() -> None:
        try:
            inside.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.001)
            cleaned.append(True)

    with interrupted(call) as inside, pytest.raises(asyncio.CancelledError):
        asyncio.run(call.run_async(work()))
    assert cleaned == [True]


def test_a_coroutine_that_was_cancelled_before_it_began() -> None:
    """It ends at its first await."""
    call = Call()
    call.interrupt()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(call.run_async(asyncio.sleep(60)))


class Ambush:
    """A lock: when it is next taken after `lay`, the call is interrupted from another thread just before."""

    def __init__(self, call: Call) -> None:
        self._real = threading.Lock()
        self._call = call
        self._laid = False

    def lay(self) -> None:
        self._laid = True

    def __enter__(self) -> None:
        if self._laid:
            self._laid = False
            beside(self._call.interrupt).join()
        self._real.acquire()

    def __exit__(self, *error: object) -> None:
        self._real.release()


def ambushed() -> tuple[Call, Ambush]:
    call = Call()
    lock = Ambush(call)
    call._lock = lock  # type: ignore[assignment]
    return call, lock


def test_an_exception_on_the_way_out_is_swallowed() -> None:
    """The function has returned and the call has not been left yet: what comes then is taken back, the value stays."""
    call, lock = ambushed()

    def work() -> str:
        lock.lay()
        return "done"

    assert call.run(work) == "done"
    assert call.interrupted


def test_an_exception_on_the_way_behind_a_shield() -> None:
    """It comes at once, the shielded work does not begin, and later work of ours is shielded all the same."""
    call, lock = ambushed()
    begun: list[str] = []

    def work() -> None:
        lock.lay()
        try:
            shielded(begun.append)("first")
        finally:
            shielded(begun.append)("cleaning up")

    with pytest.raises(Cancelled):
        call.run(work)
    assert begun == ["cleaning up"]
