"""A whole experiment runner on prealloc's API: models x prompt types x difficulties x tool success rates.

    python examples/ultra_parallel_runner.py 'tasks_{difficulty}.json' --model gpt-4o-mini --model o3 \
        --prompt-types baseline,cot --difficulty easy,hard --tool-success-rate 0.8,0.9 --num-instances 20

The lanes (deployments and API keys with their limits) come from a config file. The environment variable of each key
must be set; the simulated agent takes any value. Every cell gets the same tasks. `prealloc resume` goes on with a run
that was stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import prealloc

AGGREGATES = ("model", "prompt_type", "tool_success_rate", "difficulty", "type")
ULTRA = Path(__file__).parents[1] / "config" / "ultra.toml"


def main(
    library: Annotated[str, typer.Argument(help="A task library; {difficulty} in its name stands for each.")],
    model: Annotated[list[str], typer.Option("--model", help="Repeatable, or a,b.")],
    prompt_types: Annotated[str, typer.Option("--prompt-types", help="a,b")] = "baseline",
    difficulty: Annotated[str, typer.Option("--difficulty", help="a,b")] = "easy",
    task_types: Annotated[str, typer.Option("--task-types", help="a,b, or all.")] = "all",
    num_instances: Annotated[int, typer.Option("--num-instances", help="Tasks per cell.")] = 20,
    tool_success_rate: Annotated[str, typer.Option("--tool-success-rate", help="a,b")] = "0.8",
    rate_mode: Annotated[str, typer.Option("--rate-mode", help="fixed or adaptive.")] = "fixed",
    max_workers: Annotated[int | None, typer.Option("--max-workers", help="Shards at once, over all lanes.")] = None,
    worker: Annotated[str, typer.Option("--worker", help="module:function")] = "prealloc.agents.simulate:run",
    lanes: Annotated[Path, typer.Option("--lanes", help="A config file with [[lanes]].")] = ULTRA,
    result_suffix: Annotated[str, typer.Option("--result-suffix", help="Behind the run folder's name.")] = "",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    silent: Annotated[bool, typer.Option("--silent", help="No live table.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan and show, run nothing.")] = False,
) -> None:
    """Plan the experiment, run it, and compare."""
    console = Console()
    try:
        plan = prealloc.plan(
            library,
            factors={
                "model": [name for text in model for name in text.split(",")],
                "prompt_type": prompt_types.split(","),
                "difficulty": difficulty.split(","),
                "tool_success_rate": rates(tool_success_rate),
            },
            lanes=prealloc.load_config(lanes).sampling.get("lanes", []),
            num_instances_per_cell=num_instances,
            types=() if task_types == "all" else task_types.split(","),
            stratify=True,
            seed=seed,
            notes=lambda text: console.print(f"[dim]{text}[/dim]"),
        )
        show_plan(console, plan)
        if dry_run:
            return
        out = Path(f"run{result_suffix}")
        with prealloc.reporter(quiet=silent) as screen:
            ended = prealloc.run(plan, worker, out, workers=max_workers, rate_mode=rate_mode, observe=screen)
        for key in AGGREGATES:
            console.print(aggregated(out, key))
    except prealloc.PreallocError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(ended.exit_code)


def rates(text: str) -> list[float]:
    """The numbers of `0.8,0.9`."""
    try:
        return [float(rate) for rate in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--tool-success-rate") from None


def show_plan(console: Console, plan: prealloc.Plan) -> None:
    """A row per lane: what it will run."""
    table = Table("lane", "shards", "tasks", "cells", title=f"plan {plan.id[:12]}")
    for lane in dict.fromkeys(shard.manifest.planned_lane for shard in plan.shards):
        mine = [shard for shard in plan.shards if shard.manifest.planned_lane == lane]
        cells = {tuple(shard.manifest.cell.items()) for shard in mine}
        table.add_row(lane or "-", str(len(mine)), str(sum(len(shard.tasks) for shard in mine)), str(len(cells)))
    console.print(table)


def aggregated(run: Path, key: str) -> Table:
    """Success, score and time by one key."""
    table = Table(key, "units", "ok", "success", "score", "seconds", title=f"by {key}")
    for row in prealloc.results(run, by=[key]):
        rate, score, seconds = row.rate, row.mean_score, row.mean_working_s
        table.add_row(
            str(row.group[key]), str(row.units), str(row.ok), percent(rate), percent(score), shown(seconds, ".2f")
        )
    return table


def percent(value: float | None) -> str:
    return shown(value, ".1%")


def shown(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    typer.run(main)
