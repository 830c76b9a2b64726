"""The options around a generator: mistakes told together, and what stands in a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from prealloc.api.plans import check_options, plan
from prealloc.errors import OptionsError
from prealloc.model.plan_spec import PlanSpec
from prealloc.store.plan_folder import read_plan, write_plan
from prealloc.testing import make_plan, make_task


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gen.py").write_text("raise SystemExit\ndef make(task, ctx): return 1\ndef fine(task): return 1\n")


def mistakes(*generation: Any, **options: Any) -> list[str]:
    with pytest.raises(OptionsError) as caught:
        check_options(options, *generation)
    return [mistake.where.split(" ")[0] for mistake in caught.value.mistakes]


def test_mistakes_of_all_kinds_are_told_together() -> None:
    """Those of the plan, of the generator and of its options in one error."""
    assert mistakes("gen:make", None, -1, shards=0, seed=-1) == [
        *("‹shards›", "‹seed›", "‹generate_workflows›", "‹generate_timeout_s›")
    ]


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "soon"], ids=repr)
def test_a_timeout_is_a_number_of_seconds(value: Any) -> None:
    """None is off; nothing else that is no time is taken for one."""
    assert mistakes("gen:fine", None, value) == ["‹generate_timeout_s›"]
    assert check_options({}, "gen:fine", None, None)[2] is None
    assert check_options({}, "gen:fine", None, "10m")[2] == 600


def test_options_of_nothing_are_refused() -> None:
    """A cache or a timeout without a generator was meant otherwise; a generator's name in the spec alone would lie."""
    assert mistakes(None, "cache", 5) == ["‹workflow_cache›", "‹generate_timeout_s›"]
    assert mistakes(generator="a:b", generator_version="1") == ["generator", "generator_version"]


def test_a_mistake_is_told_before_the_library_is_read() -> None:
    """There is no library here, and that is not what is told."""
    with pytest.raises(OptionsError):
        plan("nothing.json", generate_workflows="gen:make")


def test_a_plan_without_a_generator_does_not_name_one() -> None:
    """Its bytes and id are those of plans made before there were generators."""
    fields = msgspec.to_builtins(PlanSpec.checked())
    assert not {"generator", "generator_version"} & fields.keys()


def test_generator_and_version_are_part_of_the_plan(tmp_path: Path) -> None:
    """Another version is another plan; half of the pair is refused when it is read."""
    made = make_plan([make_task("a")])
    named = [
        msgspec.structs.replace(made.spec, generator="gen:make", generator_version=version) for version in ("1", "2")
    ]
    from prealloc.store.build import plan_id

    assert len({plan_id(spec, []) for spec in (made.spec, *named)}) == 3
    write_plan(made, tmp_path / "plan")
    path = tmp_path / "plan" / "plan.json"
    document = json.loads(path.read_text())
    document["spec"]["generator"] = "gen:make"
    path.write_text(json.dumps(document))
    with pytest.raises(Exception, match="go together"):
        read_plan(tmp_path / "plan")
