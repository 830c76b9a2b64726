"""Tasks that do harm by themselves, and how each must end whatever else happens to it."""

from __future__ import annotations

import random
from typing import Any

TIMEOUT_S = 2.0

PLANTED: dict[str, tuple[int, dict[str, Any], frozenset[str]]] = {
    # name: (share, what the task does, how it may end)
    "fail": (10, {"do": "fail"}, frozenset({"failed"})),
    "busy": (10, {"do": "busy", "times": 1, "after_s": 0.1}, frozenset({"ok"})),
    "sleep": (6, {"do": "sleep"}, frozenset({"timeout"})),
    "gil_blocked": (2, {"do": "gil_blocked"}, frozenset({"timeout"})),
    "gil_spinning": (1, {"do": "gil_spinning"}, frozenset({"timeout"})),
    "family": (2, {"do": "family"}, frozenset({"timeout"})),
    "segv": (3, {"do": "segv"}, frozenset({"crashed"})),
    "os_exit": (3, {"do": "os_exit"}, frozenset({"crashed"})),
    "kill_self": (3, {"do": "kill_self"}, frozenset({"crashed"})),
    "sys_exit": (3, {"do": "sys_exit"}, frozenset({"crashed"})),
    "flood": (2, {"do": "flood", "mb": 4}, frozenset({"ok"})),
}


def make_tasks(tasks: int, harmful: int, work_s: float, rng: random.Random) -> dict[str, dict[str, Any]]:
    """So many tasks by id, so many of them planted; a task's id begins with what it does."""
    names = rng.choices(list(PLANTED), [share for share, _, _ in PLANTED.values()], k=harmful)
    planted = {f"{name}-{number:06}": PLANTED[name][1] for number, name in enumerate(names)}
    good = {f"good-{number:06}": {"do": "ok", "s": work_s} for number in range(tasks - harmful)}
    return {**planted, **good}


def may_end(task: str) -> frozenset[str]:
    """The outcomes that a task may have."""
    name = task.partition("-")[0]
    return PLANTED[name][2] if name in PLANTED else frozenset({"ok"})
