"""--on-end: a command that gets a run's summary when the run has ended, to send a message, say."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from prealloc.engines.log import end_of_log, last_line, open_log
from prealloc.errors import CannotGoOn, Mistake
from prealloc.files.paths import RunPaths
from prealloc.model.events import Event, Note, Observer, RunEnded, Watching

MOST_S = 60.0
_TICK_S = 0.1


def on_end_mistakes(command: str | None) -> list[Mistake]:
    """Why a command cannot be run at the end."""
    where, example = "‹on_end›", "write it like: sh -c 'jq .census | mail -s done me@example.com'"
    if not command:
        return []
    try:
        words = shlex.split(command)
    except ValueError as error:
        return [Mistake(where, f"it is not a command: {error}", example)]
    if not words:
        return [Mistake(where, "the command is empty", example)]
    if shutil.which(words[0]) is None:
        return [Mistake(where, f"there is no program {words[0]!r}", "check the path, or install it")]
    return []


@contextmanager
def told_at_the_end(command: str | None, run: RunPaths, observer: Observer) -> Iterator[Observer]:
    """Gives an observer for the block, in which the run ends. Then runs the command, before the end is told.

    It gets RunEnded as JSON on stdin; if the run cannot go on, an object with the error. Not after bad input. Whatever
    becomes of the command changes nothing but that there is a note.
    """
    if not command:
        yield observer
        return
    held: list[RunEnded] = []

    def handle(event: Event) -> None:
        if isinstance(event, RunEnded):
            held.append(event)
        else:
            observer.handle(event)

    def tell(summary: bytes) -> None:
        note = _run(command, summary, run.log("on-end"), lambda: observer.tick(time.monotonic()))
        if note is not None:
            observer.handle(Note(text=f"on-end: {note}"))

    try:
        yield Watching(handle, observer.tick)
    except CannotGoOn as error:
        told = {name: getattr(error, name) for name in ("problem", "where", "hint", "exit_code")}
        tell(msgspec.json.encode({"event": "error", "run": str(run.root), "type": type(error).__name__, **told}))
        raise
    try:
        for ended in held:
            tell(msgspec.json.encode(ended))
    finally:  # Ctrl-C ends the command, and then whatever it is meant for
        for ended in held:
            observer.handle(ended)


def _run(command: str, summary: bytes, log: Path, tick: Callable[[], None]) -> str | None:
    """Runs it to its end. Gives a sentence if something is wrong with it."""
    try:
        output = open_log(log)
    except (OSError, CannotGoOn) as error:
        return f"it was not run: {error}"
    try:
        begun = os.fstat(output).st_size
        process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        )
    except OSError as error:
        return f"it cannot be run: {error.strerror or error}"
    finally:
        os.close(output)
    try:
        code = _wait(process, summary, tick)
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
            process.wait()
    if code is None:
        return f"it was killed after {MOST_S:g} s; see {log}"
    return f"it ended with exit code {code}{last_line(end_of_log(log, begun))}; see {log}" if code else None


def _wait(process: subprocess.Popen[bytes], summary: bytes, tick: Callable[[], None]) -> int | None:
    """Its exit code; None if it takes too long."""
    end = time.monotonic() + MOST_S
    given: bytes | None = summary
    while time.monotonic() < end:
        try:
            process.communicate(given, timeout=_TICK_S)
            return process.returncode
        except subprocess.TimeoutExpired:
            given = None
            tick()
    return None
