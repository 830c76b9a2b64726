"""The master's end of the generator's process: started when the first task needs it, gone when the session ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import time

import msgspec

from prealloc.errors import GeneratorError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.generating.process import MOST_ANSWER_BYTES, Answer
from prealloc.generating.source import Generator
from prealloc.model.document import Unreadable, heard
from prealloc.processes.forks import forks
from prealloc.processes.parent import fresh_interpreter
from prealloc.processes.signals import signal_name
from prealloc.processes.tree import descendants, kill_group, send_signal

_LOOK_S = 0.2
_PIECE = 1 << 20
_STDERR = 2
_END_S = 10.0
"""More than the guardian ever takes to leave."""


_answers = msgspec.json.Decoder(Answer)


class GeneratorSession:
    """Asks the user's generator for workflows, one at a time. Use it as a context manager.

    `timeout_s` is how long one task may take, and the import before the first; None: without limit.
    """

    def __init__(self, generator: Generator, *, timeout_s: float | None) -> None:
        self.generator = generator
        self.timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> GeneratorSession:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._process is not None:
            self._end(self._process, now=error is not None)
            self._process = None

    def workflow(self, task: bytes, what: str) -> bytes:
        """The workflow of a task, both as compact JSON; `what` names the task in an error. Raises GeneratorError."""
        if self._process is None:
            self._process = self._start()
            self._ask(None, f"importing {self.generator.name}")
        answer = self._ask(task + b"\n", what)
        try:
            if isinstance(answer.workflow, msgspec.UnsetType):
                raise self._failed("its process gave no workflow", what)
            return compact(answer.workflow)
        except StrictJsonError as error:
            raise self._failed(f"it did not return JSON: {error}", what) from None

    def _start(self) -> subprocess.Popen[bytes]:
        self._socket, theirs = socket.socketpair()
        forks.keep_from(self._socket.fileno())
        name, version, import_path = self.generator
        with theirs:
            code = (
                "from prealloc.generating.process import main\n"
                f"main({theirs.fileno()}, {name!r}, {version!r}, {import_path!r})"
            )
            # Whatever it prints is for people: our own standard output may be one JSON document.
            return subprocess.Popen(
                fresh_interpreter(code),
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                stderr=_STDERR,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # the terminal's Ctrl-C is for the master, which then ends it
            )

    def _ask(self, line: bytes | None, what: str) -> Answer:
        deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        try:
            if line is not None:
                self._socket.settimeout(self.timeout_s)
                self._socket.sendall(line)
            answer = heard(_answers, self._receive(deadline))
        except TimeoutError:
            hint = "find where it hangs, or allow more with ‹generate_timeout_s›"
            raise self._failed(f"no answer within {self.timeout_s:g} s; it was killed", what, hint) from None
        except Unreadable as error:
            raise self._failed(f"its process sent an unreadable answer: {error}", what) from None
        except (OSError, EOFError):
            raise self._failed(f"its process {self._how_it_ended()}", what) from None
        if answer.problem is not None:
            raise self._failed(answer.problem, what, answer.hint)
        return answer

    def _receive(self, deadline: float | None) -> bytes:
        """One line. Raises TimeoutError, EOFError, OSError."""
        assert self._process is not None  # noqa: S101  # narrows the type
        pieces: list[bytes] = []
        size = 0
        while not (pieces and pieces[-1].endswith(b"\n")):
            left_s = _LOOK_S if deadline is None else min(_LOOK_S, deadline - time.monotonic())
            if left_s <= 0:
                raise TimeoutError
            # What the generator has forked may hold the other end open when the process itself is gone.
            gone = self._process.poll() is not None
            self._socket.settimeout(0.001 if gone else left_s)
            try:
                piece = self._socket.recv(_PIECE)
            except TimeoutError:
                if gone:
                    raise EOFError from None
                continue
            size += len(piece)
            if not piece or size > MOST_ANSWER_BYTES:
                raise EOFError
            pieces.append(piece)
        return b"".join(pieces)

    def _how_it_ended(self) -> str:
        assert self._process is not None  # noqa: S101  # narrows the type
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return "hung up"
        if code > 128:  # as shells have it
            return f"was killed by {signal_name(code - 128)}"
        return f"ended with exit code {code}"

    def _failed(self, problem: str, what: str, hint: str | None = None) -> GeneratorError:
        return GeneratorError(
            f"{self.generator.name}: {problem}",
            where=what,
            hint=f"{hint or 'fix the generator'}; what it made before is kept for the next time",
        )

    def _end(self, process: subprocess.Popen[bytes], *, now: bool) -> None:
        if now:
            send_signal(descendants([process.pid]), signal.SIGKILL)
        forks.forget(self._socket.fileno())
        self._socket.close()  # the guardian's sign to end, with all that is below it
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            below = descendants([process.pid])
            kill_group(process.pid)
            send_signal(below, signal.SIGKILL)
            process.wait()
