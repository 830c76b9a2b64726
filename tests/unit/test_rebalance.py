"""Which job gives units to a worker that has nothing to run."""

from __future__ import annotations

from run_events import attempt_ended
from run_setup import job_of

from prealloc.engines.rebalance import ANSWER_S, FIRST_START_S, Rebalance
from prealloc.model.policy import RunPolicy
from prealloc.testing import make_plan


class Jobs:
    """Jobs of one shard each, and a clock that moves when it is told."""

    def __init__(self, count: int, *, concurrency: int = 1) -> None:
        self.now = 100.0
        self.rebalance = Rebalance(now=lambda: self.now)
        policy = RunPolicy.checked(concurrency=concurrency)
        for number, shard in enumerate(make_plan(count, shards=count).shards):
            self.rebalance.launched(job_of(shard, policy, number=number, orders=()))

    def ends(self, shard: int, seconds: float, *, start_s: float = 0.1) -> None:
        """An attempt of this shard has ended, which started `start_s` after the launch."""
        self.now = 100.0 + start_s + seconds
        self.rebalance.heard(attempt_ended(f"shard-{shard:02}", working_s=seconds))

    def ask(self, places: int, *unbegun: int, spare: float = 9) -> list[tuple[int, int]]:
        return list(self.rebalance.choose(places, dict(enumerate(unbegun)), lambda job: spare))


def test_the_longest_gives_half_of_it() -> None:
    """Longest by time: by the units that have not begun, and what one of its shard takes."""
    jobs = Jobs(3)
    for shard, seconds in enumerate((1.0, 1.0, 5.0)):
        jobs.ends(shard, seconds)
    jobs.now += 1
    assert jobs.ask(1, 9, 4, 3) == [(2, 2)]
    assert jobs.ask(2, 9, 4, 3) == [(0, 5)]  # one has not answered yet: it takes one of the places


def test_none_is_asked_that_cannot_give_or_for_whom_nobody_has_room() -> None:
    """Nothing that has not begun, no place, or no lane with room: nobody is asked."""
    jobs = Jobs(2)
    jobs.ends(0, 9.0)
    jobs.ends(1, 1.0)
    jobs.now += 1
    assert jobs.ask(1, 0, 0) == []
    assert jobs.ask(0, 9, 9) == []
    assert jobs.ask(1, 9, 9, spare=0) == []
    assert jobs.ask(2, 9, 9, spare=1) == [(0, 5)]  # the second would find the lane full


def test_a_move_must_be_worth_a_workers_start() -> None:
    """What the start of a worker takes is seen in the attempts; units that would wait for less than twice that stay.

    The longer the attempt that runs has taken, the longer they have to wait for it.
    """
    jobs = Jobs(1)
    jobs.ends(0, 0.1, start_s=0.5)
    jobs.now += 0.5
    assert jobs.ask(1, 3) == []
    assert jobs.ask(1, 9) == [(0, 5)]
    other = Jobs(1)
    other.ends(0, 0.1, start_s=0.5)
    other.now += 2
    assert other.ask(1, 1) == [(0, 1)]


def test_before_any_attempt_has_ended_each_takes_as_long_as_the_run_has() -> None:
    """At least: so a single shard is spread over idle workers soon, but not in the first moment."""
    jobs = Jobs(1)
    assert jobs.ask(1, 9) == []
    jobs.now += FIRST_START_S
    assert jobs.ask(1, 1) == []
    assert jobs.ask(1, 9) == [(0, 5)]


def test_a_job_is_not_asked_twice_within_a_moment_and_not_before_it_has_answered() -> None:
    """One that does not answer keeps the others from being asked for a second only."""
    jobs = Jobs(2)
    jobs.ends(0, 5.0)
    jobs.now += 1
    assert jobs.ask(1, 9, 8) == [(0, 5)]
    assert jobs.ask(1, 9, 8) == []
    jobs.now += ANSWER_S
    assert jobs.ask(1, 9, 8) == [(1, 4)]
    jobs.rebalance.answered(0)
    assert jobs.ask(2, 9, 8) == []
    jobs.now += jobs.rebalance.start_s
    assert jobs.ask(2, 9, 8) == [(0, 5)]
    jobs.rebalance.ended(0)
    jobs.now += ANSWER_S
    assert jobs.ask(2, 9, 8) == []
