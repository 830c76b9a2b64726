"""The two clocks: deadlines go by the monotonic one, started_at by the wall's."""

from __future__ import annotations

import time
from collections.abc import Callable

from prealloc.doctor.finding import Finding, ok, warning

COARSE_S = 0.01
APART_S = 0.02
LOOK_S = 0.2


def check_clocks(
    monotonic: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Finding]:
    """How finely the monotonic clock ticks, and whether the wall clock goes with it."""
    step_s = _step(monotonic)
    if step_s > COARSE_S:
        found = [warning("monotonic clock", f"it ticks every {step_s * 1000:.0f} ms", "times of short tasks are rough")]
    else:
        found = [ok("monotonic clock", f"it ticks every {step_s * 1e6:.1f} µs or finer")]
    began = monotonic(), wall()
    sleep(LOOK_S)
    apart_s = (wall() - began[1]) - (monotonic() - began[0])
    if abs(apart_s) > APART_S:
        seen = f"it went {apart_s * 1000:+.0f} ms against the monotonic one in {LOOK_S:g} s: it is being set"
        hint = "let the time service settle; deadlines hold, started_at in the journal is off"
        return [*found, warning("wall clock", seen, hint)]
    date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(wall()))
    return [*found, ok("wall clock", f"{date}, in step with the monotonic one")]


def _step(clock: Callable[[], float]) -> float:
    """The least difference between two readings that differ."""
    smallest = float("inf")
    for _ in range(20):
        first = clock()
        # Bounded: a clock that stands still is as coarse as can be.
        second = next((now for _ in range(1_000_000) if (now := clock()) > first), first + 1.0)
        smallest = min(smallest, second - first)
    return smallest
