"""A plan and its shards as pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import UnsetType
from rich.text import Text

from prealloc.model.options import Bytes, Seconds, options_of
from prealloc.model.plan import Manifest, Plan, PlanFile, ShardEntry
from prealloc.model.policy import RunPolicy
from prealloc.model.task import LightweightTask
from prealloc.report import human
from prealloc.report.grid import Column, draw, fit, left_out
from prealloc.report.page import Page, whole
from prealloc.report.visible import value, visible

FIRST_SHARDS = 50
FIRST_TASKS = 200
MOST_TYPES = 12
"""More columns than this are no table any more; the rest is summed up in one."""


def render_plan(plan: Plan | PlanFile, manifests: Iterable[Manifest] = (), *, first: int = FIRST_SHARDS) -> Page:
    """What was planned: a row per shard (the first ones), the total, and how much of the library it uses.

    A PlanFile holds no bytes and no task ids: with its `manifests`, or those of the shards that are shown, the bytes
    are shown, with a Plan also how much the shards overlap.
    """
    if isinstance(plan, Plan):
        file, manifests = plan.file, [shard.manifest for shard in plan.shards]
        uses = _uses(plan)
    else:
        file, uses = plan, None
    by_id = {manifest.id: manifest for manifest in manifests}
    return Page(lambda width: _plan(file, by_id, uses, first, width))


def render_shard(manifest: Manifest, tasks: Sequence[LightweightTask] = (), *, first: int = FIRST_TASKS) -> Page:
    """One shard: the fields of its manifest, its types, and its tasks in the order they run."""
    return Page(lambda width: _shard(manifest, tasks, first, width))


def _plan(
    file: PlanFile,
    manifests: Mapping[str, Manifest],
    uses: Counter[tuple[str, str]] | None,
    first: int,
    width: int | None,
) -> list[Text]:
    lines = [_fact(name, text) for name, text in _plan_facts(file, manifests, uses)]
    # One row too many is shown rather than told of.
    shown = file.shards if len(file.shards) <= first + 1 else file.shards[:first]
    columns = _plan_columns(file, shown, manifests)
    table = draw(fit(columns, width))
    total = table.pop()
    lines += [Text(), *table]
    if len(shown) < len(file.shards):
        lines.append(Text(f"… {len(file.shards) - len(shown):,} more", style="dim"))
    return [*lines, Text("─" * total.cell_len, style="dim"), total, *left_out(columns, width)]


def _plan_facts(
    file: PlanFile, manifests: Mapping[str, Manifest], uses: Counter[tuple[str, str]] | None
) -> list[tuple[str, str]]:
    spec = file.spec
    repeats = f", each task {spec.repeats} times" if spec.repeats > 1 else ""
    facts = [
        ("plan", visible(file.id)),
        ("made by", f"seed {file.seed}, {spec.strategy}, ranking {visible(file.ranking)}{repeats}"),
    ]
    if not isinstance(spec.generator, UnsetType):
        facts.append(("generator", f"{visible(spec.generator)}, version {visible(str(spec.generator_version))}"))
    if not isinstance(file.run_options, UnsetType):
        facts.append(("for runs", ", ".join(_run_option(name, each) for name, each in file.run_options.items())))
    for library in file.libraries:
        difficulty = f" ({visible(library.difficulty)})" if library.difficulty is not None else ""
        size = f"{human.count(library.tasks, 'task')}, {human.size(library.bytes)}"
        facts.append(("library", f"{visible(library.path)}{difficulty}: {size}"))
    if uses is not None:
        available = sum(library.tasks for library in file.libraries)
        facts.append(("uses", f"{len(uses):,} of {human.count(available, 'task')}{_of(len(uses), available)}"))
        facts.append(("overlap", _overlap(uses)))
    if len(manifests) == len(file.shards):
        slices = {manifest.slice.sha256: manifest.slice.bytes for manifest in manifests.values()}
        facts.append(("slices", f"{human.count(len(slices), 'file')}, {human.size(sum(slices.values()))}"))
    return facts


def _run_option(field: str, given: Any) -> str:
    """`timeout 10m`: as a config says it."""
    option = options_of(RunPolicy)[field]
    text = (
        option.reader.write(given) if given is not None and isinstance(option.reader, Seconds | Bytes) else value(given)
    )
    return f"{option.name} {'none' if given is None else text}"


def _of(part: int, whole: int) -> str:
    return f" ({human.percent(part, whole, 1)})" if whole else ""


def _uses(plan: Plan) -> Counter[tuple[str, str]]:
    """In how many shards each task is. The same id at another difficulty is another task."""
    return Counter(
        (value(shard.manifest.cell.get("difficulty", "")), task.id) for shard in plan.shards for task in shard.tasks
    )


def _overlap(uses: Counter[tuple[str, str]]) -> str:
    shared = sum(count > 1 for count in uses.values())
    if not shared:
        return "none: no task is in two shards"
    most = max(uses.values())
    return f"{human.count(shared, 'task')} in more than one shard, at most in {most}"


def _plan_columns(file: PlanFile, shown: Sequence[ShardEntry], manifests: Mapping[str, Manifest]) -> list[Column]:
    repeats = file.spec.repeats
    types: Counter[str] = Counter()
    for entry in file.shards:
        types.update(entry.types)
    names = sorted(types)
    if len(names) > MOST_TYPES:
        names = sorted(sorted(types, key=lambda name: (-types[name], name))[: MOST_TYPES - 1])
    units = sum(entry.units for entry in file.shards)
    columns = [
        Column("shard", [*(Text(visible(e.id)) for e in shown), _bold("total")], False, least=12, middle=True),
        _column("tasks", [e.units // repeats for e in shown], units // repeats),
    ]
    if repeats > 1:
        columns.append(_column("units", [e.units for e in shown], units))
    if manifests:
        sizes = [manifests[e.id].slice.bytes if e.id in manifests else None for e in shown]
        # The sum of what is shipped; shared slices lie on disk once, which the facts above tell.
        every = sum(manifest.slice.bytes for manifest in manifests.values())
        in_all = human.size(every) if len(manifests) == len(file.shards) else ""
        cells = [*(Text(human.size(size)) for size in sizes), _bold(in_all)]
        columns.append(Column("bytes", cells, drop=99))
    for rank, name in enumerate(names):
        counts = [e.types.get(name, 0) for e in shown]
        columns.append(_column(visible(name), counts, types[name], drop=rank + 1))
    if len(names) < len(types):
        others = [sum(n for name, n in e.types.items() if name not in names) for e in shown]
        total = sum(n for name, n in types.items() if name not in names)
        columns.append(_column(f"{len(types) - len(names)} others", others, total))
    return columns


def _column(title: str, numbers: Sequence[int], total: int, drop: int = 0) -> Column:
    cells = [*(Text(str(n), style="default" if n else "dim") for n in numbers), _bold(f"{total:,}")]
    return Column(title, cells, drop=drop, short=title if len(title) <= 8 else title[:7] + "…")


def _shard(manifest: Manifest, tasks: Sequence[LightweightTask], first: int, width: int | None) -> list[Text]:
    lines = [_fact(name, text) for name, text in _shard_facts(manifest, tasks)]
    shown = tasks if len(tasks) <= first + 1 else tasks[:first]
    if shown:
        columns = [
            Column("task", [Text(visible(task.id)) for task in shown], False, least=16, middle=True),
            Column("type", [Text(visible(task.type)) for task in shown], False, least=8),
            Column("workflow", [Text(human.size(len(task.workflow_json))) for task in shown]),
        ]
        lines += [Text(), *draw(fit(columns, width))]
    if len(shown) < len(tasks):
        lines.append(Text(f"… {len(tasks) - len(shown):,} more", style="dim"))
    return lines


def _shard_facts(manifest: Manifest, tasks: Sequence[LightweightTask]) -> list[tuple[str, str]]:
    piece = manifest.slice
    units = human.count(piece.tasks * manifest.repeats, "unit")
    facts = [
        ("shard", visible(manifest.id)),
        ("plan", visible(manifest.plan)),
        ("strategy", f"{manifest.strategy}, seed {manifest.seed}"),
        ("units", f"{units}: {human.count(piece.tasks, 'task')} x {manifest.repeats}"),
        ("slice", f"{visible(piece.file)}, {human.size(piece.bytes)}"),
    ]
    if manifest.lane is not None:
        facts.append(("lane", visible(manifest.lane)))
    facts += [(name, _pairs(pairs)) for name, pairs in _mappings(manifest) if pairs]
    if tasks:
        types = Counter(task.type for task in tasks)
        facts.append(("types", ", ".join(f"{visible(name)} {types[name]}" for name in sorted(types))))
    return facts


def _mappings(manifest: Manifest) -> list[tuple[str, dict[str, Any]]]:
    return [("cell", manifest.cell), ("settings", manifest.settings)]


def _pairs(pairs: Mapping[str, Any]) -> str:
    return "  ".join(f"{visible(key)}={value(thing)}" for key, thing in pairs.items())


def _fact(name: str, text: str) -> Text:
    return whole(Text.assemble((f"{name:<10}", "dim"), text))


def _bold(text: str) -> Text:
    return Text(text, style="bold")
