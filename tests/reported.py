"""Runs for tests of the report: planted failures to find, and texts that would do harm if they were markup."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import prealloc

KEY = "sk-proj-Zk3V9qL1xT7mB2nC5dF8gH0j"
"""Looks like a key, and is nobody's."""
OWNED = "document.title='owned'"
HOSTILE = (
    f"<script>{OWNED}</script>",
    f'"\'><img src=x onerror="{OWNED}">',
    f"</script></style></title></textarea><svg onload={OWNED}>",
    "javascript:alert(1) {{ 7*7 }} {% include 'x' %} ${1} <!-- ]]> -->",
    "a\u202eb\u2066c\x1b[31md\u2028e\x7ff",
)


def planted(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> dict[str, Any]:
    """b is better than a. c fails on the type `import`, always with another number in its message."""
    n, model = task.workflow["n"], ctx.settings["model"]
    time.sleep(0.001)
    if model == "c" and task.type == "import":
        raise KeyError(f"no column {n} in /data/{n}/table.csv")
    if n == 1 and ctx.attempt == 1:
        raise prealloc.Retryable("busy")
    return {"success": n % 4 != 0 if model == "b" else n % 2 == 0, "score": n / 40, "answer": f"answer {n}"}


def planted_run(folder: Path, tasks: int = 40, repeats: int = 2) -> Path:
    """Three models and two prompts on the same tasks, half of each of two types."""
    library = [{"id": f"t{n:02}", "type": ("import", "export")[n // 2 % 2], "workflow": {"n": n}} for n in range(tasks)]
    factors = {"model": ["a", "b", "c"], "prompt": ["short", "long"]}
    plan = prealloc.plan(library, whole=True, factors=factors, repeats=repeats)
    prealloc.run(plan, planted, folder, engine="inline", retries=1)
    return folder


def hostile(task: prealloc.LightweightTask, ctx: prealloc.TaskContext) -> dict[str, Any]:
    """Prints, raises and returns what would do harm."""
    text = HOSTILE[task.workflow["n"] % len(HOSTILE)]
    print(text, KEY)
    if task.workflow["n"] % 2:
        raise type(HOSTILE[0], (ValueError,), {})(f"{text} api_key={KEY}")
    return {"success": task.workflow["n"] % 4 == 0, text: [text, {"token": KEY}]}


def hostile_run(folder: Path) -> Path:
    """Its ids, types, factors, settings, errors, results and log are all hostile, and so is its folder's name."""
    library = [
        {"id": f"{n} {text} {KEY}", "type": text, "workflow": {"n": n}}
        for n, text in enumerate([*HOSTILE, *HOSTILE, *HOSTILE])
    ]
    factors = {HOSTILE[0]: [HOSTILE[1], HOSTILE[2]], "model": [HOSTILE[3], "plain"]}
    plan = prealloc.plan(library, whole=True, factors=factors, settings={HOSTILE[4]: HOSTILE[0]})
    run = folder / "run <img src=x onerror=alert(1)> '\""
    prealloc.run(plan, hostile, run, engine="inline")
    return run
