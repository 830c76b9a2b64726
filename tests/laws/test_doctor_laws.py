"""What always holds of looking at a journal and of repairing it, whatever happened to its bytes."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from run_events import attempt_line

from examples import examples
from prealloc.errors import JournalError
from prealloc.files.paths import RunPaths
from prealloc.model.plan import Unit
from prealloc.store.fold import fold
from prealloc.store.health import examine
from prealloc.store.journal_lines import SessionStarted, SoloDeath
from prealloc.store.journal_writer import JournalWriter
from prealloc.store.repair import repair

UNITS = [Unit("shard-00", f"t{n}", 0) for n in range(4)]
JUNK = st.sampled_from([b"\n", b"\0" * 9, b"\r", b"{", b'{"kind":"session"}\n', b"\xff", b"\\", b'"', b"t9", b"x" * 50])
Cut = tuple[float, float, bytes]


@st.composite
def cuts(draw: st.DrawFn) -> list[Cut]:
    """Up to three places, each with a stretch that is replaced by junk."""
    place = st.floats(0, 1)
    return draw(
        st.lists(st.tuples(place, st.sampled_from([0, 0, 0.01, 0.2]), st.one_of(st.just(b""), JUNK)), max_size=3)
    )


def written(folder: Path) -> RunPaths:
    paths = RunPaths(folder)
    paths.journal.mkdir()
    supervisor = JournalWriter(paths.supervisor_journal(1))
    supervisor.append(SessionStarted(session=1, reopen_failed=False))
    supervisor.append(SoloDeath(shard="shard-00", task="t3", repeat=0, attempt=1, reason="r"))
    supervisor.close()
    worker = JournalWriter(paths.worker_journal("shard-00", 1, 1))
    for number, unit in enumerate(UNITS):
        result = msgspec.Raw(msgspec.json.encode({"text": "ü\r\n\0"}))
        worker.append(attempt_line(unit.shard, unit.task, attempt=2 if number == 3 else 1, result=result))
    worker.close()
    return paths


def damaged(raw: bytes, where: list[Cut]) -> bytes:
    for at, length, junk in where:
        start = int(at * len(raw))
        raw = raw[:start] + junk + raw[start + int(length * len(raw)) :]
    return raw


def refused(paths: RunPaths) -> bool:
    try:
        fold(paths, UNITS)
    except JournalError:
        return True
    return False


@given(st.tuples(cuts(), cuts()))
@examples(150, allow=[HealthCheck.function_scoped_fixture])
def test_the_doctor_sees_what_readers_refuse_and_a_repair_takes_no_more(
    tmp_path: Path, where: tuple[list[Cut], list[Cut]]
) -> None:
    """The doctor finds a journal unreadable exactly if the fold refuses it. After a repair the fold accepts it, every
    line that could be read is still there in its order, every byte is in the journal or aside, and a second repair
    finds nothing."""
    paths = written(Path(tempfile.mkdtemp(dir=tmp_path)))
    files = sorted(paths.journal.iterdir())
    for path, cut in zip(files, where, strict=True):
        path.write_bytes(damaged(path.read_bytes(), cut))
    before = {path: path.read_bytes() for path in files}
    health = examine(paths, UNITS)
    assert refused(paths) == (not health.readable)

    bad = {(piece.file, piece.line) for piece in health.damage}
    kept = {
        path: b"".join(
            line
            for number, line in enumerate(raw.split(b"\n"), start=1)
            if (path.name, number) not in bad
            for line in ([line + b"\n"] if number <= raw.count(b"\n") else [line])
        )
        for path, raw in before.items()
    }
    moved = repair(paths, health)
    assert bool(moved) == bool(health.damage)
    assert not refused(paths)
    assert {path: path.read_bytes() for path in files} == kept
    aside = list(paths.aside.iterdir()) if moved else []
    after = Counter(b"".join(path.read_bytes() for path in [*files, *aside]))
    assert after == Counter(b"".join(before.values()))
    assert repair(paths, examine(paths, UNITS)) == []
