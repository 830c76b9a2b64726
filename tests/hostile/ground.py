"""Good files to spoil: a library, a plan, a finished run and a config, made once and laid out anew for each case.

Beside them lies a folder `outside` that nobody may touch, and the means to see whether anybody did.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import typer.main
from command_line import Done

from prealloc.api.plans import plan
from prealloc.api.runs import run
from prealloc.cli import main
from prealloc.errors import PreallocError

_command = functools.cache(typer.main.get_command)
# Made anew for each call otherwise, which takes twice as long as most commands do.

WORKER = "prealloc.agents.simulate:run"
CONFIG = """
[library]
path = "tasks.json"
require_workflow = true

[sampling]
shards = 2
num_instances = 3
stratify = true
seed = 7
keep = ["text"]

[settings]
model = "m"
limits = [1, 2.5, { deep = true }]
[run]
worker = "prealloc.agents.simulate:run"
engine = "inline"
concurrency = 2
timeout = 30
max_wait = 60.5
retries = 1
"""


class Ground:
    """A folder with good files: `tasks.json`, `tasks.jsonl`, `plan/`, `run/`, `exp.toml`; and `outside/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stock = root.parent / f"{root.name}.stock"
        make(self.stock)
        self.lay_out()

    def lay_out(self) -> None:
        """Everything as it was at first. Hard links into the stock would be spoiled with it: these are copies."""
        if not self.root.exists():
            shutil.copytree(self.stock, self.root)
        good, found = _places(self.stock), _places(self.root)
        changed = [name for name in good.keys() | found.keys() if good.get(name) != found.get(name)]
        for name in sorted(changed):
            path = self.root / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif os.path.lexists(path):
                path.unlink()
        for name in sorted(changed):
            path, stock = self.root / name, self.stock / name
            if stock.is_dir() and not path.exists():
                shutil.copytree(stock, path)
            elif stock.is_file() and not path.exists():
                shutil.copy2(stock, path)

    def path(self, pattern: str) -> Path:
        """The one file (or folder) of this pattern."""
        found = sorted(self.root.glob(pattern))
        assert found, pattern
        return found[0]

    def type(self, *words: str) -> Done:
        """`prealloc WORDS` in this folder, in this process. Anything but a PreallocError comes out as it is."""
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.root),
            mock.patch.object(sys, "argv", ["prealloc", *words]),
            mock.patch.object(typer.main, "get_command", _command),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main()
        return Done(code, out.getvalue(), err.getvalue())


def _places(root: Path) -> dict[str, tuple[int, ...]]:
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            is_folder = stat.S_ISDIR(status.st_mode)
            seen = (
                (status.st_mode,)
                if is_folder
                else (status.st_mode, status.st_size, status.st_mtime_ns, status.st_nlink)
            )
            found[str(path.relative_to(root))] = seen
    return found


def make(root: Path) -> None:
    """Writes the good files."""
    import json

    root.mkdir()
    tasks = [
        {
            "id": f"task {i} é",
            "task_type": ("simple_task", "data_pipeline")[i % 2],
            "workflow": {"optimal_sequence": ["a", "b"], "n": i, "x": [1.5, None, True, {"y": "\u2028"}]},
            "text": "words " * 5,
        }
        for i in range(8)
    ]
    (root / "tasks.json").write_text(json.dumps({"tasks": tasks}, indent=1))
    (root / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    (root / "exp.toml").write_text(CONFIG)
    (root / "outside").mkdir()
    (root / "outside" / "thesis.tex").write_text("years of work\n")
    settings = {"tool_seconds": 0, "model": "m"}
    plan(root / "tasks.json", shards=2, num_instances=3, repeats=2, seed=3, settings=settings, out=root / "plan")
    run(root / "plan", WORKER, root / "run", engine="inline")
    shutil.copytree(root / "run" / "plan", root / "plan.copy")
    shutil.rmtree(root / "run" / "plan")  # hard links to the plan: what spoils one must not spoil the other
    (root / "plan.copy").rename(root / "run" / "plan")


Snapshot = dict[str, tuple[int, ...] | tuple[int, int, int, str]]


def snapshot(root: Path, *, but: Callable[[str], bool] = lambda name: False) -> Snapshot:
    """Every name below a folder, with type, size, time and digest. No link is followed, and only files are opened."""
    found: Snapshot = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            shown = str(path.relative_to(root))
            if but(shown):
                continue
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            if stat.S_ISREG(status.st_mode):
                digest = hashlib.sha256(path.read_bytes()).hexdigest() if status.st_size < 2**24 else ""
                found[shown] = (kind, status.st_size, status.st_mtime_ns, digest)
            else:
                found[shown] = (kind, status.st_mtime_ns if not stat.S_ISDIR(status.st_mode) else 0)
    return found


class Cost(NamedTuple):
    """What a piece of work took."""

    seconds: float
    """Of processor time: other work on the machine takes none of it."""
    bytes: int


@contextlib.contextmanager
def measured(costs: list[Cost]) -> Iterator[None]:
    """Adds what the block took: time, and how far the process's resident memory rose above where it began.

    Resident memory, since most of what readers take is not Python's own (mapped buffers, msgspec): tracemalloc
    would not see it. The kernel's high-water mark is reset first, so that a peak in between counts too.
    """
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    began = time.process_time()
    try:
        yield
    finally:
        costs.append(Cost(time.process_time() - began, max(0, _memory("VmHWM") - before)))


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


__all__ = ["CONFIG", "WORKER", "Cost", "Done", "Ground", "PreallocError", "Snapshot", "make", "measured", "snapshot"]
