"""The fold over a run's events."""

from __future__ import annotations

import io
import json
import random
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from run_events import attempt_ended, run_started, shard_info

from examples import examples
from prealloc.model import events
from prealloc.model.outcome import ErrorInfo, Status, Successes
from prealloc.report import human
from prealloc.report.progress import NOTES, RunProgress
from prealloc.report.reporter import JsonLinesReporter, Stream, json_line
from prealloc.report.shard_progress import Pace, State
from prealloc.report.visible import value, visible


def started(shards: int = 3, units: int = 4, **done: int) -> events.RunStarted:
    settings = [{"n": n, "same": 1, "also": 2} for n in range(shards)]
    infos = (shard_info(f"s{n}", units, settings=each, done=done) for n, each in enumerate(settings))
    return run_started(*infos, workers=shards)


def shard_story(shard: str, statuses: list[tuple[Status, bool | None]], retry: bool) -> list[events.Event]:
    story: list[events.Event] = [events.ShardStarted(shard=shard, incarnation=1, pid=1, units=len(statuses))]
    for k, (status, success) in enumerate(statuses):
        task = f"t{k}"
        story.append(events.AttemptStarted(shard=shard, task=task, repeat=0, attempt=1))
        if retry:
            story.append(attempt_ended(shard, task, Status.INFRA, outcome=False))
            story.append(events.AttemptStarted(shard=shard, task=task, repeat=0, attempt=2))
        error = None if status is Status.OK else ErrorInfo(type="E", message=f"m{k % 2}")
        story.append(attempt_ended(shard, task, status, success=success, error=error, working_s=k + 0.5))
    return [*story, events.ShardEnded(shard=shard)]


def picture(progress: RunProgress) -> object:
    return (
        progress.total.counts,
        progress.total.success,
        progress.total.retries,
        progress.running,
        {s.id: (s.state, s.done, s.decided, s.counts, s.retries) for s in progress.shards.values()},
    )


OUTCOMES = st.lists(st.tuples(st.sampled_from(list(Status)), st.sampled_from([None, True, False])), max_size=4)


@examples(100)
@given(st.lists(st.tuples(OUTCOMES, st.booleans()), min_size=3, max_size=3), st.randoms())
def test_counts_add_up_and_the_order_between_shards_does_not_matter(
    stories: list[tuple[list[tuple[Status, bool | None]], bool]], chance: random.Random
) -> None:
    """However the events of different shards interleave, the fold is the same and sums to the units."""
    told = [shard_story(f"s{n}", *story) for n, story in enumerate(stories)]
    in_order, mixed = RunProgress(), RunProgress()
    for progress in (in_order, mixed):
        progress.apply(started(), 0.0)
    for event in (event for story in told for event in story):
        in_order.apply(event, 1.0)
    queues = [list(story) for story in told]
    while any(queues):
        mixed.apply(chance.choice([q for q in queues if q]).pop(0), 1.0)
    assert picture(mixed) == picture(in_order)
    total = mixed.total
    assert sum(total.counts.values()) == total.decided == sum(len(s) for s, _ in stories)
    assert total.decided == sum(s.decided for s in mixed.shards.values())
    assert total.done <= total.decided <= total.units == 12
    assert mixed.running == 0


def test_only_outcomes_count() -> None:
    """An attempt that is to be tried again is no outcome; it is retried when the next one begins, or has ended."""
    progress = RunProgress()
    progress.apply(started(), 0.0)
    for task in ("a", "b", "c"):
        progress.apply(attempt_ended("s0", task, Status.INFRA, outcome=False), 1.0)
    assert (progress.total.decided, progress.total.retries) == (0, 0)
    progress.apply(events.AttemptStarted(shard="s0", task="a", repeat=0, attempt=2), 2.0)
    progress.apply(attempt_ended("s0", "a", Status.OK), 3.0)
    progress.apply(attempt_ended("s0", "b", Status.OK), 3.0)
    assert (progress.total.decided, progress.total.retries, progress.shards["s0"].retries) == (2, 2, 2)


def test_units_done_before_are_part_of_the_sum() -> None:
    """A resumed run starts from what is final; shards with nothing left are done at once."""
    progress = RunProgress()
    progress.apply(started(2, 4, ok=3, failed=1), 0.0)
    assert (progress.total.decided, progress.earlier) == (8, 8)
    assert progress.states()[State.ENDED] == 2
    assert progress.eta_s(1.0) == 0.0


def test_success_is_of_decided_units() -> None:
    """Nobody says: no rate, ok is no success. Then: of those that say, and those that ended otherwise than ok."""
    progress = RunProgress()
    progress.apply(started(), 0.0)
    progress.apply(attempt_ended("s0", "a"), 1.0)
    progress.apply(attempt_ended("s0", "b", Status.FAILED), 1.0)
    progress.apply(attempt_ended("s0", "c", Status.INFRA), 1.0)
    assert progress.success_rate(progress.total) is None
    progress.apply(attempt_ended("s0", "d", success=True), 1.0)
    assert progress.success_rate(progress.total) == 0.5
    assert (progress.total.success.decided, progress.total.success.unknown) == (3, 1)


def test_the_rate_goes_on_from_earlier_sessions_by_first_outcomes() -> None:
    """What earlier sessions decided is in it; a unit that runs again changes nothing."""
    before = Successes(decided=3, successes=1, reported=True)
    shard = events.ShardInfo(id="s0", units=4, settings={}, done={"ok": 2}, success=before)
    progress = RunProgress()
    progress.apply(replace(started(), shards=(shard,)), 0.0)
    progress.apply(attempt_ended("s0", "again", success=True, first=False), 1.0)
    assert (progress.total.success.successes, progress.total.success.rated) == (1, 3)
    progress.apply(attempt_ended("s0", "new", success=True), 1.0)
    assert progress.success_rate(progress.shards["s0"]) == 0.5


def test_a_lost_worker_runs_nothing_until_its_replacement_does() -> None:
    """Suspects that start again count once; an old worker's death does not mark the shard as lost."""
    progress = RunProgress()
    progress.apply(started(), 0.0)
    begin = events.AttemptStarted(shard="s0", task="a", repeat=0, attempt=1)
    for event in (events.ShardStarted(shard="s0", incarnation=1, pid=7, units=4), begin, begin):
        progress.apply(event, 1.0)
    assert progress.running == 1
    progress.apply(events.WorkerLost(shard="s0", pid=7, reason="SIGKILL", suspects=1), 2.0)
    assert (progress.running, progress.shards["s0"].state) == (0, State.LOST)
    progress.apply(events.ShardStarted(shard="s0", incarnation=2, pid=8, units=4), 3.0)
    progress.apply(begin, 3.0)
    progress.apply(events.WorkerLost(shard="s0", pid=7, reason="late", suspects=0), 4.0)
    assert (progress.running, progress.shards["s0"].state) == (1, State.RUNNING)
    assert progress.lost == 2
    progress.apply(events.Stopping(drain_s=10), 5.0)
    assert progress.states()[State.DRAINING] == 1


def test_of_many_shards_the_run_ends_with_those_that_are_not_ok() -> None:
    """While a run goes on, what runs comes first; at its end what has failed, and what never began comes last."""
    progress = RunProgress()
    done = [{"ok": 2}, {}, {"ok": 1, "failed": 1}, {"ok": 2}, {"failed": 2}]
    infos = tuple(events.ShardInfo(id=f"s{n}", units=2, settings={}, done=each) for n, each in enumerate(done))
    progress.apply(replace(started(), shards=infos), 0.0)
    assert [shard.id for shard in progress.most_interesting(3)] == ["s1", "s0", "s2"]
    progress.ended = cast("events.RunEnded", object())
    assert [shard.id for shard in progress.most_interesting(4)] == ["s2", "s4", "s0", "s3"]


def test_notes_are_bounded() -> None:
    """Notes without end keep a fixed amount: the latest."""
    progress = RunProgress()
    progress.apply(started(1, 10**6), 0.0)
    for k in range(2000):
        progress.apply(events.Note(text=str(k)), k)
    assert len(progress.notes) == NOTES


def test_peak_memory_is_of_one_moment() -> None:
    """The peak is the largest sum that was sampled, not the sum of the largest parts."""
    progress = RunProgress()
    progress.apply(started(), 0.0)
    for master, worker in ((10, 100), (50, 20), (20, 90)):
        progress.apply(events.MemorySampled(master=master, workers={"s0": worker}, other=1), 1.0)
    assert progress.peak == (10, 100, 1)
    assert progress.memory == (20, 90, 1)


def test_settings_that_tell_shards_apart() -> None:
    """Of many settings only those that differ are told."""
    progress = RunProgress()
    progress.apply(started(), 0.0)
    assert progress.telling == ("n",)


def test_the_pace_is_that_of_the_last_minute() -> None:
    """Two per second for ten minutes, then one: a minute later nothing is left of the two."""
    pace = Pace(0.0)
    assert pace.per_s(5.0) is None
    for half in range(1200):
        pace.add(half / 2)
    assert pace.per_s(600.0) == pytest.approx(2.0, rel=0.02)
    for second in range(600, 700):
        pace.add(float(second))
    assert pace.per_s(700.0) == pytest.approx(1.0, rel=0.02)


def test_slow_tasks_have_a_pace_too() -> None:
    """One task each five minutes is not nothing."""
    pace = Pace(0.0)
    for n in range(1, 31):
        pace.add(300.0 * n)
    assert pace.per_s(9000.0) == pytest.approx(1 / 300, rel=0.02)


def test_each_event_is_a_json_line() -> None:
    """Every event is written, tagged, in ASCII, whatever text it holds."""
    out = io.StringIO()
    told = [
        started(),
        events.Note(text="a\x1b[31m\n\x7f\u202e"),
        events.Note(text="\udcff"),
        events.MemorySampled(master=1, workers={"s0": 2}, other=3),
    ]
    with JsonLinesReporter(out) as reporter:
        for event in told:
            reporter.handle(event)
            reporter.tick(0.0)
    lines = out.getvalue().splitlines()
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert [json.loads(line)["event"] for line in lines] == ["run_started", "note", "note", "memory_sampled"]
    assert json.loads(json_line(told[1]))["text"] == told[1].text  # type: ignore[attr-defined]


def test_a_closed_pipe_stops_nobody() -> None:
    """A stream that breaks is left alone from then on, and the reason is kept."""

    class Closed(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            raise BrokenPipeError

    closed = Closed()
    stream = Stream(closed)
    stream.write("a\n")
    stream.write("b\n")
    assert isinstance(stream.broken, BrokenPipeError)
    assert closed.writes == 1


@examples(100)
@given(st.text())
def test_visible_text_is_printable(text: str) -> None:
    """No character that a terminal could obey is left, and printable text stays as it is."""
    assert visible(text).isprintable()
    assert value({"k": text}).isprintable()
    assert not text.isprintable() or visible(text) == text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (human.size(0), "0 B"),
        (human.size(812), "812 B"),
        (human.size(999), "999 B"),
        (human.size(9_400), "9.4 kB"),
        (human.size(999_600), "1.0 MB"),
        (human.size(412_000_000), "412 MB"),
        (human.size(4_422_000_000), "4.4 GB"),
        (human.size(None), "-"),
        (human.duration(0), "0 s"),
        (human.duration(0.0004), "<1 ms"),
        (human.duration(0.035), "35 ms"),
        (human.duration(0.0996), "0.1 s"),
        (human.duration(4.25), "4.2 s"),
        (human.duration(12.3), "12 s"),
        (human.duration(59.9), "1 min"),
        (human.duration(250), "4 min 10 s"),
        (human.duration(12_000), "3 h 20 min"),
        (human.duration(187_200), "2 d 4 h"),
        (human.clock(5.2), "0:06"),
        (human.clock(725), "12:05"),
        (human.clock(12_005), "3:20:05"),
        (human.clock(187_200), "2d04h"),
        (human.rate(28.34), "28.3/s"),
        (human.rate(283.4), "283/s"),
        (human.rate(0.07), "4.2/min"),
        (human.rate(0.001), "3.6/h"),
        (human.rate(0.0), "0/s"),
        (human.percent(999, 1000), "99%"),
        (human.percent(1, 1000), "1%"),
        (human.percent(1000, 1000), "100%"),
        (human.percent(0, 0), "-"),
        (human.count(1, "shard"), "1 shard"),
        (human.count(1200, "shard"), "1,200 shards"),
    ],
)
def test_numbers_for_people(shown: str, expected: str) -> None:
    """Each number has one form, and rounding never claims all or none."""
    assert shown == expected


def _under_way(*began_s: float, ended: float = 8, typical_s: float = 30.0) -> RunProgress:
    """One shard whose first attempts took `typical_s` each; what runs in it, and in as many others, began then."""
    progress = RunProgress()
    units = int(ended) + 1
    progress.apply(started(len(began_s), units), 0.0)
    told: list[tuple[float, events.Event]] = []
    for shard, at_s in enumerate(began_s):
        name = f"s{shard}"
        told.append((0.0, events.ShardStarted(shard=name, incarnation=1, pid=shard, units=units)))
        for number in range(int(ended)):
            task = f"t{number}"
            told.append((number / 8, events.AttemptStarted(shard=name, task=task, repeat=0, attempt=1)))
            told.append((number / 8 + typical_s, attempt_ended(name, task, working_s=typical_s)))
        told.append((at_s, events.AttemptStarted(shard=name, task="last", repeat=0, attempt=1)))
    for now_s, event in sorted(told, key=lambda each: each[0]):
        progress.apply(event, now_s)
    return progress


def test_what_runs_is_expected_to_take_what_others_took() -> None:
    """At a pace of many at once the last task of 30 s would be done in a second: its age counts against the median."""
    progress = _under_way(31.0)
    assert progress.typical_s() == pytest.approx(30.0)
    assert progress.eta_s(36.0) == pytest.approx(25.0)
    assert progress.eta_s(51.0) == pytest.approx(10.0)
    late = progress.eta_s(131.0)  # it has outlived the others by far: half of its age again
    assert late is not None
    assert late >= 50.0


@examples(100)
@given(st.lists(st.floats(31, 90), min_size=1, max_size=4), st.floats(90, 200))
def test_the_whole_never_ends_before_a_part(began_s: list[float], now_s: float) -> None:
    """The ETA of the run is that of its slowest shard or later."""
    progress = _under_way(*began_s)
    whole = progress.eta_s(now_s)
    assert whole is not None
    parts = [shard.eta_s(now_s, progress.typical_s()) for shard in progress.shards.values()]
    assert whole >= max(part for part in parts if part is not None)


def test_a_run_that_stops_has_no_estimate() -> None:
    """What is left will not be run now."""
    progress = _under_way(31.0)
    progress.apply(events.Stopping(drain_s=10.0), 36.0)
    assert progress.eta_s(37.0) is None
