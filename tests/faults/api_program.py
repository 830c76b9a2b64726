"""A user's program that runs plans by the API. argv: what it does, the plan, the folder for its runs."""

import multiprocessing
import sys
import time
from pathlib import Path

import prealloc
from prealloc.model.events import Event, ShardStarted, Stopping


def loop(plan: str, out: Path) -> None:
    """Run after run, as a sweep over models does."""

    def observe(event: Event) -> None:
        if isinstance(event, Stopping):
            (out / "stopping").touch()

    for number in range(3):
        ended = prealloc.run(plan, "agents:act", out / f"run{number}", drain_s=20, observe=observe)
        print(f"run {number} ended with {ended.exit_code}", flush=True)


def fork(plan: str, out: Path) -> None:
    """Forks a process of its own when a worker has started, and goes on."""

    def observe(event: Event) -> None:
        if isinstance(event, ShardStarted):
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
            child.start()
            (out / "child.part").write_text(str(child.pid))
            (out / "child.part").rename(out / "child")  # whole when it is there
            if (out / "terminate").exists():  # as by default, though the run has handlers of its own meanwhile
                child.terminate()
                child.join()
                (out / "terminated").touch()

    prealloc.run(plan, "agents:act", out / "run", observe=observe)


if __name__ == "__main__":
    {"loop": loop, "fork": fork}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
