"""compare(): which value of a factor is better on the same tasks, and whether that is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Unpack

from prealloc.api.located import Located, located
from prealloc.api.outcomes import asked_about
from prealloc.errors import Mistake, OptionsError, PlanError
from prealloc.model.keywords import CompareKeywords
from prealloc.model.plan import SliceRef
from prealloc.model.questions import CompareOptions, Metric
from prealloc.store.comparison import RUN, Comparison, Member, compare_members
from prealloc.store.identity import Facts, TaskFacts


def compare(*runs: str | Path, **options: Unpack[CompareKeywords]) -> Comparison:
    """Compares the values of a factor task by task, matched over all other factors; `run` compares runs.

    `runs` are run folders or experiments. Each value is compared with `baseline`, without one each with each. Success
    is over decided units by their first outcome; of working_s, geometric means are compared. p values are adjusted for
    all comparisons of the call. `options` are the fields of CompareOptions. Raises OptionsError with every mistake, and
    what outcomes() raises.

    compare("run/", factor="model", baseline="small")
    compare("before/", "after/", factor="run", margin="2%")
    """
    asked = asked_about(runs, CompareOptions, options)
    several = len(runs) > 1
    members = [member for run in runs for member in members_of(located(run, asked.scores), run, named=several)]
    if not any(says(member, asked.metric) for member in members):
        problem = f"no result says {asked.metric}"
        hint = "have the worker return {'success': true} or {'score': 0.5}, or compare ‹metric› working_s"
        raise OptionsError([Mistake("‹metric›", problem, hint)])
    return compare_members(members, asked)


def members_of(
    units: Iterable[Located], run: str | Path, *, named: bool, damaged: list[str] | None = None
) -> Iterator[Member]:
    """The units of a run and what they are compared by. `named`: there are several, so a unit's cell says which.

    Tasks of a slice that cannot be read are known by their ids alone, and `damaged` gets a sentence; without it that
    raises PlanError.
    """
    facts = Facts()
    contents: dict[SliceRef, dict[str, TaskFacts]] = {}
    for unit, opened in units:
        manifest = opened.manifests[unit.shard]
        if manifest.slice not in contents:
            try:
                contents[manifest.slice] = dict(facts.of(manifest, opened.tasks))
            except PlanError as error:
                if damaged is None:
                    raise
                contents[manifest.slice] = {}
                damaged.append(f"{error.where}: {error.problem}; its tasks are compared by their ids alone")
        cell = {**manifest.cell, **({RUN: str(run)} if named else {})}
        yield Member(unit, cell, contents[manifest.slice].get(unit.task))


def says(member: Member, metric: Metric) -> bool:
    """Whether the unit's result says something of it."""
    unit = member.unit
    if metric == "success":
        return (unit.success, unit.first_success) != (None, None)
    return metric == "working_s" or unit.score is not None
