"""The checker itself must fail on planted damage, or it proves nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import checker
import pytest
from harness import Stage, wait_until

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def honest_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[checker.Evidence]:
    stage = Stage(tmp_path_factory.mktemp("honest"))
    try:
        stage.make_plan({"a": {"do": "fail"}, **{f"b{n}": {"do": "ok"} for n in range(7)}}, shards=2)
        session = stage.start("--timeout", "5")
        assert session.wait() == 1
        stage.check(session)
        yield session.evidence()
    finally:
        stage.clean_up()


@pytest.fixture
def honest(honest_run: checker.Evidence, tmp_path: Path) -> checker.Evidence:
    """A run of eight units, one of which has failed, to be damaged: nothing of it breaks an invariant."""
    assert honest_run.acknowledged is not None
    shutil.copytree(honest_run.run, tmp_path / "run")
    acknowledged = shutil.copyfile(honest_run.acknowledged, tmp_path / "acknowledged.jsonl")
    return honest_run._replace(run=tmp_path / "run", acknowledged=acknowledged)


def broken(evidence: checker.Evidence) -> set[str]:
    return {line[:2] for line in checker.check(evidence)}


def worker_file(evidence: checker.Evidence) -> Path:
    return sorted((evidence.run / "journal").glob("shard-00.*"))[0]


def rewritten(evidence: checker.Evidence, **changes: object) -> str:
    """The output with its last event changed."""
    *lines, last = evidence.output.splitlines()
    return "\n".join([*lines, json.dumps({**json.loads(last), **changes}, separators=(",", ":"))])


def test_an_honest_run_breaks_nothing(honest: checker.Evidence) -> None:
    """Without damage the checker is silent, so every other test here fails for its own reason."""
    assert checker.check(honest) == []
    assert honest.acknowledged is not None
    assert len(honest.acknowledged.read_text().splitlines()) == 8


def test_i1_an_acknowledged_line_is_gone(honest: checker.Evidence) -> None:
    """I1: every acknowledged result is present."""
    path = worker_file(honest)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert "I1" in broken(honest)


def test_i1_one_byte_of_a_result_changed(honest: checker.Evidence) -> None:
    """I1: byte-equal, so a digit of a seed is enough."""
    path = worker_file(honest)
    raw = path.read_bytes()
    at = raw.rindex(b'"seed":') + 8
    path.write_bytes(raw[:at] + (b"1" if raw[at : at + 1] != b"1" else b"2") + raw[at + 1 :])
    assert broken(honest) == {"I1"}


def test_i1_told_before_it_was_written(honest: checker.Evidence) -> None:
    """I1: what the journal did not have when it was told, was told too early."""
    assert honest.acknowledged is not None
    first, *rest = honest.acknowledged.read_text().splitlines()
    honest.acknowledged.write_text("\n".join([json.dumps({**json.loads(first), "line": None}), *rest]))
    assert broken(honest) == {"I1"}


def test_i1_damage_in_the_middle(honest: checker.Evidence) -> None:
    """I1: a line that cannot be read is no result."""
    path = worker_file(honest)
    path.write_bytes(b"{" + path.read_bytes()[1:].replace(b'"status"', b'"st\0tus"', 1).replace(b":", b"", 1))
    assert "I1" in broken(honest)


def test_i2_a_unit_that_nobody_planned(honest: checker.Evidence) -> None:
    """I2: only planned units have outcomes."""
    path = worker_file(honest)
    path.write_bytes(
        path.read_bytes() + path.read_bytes().splitlines()[0].replace(b'"repeat":0', b'"repeat":9') + b"\n"
    )
    assert broken(honest) == {"I2"}


def test_i2_a_unit_left_out_of_the_census(honest: checker.Evidence) -> None:
    """I2: the denominator is the plan's."""
    census = {**(checker.last_event(honest.output, "run_ended") or {})["census"], "ok": 6}
    assert broken(honest._replace(output=rewritten(honest, census=census))) == {"I2"}


def test_i3_decided_twice(honest: checker.Evidence) -> None:
    """I3: a second final line in the same session must be marked late."""
    path = worker_file(honest)
    line = json.loads(path.read_bytes().splitlines()[0])
    again = {**line, "attempt": 2}
    path.write_bytes(path.read_bytes() + json.dumps(again).encode() + b"\n")
    assert broken(honest) == {"I3"}


def test_i3_a_late_line_is_evidence(honest: checker.Evidence) -> None:
    """I3: marked late it is kept, and breaks nothing."""
    path = worker_file(honest)
    late = {**json.loads(path.read_bytes().splitlines()[0]), "late": True, "status": "timeout"}
    path.write_bytes(path.read_bytes() + json.dumps(late).encode() + b"\n")
    assert checker.check(honest) == []


def test_i2_an_attempt_that_was_tried_again_is_no_outcome(honest: checker.Evidence) -> None:
    """I2: what is written as to be tried again decides nothing, so nobody may have been told that it did."""
    path = worker_file(honest)
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first.replace(b"{", b'{"again":true,', 1) + b"".join(rest))
    assert "I2" in broken(honest)


def test_i4_a_process_lives_on(honest: checker.Evidence) -> None:
    """I4: found by its environment, in a session of its own too."""
    assert honest.marker is not None
    name, _, value = honest.marker.partition("=")
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command, env={**os.environ, name: value}, start_new_session=True) as left:
        try:
            wait_until(lambda: checker.carries(left.pid, f"{name}={value}"), "environment of what was started")
            found = checker.check(honest._replace(ended_at=time.monotonic() - 10))
            assert [line[:2] for line in found] == ["I4"]
            assert str(left.pid) in found[0]
        finally:
            left.kill()


@pytest.mark.parametrize(
    "lie",
    [
        {"exit_code": 0},
        {"missing": []},
        {"resume": None},
        {"missing": ["shard-00/nobody#0 (failed)"]},
    ],
)
def test_i5_the_exit_says_less_than_the_truth(honest: checker.Evidence, lie: dict[str, object]) -> None:
    """I5: exit code not 0 unless all is ok, and the reason printed."""
    if "exit_code" in lie:
        assert broken(honest._replace(exit_code=0)) == {"I5"}
    else:
        assert broken(honest._replace(output=rewritten(honest, **lie))) == {"I5"}


def test_i5_no_reason_at_all(honest: checker.Evidence) -> None:
    """I5: also for the codes 2 and 3; and a traceback is no reason."""
    assert broken(honest._replace(exit_code=3, output="")) == {"I5"}
    traceback = honest.output + "\nTraceback (most recent call last)\n"
    assert broken(honest._replace(output=traceback)) == {"I5"}


def test_i6_over_the_bound(honest: checker.Evidence) -> None:
    """I6: the bound that was printed holds."""
    assert broken(honest._replace(duration_s=1e9)) == {"I6"}
