"""What a host knows of the way to its master."""

from __future__ import annotations

from prealloc.engines.hosts.limiter import MasterClock


def test_one_late_answer_says_nothing_of_the_way() -> None:
    """A busy machine answers late: how long the way is, is known only after several answers, by the shortest."""
    clock = MasterClock()
    for number, late_s in enumerate((0.05, 0.04, 0.002, 0.06, 0.05)):
        assert clock.rtt_s is None
        clock.heard(float(number), 100.0 + number, number + late_s)
    assert clock.rtt_s is not None
    assert abs(clock.rtt_s - 0.002) < 1e-9
