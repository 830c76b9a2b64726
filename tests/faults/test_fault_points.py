"""Rows 11, 12 and 15: every write and every hand-over meets SIGKILL; every write meets EIO and ENOSPC.

After each fault all six invariants hold, from the files alone; what was on disk is neither lost nor run again; a
write that fails stops the run with 3 and the reason; and the run then ends as if nothing had been.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chain import HARMLESS, IN_FORK_SERVER, IN_HOST, IN_WORKER, REPLICA, Case, plan_chain, run_chain
from harness import Stage

import prealloc
from examples import in_laws
from prealloc.files.faultpoint import Kind, Point

pytestmark = pytest.mark.fault

PACKAGE = Path(prealloc.__file__).parent
REFUSED = ("EIO", "ENOSPC")

PLANNING = (Point.PLAN_SLICE, Point.PLAN_MANIFEST, Point.PLAN_FILE, Point.FOLDER_EXCHANGE, Point.FOLDER_REMOVE)

SCENARIO = {
    Point.LOG_IMPORT: "noisy",
    Point.LOG_CUT: "long log",
    Point.SUPERVISOR_DEATH: "deadly",
    Point.SUPERVISOR_LOST: "deadly",
    Point.SUPERVISOR_VERDICT: "deadly",
    Point.VERDICT_WRITTEN: "deadly",
    Point.SUPERVISOR_CLEANED: "untidy",
    Point.SUPERVISOR_LIBRARY: "spy",
    Point.SUPERVISOR_REUSED: "reused",
    Point.CLAIMS_OPEN: "experiment",
    Point.CLAIMS_WRITE: "experiment",
    Point.UNITS_CLAIMED: "experiment",
    Point.SUPERVISOR_REOPENED: "reopened",
    Point.SUPERVISOR_STEERED: "reopened",
    Point.ATTEMPT_OVERDUE: "hang",
    Point.WORKER_RETIRING: "hang",
    Point.WORKER_RETIRED: "hang",
    Point.UNITS_ASKED: "moved",
    Point.UNITS_RETURNED: "moved",
    Point.UNITS_WAITING: "moved",
    Point.WORKER_HANDING_BACK: "moved",
    Point.WORKER_HANDED_BACK: "moved",
    **dict.fromkeys(HARMLESS, "lanes"),
    **dict.fromkeys((*IN_HOST, *REPLICA), "hosts"),
    Point.SPOOL_NOTE: "spool",
}
"""Where a plain run does not come by."""

PASSAGE = {
    Point.WORKER_APPEND: 3,
    Point.WORKER_FSYNC: 5,
    Point.SUPERVISOR_FSYNC: 3,
    Point.SUPERVISOR_REUSED: 3,
    Point.ENDING_HEARD: 3,
    Point.ATTEMPT_OFF: 3,
    Point.ATTEMPT_FINISHED: 3,
    Point.ATTEMPT_WRITTEN: 3,
    Point.ATTEMPT_LANDED: 3,
    Point.ATTEMPT_TOLD: 3,
    Point.SUPERVISOR_WORKER: 2,
    Point.FORK_ASKED: 2,
    Point.FORK_FORKED: 2,
    Point.SHIP_SEND: 2,
    Point.REPLICA_APPEND: 3,
    Point.REPLICA_FSYNC: 2,
    Point.REPLICA_TOLD: 3,
    Point.RUN_FOLDERS: 2,
    Point.FOLDER_COPY: 3,
    Point.PRIVATE_FOLDER: 2,  # the first is for the socket, which has other places
}
"""Where more has happened before the fault than at the first passage."""

ONCE = (Point.SUPERVISOR_REUSED, Point.SUPERVISOR_LIBRARY, Point.SUPERVISOR_WORKER_END, *IN_HOST, *HARMLESS)
"""Where a run does not come by again once it has met the fault."""

BESIDE_OTHERS = (
    Point.WORKER_APPEND,
    Point.ATTEMPT_OFF,
    Point.ATTEMPT_FINISHED,
    Point.ATTEMPT_WRITTEN,
    Point.ATTEMPT_LANDED,
)
"""Where other tasks of the same worker are in row: at concurrency 4 as well."""


def cases() -> Iterator[Case]:
    for point in Point:
        scenario, passage = SCENARIO.get(point, "plain"), PASSAGE.get(point, 1)
        kills = ("torn", "kill") if point.kind is Kind.LINE else ("kill",)
        refused = REFUSED if point.kind in (Kind.WRITE, Kind.LINE) else ()
        for concurrency in (1, 4) if point in BESIDE_OTHERS else (1,):
            if point in PLANNING:
                continue
            if point in ONCE:
                yield from (Case(point, (action,), scenario, passage) for action in (*refused, *kills))
            elif point in IN_WORKER:
                # The worker dies and the run goes on; or the master dies at this very moment of a worker.
                yield Case(point, kills[:1], scenario, passage, concurrency)
                yield Case(point, (*refused, "kill-master"), scenario, passage, concurrency)
            else:
                yield Case(point, (*refused, *kills), scenario, passage, concurrency)
    yield Case(Point.WORKER_APPEND, ("torn",), "untidy", 4)  # a start, or an end, that is noted for --cleanup
    for action in REFUSED:  # the tenth line is the one that writes the hung task off
        yield Case(Point.WORKER_APPEND, (action,), "hang", 10, 4)


def plan_cases() -> Iterator[Case]:
    for point in PLANNING:
        scenario = "replaced" if point in (Point.FOLDER_EXCHANGE, Point.FOLDER_REMOVE) else "new"
        yield Case(point, ("kill",) if point.kind is Kind.HAND_OVER else (*REFUSED, "kill"), scenario)


def params(cases: Iterable[Case]) -> Iterator[Any]:
    """A disk refuses with EIO at every second point, with ENOSPC at the others; with the other one in `make laws`.

    The same for a SIGKILL where a line may be torn by one; at concurrency 4 for all but that.
    """
    for case in cases:
        covered = {REFUSED[[*Point].index(case.point) % 2]}
        if case.point.kind is Kind.LINE:
            covered.add("kill")
        if case.concurrency == 4 and case.scenario == "plain":
            covered.update({*case.actions} - {"torn"})
        rest = tuple(action for action in case.actions if action not in covered)
        if rest:
            yield case._replace(actions=rest)
        if rest != case.actions:
            yield in_laws(case._replace(actions=tuple(action for action in case.actions if action in covered)))


def name_of(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", [*params(cases())], ids=name_of)
def test_a_run_at(case: Case, tmp_path: Path) -> None:
    """Rows 11, 12, 15: nothing acknowledged is lost, no more runs again than was in row, never ok unsaved."""
    run_chain(case, tmp_path)


@pytest.mark.parametrize("case", [*params(plan_cases())], ids=name_of)
def test_a_plan_at(case: Case, tmp_path: Path) -> None:
    """A plan folder is there whole, or as it was before."""
    plan_chain(case, tmp_path)


def test_every_point_has_a_case() -> None:
    """No point is named and then forgotten."""
    assert {case.point for case in (*cases(), *plan_cases())} == set(Point)
    assert IN_WORKER.isdisjoint(IN_FORK_SERVER)


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_every_point_is_in_the_code() -> None:
    """A point that the code does not pass any more leaves the registry; one that is not in it cannot be passed."""
    used = {
        node.attr
        for path in PACKAGE.rglob("*.py")
        if path.name != "faultpoint.py"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Point"
    }
    assert used == {point.name for point in Point}


WRITING = frozenset(
    {"write", "write_bytes", "write_text", "rename", "replace", "mkdir", "mkdtemp", "mkstemp", "link", "fsync"}
    | {"truncate", "ftruncate", "copyfile", "memfd_create"}
)
NO_DISK = {
    "engines/forkserver.py": {"look"},  # a pipe
    "files/faultpoint.py": {"_passage", "_strike"},  # the faults themselves
    "files/atomic.py": {"exchange", "fsync_folder", "_rename_to_new", "_rename_file_to_new", "refuse_taken"}
    | {"_parents_of", "write_pieces"},  # their callers pass the point, or _beside, by which they write
    "store/run_folder.py": {"create_run"},  # the plan's own folder, inside the one that is renamed into place
    "store/plan_folder.py": {"copy_plan"},  # the folders of the copy; create_run passes the point
    "store/build.py": {"write_rest"},  # write_file passes the point
    "store/lane_log.py": {"note"},  # what the disk refuses here nobody needs
    "store/scores.py": {"writer", "append"},  # beside a run; tests/unit/test_rescore.py cuts its last line
    "store/repair.py": {"repair", "_move_file"},  # tests/faults/test_doctor.py kills it at every step
    "store/workflow_cache.py": {"prepare", "add"},  # of planning; tests/faults/test_generating.py
    "engines/local.py": {"open"},  # open_log passes the point
    "engines/limits.py": {"reached", "over_cost"},  # a time as a text
    "lanes/sharing.py": {"close", "_write"},  # LaneFile.write passes the point
    "worker/attempt.py": {"leave_if_forked"},  # a child of the task's own tells why it ends
    "worker/loop.py": {"_wake"},  # a pipe
    "worker/process.py": {"write", "become", "_die_first"},  # a log may drop what it cannot keep; /proc
}
"""Functions that write where no disk can refuse, or whose caller passes the point."""


def test_every_write_passes_a_point() -> None:
    """In the rooms that write: who calls something that writes calls fault_point as well."""
    bare: list[str] = []
    for room in ("files", "store", "lanes", "worker", "engines"):
        for path in (PACKAGE / room).glob("*.py"):
            name = f"{room}/{path.name}"
            for function in ast.walk(parsed(path)):
                if not isinstance(function, ast.FunctionDef) or function.name in NO_DISK.get(name, ()):
                    continue
                calls = {_called(node) for node in ast.walk(function) if isinstance(node, ast.Call)}
                if calls & WRITING and "fault_point" not in calls:
                    bare.append(f"{name}: {function.name} calls {sorted(calls & WRITING)}")
    assert not bare, bare


def _called(call: ast.Call) -> str:
    """The last name of what is called; nothing for methods of text (`"...".replace`)."""
    if isinstance(call.func, ast.Name):
        return call.func.id
    if isinstance(call.func, ast.Attribute):
        return "" if call.func.attr == "replace" and not _is_os(call.func.value) else call.func.attr
    return ""


def _is_os(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "os"


def test_a_typo_is_refused(stage: Stage) -> None:
    """A fault that cannot be meant is an error with 2, and nothing was changed."""
    stage.make_plan(1)
    session = stage.start(faults="worker.journal.apend:1:EIO,lock.write:0:EIO,fork.asked:1:EIO")
    assert session.wait() == 2
    assert "did you mean worker.journal.append" in session.output()
    assert "3 mistakes" in session.output()
    assert not stage.run.exists()
