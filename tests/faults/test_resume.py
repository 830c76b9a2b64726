"""Rows 12, 17, 24 and 25: what a resume must leave alone, what it must refuse, and who wins when two end a unit."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checker
import pytest
from harness import Stage

import prealloc
from examples import in_laws
from prealloc.errors import PlanError
from prealloc.files.faultpoint import Point

pytestmark = pytest.mark.fault

DEATHS = (
    # Each row: where three resumes in a row die.
    (Point.LOCK_WRITE, Point.SUPERVISOR_OPEN, Point.SUPERVISOR_SESSION),
    (Point.SUPERVISOR_SESSION, Point.SHIP_SENT, Point.SUPERVISOR_WORKER),
    (Point.WORKER_READY, Point.ATTEMPT_WRITTEN, Point.SESSION_TELL),
)


@pytest.mark.parametrize("points", [DEATHS[0], *map(in_laws, DEATHS[1:])], ids=lambda points: " ".join(points))
def test_resumes_that_die(stage: Stage, points: tuple[Point, ...]) -> None:
    """Row 12: no file of an earlier session is changed or gone, and what was final stays what it was."""
    stage.make_plan({f"t{n:02}": {"do": "ok", "s": 0.01} for n in range(40)}, shards=2)
    first = stage.start(faults=f"{Point.ENDING_HEARD}:5:kill")
    assert first.end() is None
    stage.check(first)
    for point in points:
        files = {path: path.read_bytes() for path in (stage.run / "journal").iterdir()}
        final = final_lines(stage)
        dying = stage.resume(faults=f"{point}:1:kill-master")
        assert dying.end() is None, dying.output()
        stage.check(dying)
        assert {path: path.read_bytes() for path in files} == files
        assert final_lines(stage).items() >= final.items()
    left = 40 - len(final_lines(stage))
    last = stage.resume()
    assert last.wait() == 0
    assert last.census == {"ok": 40}
    assert len(last.of("attempt_ended")) == left
    stage.check(last)


@pytest.mark.parametrize("concurrency", [in_laws(1), 4])
def test_32_writers(stage: Stage, concurrency: int) -> None:
    """Row 17: 32 workers write at the same time; n of n lines are kept, each once, none mixed with another."""
    stage.make_plan({f"t{n:02}": {"do": "ok"} for n in range(12)}, shards=32, strategy="paired", padding=2000)
    session = stage.start("--workers", "32", "-c", str(concurrency), "--no-rebalance")
    assert session.wait() == 0, session.output()[-2000:]
    assert session.census == {"ok": 32 * 12}
    written = Counter((line["shard"], line["task"]) for line in attempts(stage))
    assert len(written) == 32 * 12
    assert set(written.values()) == {1}
    assert len(list((stage.run / "journal").glob("shard-*"))) == 32
    stage.check(session)


def test_a_slow_attempt_returns_after_its_deadline(stage: Stage) -> None:
    """Row 24: `timeout` was first and counts; the result that came after all is kept, marked late."""
    tasks = {"slow": {"do": "sleep", "s": 0.8}, "a": {"do": "sleep", "s": 0.4}, "b": {"do": "sleep", "s": 0.5}}
    stage.make_plan(tasks, first="slow")
    # b keeps the worker until slow has come back, which without a grace nobody interrupts
    session = stage.start("-c", "2", "--timeout", "0.6", "--grace", "0")
    assert session.wait() == 1
    assert session.census == {"ok": 2, "timeout": 1}
    lines = [(line["status"], line.get("late", False)) for line in attempts(stage) if line["task"] == "slow"]
    assert lines == [("timeout", False), ("ok", True)]
    assert len(session.of("attempt_ended", task="slow")) == 1
    stage.check(session)


def test_a_slow_attempt_returns_after_its_retry_won(stage: Stage) -> None:
    """Row 24: an attempt that was given back ends after its second try did: the second counts, the first is kept.

    Its event loop stood still, so its worker handed it over and cancelled it: it hears that when the loop turns again.
    """
    quick = {"t0": {"do": "ok"}, "t1": {"do": "ok"}}
    stage.make_plan({"block": {"do": "block", "s": 3.0}, "beside": {"do": "sleep", "s": 0.5}, **quick})
    session = stage.start("-c", "4", "--timeout", "1", "--grace", "20", worker="agents:act_async")
    assert session.wait() == 1
    assert session.census == {"ok": 3, "timeout": 1}
    lines = {
        line["attempt"]: (line["status"], line.get("late", False))
        for line in attempts(stage)
        if line["task"] == "beside"
    }
    assert lines == {1: ("failed", True), 2: ("ok", False)}
    assert [event["attempt"] for event in session.of("attempt_ended", task="beside")] == [2]
    stage.check(session)
    again = stage.resume()  # read back from the files, the same attempt wins
    assert again.wait() == 1
    assert again.census == {"ok": 3, "timeout": 1}


def json_edit(change: Callable[[Any], object]) -> Callable[[Path], object]:
    def edit(path: Path) -> None:
        document = json.loads(path.read_bytes())
        change(document)
        path.unlink()  # it may be a hard link to the plan that it was copied from
        path.write_text(json.dumps(document, indent=2))

    return edit


EDITS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "plan.json, a setting": ("plan.json", json_edit(lambda d: d["spec"]["settings"].update(model="x")), "spec"),
    "plan.json, its seed": ("plan.json", json_edit(lambda d: d.update(seed=8)), "seed"),
    "plan.json, its library": ("plan.json", json_edit(lambda d: d["libraries"][0].update(path="/x")), "libraries"),
    "plan.json, a shard less": ("plan.json", json_edit(lambda d: d["shards"].pop()), "shards"),
    "plan.json, another plan": ("plan.json", json_edit(lambda d: d.update(id="0" * 64)), "the plan was edited"),
    "plan.json, gone": ("plan.json", Path.unlink, "does not exist"),
    "manifest, a setting": ("shards/shard-01.json", json_edit(lambda d: d["settings"].update(m=1)), "settings is"),
    "manifest, repeats": ("shards/shard-01.json", json_edit(lambda d: d.update(repeats=2)), "repeats is 2, planned 1"),
    "manifest, layout": ("shards/shard-01.json", json_edit(lambda d: None), "sha256"),
    "manifest, gone": ("shards/shard-01.json", Path.unlink, "does not exist"),
    "slice, a task": ("slices/*.json", json_edit(lambda d: d["tasks"][0].update(id="other")), "bytes, more than"),
    "slice, an order": ("slices/*.json", json_edit(lambda d: d["tasks"].reverse()), "bytes, more than"),
    "slice, gone": ("slices/*.json", Path.unlink, "does not exist"),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_plan_that_was_edited(half_done: Stage, stage: Stage, what: str) -> None:
    """Row 25: refused with 2, naming the file and what differs; nothing was changed. The library is not needed."""
    name, edit, told = EDITS[what]
    shutil.copytree(half_done.run, stage.run, symlinks=True)
    before = sorted(path.name for path in (stage.run / "journal").iterdir())
    victim = sorted((stage.run / "plan").glob(name))[0]
    edit(victim)
    with pytest.raises(PlanError, match=re.escape(told)) as caught:
        prealloc.resume(stage.run)
    assert Path(caught.value.where or "").name in (victim.name, "plan.json")
    assert caught.value.hint
    assert sorted(path.name for path in (stage.run / "journal").iterdir()) == before


def test_an_edited_plan_on_the_command_line(half_done: Stage, stage: Stage) -> None:
    """Row 25: exit code 2 and the reason, no traceback."""
    shutil.copytree(half_done.run, stage.run)
    json_edit(lambda document: document.update(seed=8))(stage.run / "plan" / "plan.json")
    session = stage.resume()
    assert session.wait() == 2
    error = checker.last_event(session.output(), "error")
    assert error is not None
    assert "seed" in error["problem"]
    assert "Traceback" not in session.output()


def test_a_resume_without_the_library(half_done: Stage, stage: Stage) -> None:
    """Row 25: neither the library nor the plan folder is needed any more."""
    shutil.copytree(half_done.run, stage.run)
    assert not half_done.library.exists()
    assert not half_done.plan.exists()
    session = stage.resume()
    assert session.wait() == 0, session.output()
    assert session.census == {"ok": 20}


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A run whose master died half-way; its library and plan are gone."""
    made = Stage(tmp_path_factory.mktemp("half-done"))
    made.make_plan({f"t{n:02}": {"do": "ok", "s": 0.01} for n in range(20)}, shards=2)
    assert made.start(faults=f"{Point.ENDING_HEARD}:6:kill").end() is None
    made.clean_up()
    made.library.unlink()
    shutil.rmtree(made.plan)
    return made


def attempts(stage: Stage) -> list[dict[str, Any]]:
    """The attempts in the journal, in the order of its files and lines."""
    return [line.content for line in checker.journal(stage.run, []) if "kind" not in line.content]


def final_lines(stage: Stage) -> dict[str, str]:
    """Which tasks are final on disk, and the line that says so."""
    found: dict[str, str] = {}
    for line in checker.journal(stage.run, []):
        content = line.content
        if "kind" not in content and not content.get("late") and content["status"] in checker.FINAL:
            found.setdefault(content["task"], line.raw)
    return found
