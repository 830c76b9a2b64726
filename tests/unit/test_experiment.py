"""An experiment is one folder: what grows, changes or goes runs nothing again that has finished."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Type

import prealloc
from prealloc.api.experiments import experiment_status
from prealloc.api.outcomes import unit_history
from prealloc.model.events import Note, RunEnded
from prealloc.model.lane import Lane
from prealloc.store.identity import Rule, identities

ROOT = Path(__file__).parents[2]
TYPES = ("sum", "product", "search", "plan", "write")
TASKS = [{"id": f"{type}-{n:02}", "type": type, "workflow": n} for type in TYPES for n in range(8)]
LANES = [Lane(name=f"key-{n}", models=["small"] if n < 2 else [], deployment=f"d-{n}") for n in range(4)]
BASE: dict[str, Any] = {
    "num_instances": 4,
    "per_type": True,
    "per_cell": True,
    "seed": 7,
    "lanes": LANES,
    "factors": {"model": ["small", "large"], "prompt_type": ["baseline", "cot"], "tool_success_rate": [0.6, 0.8]},
}
FACTORS = BASE["factors"]
ROWS: dict[str, dict[str, Any]] = {
    "6 tasks of each type, not 4": {"num_instances": 6},
    "one more prompt type, first in the list": {"factors": {**FACTORS, "prompt_type": ["optimal", "baseline", "cot"]}},
    "one more model on the same keys": {"factors": {**FACTORS, "model": ["small", "large", "huge"]}},
    "one more level of a factor": {"factors": {**FACTORS, "tool_success_rate": [0.6, 0.7, 0.8]}},
    "a key less": {"lanes": LANES[:-1]},
    "a key more, of another name": {"lanes": [Lane(name="new"), *LANES]},
    "a model less": {"factors": {**FACTORS, "model": ["large"]}},
    "another seed": {"seed": 8},
    "a setting that workers see": {"settings": {"temperature": 0.7}},
}
"""What may change in the four-lane experiment of 160 units, as the rows of the table in the docs name it."""


def told() -> dict[str, tuple[int, int]]:
    """What the table in the docs says of each change: (units planned, units that run)."""
    text = (ROOT / "docs" / "howto" / "fill-an-experiment.md").read_text()
    rows = re.findall(r"^\| (.+?) \| ([\d,]+) \| ([\d,]+) \|$", text, re.M)
    return {name: (int(planned.replace(",", "")), int(run.replace(",", ""))) for name, planned, run in rows}


def go(exp: Path, plan: prealloc.Plan, worker: str = "prealloc.testing:scripted", **options: Any) -> RunEnded:
    return prealloc.run(plan, worker, experiment=exp, engine="inline", **options)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment with its first 160 units."""
    exp = tmp_path_factory.mktemp("base") / "exp"
    assert go(exp, prealloc.plan(TASKS, **BASE)).census["ok"] == 160
    return exp


@pytest.fixture
def exp(base: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(base, tmp_path / "exp")


def names(exp: Path) -> list[str]:
    return sorted(path.name for path in (exp / "runs").iterdir())


@pytest.mark.parametrize("change", ROWS)
def test_nothing_that_finished_runs_again(exp: Path, change: str) -> None:
    """The table in the docs is what happens; and asked again, nothing is left, and nothing is made."""
    planned, runs = told()[change]
    plan = prealloc.plan(TASKS, **{**BASE, **ROWS[change]})
    ended = go(exp, plan)
    assert (sum(ended.census.values()), ended.census["ok"], ended.elsewhere) == (planned, runs, planned - runs)
    assert (ended.exit_code, ended.resume, ended.missing) == (0, None, ())
    there = names(exp)
    assert len(there) == (2 if runs else 1)
    again = go(exp, plan)
    assert (again.exit_code, again.elsewhere, names(exp)) == (0, planned, there)
    status = experiment_status(exp)
    assert (status.wanted, status.done, status.go_on) == (160 + runs, 160 + runs, None)
    assert len(list(prealloc.outcomes(exp))) == 160 + runs


def test_the_pool_of_models_grows(tmp_path: Path) -> None:
    """The table's last row: config/ultra.toml from 20 to 30 tasks a cell, 164 cells on 18 lanes, is the same units."""
    planned, runs = told()["`config/ultra.toml` with 30 tasks a cell, not 20"]
    for difficulty in ("easy", "hard"):
        tasks = [{"id": f"t{n:03}", "type": TYPES[n % 5], "workflow": n} for n in range(100)]
        (tmp_path / f"tasks_{difficulty}.json").write_text(json.dumps(tasks))
    options = prealloc.load_config(ROOT / "config" / "ultra.toml").sampling
    known = []
    for n in (20, 30):
        plan = prealloc.plan(tmp_path / "tasks_{difficulty}.json", **{**options, "num_instances_per_cell": n})
        tasks_of = {shard.id: shard.tasks for shard in plan.shards}
        manifests = {shard.id: shard.manifest for shard in plan.shards}
        known.append({*identities("w", plan.spec, manifests, tasks_of.__getitem__, Rule()).values()})
    few, many = known
    assert (len(many), len(many - few), few - many) == (planned, runs, set())


def test_what_is_done_and_what_differs_is_said(exp: Path) -> None:
    """At the start: how many units are done, and what the missing ones differ in from finished ones but by factors."""
    said: list[str] = []

    def observe(event: Any) -> None:
        if isinstance(event, Note):
            said.append(event.text)

    go(exp, prealloc.plan(TASKS, **{**BASE, "settings": {"t": 1}}), observe=observe)
    assert said[0] == "0 of 160 units are done in this experiment; 160 finished ones differ: setting t is new"
    go(exp, prealloc.plan(TASKS, **{**BASE, **ROWS["one more model on the same keys"]}), observe=observe)
    assert said[1] == "160 of 240 units are done in this experiment"


def test_a_part_of_it(exp: Path) -> None:
    """Of a grown experiment only what is asked for runs; when that is done, no run is made, and the rest is open."""
    plan = prealloc.plan(TASKS, **{**BASE, **ROWS["one more model on the same keys"]})
    part = {"only": [{"model": "huge", "prompt_type": "cot"}]}
    ended = go(exp, plan, **part)
    assert (ended.census["ok"], ended.elsewhere, ended.not_asked, ended.exit_code) == (40, 160, 40, 0)
    again = go(exp, plan, **part)
    assert (again.elsewhere, again.not_asked, again.exit_code, names(exp)) == (200, 40, 0, ["0001", "0002"])
    assert go(exp, plan).census["ok"] == 40


def test_another_ranking_is_refused(exp: Path) -> None:
    """With it the plan would have other tasks: an experiment keeps that of its first plan."""
    with pytest.raises(prealloc.OptionsError, match="ranking"):
        go(exp, prealloc.plan(TASKS, **{**BASE, "ranking": 1}))
    assert names(exp) == ["0001"]


@pytest.mark.parametrize("place", ["a file", "a folder with something", "a run", "in a run"])
def test_only_an_experiment_is_filled(base: Path, tmp_path: Path, place: str) -> None:
    """Anything else at that place is left alone."""
    at = {"a run": base / "runs" / "0001", "in a run": base / "runs" / "0001" / "exp"}.get(place, tmp_path / "exp")
    if place == "a file":
        at.write_text("mine")
    elif place == "a folder with something":
        at.mkdir()
        (at / "mine").touch()
    before = sorted(at.rglob("*"))
    with pytest.raises(prealloc.RunFolderError):
        go(at, prealloc.plan(TASKS, **BASE))
    assert sorted(at.rglob("*")) == before


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{", "not a JSON document"),
        ('{"format":"prealloc.experiment","version":2,"ranking":"x"}', "version 2"),
        ('{"format":"prealloc.experiment","version":1,"ranking":"x/1"}', "its ranking is 'x/1'"),
        ('{"format":"prealloc.experiment","version":1,"ranking":"x","more":1}', "a field is wrong"),
    ],
)
def test_a_file_that_is_no_experiments_is_refused(exp: Path, written: str, problem: str) -> None:
    """Whoever reads or fills it is told what is wrong with it, and nothing is made."""
    (exp / "experiment.json").write_text(written)
    for what in (lambda: go(exp, prealloc.plan(TASKS, **BASE)), lambda: prealloc.status(exp)):
        with pytest.raises(prealloc.RunFolderError, match=problem):
            what()
    assert names(exp) == ["0001"]


def test_a_damaged_run_is_told_before_another_is_made(exp: Path) -> None:
    """What its units are cannot be known: nothing runs before it is restored, or taken out of the experiment."""
    (exp / "runs" / "0001" / "run.json").write_text("{")
    plan = prealloc.plan(TASKS, **BASE)
    with pytest.raises(prealloc.RunFolderError, match=r"0001.*run\.json"):
        go(exp, plan)
    assert names(exp) == ["0001"]
    shutil.rmtree(exp / "runs" / "0001")
    assert go(exp, plan).census["ok"] == 160


@pytest.mark.parametrize("noted", ["2\n", "", None, "x" * 100])
def test_no_number_is_given_twice(exp: Path, tmp_path: Path, noted: str | None) -> None:
    """The next run's is above that of one that was moved away; an experiment that has not noted it goes by its runs."""
    assert go(exp, prealloc.plan(TASKS, **{**BASE, "seed": 8})).exit_code == 0
    assert (exp / "latest").read_text() == "2\n"
    shutil.move(exp / "runs" / "0002", tmp_path / "0002")
    (exp / "latest").unlink() if noted is None else (exp / "latest").write_text(noted)
    assert go(exp, prealloc.plan(TASKS, **{**BASE, "seed": 9})).exit_code == 0
    assert names(exp) == ["0001", "0003" if noted == "2\n" else "0002"]


def test_what_failed_is_done_and_infra_is_not(tmp_path: Path) -> None:
    """A final outcome decides a unit, whichever it is; the next run takes up what has none."""
    scripts = {"good": {"do": "return", "value": {"success": True}, "after_s": 0}}
    scripts["bad"] = {"do": "fail", "message": "no", "after_s": 0}
    scripts["gone"] = {"do": "retry", "retry_after_s": None, "after_s": 0}
    tasks = [{"id": id, "type": "x", "workflow": {"script": [step]}} for id, step in scripts.items()]
    plan = prealloc.plan(tasks, whole=True)
    exp = tmp_path / "exp"
    for number in (1, 2):
        ended = go(exp, plan, retries=0)
        assert (ended.exit_code, ended.run) == (1, str(exp / "runs" / f"000{number}"))
    assert (ended.census["infra"], ended.elsewhere) == (1, 2)
    status = experiment_status(exp)
    assert [(cell.wanted, cell.done, cell.ok, cell.missing) for cell in status.cells] == [
        (3, 2, 1, {"infra: prealloc.errors.Retryable": 1})
    ]
    assert prealloc.resume(exp / "runs" / "0001", failed=True).census["failed"] == 1
    assert prealloc.status(exp).census["infra"] == 1


def test_a_unit_of_two_runs_counts_once(tmp_path: Path) -> None:
    """The first run that decided it counts; the later one is kept, and shown as such."""
    tasks = [{"id": "t", "type": "x", "workflow": 1}]
    exp = tmp_path / "exp"
    go(exp, prealloc.plan(tasks, whole=True))
    (exp / "runs" / "0001").rename(tmp_path / "aside")  # and back: its unit was missing for a while
    go(exp, prealloc.plan(tasks, whole=True))
    (tmp_path / "aside").rename(exp / "runs" / "0001")
    (outcome,) = prealloc.outcomes(exp)
    assert (outcome.run, outcome.later) == ("0001", ("0002",))
    assert prealloc.results(exp)[0].units == 1
    assert (prealloc.status(exp).units, prealloc.status(exp).shards) == (1, {"0001": {"ok": 1}, "0002": {}})


def test_a_unit_that_has_not_run_has_its_lane(tmp_path: Path) -> None:
    """What is known of it is the same, whether its run or the experiment is asked."""
    planned = prealloc.plan(TASKS, num_instances=2, lanes=[Lane(name="k1")])
    exp = tmp_path / "exp"
    go(exp, planned, limit=1)
    (left,) = (outcome.unit for outcome in prealloc.outcomes(exp) if outcome.status == "not_run")
    for folder in (exp / "runs" / "0001", exp):
        assert unit_history(folder, str(left)).lane == "k1"


CONFIG = """
[library]
path = "tasks.json"
[sampling]
num_instances = 2
[factors]
model = ["a", "b"]
[run]
worker = "prealloc.testing:scripted"
engine = "inline"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "tasks.json").write_text(json.dumps(TASKS))
    (tmp_path / "exp.toml").write_text(CONFIG)
    return tmp_path / "exp.toml"


def test_one_config_one_folder(type_: Type, config: Path) -> None:
    """`run --config --experiment` plans, runs what is missing, keeps the config; every command reads the folder."""
    words = ("run", "--config", "exp.toml", "--experiment", "exp")
    first = type_(*words)
    assert first.code == 0
    assert "4/4 done" in first.out
    kept = Path("exp/config.toml").read_text()
    assert kept.startswith("# ")
    assert kept.endswith(CONFIG)
    again = type_(*words)
    assert (again.code, names(Path("exp"))) == (0, ["0001"])
    assert "nothing is left to run: all 4 units are done in exp" in again.out
    config.write_text(CONFIG.replace('"a", "b"', '"a", "b", "c"'))
    assert type_(*words, "--json").code == 0
    assert names(Path("exp")) == ["0001", "0002"]
    assert json.loads(type_("status", "exp", "--json").out)["census"]["ok"] == 6
    assert json.loads(type_("experiment", "status", "exp", "--json").out)["done"] == 6
    rows = type_("experiment", "status", "exp").out
    assert re.search(r"^c +2 +2 +2", rows, re.M)
    assert re.search(r"^b +2 +2", type_("results", "exp", "--by", "model").out, re.M)
    unit = json.loads(type_("results", "exp", "--units").out.splitlines()[-1])
    assert unit["run"] == "0002"
    assert "run       0002" in type_("show", "exp", unit["unit"]).out
    unknown = type_("show", "exp", "c.00/nobody#0")
    assert unknown.code == 2
    assert type_(*pasted(unknown.err)).code == 0
    assert type_("show", "exp").code == type_("verify", "exp").code == 0
    assert "ok       0002 units" in type_("doctor", "exp").out
    for words in (("ctl", "exp"), ("debug", "exp", unit["unit"])):
        assert f"such as the latest: {Path('exp/runs/0002')}" in type_(*words).err
    refused = type_("resume", "exp")
    assert refused.code == 2
    assert f"prealloc run --config {config} --experiment exp" in refused.err


def pasted(said: str) -> list[str]:
    """The words of the command between the backquotes of a hint."""
    return shlex.split(said.split("`")[1])[1:]


def test_a_name_that_two_units_have_is_not_shown(type_: Type, config: Path) -> None:
    """Two runs whose settings differ have units of the same name: which one is meant must be said."""
    words = ("run", "--config", "exp.toml", "--experiment", "exp")
    type_(*words)
    config.write_text(CONFIG + "[settings]\nt = 1\n")
    type_(*words)
    refused = type_("show", "exp", json.loads(type_("results", "exp", "--units").out.splitlines()[0])["unit"])
    assert refused.code == 2
    assert "2 units of exp have this name, in its runs 0001, 0002" in refused.err
    assert type_(*pasted(refused.err)).code == 0
    cells = json.loads(type_("experiment", "status", "exp", "--json").out)["cells"]
    assert [(each["cell"], each["done"]) for each in cells] == [
        ({"model": "a", "t": None}, 2),
        ({"model": "b", "t": None}, 2),
        ({"model": "a", "t": 1}, 2),
        ({"model": "b", "t": 1}, 2),
    ]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("--config", "exp.toml"), "--out: it is missing"),
        (("--experiment", "exp"), "PLAN: it is missing"),
        (("--config", "exp.toml", "--experiment", "exp", "--out", "run"), "--out and --experiment"),
        (("--config", "exp.toml", "--experiment", "exp", "--timeout", "soon"), "--timeout: 'soon'"),
        (("--config", "none.toml", "--experiment", "exp"), "[library] path"),
    ],
)
def test_what_is_missing_is_said_and_nothing_made(type_: Type, config: Path, words: Any, wrong: str) -> None:
    """Exit code 2, and no folder."""
    Path("none.toml").write_text('[run]\nworker = "prealloc.testing:scripted"\n')
    before = sorted(os.listdir())
    done = type_("run", *words)
    assert done.code == 2
    assert wrong in done.err
    assert sorted(os.listdir()) == before


def test_the_plan_for_an_experiment_takes_its_ranking(type_: Type, config: Path) -> None:
    """A config that says no version of the ranking gets that of the experiment's first plan."""
    config.write_text(CONFIG.replace("num_instances = 2", "num_instances = 2\nranking = 1"))
    words = ("run", "--config", "exp.toml", "--experiment", "exp")
    assert type_(*words).code == 0
    config.write_text(CONFIG.replace("num_instances = 2", "num_instances = 3"))
    assert type_(*words).code == 0
    plan = json.loads(Path("exp/runs/0002/plan/plan.json").read_text())
    assert plan["ranking"] == "blake2b64-splitmix64/1"


def test_a_part_of_an_experiment(type_: Type, config: Path) -> None:
    """A part that other runs have decided makes no run, and what is not asked for stays open; asked whole, it runs."""
    words = ("run", "--config", "exp.toml", "--experiment", "exp")
    first = type_(*words, "--limit", "1")
    assert first.code == 0
    assert "all units that were asked for are ok" in first.out
    again = type_(*words, "--limit", "1")
    assert (again.code, names(Path("exp"))) == (0, ["0001"])
    assert "nothing is left to run: all units that were asked for are done in exp" in again.out
    done = prealloc.status("exp").census["ok"]
    assert 0 < done < 4
    assert f"not asked  {4 - done} unit" in again.out
    assert type_(*words).code == 0
    assert (prealloc.status("exp").census["ok"], names(Path("exp"))) == (4, ["0001", "0002"])
