"""A plan, its shards, and what a run of it was made of, as pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import UnsetType
from rich.text import Text

from prealloc.model.options import Bytes, Seconds, options_of
from prealloc.model.plan import Plan, Shard, ShardEntry
from prealloc.model.policy import RunPolicy
from prealloc.model.where import Where
from prealloc.planning.precision import precision_of_plan
from prealloc.report import human
from prealloc.report.grid import Column, cut, draw, fit, known, left_out, still_different
from prealloc.report.page import Page, fact
from prealloc.report.size_view import precision_line
from prealloc.report.visible import value, visible
from prealloc.store.manifests import Outline

if TYPE_CHECKING:
    from prealloc.store.run_folder import RunFile

T = TypeVar("T")

FIRST_SHARDS = 50
FIRST_TASKS = 200
MOST_TYPES = 12
"""The most columns of a table; the rest is summed up in one."""


def render_plan(plan: Plan | Outline) -> Page:
    """What was planned: a row per shard (the first ones), the total, how much of the library it uses, the overlap.

    An outline needs the manifests of the shards that are shown only; what needs all tasks is omitted then.
    """
    return Page(lambda width: _plan(plan, width))


def render_shard(shard: Shard) -> Page:
    """One shard: the fields of its manifest, its types, and its tasks in the order they run."""
    return Page(lambda width: _shard(shard, width))


def render_run(file: RunFile, bound_s: float | None) -> Page:
    """What a run was made of: what bounds its time, the worker and its code, and where it ran; packages are counted."""
    bound = f"a session ends within {human.duration(bound_s)}, at the very latest"
    facts = [("run", bound if bound_s is not None else "nothing bounds its time"), ("worker", file.worker)]
    by = f"prealloc {file.prealloc}, Python {file.python}"
    if file.made_with is not None:
        packages = file.made_with.packages.count(",") + 1 if file.made_with.packages else 0
        facts.append(("code", file.made_with.code))
        by += f", {human.count(packages, 'package')} (--json names them), on {file.made_with.host}"
    facts.append(("with", f"{by}, {file.platform}"))
    return Page(lambda width: _facts((name, visible(text)) for name, text in facts))


def _plan(plan: Plan | Outline, width: int | None) -> list[Text]:
    shards = plan.file.shards
    shown = _first(shards, FIRST_SHARDS)
    columns = _plan_columns(plan, shown)
    table = draw(fit(columns, width))
    total = table.pop()
    return [
        *_facts(_plan_facts(plan)),
        Text(),
        *table,
        *_more(shards, shown),
        Text("─" * total.cell_len, style="dim"),
        total,
        *left_out(columns, width),
    ]


def _first(rows: Sequence[T], most: int) -> Sequence[T]:
    """The first rows. A single further row is shown rather than counted."""
    return rows if len(rows) <= most + 1 else rows[:most]


def _more(rows: Sequence[T], shown: Sequence[T]) -> list[Text]:
    return [Text(f"… {len(rows) - len(shown):,} more", style="dim")] if len(shown) < len(rows) else []


def _facts(facts: Iterable[tuple[str, str]]) -> list[Text]:
    return [fact(name, text, 10) for name, text in facts]


def _plan_facts(plan: Plan | Outline) -> list[tuple[str, str]]:
    file, spec = plan.file, plan.file.spec
    repeats = f", each task {spec.repeats} times" if spec.repeats > 1 else ""
    sizes = f" to shards of {' : '.join(map(str, spec.shard_sizes))}" if spec.shard_sizes else ""
    facts = [
        ("plan", visible(file.id)),
        ("made by", f"seed {file.seed}, {spec.strategy}{sizes}, ranking {visible(file.ranking)}{repeats}"),
    ]
    if not isinstance(spec.generator, UnsetType):
        facts.append(("generator", f"{visible(spec.generator)}, version {visible(str(spec.generator_version))}"))
    if not isinstance(file.run_options, UnsetType):
        facts.append(("for runs", ", ".join(_run_option(name, each) for name, each in file.run_options.items())))
    for library in file.libraries:
        difficulty = f" ({visible(library.difficulty)})" if library.difficulty is not None else ""
        size = f"{human.count(library.tasks, 'task')}, {human.size(library.bytes)}"
        facts.append(("library", f"{visible(library.path)}{difficulty}: {size}"))
    if not isinstance(plan, Plan):
        return facts
    uses = _uses(plan)
    available = sum(library.tasks for library in file.libraries)
    share = f" ({human.percent(len(uses), available, 1)})" if available else ""
    facts.append(("uses", f"{len(uses):,} of {human.count(available, 'task')}{share}"))
    facts.append(("overlap", _overlap(uses)))
    if precision := precision_of_plan(plan):
        facts.append(("precision", precision_line(precision, cells=bool(spec.factors))))
    slices = {shard.manifest.slice.sha256: shard.manifest.slice.bytes for shard in plan.shards}
    return [*facts, ("slices", f"{human.count(len(slices), 'file')}, {human.size(sum(slices.values()))}")]


def _run_option(field: str, given: Any) -> str:
    """`timeout 10m`: as a config says it."""
    option = options_of(RunPolicy)[field]
    if given is None:
        return f"{option.name} none"
    if isinstance(option.reader, Seconds | Bytes | Where):
        return f"{option.name} {visible(option.reader.write(given))}"
    return f"{option.name} {value(given)}"


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


def _plan_columns(plan: Plan | Outline, shown: Sequence[ShardEntry]) -> list[Column]:
    repeats = plan.file.spec.repeats
    types: Counter[str] = Counter()
    for entry in plan.file.shards:
        types.update(entry.types)
    names = sorted(types)
    if len(names) > MOST_TYPES:
        names = sorted(sorted(types, key=lambda name: (-types[name], name))[: MOST_TYPES - 1])
    units = sum(entry.units for entry in plan.file.shards)
    columns = [
        Column(
            "shard", [*(Text(visible(e.id)) for e in shown), _bold("total")], False, least=12, middle=True, names=True
        ),
        _column("tasks", [e.units // repeats for e in shown], units // repeats),
    ]
    if repeats > 1:
        columns.append(_column("units", [e.units for e in shown], units))
    manifests = {each.id: each.manifest for each in plan.shards} if isinstance(plan, Plan) else plan.manifests
    sizes = [manifests[entry.id].slice.bytes for entry in shown]
    # The sum of what is shipped; shared slices lie on disk once, which the facts above tell.
    every = human.size(sum(each.slice.bytes for each in manifests.values())) if isinstance(plan, Plan) else ""
    columns.append(Column("bytes", [*(Text(human.size(size)) for size in sizes), _bold(every)], drop=99))
    letters = still_different(tuple(map(visible, names)), 8)
    for rank, name in enumerate(names):
        counts = [e.types.get(name, 0) for e in shown]
        columns.append(_column(visible(name), counts, types[name], rank + 1, cut(visible(name), letters)))
    if len(names) < len(types):
        others = [sum(n for name, n in e.types.items() if name not in names) for e in shown]
        total = sum(n for name, n in types.items() if name not in names)
        columns.append(_column(f"{len(types) - len(names)} others", others, total))
    return columns


def _column(title: str, numbers: Sequence[int], total: int, drop: int = 0, short: str | None = None) -> Column:
    cells = [*(known(str(n)) for n in numbers), _bold(f"{total:,}")]
    return Column(title, cells, drop=drop, short=short)


def _shard(shard: Shard, width: int | None) -> list[Text]:
    shown = _first(shard.tasks, FIRST_TASKS)
    columns = [
        Column("task", [Text(visible(task.id)) for task in shown], False, least=16, middle=True, names=True),
        Column("type", [Text(visible(task.type)) for task in shown], False, least=8),
        Column("workflow", [Text(human.size(len(task.workflow_json))) for task in shown]),
    ]
    table = [Text(), *draw(fit(columns, width))] if shown else []
    return [*_facts(_shard_facts(shard)), *table, *_more(shard.tasks, shown)]


def _shard_facts(shard: Shard) -> list[tuple[str, str]]:
    manifest, piece = shard.manifest, shard.manifest.slice
    tasks = human.count(piece.tasks, "task")
    types = Counter(task.type for task in shard.tasks)
    facts = {
        "shard": visible(manifest.id),
        "plan": visible(manifest.plan),
        "strategy": f"{manifest.strategy}, seed {manifest.seed}",
        "units": f"{piece.tasks * manifest.repeats:,}: {tasks} x {human.count(manifest.repeats, 'repeat')}",
        "slice": f"{visible(piece.file)}, {human.size(piece.bytes)}",
        "lanes" if len(manifest.served_by) > 1 else "lane": visible(", ".join(manifest.served_by)),
        "cell": _pairs(manifest.cell),
        "settings": _pairs(manifest.settings),
        "types": ", ".join(f"{visible(name)} {types[name]}" for name in sorted(types)),
    }
    return [(name, text) for name, text in facts.items() if text]


def _pairs(pairs: Mapping[str, Any]) -> str:
    return "  ".join(f"{visible(key)}={value(thing)}" for key, thing in pairs.items())


def _bold(text: str) -> Text:
    return Text(text, style="bold")
