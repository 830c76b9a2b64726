"""What stands where a file should: folders, FIFOs, sockets, devices, links, nothing.

No command may wait for any of them, follow a link out of the folder, or write through one.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from ground import Ground

from corpus.case import ON_PLAN, ON_RUN, PLAN, RESUME, RUN, SHOW_SHARD, STATUS, VERIFY, Case, Words
from corpus.configs import BOTH


def _gone(path: Path) -> None:
    """Nothing."""


def _folder(path: Path) -> None:
    path.mkdir()


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def _zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _nowhere(path: Path) -> None:
    path.symlink_to("/nonexistent/x")


KINDS: dict[str, Callable[[Path], None]] = {
    "nothing": _gone,
    "a folder": _folder,
    "a FIFO": os.mkfifo,
    "a socket": _socket,
    "a link to a device": _zero,
    "a link to itself": _loop,
    "a link to nowhere": _nowhere,
}

FILES: dict[str, tuple[str, tuple[Words, ...], int]] = {
    "tasks.json": ("tasks.json", (PLAN,), 2),
    "exp.toml": ("exp.toml", BOTH, 2),
    "plan/plan.json": ("plan.json", ON_PLAN, 2),
    "plan/shards/shard-00.json": ("shard-00.json", (VERIFY, SHOW_SHARD, RUN), 2),
    "plan/slices/*.json": ("slices", (VERIFY, RUN), 2),
    "run/run.json": ("run", ON_RUN, 2),
    "run/plan/plan.json": ("plan.json", ON_RUN, 2),
    "run/journal/shard-00.*": ("shard-00.0001.0001.jsonl", ON_RUN, 3),
    "run/lock": ("lock", (STATUS, RESUME), 2),
}

FOLDERS: dict[str, tuple[Words, ...]] = {
    "plan/shards": (VERIFY, SHOW_SHARD, RUN),
    "plan/slices": (VERIFY, RUN),
    "run/plan": ON_RUN,
    "run/journal": ON_RUN,
    "run/logs": (STATUS, RESUME),
    "run/lanes": (STATUS, RESUME),
}

FINE = {
    ("run/journal/shard-00.*", "nothing"),
    ("run/lock", "nothing"),
    ("run/logs", "nothing"),
    ("run/lanes", "nothing"),
}
"""Nobody can tell that a whole journal file is missing; the others are made anew."""


def cases() -> Iterator[Case]:
    """Each file of a plan and a run, and its folders too."""
    for pattern, (named, commands, code) in FILES.items():
        for kind, make in KINDS.items():
            if (pattern, kind) not in FINE:
                yield Case(f"{pattern} is {kind}", instead(pattern, make), commands, "", named, code)
        if pattern not in ("tasks.json", "exp.toml"):  # these are the user's own, and may lie anywhere
            yield Case(f"{pattern} is a link out", link_out(pattern), commands, "link", named, code)
    for pattern, commands in FOLDERS.items():
        for kind in ("nothing", "a FIFO", "a link to nowhere"):
            if (pattern, kind) not in FINE:
                yield Case(f"{pattern} is {kind}", instead(pattern, KINDS[kind]), commands, "", pattern, 2)
        yield Case(f"{pattern} is a file", instead(pattern, Path.touch), commands, "", pattern, 2)
        yield Case(f"{pattern} is a link out", link_out(pattern), commands, "link", pattern, 2)
    yield Case("lock is a link to run.json", link_lock, (RESUME,), "link", "lock")
    yield Case("lock is a hard link", hard_lock, (RESUME,), "hard link", "lock")
    for kind, make in (*KINDS.items(), ("a link out", lambda path: path.symlink_to("../../outside/thesis.tex"))):
        if kind != "nothing":
            yield Case(f"log is {kind}", instead("run/logs/shard-00.log", make), (RESUME,), "", "shard-00.log")


def instead(pattern: str, make: Callable[[Path], None]) -> Callable[[Ground], None]:
    """Something else in the file's or folder's place."""

    def spoil(ground: Ground) -> None:
        found = sorted(ground.root.glob(pattern))
        path = found[0] if found else ground.root / pattern
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        make(path)

    return spoil


def link_out(pattern: str) -> Callable[[Ground], None]:
    """The same file or folder, moved outside, and a link to it in its place: everything in it would be right."""

    def spoil(ground: Ground) -> None:
        path = ground.path(pattern)
        moved = ground.root / "outside" / path.name
        path.rename(moved)
        path.symlink_to(moved)

    return spoil


def link_lock(ground: Ground) -> None:
    """Taking the lock would empty run.json."""
    (ground.root / "run/lock").unlink()
    (ground.root / "run/lock").symlink_to("run.json")


def hard_lock(ground: Ground) -> None:
    """Taking the lock would empty the thesis."""
    (ground.root / "run/lock").unlink()
    os.link(ground.root / "outside/thesis.tex", ground.root / "run/lock")
