"""Experiments as a user types them: config check and schema, plan --config, and the ready configs, planned and run."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from command_line import Type

from prealloc.sample_library.write import write_sample
from prealloc.store.run_folder import OpenRun

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "config").glob("*.toml"))
ULTRA = ROOT / "config" / "ultra.toml"

EXPERIMENT = """
[library]
path = "t_{difficulty}.json"
[sampling]
num_instances_per_cell = 4
[factors]
model = ["a", "b"]
difficulty = ["easy", "hard"]
[settings]
tool_seconds = 0.0
[[lanes]]
name = "one"
models = ["a"]
requests_per_minute = 6
[[lanes]]
name = "two"
models = ["a", "b"]
[run]
worker = "prealloc.agents.simulate:run"
engine = "inline"
[estimate]
requests_per_task = 3
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A config, and libraries of two difficulties that share 20 of 21 tasks."""
    (tmp_path / "e.toml").write_text(EXPERIMENT)
    for name, tasks in (("easy", 21), ("hard", 20)):
        write_sample(tmp_path / f"t_{name}.json", tasks=tasks, workflow_bytes=1000)
    return tmp_path / "e.toml"


def test_config_check_says_what_would_be_planned(type_: Type, experiment: Path) -> None:
    """Cells, shards, units and lanes, without reading a library; --json has the same numbers."""
    done = type_("config", "check", "e.toml")
    assert done.code == 0
    assert "cells       4; 6 shards, 16 units\n" in done.out
    assert "bottleneck  one, by requests per minute\n" in done.out
    found = json.loads(type_("config", "check", "e.toml", "--json").out)
    assert (len(found["matrix"]["cells"]), found["matrix"]["shards"], found["matrix"]["units"]) == (4, 6, 16)
    assert [lane["units"] for lane in found["estimate"]["lanes"]] == [4, 12]
    assert found["estimate"]["seconds"] == 4 * 3 * 10


def test_config_check_tells_all_that_is_wrong_and_exits_with_2(type_: Type, experiment: Path) -> None:
    """The same error as of plan and run, before anything is read."""
    experiment.write_text(EXPERIMENT.replace('"a", "b"]\nd', '"a", "c"]\nd').replace("engine =", "engin ="))
    done = type_("config", "check", "e.toml")
    assert (done.code, done.out) == (2, "")
    assert "no lane serves the model 'c'" in done.err
    assert "did you mean engine?" in done.err
    assert type_("plan", "--config", "e.toml").err == done.err


def test_config_schema_is_a_json_schema(type_: Type) -> None:
    """For editors: closed objects, so that a typo is seen while it is typed."""
    schema = json.loads(type_("config", "schema").out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["additionalProperties"] is False
    assert "key_env" in schema["properties"]["lanes"]["items"]["properties"]


def test_plan_shows_the_matrix_and_its_numbers_are_in_json(type_: Type, experiment: Path) -> None:
    """What the page says, --json says too."""
    shown = type_("plan", "--config", "e.toml")
    assert "pairing     every cell has the same 4 tasks\n" in shown.out
    assert "left out    1 task of easy: not at every difficulty\n" in shown.out
    assert "estimate    at least 2 min; the time of a task is not known" in shown.out
    assert "1 ids are left out" in shown.err
    found = json.loads(type_("plan", "--config", "e.toml", "--json").out)
    assert found["matrix"]["paired"] is True
    assert found["matrix"]["dropped"] == {"easy": 1}
    assert (found["estimate"]["bottleneck"], found["estimate"]["complete"]) == ("one", False)
    assert json.loads(type_("plan", "t_easy.json", "-n", "1", "--json").out)["matrix"] is None


def test_options_of_the_command_line_win_over_the_file(type_: Type, experiment: Path) -> None:
    """The size of a cell is another; --set adds to the file's settings and changes one."""
    options = ["--num-instances-per-cell", "3", "--set", "temperature=1", "--set", "tool_seconds=0.5"]
    found = json.loads(type_("plan", "--config", "e.toml", "--json", *options).out)
    assert found["matrix"]["units"] == 12
    assert found["plan"]["spec"]["settings"] == {"temperature": 1, "tool_seconds": 0.5}


def test_a_past_run_tells_how_long_tasks_take(type_: Type, experiment: Path) -> None:
    """From a config to a comparison; then --history makes the estimate whole."""
    assert type_("plan", "--config", "e.toml", "--out", "plan").code == 0
    assert "pairing     every cell has the same 4 tasks\n" in type_("show", "plan").out
    assert type_("run", "plan", "--config", "e.toml", "--out", "run").code == 0
    rows = json.loads(type_("results", "run", "--by", "model,difficulty", "--json").out)
    assert [(row["group"], row["units"]) for row in rows] == [
        ({"model": m, "difficulty": d}, 4) for m in "ab" for d in ("easy", "hard")
    ]
    found = json.loads(type_("plan", "--config", "e.toml", "--history", "run", "--json").out)
    assert found["estimate"]["complete"] is True
    assert found["forecast"]["no_history"] == []
    assert type_("plan", "--config", "e.toml", "--history", "nowhere", "--out", "other").code == 2
    for words in (("plan", "--config", "e.toml"), ("run", "plan"), ("resume", "run")):
        done = type_(*words, "--durations-from", "run")
        assert (done.code, "it is called --history now" in done.err) == (2, True)
    assert not Path("other").exists()


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Libraries of two difficulties, for every ready config."""
    folder = tmp_path_factory.mktemp("libraries")
    for name, workflow_bytes in (("easy", 300), ("hard", 600)):
        write_sample(folder / f"tasks_{name}.json", tasks=510, workflow_bytes=workflow_bytes)
    return folder


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_ready_config_is_planned(type_: Type, libraries: Path, config: Path) -> None:
    """A config that ships is checked and planned as it stands."""
    assert type_("config", "check", str(config)).code == 0
    by_difficulty = "difficulty" in tomllib.loads(config.read_text()).get("factors", {})
    library = libraries / ("tasks_{difficulty}.json" if by_difficulty else "tasks_easy.json")
    planned = json.loads(type_("plan", str(library), "--config", str(config), "--json").out)
    checked = json.loads(type_("config", "check", str(config), "--json").out)
    units = sum(shard["units"] for shard in planned["plan"]["shards"])
    assert (len(planned["plan"]["shards"]), units) == (checked["matrix"]["shards"], checked["matrix"]["units"])


def test_the_whole_pool_of_ultra_runs_in_one_command(
    type_: Type, libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 shards, one combination of the other factors, queue for all 18 lanes, and each unit ends ok."""
    text = ULTRA.read_text().replace("num_instances_per_cell = 20", "num_instances_per_cell = 3")
    for name, value in (("prompt_type", '"baseline"'), ("difficulty", '"easy"'), ("tool_success_rate", "0.8")):
        text = re.sub(rf"^{name} = \[.*\]$", f"{name} = [{value}]", text, flags=re.M)
    text = re.sub(r"\[\[exclude\]\]\n.*\n.*\n", "", text).replace("tool_seconds = 0.005", "tool_seconds = 0.0")
    (tmp_path / "small.toml").write_text(text)
    library = str(libraries / "tasks_{difficulty}.json")
    assert type_("plan", library, "--config", "small.toml", "--out", "plan").code == 0
    for name in re.findall(r'key_env = "(\w+)"', text):
        monkeypatch.setenv(name, "any")
    ran = type_("run", "plan", "--config", "small.toml", "--out", "run", "--json")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert (ran.code, events[-1]["census"]["ok"]) == (0, 3 * 14)
    run = OpenRun(tmp_path / "run")
    assert len(run.manifests) == 30
    lanes = {lane.name: lane for lane in run.plan.spec.lanes}
    assert {manifest.planned_lane for manifest in run.manifests.values()} == lanes.keys()
    at_once: dict[str, int] = {}
    for event in events:
        step = {"shard_started": 1, "shard_ended": -1}.get(event["event"])
        lane = run.manifests[event["shard"]].lane if step else None
        if step and lane is not None:
            at_once[lane] = at_once.get(lane, 0) + step
            most = next(each.shards_at_once for each in run.plan.spec.lanes if each.name == lane)
            assert at_once[lane] <= most


def test_a_plan_remembers_how_its_config_runs_it(type_: Type, experiment: Path, tmp_path: Path) -> None:
    """[run] without what names code is in the plan: no second --config, the command line wins, the id is the same."""
    type_("plan", "--config", "e.toml", "--out", "bare")
    text = experiment.read_text().replace("[run]", '[run]\ntimeout = "90s"\nconcurrency = 3\nmemory = "none"')
    experiment.write_text(text)
    planned = type_("plan", "--config", "e.toml", "--out", "plan")
    command = "prealloc run plan --worker prealloc.agents.simulate:run --engine inline --out run/"
    assert f"run it: {command}\n" in planned.err
    assert "for runs  concurrency 3, timeout 90s, memory none\n" in planned.out
    assert type_(*command.split()[1:], "--retries", "1").code == 0
    policy = json.loads((tmp_path / "run" / "run.json").read_text())["policy"]
    assert (policy["timeout_s"], policy["concurrency"], policy["retries"]) == (90.0, 3, 1)
    assert type_(*command.split()[1:-1], "again", "--timeout", "5s").code == 0
    assert json.loads((tmp_path / "again" / "run.json").read_text())["policy"]["timeout_s"] == 5.0
    plan, bare = (json.loads((tmp_path / name / "plan.json").read_text()) for name in ("plan", "bare"))
    assert plan.pop("run_options") == {"concurrency": 3, "timeout_s": 90.0, "memory_bytes": None}
    assert plan == bare
    assert type_("verify", "plan").code == 0
    assert type_("resume", "run").code == 0
    assert type_("diff", "bare", "plan").code == 0
    copy = tmp_path / "run" / "plan" / "plan.json"
    changed = copy.read_text().replace('"timeout_s": 90.0', '"timeout_s": 91.0')
    for content in (changed, json.dumps(plan)):  # another time, and none at all
        copy.unlink()
        copy.write_text(content)
        assert "the plan was edited since the run began: changed in it: run_options" in type_("resume", "run").err
    assert type_("plan", "--config", "e.toml", "--out", "plan", "--force").code == 0


def test_options_of_some_cells_on_the_command_line(type_: Type, experiment: Path, tmp_path: Path) -> None:
    """Those of the config are in the plan, and shown as they are typed; the command line takes the place of all."""
    experiment.write_text(f'{experiment.read_text()}[[run.where]]\nmodel = "b"\ntimeout = "90s"\nconcurrency = 2\n')
    planned = type_("plan", "--config", "e.toml", "--out", "plan")
    assert "where model=b,timeout=90s,concurrency=2\n" in planned.out
    run = ("run", "plan", "--worker", "prealloc.agents.simulate:run", "--engine", "inline", "--out")
    assert type_(*run, "one").code == 0
    assert type_(*run, "two", "--where", "model=a,timeout=none", "--where", "difficulty=easy,concurrency=3").code == 0
    one, two = (json.loads((tmp_path / name / "run.json").read_text())["policy"]["where"] for name in ("one", "two"))
    assert one == [{"model": "b", "timeout_s": 90.0, "concurrency": 2}]
    assert two == [{"model": "a", "timeout_s": None}, {"difficulty": "easy", "concurrency": 3}]
    refused = type_(*run, "three", "--where", "model=z,timeout=1m", "--where", "timeout=1m")
    assert (refused.code, (tmp_path / "three").exists()) == (2, False)
    assert "--where 2: it names no factor" in refused.err
    assert type_("resume", "two").code == 0


@pytest.mark.parametrize(
    "options",
    [
        {"worker": "os:system"},
        {"engine": "command"},
        {"cleanup": "os:system"},
        {"timeout_s": "10m"},
        {"concurrency": 0},
        {"concurrency": "all"},
        {"where": [{"model": "a", "timeout_s": "10m"}]},
        {"where": [{"model": "a"}]},
        [1],
    ],
    ids=str,
)
def test_a_plan_names_no_code_and_no_odd_options(
    type_: Type, experiment: Path, tmp_path: Path, options: object
) -> None:
    """What `run_options` may hold is checked before it is believed: by run, show and verify, and in a run's copy."""
    type_("plan", "--config", "e.toml", "--out", "plan")
    type_("run", "plan", "--worker", "prealloc.agents.simulate:run", "--engine", "inline", "--out", "run")
    for folder, words in (
        ("plan", ("verify", "plan")),
        ("plan", ("show", "plan")),
        ("plan", ("run", "plan", "--worker", "prealloc.agents.simulate:run", "--out", "other")),
        ("run/plan", ("resume", "run")),
    ):
        file = tmp_path / folder / "plan.json"
        content = {**json.loads(file.read_text()), "run_options": options}
        file.unlink()  # the run's copy may be a link to the same bytes
        file.write_text(json.dumps(content))
        assert type_(*words).code == 2, words
    assert not (tmp_path / "other").exists()
