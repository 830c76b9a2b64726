"""Cells by hand: which there are, where they run, what they are called, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import prealloc
from prealloc.api.plans import diff, verify
from prealloc.errors import LibraryError, OptionsError, PlanError
from prealloc.model.cell import cells_of
from prealloc.model.lane import Lane
from prealloc.model.plan_spec import PlanSpec
from prealloc.planning.cells import cell_shard_ids, lay_out
from prealloc.planning.matrix import loads_of_plan, loads_of_spec, matrix_of_plan, matrix_of_spec
from prealloc.store.build import PlannedShard, build_plan
from prealloc.store.plan_folder import read_plan, write_plan
from prealloc.testing import make_task

FACTORS = {"model": ["a", "b"], "rate": [0.5, 1]}


def put(folder: Path, name: str, count: int, types: str = "xy", first: int = 0) -> Path:
    path = folder / name
    rows = [
        {"id": f"t{n}", "type": types[n % len(types)], "workflow": {"of": name}} for n in range(first, first + count)
    ]
    path.write_text(json.dumps(rows))
    return path


def refusal(**options: Any) -> dict[str, str]:
    with pytest.raises(OptionsError) as caught:
        PlanSpec.checked(**options)
    return {mistake.where: mistake.problem for mistake in caught.value.mistakes}


def test_cells_come_in_the_order_of_the_file() -> None:
    """The last factor changes fastest; a partial cell takes out all that hold it, and 1 is not true."""
    every = [{"model": m, "rate": r} for m in "ab" for r in (0.5, 1)]
    assert cells_of(FACTORS) == every
    assert cells_of(FACTORS, [{"model": "a", "rate": 1}]) == [every[0], *every[2:]]
    assert cells_of(FACTORS, [{"rate": True}]) == every
    assert cells_of({}) == [{}]


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"factors": {"model": []}}, "‹factors› model"),
        ({"factors": {"model": "abc"}}, "‹factors› model"),
        ({"factors": {"model": ["a", "a"]}}, "‹factors› model"),
        ({"factors": {"model": [["a"]]}}, "‹factors› model"),
        ({"factors": {"model": [float("nan")]}}, "‹factors› model"),
        ({"factors": {"": ["a"]}}, "‹factors›"),
        ({"factors": {"difficulty": [1]}}, "‹factors› difficulty"),
        ({"factors": {f"f{n}": list(range(100)) for n in range(3)}}, "‹factors›"),
        ({"factors": FACTORS, "settings": {"rate": 1}}, "‹factors› rate"),
        ({"factors": FACTORS, "exclude": [{}]}, "‹exclude› 1"),
        ({"factors": FACTORS, "exclude": [{"model": "c"}]}, "‹exclude› 1 model"),
        ({"factors": FACTORS, "exclude": [{"rate": 0.5}, {"colour": 1}]}, "‹exclude› 2 colour"),
        ({"factors": FACTORS, "exclude": [{"rate": 0.5}, {"rate": 1}]}, "‹exclude›"),
        ({"factors": {"deployment": ["a"]}, "lanes": [Lane(name="l", key_env="K")]}, "‹factors› deployment"),
        ({"factors": FACTORS, "lanes": [Lane(name="l", models=("a",))]}, "‹lanes›"),
        ({"factors": {"rate": [1]}, "lanes": [Lane(name="l", models=("a",))]}, "‹lanes›"),
        ({"num_instances_per_cell": 0}, "‹num_instances_per_cell›"),
        ({"num_instances_per_cell": 4, "num_instances": 4}, "‹num_instances_per_cell› and ‹num_instances›"),
        ({"num_instances_per_cell": 4, "whole": True}, "‹num_instances_per_cell› and ‹whole›"),
        ({"num_instances_per_cell": 4, "quotas": {"x": 1}}, "‹num_instances_per_cell› and ‹quotas›"),
        ({"num_instances_per_cell": 4, "strategy": "paired"}, "‹num_instances_per_cell› and ‹strategy› paired"),
        ({"num_instances_per_cell": 4, "shards": 5}, "‹shards›"),
        ({"num_instances_per_cell": 4, "per_type": True}, "‹num_instances_per_cell› and ‹per_type›"),
        ({"per_cell": True, "per_type": True, "strategy": "paired"}, "‹per_cell› and ‹strategy› paired"),
        ({"per_cell": True, "quotas": {"x": 1}, "num_instances": 4}, "‹quotas› and ‹num_instances›"),
        ({"per_cell": True, "quotas": {"x": 2, "y": 2}, "shards": 5}, "‹shards›"),
        ({"per_cell": True, "per_type": True, "num_instances": 2, "types": ["x"], "shards": 3}, "‹shards›"),
        ({"settings": {"api_key": "hunter2"}}, "‹settings› api_key"),
        ({"shard_sizes": [3, 1]}, "‹shard_sizes›"),
        ({"shard_sizes": [3, 1], "shards": 3, "whole": True}, "‹shards› and ‹shard_sizes›"),
        ({"shard_sizes": [3, 1], "whole": True, "strategy": "paired"}, "‹shard_sizes› and ‹strategy› paired"),
        ({"shard_sizes": [3, 1], "num_instances_per_cell": 1}, "‹shards›"),
        ({"shard_sizes": [999, 2], "whole": True}, "‹shard_sizes›"),
        ({"lanes": [Lane(name="l", settings=3)]}, "lane l settings"),  # type: ignore[arg-type]
        ({"lanes": [Lane(name="l", settings={"api_key": "hunter2"})]}, "lane l settings api_key"),
        ({"lanes": [Lane(name="l", settings={"x": float("nan")})]}, "lane l settings x"),
        ({"lanes": [Lane(name="l", settings={"deployment": "d"})]}, "lane l settings deployment"),
        ({"lanes": [Lane(name="l", settings={"model": "a"})]}, "lane l settings model"),
        ({"lanes": [Lane(name="l", settings={"url": "a"})], "settings": {"url": "b"}}, "lane l settings url"),
        ({"lanes": [Lane(name="l", settings={"rate": 1})], "factors": FACTORS}, "‹factors› rate"),
        ({"factors": 3}, "‹factors›"),
        ({"factors": [FACTORS, 3]}, "‹factors› 2"),
        ({"factors": [FACTORS, {}]}, "‹factors› 2"),
        ({"factors": [FACTORS, {"model": ["a"]}]}, "‹factors› 2 rate"),
        ({"factors": [FACTORS, {**FACTORS, "colour": ["red"]}]}, "‹factors› 1 colour"),
        ({"factors": [FACTORS, {**FACTORS, "rate": []}]}, "‹factors› 2 rate"),
        ({"factors": [FACTORS, FACTORS], "settings": {"rate": 1}}, "‹factors› rate"),
        ({"factors": [FACTORS] * 1001}, "‹factors›"),
        ({"factors": [{f"f{n}": list(range(99)) for n in range(2)}] * 11}, "‹factors›"),
        ({"factors": [FACTORS, {"model": ["c"], "rate": [2]}], "exclude": [{"model": "d"}]}, "‹exclude› 1 model"),
        ({"factors": [FACTORS, {"model": ["sk-proj-Ab12Cd34Ef56"], "rate": [2]}]}, "‹factors› model"),
    ],
)
def test_what_makes_no_experiment_is_refused_at_its_place(options: dict[str, Any], where: str) -> None:
    """Each mistake names its key."""
    assert where in refusal(**options)


def test_an_unserved_model_is_named_and_an_excluded_one_is_not() -> None:
    """Every model that no lane serves, once each."""
    lanes = [Lane(name="l", models=("a",))]
    factors = {"model": ["a", "b", "c"], "rate": [0.5, 1]}
    with pytest.raises(OptionsError) as caught:
        PlanSpec.checked(factors=factors, lanes=lanes, exclude=[{"model": "c"}])
    assert [mistake.problem for mistake in caught.value.mistakes] == ["no lane serves the model 'b'"]


def test_shards_of_a_cell_are_dealt_over_its_lanes() -> None:
    """One for each lane that serves the model, the extra tasks of the next cell to the lanes with the fewest so far."""
    lanes = [Lane(name="a1", models=("a",)), Lane(name="a2", models=("a",)), Lane(name="b", models=("b",))]
    laid = lay_out(PlanSpec.checked(factors=FACTORS, lanes=lanes, num_instances_per_cell=3))
    found = [(shard.id, shard.lane.name if shard.lane else None, shard.share(3)) for shard in laid]
    assert found == [
        ("a.0.5.00", "a1", 2),
        ("a.0.5.01", "a2", 1),
        ("a.1.00", "a2", 2),
        ("a.1.01", "a1", 1),
        ("b.0.5.00", "b", 3),
        ("b.1.00", "b", 3),
    ]


def test_num_instances_is_per_shard_whatever_the_lanes() -> None:
    """`shards` shards for each cell, so that cells stay paired; they take turns on the lanes."""
    lanes = [Lane(name="l1"), Lane(name="l2"), Lane(name="l3")]
    laid = lay_out(PlanSpec.checked(factors={"model": ["a", "b"]}, lanes=lanes, num_instances=5, shards=2))
    assert [(shard.cell["model"], shard.lane and shard.lane.name) for shard in laid] == [
        ("a", "l1"),
        ("a", "l2"),
        ("b", "l3"),
        ("b", "l1"),
    ]


def test_fewer_tasks_than_lanes_leave_no_shard_empty() -> None:
    """2 tasks, 3 lanes: 2 shards."""
    lanes = [Lane(name=f"l{n}") for n in range(3)]
    assert len(lay_out(PlanSpec.checked(lanes=lanes, num_instances_per_cell=2))) == 2


@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        ([{"m": "DeepSeek V3/0324", "r": 0.8}], ["deepseek-v3-0324.0.8.00"]),
        ([{"m": "A b"}, {"m": "a-b"}, {"m": "A b"}], ["a-b.00", "a-b.01", "a-b.02"]),
        ([{"m": "../..", "n": "é"}], ["x.x.00"]),
        ([{"m": "-rf", "n": True}], ["rf.true.00"]),
        ([{"m": "x" * 300, "n": "y" * 300}], [f"{'x' * 46}.{'y' * 46}.00"]),
    ],
)
def test_ids_tell_the_cell(cells: list[dict[str, Any]], ids: list[str]) -> None:
    """Values as far as a file name may spell them; what is spelled alike is numbered on."""
    assert cell_shard_ids(cells) == ids


def test_difficulties_are_paired_by_the_ids_that_all_hold(tmp_path: Path) -> None:
    """Each is read from its own file, the ids are the same, the contents are not, and what is dropped is told."""
    put(tmp_path, "t_easy.json", 12)
    put(tmp_path, "t_hard.json", 12, first=2)
    told: list[str] = []
    made = prealloc.plan(
        tmp_path / "t_{difficulty}.json",
        factors={"difficulty": ["easy", "hard"]},
        whole=True,
        out=tmp_path / "plan",
        notes=told.append,
    )
    easy, hard = made.shards
    assert [task.id for task in easy.tasks] == [task.id for task in hard.tasks]
    assert {task.id for task in easy.tasks} == {f"t{n}" for n in range(2, 12)}
    assert {task.workflow["of"] for task in hard.tasks} == {"t_hard.json"}
    assert [info.dropped for info in made.libraries] == [2, 2]
    assert told == ["4 ids are left out: some difficulties do not have them"]
    by_folder = prealloc.plan(tmp_path, factors={"difficulty": ["easy", "hard"]}, whole=True)
    assert by_folder.id == made.id
    assert read_plan(tmp_path / "plan").file == made.file
    # verify and diff know that the same id at another difficulty is another task.
    verify(tmp_path / "plan", library=tmp_path / "t_{difficulty}.json")
    (tmp_path / "t_hard.json").write_text((tmp_path / "t_hard.json").read_text().replace("t_hard.json", "changed", 1))
    with pytest.raises(PlanError, match=r"1 planned tasks are not as planned"):
        verify(tmp_path / "plan", library=tmp_path / "t_{difficulty}.json")
    prealloc.plan(tmp_path, factors={"difficulty": ["easy", "hard"]}, whole=True, out=tmp_path / "other")
    assert diff(tmp_path / "plan", tmp_path / "other").changed == ["t2 (hard)"]


def test_a_task_that_changes_its_type_with_the_difficulty_is_refused(tmp_path: Path) -> None:
    """It would count for one type here and for another there."""
    put(tmp_path, "t_easy.json", 6, "xy")
    put(tmp_path, "t_hard.json", 6, "xxy")
    with pytest.raises(LibraryError, match=r"3 tasks have another type than at difficulty easy: t1, t2, t3") as caught:
        prealloc.plan(tmp_path, factors={"difficulty": ["easy", "hard"]}, num_instances=1)
    assert "t_hard.json" in str(caught.value.where)


@pytest.mark.parametrize(
    ("library", "options", "part"),
    [
        ("t_easy.json", {"factors": {"difficulty": ["easy"]}}, "is one library, but difficulty is a factor"),
        ("t_{difficulty}.json", {}, "needs a difficulty"),
        ("t_{difficulty}.json", {"factors": {"difficulty": ["easy"]}, "difficulty": "easy"}, "is also a factor"),
    ],
)
def test_a_path_that_does_not_fit_the_factors(tmp_path: Path, library: str, options: Any, part: str) -> None:
    """Said before anything is read."""
    put(tmp_path, "t_easy.json", 6)
    with pytest.raises(OptionsError, match=part):
        prealloc.plan(tmp_path / library, num_instances=1, **options)


def test_libraries_that_share_no_id_are_refused(tmp_path: Path) -> None:
    """Nothing could be compared."""
    put(tmp_path, "t_easy.json", 3)
    put(tmp_path, "t_hard.json", 3, first=3)
    with pytest.raises(LibraryError, match="no id is in all libraries"):
        prealloc.plan(tmp_path, factors={"difficulty": ["easy", "hard"]}, num_instances=1)


def test_a_cell_that_is_too_large_is_refused_with_what_fits(tmp_path: Path) -> None:
    """The number is the cell's, not a shard's."""
    path = put(tmp_path, "t.json", 6)
    with pytest.raises(OptionsError) as caught:
        prealloc.plan(path, num_instances_per_cell=7, lanes=[Lane(name="l1"), Lane(name="l2")])
    assert caught.value.mistakes[0].where == "‹num_instances_per_cell›"
    assert caught.value.mistakes[0].hint == "what fits: ‹num_instances_per_cell› 6"


def test_types_that_are_too_small_for_a_cell_are_refused_together(tmp_path: Path) -> None:
    """Per type and by quotas, of a cell: every type that is too small with its number, and no lane counts."""
    path = put(tmp_path, "t.json", 6)
    lanes = [Lane(name="l1"), Lane(name="l2")]
    with pytest.raises(OptionsError) as caught:
        prealloc.plan(path, per_type=True, per_cell=True, num_instances=4, lanes=lanes)
    assert list(caught.value.mistakes) == [
        ("‹per_type›", "4 tasks of each type are asked for, but x has 3, y has 3", "what fits: ‹num_instances› 3")
    ]
    with pytest.raises(OptionsError) as caught:
        prealloc.plan(path, quotas={"x": 4, "y": 5, "z": 1}, per_cell=True, lanes=lanes)
    assert [mistake.where for mistake in caught.value.mistakes] == ["‹quotas› z", "‹quotas› x", "‹quotas› y"]


def test_more_lanes_than_tasks_of_a_cell_need_the_names_of_its_types(tmp_path: Path) -> None:
    """Before the library is read, only named types say how many lanes are needed: else an empty shard is refused."""
    path = put(tmp_path, "t.json", 6)
    lanes = [Lane(name=f"l{n}") for n in range(3)]
    with pytest.raises(OptionsError) as caught:
        prealloc.plan(path, per_type=True, per_cell=True, num_instances=1, lanes=lanes)
    assert caught.value.mistakes[0].problem == "2 tasks dealt to 3 shards leave 1 of them empty"
    assert "‹types›" in caught.value.mistakes[0].hint
    made = prealloc.plan(path, per_type=True, per_cell=True, num_instances=1, lanes=lanes, types=["x", "y"])
    assert [len(shard.tasks) for shard in made.shards] == [1, 1]


def test_per_cell_is_written_only_where_it_changes_something() -> None:
    """A plan has one id however its size is spelled, and plans without the option keep theirs."""
    assert PlanSpec.checked(per_cell=True, num_instances=7) == PlanSpec.checked(num_instances_per_cell=7)
    assert PlanSpec.checked(per_cell=True, num_instances_per_cell=7) == PlanSpec.checked(num_instances_per_cell=7)
    assert PlanSpec.checked(per_cell=False) == PlanSpec.checked()
    assert b'"per_cell"' not in msgspec.json.encode(PlanSpec.checked(per_cell=True))
    assert b'"per_cell":true' in msgspec.json.encode(PlanSpec.checked(per_cell=True, per_type=True))


def test_a_shard_is_told_its_cell_and_its_lane(tmp_path: Path) -> None:
    """Manifest: cell, lanes, and settings with the factors. The lane's deployment and the name of its key's variable
    are merged when it is chosen, by `load_shard` too."""
    path = put(tmp_path, "t.json", 6)
    lanes = [Lane(name="one", models=("a",), deployment="d-1", key_env="KEY_1"), Lane(name="two", models=("b",))]
    settings = {"temperature": 0, "deployment": "d-0"}  # where a lane has none
    made = prealloc.plan(
        path, factors=FACTORS, lanes=lanes, settings=settings, num_instances_per_cell=2, out=tmp_path / "plan"
    )
    assert read_plan(tmp_path / "plan").file == made.file
    first, *_, last = (shard.manifest for shard in made.shards)
    assert (first.cell, first.lane, first.served_by) == ({"model": "a", "rate": 0.5}, None, ("one",))
    assert first.settings == {"temperature": 0, "deployment": "d-0", "model": "a", "rate": 0.5}
    of_lane = {"deployment": "d-1", "api_key_env": "KEY_1"}
    loaded = prealloc.load_shard(tmp_path / "plan" / "shards" / f"{first.id}.json")
    assert loaded.settings == {**first.settings, **of_lane} == made.settings(made.shards[0])
    assert loaded.manifest.lane == "one"
    assert (last.served_by, last.settings) == (
        ("two",),
        {"temperature": 0, "deployment": "d-0", "model": "b", "rate": 1},
    )
    assert len(made.slices) == 1  # four cells, one sample, one file


def test_a_lane_has_settings_of_its_own(tmp_path: Path) -> None:
    """Any JSON; workers of its shards get them beside the others. A plan whose lanes have none keeps its bytes."""
    path = put(tmp_path, "t.json", 4)
    lanes = [
        Lane.checked(name="one", settings={"region": {"zones": (1, 2)}, "base_url": "http://one"}),
        Lane.checked(name="two", settings={"base_url": "http://two"}, key_env="KEY_2"),
        Lane.checked(name="three", settings={}),
    ]
    made = prealloc.plan(path, lanes=lanes, shards=3, num_instances=1, settings={"top_p": 1}, out=tmp_path / "plan")
    assert read_plan(tmp_path / "plan").file == made.file
    assert [shard.settings for shard in made.shards] == [{"top_p": 1}] * 3
    by_lane = {shard.manifest.planned_lane: made.settings(shard) for shard in made.shards}
    assert by_lane == {
        "one": {"top_p": 1, "base_url": "http://one", "region": {"zones": [1, 2]}},
        "two": {"top_p": 1, "base_url": "http://two", "api_key_env": "KEY_2"},
        "three": {"top_p": 1},
    }
    assert list(lanes[0].for_workers) == ["base_url", "region"]
    assert lanes[2] == Lane(name="three")
    assert b"settings" not in msgspec.json.encode(lanes[2])


def test_a_manifest_that_was_given_other_settings_than_its_cells_is_refused(tmp_path: Path) -> None:
    """Settings follow from the spec, the cell and the lane; a plan whose digests all fit is held to that too."""
    spec = PlanSpec.checked(factors={"model": ["a", "b"]}, num_instances=1)
    for model in ("b", "a"):
        shards = [
            PlannedShard(f"{m}.00", [make_task()], {"model": m}, {"model": given})
            for m, given in zip("ab", (model, "b"), strict=True)
        ]
        write_plan(build_plan(spec, [], shards), tmp_path / model)
    assert len(read_plan(tmp_path / "a").shards) == 2
    with pytest.raises(PlanError, match="not the manifest of its plan's spec"):
        read_plan(tmp_path / "b")


def test_the_matrix_is_the_same_before_and_after_the_library_is_read(tmp_path: Path) -> None:
    """`config check` promises what `plan` makes."""
    path = put(tmp_path, "t.json", 20)
    lanes = [Lane(name="a1", models=("a",)), Lane(name="a2", models=("a",)), Lane(name="b", models=("b",))]
    options: dict[str, Any] = {"factors": FACTORS, "lanes": lanes, "num_instances_per_cell": 5, "repeats": 2}
    options["exclude"] = [{"model": "b", "rate": 1}]
    before, made = matrix_of_spec(PlanSpec.checked(**options)), prealloc.plan(path, **options)
    after = matrix_of_plan(made)
    assert (before.paired, after.paired) == (None, True)
    assert (after.cells, after.shards, after.units, after.excluded) == (before.cells, 5, 30, 1)
    assert (before.shards, before.units) == (5, 30)
    loads = loads_of_spec(made.spec)
    assert loads is not None
    for one, other in zip(loads, loads_of_plan(made), strict=True):
        assert (one.lane, one.model, sum(one.units.values())) == (other.lane, other.model, sum(other.units.values()))
    assert loads_of_spec(PlanSpec.checked(whole=True)) is None


def test_shards_of_unequal_size(tmp_path: Path) -> None:
    """3 to 1, however it is said; of 8 tasks 6 and 2, also where more lanes serve the cell. It reads back."""
    path = put(tmp_path, "t.json", 12)
    lanes = [Lane(name=f"l{n}") for n in range(4)]
    asked: dict[str, Any] = {"num_instances_per_cell": 8, "stratify": True, "lanes": lanes, "factors": {"rate": [1, 2]}}
    made = prealloc.plan(path, shard_sizes=[3, 1], out=tmp_path / "plan", **asked)
    assert [len(shard.tasks) for shard in made.shards] == [6, 2, 6, 2]
    assert [shard.by_type().keys() for shard in made.shards] == [{"x", "y"}] * 4
    assert read_plan(tmp_path / "plan").file == made.file
    assert prealloc.plan(path, shard_sizes="6,2", shards=2, **asked).id == made.id
    loads = loads_of_spec(made.spec)
    assert loads is not None
    assert [sum(load.units.values()) for load in loads] == [6, 2, 6, 2]
    assert b"shard_sizes" not in msgspec.json.encode(PlanSpec.checked(shard_sizes=None))
    with pytest.raises(OptionsError, match="3 tasks shared out as 9,1,1 leave 2 of 3 shards empty"):
        prealloc.plan(put(tmp_path, "few.json", 3), shard_sizes=[9, 1, 1], whole=True)


def test_a_plan_of_two_designs(tmp_path: Path) -> None:
    """Its difficulties lead to their libraries, its matrix counts the cells that there are, and it reads back."""
    for name in ("easy", "hard"):
        put(tmp_path, f"t_{name}.json", 6)
    star = [
        {"model": ["a", "b"], "difficulty": ["easy"]},
        {"difficulty": ["easy", "hard"], "model": ["a"]},
    ]
    made = prealloc.plan(tmp_path / "t_{difficulty}.json", factors=star, num_instances=2, out=tmp_path / "plan")
    assert [shard.id for shard in made.shards] == ["a.easy.00", "b.easy.00", "a.hard.00"]
    assert [shard.tasks[0].workflow["of"] for shard in made.shards] == ["t_easy.json", "t_easy.json", "t_hard.json"]
    assert read_plan(tmp_path / "plan").file == made.file
    assert verify(tmp_path / "plan", library=tmp_path / "t_{difficulty}.json").id == made.id
    matrix = matrix_of_plan(made)
    assert (matrix.designs, matrix.excluded, matrix.paired, len(matrix.cells)) == (2, 0, True, 3)
    assert matrix.factors == {"model": ("a", "b"), "difficulty": ("easy", "hard")}
    without = matrix_of_spec(PlanSpec.checked(factors=star, exclude=[{"model": "b"}]))
    assert (without.excluded, len(without.cells)) == (1, 2)


def test_pairing_is_counted_and_not_believed() -> None:
    """A plan whose cells have different tasks, whoever made it, is not called paired."""
    spec = PlanSpec.checked(factors={"model": ["a", "b"]}, num_instances=1)
    tasks = [make_task("t1"), make_task("t2")]
    shards = [PlannedShard(f"{m}.00", [task], {"model": m}, {}) for m, task in zip("ab", tasks, strict=True)]
    assert matrix_of_plan(build_plan(spec, [], shards)).paired is False
