"""Config files and environment: every ready config loads, every mistake is told with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from prealloc.errors import InputError, OptionsError
from prealloc.model.cell import cells_of
from prealloc.model.lane import Lane
from prealloc.model.plan_spec import PlanSpec
from prealloc.model.policy import RunPolicy
from prealloc.planning.estimate import Effort
from prealloc.settings import SECTIONS, TABLES, config_schema, from_environment, load_config, options_in

CONFIGS = sorted((Path(__file__).parents[2] / "config").glob("*.toml"))


def test_there_are_ready_configs() -> None:
    """The test below has something to look at."""
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_ready_config_loads_and_makes_a_spec_and_a_policy(path: Path) -> None:
    """A config that ships is one that works."""
    experiment = load_config(path)
    assert PlanSpec.checked(**experiment.sampling).shards >= 1
    policy = {key: value for key, value in experiment.run.items() if key not in ("worker", "engine")}
    assert RunPolicy.checked(**policy).concurrency >= 1


def test_all_mistakes_of_a_file_are_told_together_with_their_keys(tmp_path: Path) -> None:
    """Unknown sections and keys, wrong values in both sections: one error names them all."""
    path = tmp_path / "bad.toml"
    path.write_text(
        "colour = 1\n[library]\npath = 3\n[sampling]\nshrads = 2\nseed = -1\nrepeats = 0\n[run]\nretries = -1\n"
    )
    with pytest.raises(OptionsError) as caught:
        load_config(path)
    text = str(caught.value)
    for part in ("colour", "path: 3 is not", "did you mean shards?", "] seed", "] repeats", "] retries"):
        assert part in text
    assert len(caught.value.mistakes) == 6


def told(path: Path, text: str) -> dict[str, str]:
    """The mistakes of a config file: {key: problem}. No key has two."""
    path.write_text(text)
    with pytest.raises(OptionsError) as caught:
        load_config(path)
    assert len({mistake.where for mistake in caught.value.mistakes}) == len(caught.value.mistakes)
    return {mistake.where.removeprefix(f"{path} "): mistake.problem for mistake in caught.value.mistakes}


EXPERIMENT = """
[sampling]
num_instances_per_cell = 4
[factors]
model = ["a", "b"]
rate = [0.5, 1]
[[exclude]]
model = "b"
rate = 1
[settings]
temperature = 0
[[lanes]]
name = "one"
models = ["a", "b"]
key_env = "A_KEY"
[run]
timeout = "none"
[estimate]
seconds_per_task = 3
"""


def test_an_experiment_becomes_options(tmp_path: Path) -> None:
    """Sections of a config are options of PlanSpec, RunPolicy and Effort, and nothing is added that it does not say."""
    path = tmp_path / "a.toml"
    path.write_text(EXPERIMENT)
    experiment = load_config(path)
    spec = PlanSpec.checked(**experiment.sampling)
    assert spec.factors == {"model": ("a", "b"), "rate": (0.5, 1)}
    assert spec.exclude == ({"model": "b", "rate": 1},)
    assert spec.settings == {"temperature": 0}
    assert spec.lanes == (Lane(name="one", models=("a", "b"), key_env="A_KEY"),)
    assert experiment.run == {"timeout_s": None}
    assert experiment.estimate == {"seconds_per_task": 3}
    assert experiment.library == {}


def test_mistakes_of_every_section_come_together(tmp_path: Path) -> None:
    """A typo in a lane does not hide a wrong factor, nor does that hide a contradiction in [sampling]."""
    found = told(
        tmp_path / "a.toml",
        EXPERIMENT.replace("rate = 1\n", "rate = 2\n")
        .replace('"A_KEY"', '"A_KEY"\nrequest_per_minute = 1\nconcurrency = 0')
        .replace("= 4", "= 4\nnum_instances = 1")
        .replace('"none"', "600\nretries = -1")
        .replace("= 3", "= -3")
        .replace("temperature", "rate"),
    )
    assert found.keys() == {
        "[sampling] num_instances_per_cell and num_instances",
        "[factors] rate",
        "[[lanes]] 1 concurrency",
        "[[lanes]] 1 request_per_minute",
        "[run] retries",
        "[estimate] seconds_per_task",
    }
    assert found["[factors] rate"] == "it is a setting too"


def test_designs_are_a_list_of_tables(tmp_path: Path) -> None:
    """`[[factors]]` again and again; a mistake is told with the design's number, as the file spells it."""
    text = EXPERIMENT.replace("[factors]", "[[factors]]").replace('"b"]\nkey', '"b", "c"]\nkey')
    second = '[[factors]]\nrate = [2]\nmodel = ["b", "c"]\n'
    path = tmp_path / "a.toml"
    path.write_text(text.replace("[[exclude]]", f"{second}[[exclude]]").replace("rate = 1\n", "rate = 2\n"))
    spec = PlanSpec.checked(**load_config(path).sampling)
    assert [tuple(cell.values()) for cell in cells_of(spec.factors, spec.exclude)] == [
        *(("a", 0.5), ("a", 1), ("b", 0.5), ("b", 1)),
        ("c", 2),
    ]
    found = told(path, text.replace("[[exclude]]", '[[factors]]\nmodel = ["b", "b"]\n[[exclude]]'))
    assert found.keys() == {"[[factors]] 2 model", "[[factors]] 2 rate"}
    assert told(path, "factors = [1]") == {"[[factors]] 1": "1 is not a table"}


def test_options_of_some_cells_are_a_list_of_tables(tmp_path: Path) -> None:
    """`[[run.where]]`: judged by the factors of the file; without any, by those of the plan that is run."""
    entry = '[[run.where]]\nmodel = "b"\ntimeout = "30m"\nconcurrency = 2\n'
    path = tmp_path / "a.toml"
    path.write_text(EXPERIMENT.replace("[estimate]", f"{entry}[estimate]"))
    assert load_config(path).run == {
        "timeout_s": None,
        "where": [{"model": "b", "timeout_s": 1800.0, "concurrency": 2}],
    }
    wrong = entry.replace('"b"', '"z"') + entry.replace("model", "modle").replace("= 2", "= 0")
    found = told(path, EXPERIMENT.replace("[estimate]", f"{wrong}[estimate]"))
    assert found.keys() == {"[[run.where]] 2 concurrency"}
    found = told(path, EXPERIMENT.replace("[estimate]", f"{wrong.replace('= 0', '= 1')}[estimate]"))
    assert found == {"[[run.where]] 1 model": "no cell has 'z'", "[[run.where]] 2 modle": "there is no such factor"}
    path.write_text(wrong.replace("= 0", "= 1"))
    assert len(load_config(path).run["where"]) == 2


def test_a_model_that_no_lane_serves_is_named(tmp_path: Path) -> None:
    """Unless every cell of it is excluded."""
    text = EXPERIMENT.replace('models = ["a", "b"]', 'models = ["a"]')
    found = told(tmp_path / "a.toml", text)
    assert found == {"[[lanes]]": "no lane serves the model 'b'"}
    (tmp_path / "a.toml").write_text(text.replace('model = "b"\nrate = 1', 'model = "b"'))
    assert load_config(tmp_path / "a.toml")


def test_more_shards_than_a_plan_may_have(tmp_path: Path) -> None:
    """Told of the file, before a library is read."""
    found = told(tmp_path / "a.toml", EXPERIMENT.replace("num_instances_per_cell = 4", "shards = 90_000"))
    assert found == {"[factors]": "270000 shards are too many"}


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('"A_KEY"', '"{}"', "[[lanes]] 1 key_env"),
        ("temperature = 0", 'api_key = "{}"', "[settings] api_key"),
        ('"A_KEY"', '"A_KEY"\nsettings = {{ url = "{}" }}', "[[lanes]] 1 settings url"),
        ("temperature = 0", 'deep = {{ list = ["{}"] }}', "[settings] deep"),
        ("temperature = 0", 'headers = {{ Authorization = "x-{}" }}', "[settings] headers"),
        ('["a", "b"]\nrate', '["a", "b", "{}"]\nrate', "[factors] model"),
        ("= 4", '= "{}"', "[sampling] num_instances_per_cell"),
    ],
)
@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-Ab12Cd34Ef56Gh78",
        "AIzaSyA1234567890abcdef",
        "0123456789abcdef0123456789abcdef",
        "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3",
    ],
)
def test_a_key_in_the_file_is_refused_and_not_shown(
    tmp_path: Path, old: str, new: str, where: str, secret: str
) -> None:
    """Law 11: wherever it stands, the error names the place and the variable as hint, and never the key."""
    path = tmp_path / "a.toml"
    path.write_text(EXPERIMENT.replace(old, new.format(secret)))
    with pytest.raises(OptionsError) as caught:
        load_config(path)
    assert any(mistake.where.endswith(where) for mistake in caught.value.mistakes)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "gpt-4o-mini",
        "DeepSeek-R1-0528",
        "qwen2.5-72b-instruct",
        "sk-learn",
        "claude_sonnet4",
        "OPENAI_API_KEY",
        "/data/Models/Llama33/70B/checkpoints/final2",
        "MetaLlama33Instruct70BTurboFP8Quantized",
    ],
)
def test_names_are_no_keys(tmp_path: Path, text: str) -> None:
    """Models, deployments and names of variables pass as settings, also under a name that speaks of keys."""
    path = tmp_path / "a.toml"
    path.write_text(EXPERIMENT.replace("temperature = 0", f'some = "{text}"\napi_key = "OPENAI_API_KEY"'))
    assert load_config(path).sampling["settings"]["some"] == text


def test_every_declared_option_is_in_the_schema_and_no_other() -> None:
    """What `config schema` tells editors is what the check accepts, with the true defaults."""
    properties = config_schema()["properties"]
    assert set(properties) == {*SECTIONS, *TABLES}
    made = {"sampling": PlanSpec.checked(), "run": RunPolicy(), "estimate": Effort()}
    for name in ("library", "sampling", "run", "estimate"):
        section = properties[name]
        assert set(section["properties"]) == set(options_in(name))
        for key, (field, _, _) in options_in(name).items():
            if name in made and hasattr(made[name], field) and "default" in section["properties"][key]:
                assert section["properties"][key]["default"] == getattr(made[name], field)
    assert set(properties["lanes"]["items"]["properties"]) == set(Lane.__struct_fields__)


def test_old_names_are_refused_with_the_new_ones(tmp_path: Path) -> None:
    """A file that says timeout_s is told to say timeout; [sampling] settings has a section of its own."""
    found = told(tmp_path / "a.toml", "[run]\ntimeout_s = 3\n[sampling]\nwhole = true\nsettings = {}\n")
    assert found == {
        "[run] timeout_s": "it is called timeout",
        "[sampling] whole": "it is called all",
        "[sampling] settings": "it is a section",
    }


def test_a_python_mistake_is_told_in_pythons_words() -> None:
    """Who wrote timeout_s=... is not told of --timeout; a typo is named with what was meant."""
    with pytest.raises(OptionsError, match=r"‹timeout_s›: 'soon' is not a time") as caught:
        RunPolicy.checked(timeout_s="soon", concurency=2)  # type: ignore[call-arg]
    assert ("concurency", "there is no such option", "did you mean concurrency?") in caught.value.mistakes
    assert "--" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[run", b"a = {" * 5000], ids=["not UTF-8", "cut", "nested"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    """Bad input is an InputError that names the file, never a traceback of the parser's."""
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"config file|nested") as caught:
        load_config(path)
    assert caught.value.where == str(path)


def test_a_library_path_counts_from_the_config_file(tmp_path: Path) -> None:
    """An experiment folder can be moved as a whole."""
    path = tmp_path / "a.toml"
    path.write_text('[library]\npath = "tasks.json"\n')
    assert load_config(path).library["path"] == str(tmp_path / "tasks.json")


def test_the_environment_sets_run_options_and_is_checked() -> None:
    """PREALLOC_WORKERS and PREALLOC_ENGINE are options like any other."""
    assert from_environment({"PREALLOC_WORKERS": "3", "PREALLOC_ENGINE": "inline"}) == {
        "workers": 3,
        "engine": "inline",
    }
    assert from_environment({}) == {}
    with pytest.raises(OptionsError, match="PREALLOC_WORKERS"):
        from_environment({"PREALLOC_WORKERS": "many"})
