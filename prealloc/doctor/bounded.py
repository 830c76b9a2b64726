"""Bounds a probe in time: a file system that hangs must not hang who asks what is wrong with it."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Sequence

from prealloc.doctor.finding import Finding, problem

Probe = Callable[[], Sequence[Finding]]

PROBE_S = 20.0
"""What one probe gets: far over what any takes on a machine that works."""

ENDING_S = 4.0


def bounded(name: str, probe: Probe, timeout_s: float = PROBE_S) -> list[Finding]:
    """What the probe finds; a finding of its own if the system refuses it, or gives no answer in time."""
    answer: concurrent.futures.Future[Sequence[Finding]] = concurrent.futures.Future()

    def work() -> None:
        try:
            answer.set_result(probe())
        except BaseException as error:  # not swallowed: it is raised where the answer is asked for
            answer.set_exception(error)

    # A daemon: one that never comes back is left behind.
    threading.Thread(target=work, name=f"prealloc-doctor-{name}", daemon=True).start()
    try:
        in_time = concurrent.futures.wait([answer], timeout_s).done
    except BaseException:  # told to end: the probe gets a moment to remove what it has made
        concurrent.futures.wait([answer], ENDING_S)
        raise
    if not in_time:
        return [problem(name, f"no answer within {timeout_s:g} s", "see what the system's log says of it")]
    try:
        return list(answer.result())
    except OSError as error:
        seen = f"the system refuses it: {error.strerror or error}"
        return [problem(name, seen, "see why, then ask again", where=error.filename and str(error.filename))]
