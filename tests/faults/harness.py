"""Runs prealloc as real processes, notes what it acknowledges while it does, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import checker
from zygote import MARKER, Forked, command_environment, zygote

from prealloc.api.plans import plan

HERE = Path(__file__).parent
PACKAGE_ROOT = HERE.parents[1]
GRACE_S = 0.3
"""--grace, where a test does not say another."""
PATIENCE_S = 40.0
"""After this long a test stops waiting and fails: far over anything that is asserted."""


class Stage:
    """A folder for one test: its library, plan, runs, and the signals between the test and its tasks."""

    def __init__(self, root: Path, *, fresh: bool = False) -> None:
        self.root = root
        self.fresh = fresh
        """Whether every command is an interpreter of its own: where its start, its memory or its speed matters."""
        self.library = root / "library.json"
        self.plan = root / "plan"
        self.run = root / "run"
        self.signals = root / "signals"
        self.signals.mkdir()
        self.marker = f"{MARKER}={uuid.uuid4().hex}"
        self._sessions: list[Session] = []

    # -- input ----------------------------------------------------------------------------------------------

    def make_plan(
        self, tasks: Mapping[str, Any] | int, *, padding: int = 0, first: str | None = None, **options: Any
    ) -> None:
        """Writes a library and plans it. `tasks` maps ids to what agents.act does; a number makes that many `ok`.

        `first` is the task that the first shard starts with: a seed is looked for that does so.
        """
        if isinstance(tasks, int):
            tasks = {f"task-{number}": {"do": "ok"} for number in range(tasks)}
        rows = [
            {"id": id, "task_type": "simple_task", "workflow": {**do, **({"pad": "x" * padding} if padding else {})}}
            for id, do in tasks.items()
        ]
        self.library.write_text(json.dumps({"tasks": rows}))
        settings = {"signals": str(self.signals), **options.pop("settings", {})}
        options = {"whole": True, **options}
        if first is not None:
            seeds = (seed for seed in range(10_000) if self._first(options | {"seed": seed}) == first)
            options["seed"] = next(seeds)
        plan(self.library, out=self.plan, settings=settings, **options)

    def _first(self, options: dict[str, Any]) -> str:
        return plan(self.library, **options).shards[0].tasks[0].id

    # -- running --------------------------------------------------------------------------------------------

    def start(
        self, *options: str, worker: str = "agents:act", out: Path | None = None, faults: str | None = None
    ) -> Session:
        """`prealloc run` on the plan, in a process of its own. With a short grace: what hangs uses all of it."""
        words = ("run", str(self.plan), "--worker", worker, "--out", str(out or self.run), *options)
        grace = () if "--grace" in options else ("--grace", f"{GRACE_S}")
        return self.command(*words, *grace, faults=faults)

    def join(
        self, *options: str, worker: str = "agents:act", plan: Path | None = None, faults: str | None = None
    ) -> Session:
        """`prealloc run --experiment` on the plan, or another one. `run` must be the folder that its run will have."""
        named = () if "--command" in options else ("--worker", worker)
        words = ("run", str(plan or self.plan), *named, "--grace", f"{GRACE_S}", *options)
        return self.command(*words, faults=faults)

    def resume(self, *options: str, faults: str | None = None) -> Session:
        """`prealloc resume` on the run."""
        return self.command("resume", str(self.run), *options, faults=faults)

    def finish(self) -> Session:
        """Resumes the run to its end: all of it is ok then."""
        session = self.resume()
        assert session.wait() == 0
        self.check(session)
        return session

    def command(
        self,
        *words: str,
        wrap: Sequence[str] = (),
        faults: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Session:
        """Any command, with --json. `wrap` is put before it (strace), `faults` is its PREALLOC_FAULT.

        The passages of faults are counted over all processes of the session.
        """
        run = Path(words[words.index("--out") + 1]) if "--out" in words else self.run
        passages = self.root / f"passages.{len(self._sessions)}"
        armed: dict[str, str] = {}
        if faults is not None:
            passages.mkdir()
            armed = {"PREALLOC_FAULT": faults, "PREALLOC_FAULT_COUNTS": str(passages)}
        session = Session(
            [*words, "--json"],
            wrap=[*wrap, sys.executable, "-m", "prealloc"] if wrap or self.fresh else (),
            run=run,
            marker=self.marker,
            acknowledged=self.root / f"acknowledged.{len(self._sessions)}.jsonl",
            environment={**armed, **(environment or {})},
            passages=passages,
        )
        self._sessions.append(session)
        return session

    # -- looking --------------------------------------------------------------------------------------------

    def attempts(self, task: str, repeat: int = 0) -> int:
        """How often a task has really started."""
        return len(list(self.signals.glob(f"started.{task}.{repeat}.*")))

    def wait_for_start(self, *tasks: str) -> None:
        """Until each of these tasks runs."""
        wait_until(lambda: all(self.attempts(task) for task in tasks), f"a start of {', '.join(tasks)}")

    def pids(self, task: str) -> list[int]:
        """The process of each start of a task."""
        found = sorted(self.signals.glob(f"started.{task}.*"), key=lambda path: path.stat().st_mtime_ns)
        return [int(path.name.rpartition(".")[2]) for path in found]

    def let_go(self) -> None:
        """Lets the tasks go on that wait for it (`{"do": "gate"}`)."""
        (self.signals / "go").touch()

    @staticmethod
    def lines(path: Path) -> list[dict[str, Any]]:
        """The whole lines of a journal file."""
        return [json.loads(raw) for raw in path.read_bytes().split(b"\n")[:-1]]

    def alive(self) -> dict[int, str]:
        """All processes that carry this stage's marker."""
        return checker.survivors(self.marker)

    def check(self, session: Session, *, back: bool = True) -> None:
        """Asserts the six invariants after a session that has ended, going back over what all before told."""
        broken: list[str] = []
        for each in self._sessions if back else ():
            if each.run == session.run and each is not session and each.run.exists():
                evidence = each.evidence()._replace(exit_code=None, output="", ended_at=time.monotonic())
                broken += [line for line in checker.check(evidence) if line.startswith("I1")]
        broken += checker.check(session.evidence())
        assert not broken, "\n".join([*broken, f"-- output: {session.output()[-3000:]}"])

    def clean_up(self) -> None:
        """Kills whatever is left."""
        for _ in range(50):
            alive = self.alive()
            for pid in alive:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            for session in self._sessions:
                session.close()
            if not alive:
                return
            time.sleep(0.05)


class Session:
    """One command in a process. Notes for every acknowledged attempt the journal line that is there by then."""

    def __init__(
        self,
        words: list[str],
        *,
        wrap: Sequence[str],
        run: Path,
        marker: str,
        acknowledged: Path,
        environment: Mapping[str, str],
        passages: Path,
    ) -> None:
        self.run = run
        self._passages = passages
        self.acknowledged = acknowledged
        self.events: list[dict[str, Any]] = []
        self.exit_code: int | None = None
        self.ended_at = 0.0
        self._marker = marker
        self._lines: list[str] = []
        self._tail = JournalTail(run / "journal")
        acknowledged.touch()
        self._errors = acknowledged.with_suffix(".stderr")
        with self._errors.open("wb") as errors:
            self.process = start_process(words, wrap, dict([marker.split("=")]) | environment, errors)
        self.started_at = time.monotonic()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # -- acting ---------------------------------------------------------------------------------------------

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code, when it has ended by itself."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended after {timeout_s} s: {self.output()[-3000:]}") from None
        self.ended_at = self.ended_at or time.monotonic()
        self._reader.join(10)
        self.exit_code = code if code >= 0 else 128 - code
        return self.exit_code

    def end(self, timeout_s: float = PATIENCE_S) -> int | None:
        """Waits for its end. None if it was killed (by a fault of its own): then it owes no exit code."""
        if self.wait(timeout_s) == 128 + signal.SIGKILL:
            self.exit_code = None
        return self.exit_code

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the master, and to nobody else. It then owes no exit code."""
        self.process.kill()
        self.ended_at = time.monotonic()
        self.wait()
        self.exit_code = None

    def wait_for(self, name: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """Until so many events of this name and these fields have been told; gives the last of them."""

        def found() -> list[dict[str, Any]]:
            told = list(self.events)
            return [e for e in told if e["event"] == name and all(e.get(k) == v for k, v in fields.items())]

        wait_until(
            lambda: len(found()) >= count or not self._reader.is_alive(), f"{count} x {name} {fields}: {self.output()}"
        )
        assert len(found()) >= count, f"it ended before {count} x {name} {fields}: {self.output()[-3000:]}"
        return found()[count - 1]

    def close(self) -> None:
        """Buries the process."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        if self.process.stdout is not None and not self._reader.is_alive():
            self.process.stdout.close()

    # -- looking --------------------------------------------------------------------------------------------

    def output(self) -> str:
        """Everything it has printed."""
        return "".join(self._lines) + self._errors.read_text(errors="replace")

    def of(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        """The events of this name and these fields."""
        return [e for e in self.events if e["event"] == name and all(e.get(k) == v for k, v in fields.items())]

    def notes(self) -> list[str]:
        """All notes but that an import takes long: a machine that is busy with other work may make any do so."""
        texts: list[str] = [note["text"] for note in self.of("note")]
        return [text for text in texts if "; it may take up to" not in text]

    def passed(self, point: str) -> int:
        """How often the processes of this session have passed a fault point."""
        path = self._passages / point
        return path.stat().st_size if path.exists() else 0

    @property
    def census(self) -> dict[str, int]:
        """The non-zero counts of the end."""
        (ended,) = self.of("run_ended")
        return {status: count for status, count in ended["census"].items() if count}

    def seconds_until(self, name: str, **fields: Any) -> float:
        """When the first event of this name and these fields was told, from the start of the command."""
        told_at: float = self.of(name, **fields)[0]["told_at"]
        return told_at - self.started_at

    def evidence(self) -> checker.Evidence:
        """What the checker looks at."""
        return checker.Evidence(
            run=self.run,
            acknowledged=self.acknowledged,
            exit_code=self.exit_code,
            output=self.output(),
            ended_at=self.ended_at,
            duration_s=self.ended_at - self.started_at,
            marker=self._marker,
        )

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.acknowledged.open("a") as acknowledged:
            for raw in self.process.stdout:
                line = raw.decode()
                self._lines.append(line)
                if not line.startswith('{"event":') or not line.endswith("\n"):
                    continue
                event = json.loads(line)
                if event["event"] == "attempt_ended":
                    told = {"event": event, "line": self._tail.find(event)}
                    acknowledged.write(json.dumps(told) + "\n")
                    acknowledged.flush()
                event["told_at"] = time.monotonic()
                self.events.append(event)


def start_process(
    words: Sequence[str], wrap: Sequence[str], environment: Mapping[str, str], errors: IO[bytes]
) -> subprocess.Popen[bytes] | Forked:
    """`prealloc WORDS` in a session of its own, in the folder of the worker functions.

    An interpreter of its own if it is wrapped, or if the environment says how an interpreter starts.
    """
    whole = command_environment(environment)
    if not wrap and zygote().serves(whole):
        return zygote().start(words, HERE, whole, errors)
    return subprocess.Popen(
        [*(wrap or [sys.executable, "-m", "prealloc"]), *words],
        cwd=HERE,
        env=whole,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
    )


class JournalTail:
    """Reads the lines that one session adds to a journal, while it adds them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = set(os.listdir(folder)) if folder.exists() else set()
        self._files: dict[str, dict[Path, int]] = {}
        """By shard (the supervisor's under its name): how far each file has been read, the latest file last."""
        self._lines: dict[tuple[str, str, int, int], str] = {}

    def find(self, event: Mapping[str, Any]) -> str | None:
        """The line of an attempt as it stands in the journal now; None if it does not."""
        key = (event["shard"], event["task"], event["repeat"], event["attempt"])
        self._read(event["shard"], key)
        if key not in self._lines:  # from a new worker, or a verdict
            self._look_for_files()
            self._read(event["shard"], key)
            self._read("supervisor", key)
        return self._lines.pop(key, None)

    def _look_for_files(self) -> None:
        for name in sorted(set(os.listdir(self._folder)) - self._before):
            writer = "supervisor" if name.startswith("supervisor.") else name.rsplit(".", 3)[0]
            self._files.setdefault(writer, {}).setdefault(self._folder / name, 0)

    def _read(self, writer: str, key: tuple[str, str, int, int]) -> None:
        """Until the line is there: most often it is in the latest file."""
        files = self._files.get(writer, {})
        for path in reversed(files):
            if key in self._lines:
                return
            if path.stat().st_size > files[path]:
                files[path] += self._read_on(path, files[path])

    def _read_on(self, path: Path, offset: int) -> int:
        with path.open("rb") as file:
            file.seek(offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        for raw in whole.split(b"\n")[:-1]:
            line = json.loads(raw)
            if "kind" not in line and not line.get("late"):
                self._lines[line["shard"], line["task"], line["repeat"], line["attempt"]] = raw.decode()
        return len(whole)


def worker_file(stage: Stage) -> Path:
    """The journal file of the one worker of the first shard."""
    (path,) = (stage.run / "journal").glob("shard-00.*")
    return path


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Asks every 10 ms; fails the test when it takes too long."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"no {what} within {timeout_s} s"
        time.sleep(0.01)
