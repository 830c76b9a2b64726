"""Plans and shards as pages."""

from __future__ import annotations

import msgspec
from rich.cells import cell_len

from prealloc.model.plan import LibraryInfo, Manifest, Plan, PlanFile, Shard, ShardEntry, SliceRef
from prealloc.model.plan_spec import PlanSpec
from prealloc.model.task import LightweightTask
from prealloc.report.plan_view import render_plan, render_shard


def manifest(n: int, tasks: int) -> Manifest:
    piece = SliceRef(file=f"slices/{n}.json", sha256=f"{n:064}", tasks=tasks, bytes=50_000 * tasks)
    return Manifest(
        plan="3f9a12cd",
        id=f"shard-{n:04}",
        cell={},
        lane=None,
        strategy="disjoint",
        repeats=1,
        seed=7,
        settings={"model": "gpt\x1b", "temperature": 0},
        slice=piece,
    )


def plan(shards: int, *, types: int = 2, shared: bool = False) -> Plan:
    def tasks(n: int) -> tuple[LightweightTask, ...]:
        first = 0 if shared else n * types
        return tuple(LightweightTask(id=f"task_{first + k}", type=f"type_{k}", workflow={"k": k}) for k in range(types))

    held = tuple(Shard(manifest=manifest(n, types), tasks=tasks(n)) for n in range(shards))
    entries = tuple(
        ShardEntry(id=s.id, file="", sha256="", units=types, types={t.type: 1 for t in s.tasks}) for s in held
    )
    library = LibraryInfo(path="lib.json", name="lib", bytes=62_000_000, sha256="", tasks=8000, types={})
    spec = PlanSpec(shards=shards, num_instances=types, seed=7)
    file = PlanFile(id="3f9a12cd", ranking=spec.ranking_name, spec=spec, seed=7, libraries=(library,), shards=entries)
    return Plan(file=file, shards=held, slices={})


def test_a_large_plan_is_clamped_and_its_total_is_whole() -> None:
    """50 of 1,000 shards are shown, the others are counted, the total is of all."""
    lines = render_plan(plan(1000)).text(80).splitlines()
    assert sum(line.startswith("shard-") for line in lines) == 50
    assert "… 950 more" in lines
    assert lines[-1].split() == ["total", "2,000", "100", "MB", "1,000", "1,000"]
    assert max(map(cell_len, lines)) <= 80


def test_use_and_overlap() -> None:
    """How much of the library is used, and whether shards share tasks, is counted from the tasks."""
    apart = render_plan(plan(4)).text()
    assert "uses      8 of 8,000 tasks (0.1%)" in apart
    assert "overlap   none: no task is in two shards" in apart
    same = render_plan(plan(4, shared=True)).text()
    assert "uses      2 of 8,000 tasks" in same
    assert "overlap   2 tasks in more than one shard, at most in 4" in same


def test_many_types_are_summed_up() -> None:
    """Types beyond what a table bears are one column; nothing is lost from the sums."""
    lines = render_plan(plan(2, types=30)).text().splitlines()
    assert lines[-1].split()[-1] == "38"
    assert "19 others" in "\n".join(lines)


def test_a_shard() -> None:
    """Its fields, its types and its tasks in their order; foreign text is escaped."""
    shard = plan(1).shards[0]
    text = render_shard(shard).text(80)
    assert "settings  model=gpt\\x1b  temperature=0\n" in text
    assert "types     type_0 1, type_1 1\n" in text
    assert [line.split()[0] for line in text.splitlines()[-2:]] == ["task_0", "task_1"]
    clamped = render_shard(msgspec.structs.replace(shard, tasks=shard.tasks * 150)).text(80)
    assert clamped.endswith("… 100 more\n")
