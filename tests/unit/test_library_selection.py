"""Which tasks of a library a plan is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_tasks import TASKS, essence, lines, planned

from prealloc.api import libraries
from prealloc.api.plans import plan
from prealloc.errors import OptionsError


@pytest.mark.parametrize("stream", [False, True])
def test_only_listed_tasks_are_planned_and_excluded_ones_are_not(tmp_path: Path, stream: bool) -> None:
    """Law: lists leave the plan that a library of these tasks alone would give, by every way to read."""
    path = lines(tmp_path / "t.jsonl", TASKS)
    some = planned(lines(tmp_path / "some.jsonl", TASKS[1:5]), keep=["n"])
    (tmp_path / "ids").write_text("t1\nt2\n\nt3\nt4\n")
    (tmp_path / "not.json").write_text('["t0", "t5", "never there"]')
    for lists in ({"ids": tmp_path / "ids"}, {"exclude_ids": tmp_path / "not.json"}, {"ids": ["t1", "t2", "t3", "t4"]}):
        made = planned(path, keep=["n"], stream=stream, **lists)
        assert essence(made) == essence(some)
        assert list(made.file.libraries[0].listed) == list(lists)  # type: ignore[arg-type]
    libraries.index(path)
    assert essence(planned(path, keep=["n"], exclude_ids=["t0", "t5"])) == essence(some)
    with pytest.raises(OptionsError, match=r"5 tasks are asked for, but there are 4 \(a 2, b 2\)"):
        plan(path, num_instances=5, exclude_ids=["t0", "t5"], stream=stream)
    with pytest.raises(OptionsError, match="1 of them are not in the library: nope"):
        planned(path, ids=["nope", "t1"], stream=stream)
    with pytest.raises(OptionsError, match="no id is left"):
        planned(path, ids=["t1"], exclude_ids=["t1"])
    with pytest.raises(OptionsError, match="cannot be read"):
        planned(path, ids=tmp_path / "none")


@pytest.mark.parametrize("text", ['{"train": ["t0"],\n"test": ["t1"]}', '{"id": "t1"}\n{"id": "t2"}\n'])
def test_json_that_is_no_list_of_ids_is_refused(tmp_path: Path, text: str) -> None:
    """Law: lines of JSON are not ids; an id in braces is one."""
    (tmp_path / "ids").write_text(text)
    with pytest.raises(OptionsError, match=r"it is a JSON object with (train, test|id)\n"):
        plan(lines(tmp_path / "t.jsonl", TASKS), num_instances=1, ids=tmp_path / "ids")
    (tmp_path / "ids").write_text("{t1}\n")
    made = plan(lines(tmp_path / "t.jsonl", [{"id": "{t1}"}]), num_instances=1, ids=tmp_path / "ids")
    assert [task.id for task in made.shards[0].tasks] == ["{t1}"]


def test_a_share_of_the_tasks(tmp_path: Path) -> None:
    """Law: a share is the plan of the number that it is, of the tasks that can be chosen; nothing else is a share."""
    path = lines(tmp_path / "t.jsonl", TASKS)
    for share, number in (("50%", 3), ("1%", 1), ("100%", 6), ("42%", 3)):
        assert plan(path, num_instances=share).id == plan(path, num_instances=number).id
    assert plan(path, num_instances="67%", types=["a"]).id == plan(path, num_instances=2, types=["a"]).id
    for wrong in ("0%", "101%", "x%", "-5%"):
        with pytest.raises(OptionsError, match="not a whole number"):
            plan(path, num_instances=wrong)
    with pytest.raises(OptionsError, match="a share is of all types together"):
        plan(path, num_instances="50%", per_type=True)


def test_a_type_may_have_commas(tmp_path: Path) -> None:
    """Law: a text with commas is the type that is called so; where there is none, the types between the commas."""
    tasks = [{"id": f"{kind}{n}", "type": kind} for kind in ("a", "b", "a, b") for n in range(3)]
    path = lines(tmp_path / "t.jsonl", tasks)
    for stream in (False, True):
        whole = plan(path, types=["a, b"], num_instances=3, stream=stream)
        assert {task.type for task in whole.shards[0].tasks} == {"a, b"}
        assert whole.spec.types == ("a, b",)
        several = plan(path, types=["a,b"], num_instances=6, stream=stream)
        assert several.id == plan(path, types=["a", "b"], num_instances=6).id
