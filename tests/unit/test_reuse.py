"""What a unit is known by across runs, and what is said of those that are not taken over."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import prealloc
from prealloc.model.events import Event, Note, RunEnded
from prealloc.model.lane import Lane
from prealloc.store.run_folder import known_name

SMALL = [{"id": f"t{n}", "type": "sum", "workflow": n, "answer": n * n} for n in range(6)]
LANES = [Lane(name="one", deployment="d-1"), Lane(name="two", deployment="d-2")]


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., tuple[RunEnded, str]]:
    """Plans these tasks and runs them in a folder of their own; gives the end, and what was said of reuse."""
    count = itertools.count(1)

    def run(tasks: Any = SMALL, *, reuse: Any = None, run: Any = None, **options: Any) -> tuple[RunEnded, str]:
        said: list[str] = []

        def observe(event: Event) -> None:
            if isinstance(event, Note) and "taken over" in event.text:
                said.append(event.text)

        plan = prealloc.plan(tasks, **{"whole": True, **options})
        out, more = tmp_path / f"run-{next(count)}", {"worker": "prealloc.testing:scripted", **(run or {})}
        ended = prealloc.run(plan, out=out, engine="inline", reuse=reuse, observe=observe, **more)
        assert ended.exit_code == 0
        return ended, (said or [""])[0]

    return run


def test_a_lane_is_no_part_of_what_a_unit_is(go: Any) -> None:
    """Other lanes, other keys, another deal over them: everything is taken over."""
    whole = {"num_instances": 3, "per_cell": True, "whole": False, "factors": {"model": ["a", "b"]}}
    first, _ = go(lanes=LANES, **whole)
    for lanes in ([], LANES[:1], [Lane(name="three", deployment="d-3"), *LANES]):
        _, said = go(lanes=lanes, reuse=first.run, **whole)
        assert said == "6 of 6 units taken over"


@pytest.mark.parametrize(
    ("then", "now", "why"),
    [
        ({"settings": {"t": 0.2}}, {"settings": {"t": 0.7}}, "setting t 0.2 -> 0.7"),
        ({"settings": {"t": 1}}, {"settings": {"t": 1.0}}, "setting t 1 -> 1.0"),
        ({"settings": {}}, {"settings": {"t": 1}}, "setting t is new"),
        ({"settings": {"t": 1}}, {"settings": {}}, "setting t is gone"),
        ({"factors": {"m": ["a"]}}, {"factors": {"m": ["b"]}}, 'factor m "a" -> "b"'),
        ({"settings": {"m": "a"}}, {"factors": {"m": ["b", "c"]}}, 'factor m "a" -> "b"'),
        ({"keep": ["answer"]}, {}, "field answer is gone"),
        ({}, {"keep": ["answer"]}, "field answer is new"),
        (
            {"settings": {"t": 1}, "keep": ["answer"]},
            {"settings": {"t": 2}},
            "setting t 1 -> 2, field answer is gone",
        ),
    ],
)
def test_what_differs_is_named(go: Any, then: Any, now: Any, why: str) -> None:
    """Nothing is taken over if a setting, a factor or a field differs, and the reason is the one that there is."""
    first, _ = go(**then)
    _, said = go(reuse=first.run, **now)
    wanted = 6 * len(now.get("factors", {"": [""]}).popitem()[1]) if "factors" in now else 6
    assert said == f"0 of {wanted} units taken over; 6 finished ones differ: {why}"


def test_neither_a_timeout_nor_a_lanes_setting_makes_another_unit(go: Any) -> None:
    """A field that names timeouts is there for us, unless it is kept; base_url says how a lane is reached."""
    slow = [{**task, "limit": 60 + n} for n, task in enumerate(SMALL)]
    first, _ = go(slow, lanes=[Lane.checked(name="one", settings={"base_url": "http://one"})])
    timed = [{**task, "limit": "2h"} for task in slow]
    lanes = [Lane.checked(name="one", settings={"base_url": "http://two"})]
    second, said = go(timed, reuse=first.run, timeout_field="limit", lanes=lanes)
    assert said == "6 of 6 units taken over"
    assert go(slow, reuse=second.run, run={"where": [], "timeout_s": 5})[1] == said
    _, said = go(timed, reuse=first.run, timeout_field="limit", keep=["limit"])
    assert said == "0 of 6 units taken over; 6 finished ones differ: field limit is new"


def test_a_design_more_runs_what_is_new_in_it(go: Any) -> None:
    """What the designs share is taken over, wherever it stood; their order does not matter."""
    star = [{"model": ["a", "b"], "prompt": ["p"]}, {"prompt": ["p", "q"], "model": ["a"]}]
    first, _ = go(factors=star[:1])
    second, said = go(reuse=first.run, factors=star)
    assert said == "12 of 18 units taken over"
    assert go(reuse=second.run, factors=star[::-1])[1] == "18 of 18 units taken over"


def test_a_setting_that_became_a_factor_is_the_same(go: Any) -> None:
    """What the worker was given decides, not where it was written."""
    first, _ = go(settings={"model": "a"})
    assert go(reuse=first.run, factors={"model": ["a", "b"]})[1] == "6 of 12 units taken over"


def test_tasks_that_differ_are_told_apart_from_those_that_nobody_asks_for(go: Any) -> None:
    """A changed workflow or type differs; what is planned no more, or in another cell, is not asked for."""
    first, _ = go(factors={"model": ["a", "b"]})
    changed = [{**SMALL[0], "workflow": "new"}, {**SMALL[1], "type": "product"}, *SMALL[2:5]]
    _, said = go(changed, reuse=first.run, factors={"model": ["a"]})
    assert said == (
        "3 of 5 units taken over; 1 finished one differs: the task's workflow; "
        "1 finished one differs: type sum -> product; 7 finished ones are not asked for"
    )


def test_neutral_settings_and_fields_can_be_left_out_of_account(go: Any) -> None:
    """`neutral` names settings that tell no units apart, `same_task` "id" goes by id and workflow alone."""
    first, _ = go(settings={"log": "info", "t": 1}, keep=["answer"])
    for now in ({"log": "debug", "t": 1}, {"t": 1}):
        _, said = go(reuse=first.run, settings=now, run={"neutral": ["log"], "same_task": "id"})
        assert said == "6 of 6 units taken over"
    _, said = go(reuse=first.run, settings={"t": 2}, run={"neutral": ["log"], "same_task": "id"})
    assert said == "0 of 6 units taken over; 6 finished ones differ: setting t 1 -> 2"


def test_copies_are_taken_over_by_their_count(go: Any, tmp_path: Path) -> None:
    """Paired shards hold the same task: so many are taken over as there are, each once."""
    first, _ = go(strategy="paired", shards=2, whole=False, num_instances=6)
    assert go(reuse=first.run, strategy="paired", shards=3, whole=False, num_instances=6)[1] == (
        "12 of 18 units taken over"
    )
    one, said = go(reuse=first.run)
    assert said == "6 of 6 units taken over; 6 finished ones are not asked for"
    _, said = go(reuse=[first.run, one.run], strategy="paired", shards=4, whole=False, num_instances=6)
    assert said == "18 of 24 units taken over"


def test_several_runs_give_what_each_has(go: Any) -> None:
    """`reuse` may name several runs: of a unit that two of them have, the first one's outcome counts."""
    runs = [go(factors={"model": [model, "z"]})[0].run for model in ("a", "b")]
    ended, said = go(reuse=runs, factors={"model": ["a", "b", "z"]})
    assert said == "18 of 18 units taken over; 6 finished ones are not asked for"
    reused = {each.settings["model"]: each.read().reused for each in prealloc.outcomes(ended.run)}
    assert reused == {"a": runs[0], "b": runs[1], "z": runs[0]}


def _seeds(ended: RunEnded) -> dict[tuple[str, str, int], list[int]]:
    """By model, task and repeat, the seeds of its copies."""
    found: dict[tuple[str, str, int], list[int]] = {}
    for each in prealloc.outcomes(ended.run):
        found.setdefault((each.settings["model"], each.task, each.repeat), []).append(each.read().result["seed"])
    return found


def test_a_seed_follows_the_unit(go: Any) -> None:
    """Law: more tasks, lanes, cells and shards change no unit's seed; no two units have the same, copies neither."""
    worker = {"worker": "unit_workers:tell_seed"}
    options = {"num_instances": 4, "per_cell": True, "whole": False, "repeats": 2, "seed": 3}
    first = _seeds(go(run=worker, factors={"model": ["a"]}, **options)[0])
    more = _seeds(go(run=worker, factors={"model": ["new", "a"]}, lanes=LANES, **{**options, "num_instances": 6})[0])
    assert first.items() <= more.items()
    assert len({seed for seeds in more.values() for seed in seeds}) == len(more) == 24
    other = _seeds(go(run=worker, factors={"model": ["a"]}, **{**options, "seed": 4})[0])
    assert not {*map(tuple, first.values())} & {*map(tuple, other.values())}
    paired = {"strategy": "paired", "shards": 3, "num_instances": 4, "whole": False, "seed": 3, "repeats": 2}
    copies = _seeds(go(run=worker, factors={"model": ["a"]}, **paired)[0])
    assert all(len({*seeds}) == 3 for seeds in copies.values())
    assert {unit: seeds[:1] for unit, seeds in copies.items()} == first


def test_a_plan_from_before_keeps_its_seeds(go: Any) -> None:
    """Its spec does not say what seeds go by: then it is the shard's name, whoever runs it."""
    ended, _ = go(
        run={"worker": "unit_workers:tell_seed"}, shards=2, seed=5, settings={"model": "a"}, unit_seed="shard"
    )
    for each in prealloc.outcomes(ended.run):
        text = json.dumps([5, each.shard, each.task, each.repeat], separators=(",", ":")).encode()
        seed = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
        assert each.read().result["seed"] == seed


def test_a_worker_is_known_by_its_name(go: Any) -> None:
    """Another worker's outcomes are refused, unless both are known by one name."""
    first, _ = go(run={"worker_name": "mine"})
    other = {"worker": "prealloc.agents.simulate:run"}
    with pytest.raises(prealloc.RunFolderError, match="run by mine, not by prealloc"):
        go(reuse=first.run, run=other)
    assert go(reuse=first.run, run={**other, "worker_name": "mine"})[1] == "6 of 6 units taken over"


@pytest.mark.parametrize(
    ("engine", "worker", "named", "known"),
    [
        ("local", "a:b", None, "a:b"),
        ("local", "a:b", "x", "x"),
        ("command", "python my.py --manifest {manifest}", None, "python my.py"),
        ("command", "python -m pkg.run {manifest} --model=o3", None, "python pkg.run"),
        ("command", "./run.sh m={manifest} -q", None, "./run.sh"),
        ("command", "./run.sh {manifest}", "x", "x"),
    ],
)
def test_a_command_is_known_without_its_options(engine: str, worker: str, named: str | None, known: str) -> None:
    """Two interpreters that run different programs are two workers."""
    assert known_name(engine, worker, named) == known
