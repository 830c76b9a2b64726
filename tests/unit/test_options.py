"""Option values of the wrong type, wherever they come from: refused, all together, before anything is made."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from prealloc.errors import Mistake, OptionsError
from prealloc.model.fields import Fields
from prealloc.model.lane import Lane
from prealloc.model.options import options_of, read_options
from prealloc.model.part import Part
from prealloc.model.plan_spec import PlanSpec
from prealloc.model.policy import EngineOptions, RunPolicy, WorkerOptions
from prealloc.model.steer import Change
from prealloc.settings import load_config

WRONG_SPEC: dict[str, list[Any]] = {
    "shards": [1.5, "2", True, None],
    "num_instances": [1.5, "2", True],
    "per_type": ["yes", 1, None],
    "per_cell": ["yes", 1, None],
    "quotas": [3, "a=1", ["a"], {"a": "1"}, {1: 2}],
    "stratify": ["no", 0],
    "whole": [1, "no"],
    "types": ["a", [3], 3, {"a": 1}, ["\udcff"], [""], ["a", "a"]],
    "shard_sizes": [3, "3,x", [], [0], [1.5], {"a": 1}, [999, 2]],
    "timeout_field": [3, "", ["limit"], "workflow"],
    "strategy": [3, "", ["paired"]],
    "repeats": [1.0, "1"],
    "seed": ["7", 7.0],
    "keep": ["description", [3], b"a"],
    "settings": [
        3,
        {1: 2},
        {"a": b"x"},
        {"a": {1, 2}},
        {"a": {1: 2}},
        {"a": math.nan},
        {"a": [math.inf]},
        {"a": 2**64},
        {"a": "\udcff"},
        {"\udcff": 1},
    ],
}
WRONG_POLICY: dict[str, list[Any]] = {
    "concurrency": [1.5, "2", True, None],
    "workers": [1.5, "2"],
    "timeout_s": ["10 parsecs", True, [1], math.nan, math.inf, "-1", 0],
    "max_wait_s": [None, "none", "x", -1],
    "retries": [1.5, None],
    "drain_s": ["soon", None],
    "grace_s": ["soon", None, "none", -1],
    "start_s": [0, "0s", {}],
    "memory_bytes": ["much", 1.5, True, 3],
    "max_result_bytes": ["16 apples", 1.5],
    "max_log_bytes": [1.5],
    "fsync": ["no", 1, None],
    "where": [
        *(3, "model=a", {"model": "a"}, [3], ["model"], [{}], [{"model": "a"}], [{"timeout_s": 1}]),
        [{"model": "a", "timeout_s": 0}],
        [{"model": "a", "concurrency": "2"}],
        [{"model": ["a"], "concurrency": 2}],
        [{3: "a", "model": "a", "concurrency": 2}],
        ["model=a,concurrency=two"],
        [{"model": "a", "timeout_s": 1}] * 1001,
    ],
}


@pytest.mark.parametrize(("checked", "wrong"), [(PlanSpec.checked, WRONG_SPEC), (RunPolicy.checked, WRONG_POLICY)])
def test_each_wrong_value_is_a_mistake(checked: Any, wrong: dict[str, list[Any]]) -> None:
    """Never a bare TypeError, never taken for something else: one mistake, for this value."""
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(OptionsError) as caught:
                checked(**{name: value})
            assert len(caught.value.mistakes) == 1, (name, value)
            assert all(caught.value.mistakes[0]), (name, value)


@pytest.mark.parametrize(("checked", "wrong"), [(PlanSpec.checked, WRONG_SPEC), (RunPolicy.checked, WRONG_POLICY)])
def test_mistakes_of_type_are_told_together(checked: Any, wrong: dict[str, list[Any]]) -> None:
    """The first wrong value of every option at once: each of them is named."""
    with pytest.raises(OptionsError) as caught:
        checked(**{name: values[0] for name, values in wrong.items()})
    assert len(caught.value.mistakes) >= len(wrong)


@pytest.mark.parametrize(
    "settings",
    [
        {"key": "sk-proj-abcdefghijklmnop"},
        {"api_key": "hunter2"},
        {"model": {"openai_api_key": "abc"}},
        {"auth": [{"client_secret": "x y z"}]},
        {"hf_token": "abcdefgh12345678ijkl"},
        {"password": "p"},
        {"a": "AKIAABCDEFGHIJKLMNOP"},
    ],
    ids=str,
)
def test_settings_that_look_like_keys_are_refused(settings: dict[str, Any]) -> None:
    """Law 11: secrets never reach disk. The mistake names the setting and the hint, and does not repeat the value."""
    with pytest.raises(OptionsError, match="environment variable") as caught:
        PlanSpec.checked(settings=settings)
    for secret in ("sk-proj", "hunter2", "x y z", "12345678", "AKIA"):
        assert secret not in str(caught.value)


def test_settings_that_only_sound_like_keys_are_taken() -> None:
    """Names of variables, numbers and words: what is no key is not refused for its name."""
    settings = {
        "api_key": "OPENAI_API_KEY",
        "api_key_env": "MY_KEY",
        "max_tokens": 4096,
        "stop_token": "</s>",
        "tokenizer": "gpt2",
        "model": "sk-learn",
        "secret_santa": "yes",
        "deployment": "gpt-4o-2024-08-06",
    }
    assert PlanSpec.checked(settings=settings).settings.keys() == settings.keys()


def test_times_and_sizes_may_have_units_everywhere() -> None:
    """A TOML file and Python code spell them as the command line does."""
    policy = RunPolicy.checked(timeout_s="10m", max_wait_s="2h", drain_s="1.5", start_s="90s", memory_bytes="2GB")
    assert (policy.timeout_s, policy.max_wait_s, policy.drain_s, policy.start_s) == (600.0, 7200.0, 1.5, 90.0)
    assert policy.memory_bytes == 2 * 10**9
    assert RunPolicy.checked(memory_bytes="1.5GiB").memory_bytes == 3 * 2**29
    none = RunPolicy.checked(timeout_s="none", memory_bytes="none")
    assert (none.timeout_s, none.memory_bytes) == (None, None)


@pytest.mark.parametrize("struct", [Change, EngineOptions, Fields, Lane, Part, RunPolicy, WorkerOptions])
def test_none_is_taken_where_it_is_the_default(struct: type) -> None:
    """As the type of the keyword says: passing on a None of one's own is the same as leaving the option out."""
    fields = msgspec.structs.fields(struct)
    none = {each.name: None for each in fields if each.name in options_of(struct) and each.default is None}
    found: list[Mistake] = []
    assert read_options(struct, none, found) == none
    assert found == []


def test_settings_are_what_reads_back() -> None:
    """A spec in memory equals the one on disk, and nobody else holds its settings."""
    given = {"b": (1, 2), "a": {"x": 0.1}}
    spec = PlanSpec.checked(settings=given)
    given["a"]["x"] = 2  # type: ignore[call-overload, index]
    assert spec.settings == {"a": {"x": 0.1}, "b": [1, 2]}


def test_wrong_types_in_a_config_file(tmp_path: Any) -> None:
    """As in Python: every one is told under its key, in one error."""
    path = tmp_path / "bad.toml"
    path.write_text(
        '[sampling]\nstratify = "no"\nkeep = [3]\ntypes = "a"\nsettings = { t = nan }\n'
        '[run]\nconcurrency = 1.5\nfsync = "no"\ntimeout_s = "10 parsecs"\n'
    )
    with pytest.raises(OptionsError) as caught:
        load_config(path)
    assert len(caught.value.mistakes) == 7
