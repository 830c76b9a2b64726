"""What the scenarios work on: the generated library, the plans and the ids, in the bench's own folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import Bench, run_whole
from benchmarks.size import Size

LIMIT_S = 120.0


class Workload(NamedTuple):
    library: Path
    plan: Path
    ids: Path
    """The plan's task ids by shard, for the ways that cut their slices by hand."""
    noop_library: Path
    noop_plan: Path


def prealloc(*arguments: object) -> list[str]:
    """The `prealloc` command of this interpreter's environment."""
    command = Path(sys.executable).with_name("prealloc")
    start = [str(command)] if command.exists() else [sys.executable, "-m", "prealloc"]
    return [*start, *map(str, arguments)]


def plan_command(library: Path, out: Path, size: Size) -> list[str]:
    """The plan of the scenarios "start" and "plan"."""
    return prealloc("plan", library, "--shards", size.workers, "-n", size.tasks, "--stratify", "--out", out)


def make_workload(bench: Bench, size: Size) -> Workload:
    """Generates the library and plans it. Raises WayFailed."""
    made = Workload(*(bench.folder / name for name in ("library.json", "plan", "ids", "noop.json", "noop")))
    sample = ("library", "sample", made.library, "--tasks", size.library_tasks)
    run_whole(bench, prealloc(*sample, "--workflow-bytes", size.workflow_bytes), limit_s=LIMIT_S)
    run_whole(bench, plan_command(made.library, made.plan, size), limit_s=LIMIT_S)
    made.ids.write_text(json.dumps(_ids(made.plan)))
    made.noop_library.write_text(json.dumps({"tasks": _noop_tasks(size.noop_tasks)}))
    deal = ("plan", made.noop_library, "--all", "--shards", size.noop_workers, "--out", made.noop_plan)
    run_whole(bench, prealloc(*deal), limit_s=LIMIT_S)
    return made


def _ids(plan: Path) -> list[list[str]]:
    """Read from the files, as an outside program would: the bench itself does not load prealloc."""
    shards = json.loads((plan / "plan.json").read_bytes())["shards"]
    manifests = [json.loads((plan / shard["file"]).read_bytes()) for shard in shards]
    slices = [json.loads((plan / manifest["slice"]["file"]).read_bytes()) for manifest in manifests]
    return [[task["id"] for task in each["tasks"]] for each in slices]


def _noop_tasks(count: int) -> list[dict[str, object]]:
    workflow = {"optimal_sequence": ["noop"]}
    return [{"id": f"task_{i:06d}", "task_type": "noop", "workflow": workflow} for i in range(count)]
