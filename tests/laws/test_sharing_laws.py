"""Laws of lanes that several runs share: a limit holds over all of them, in every window, and is used."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from prealloc.files.paths import SharedPaths, runtime_folder
from prealloc.files.private import private_folder
from prealloc.files.regular import Unusable
from prealloc.lanes.accounts import ALIVE_S
from prealloc.lanes.lane_file import LaneFile
from prealloc.lanes.limiter import AHEAD_S, RateLimiter
from prealloc.lanes.pacing import GUARD
from prealloc.lanes.sharing import AGAIN_S, BEAT_S, REFILL_S, STUCK_S, SharedLane, shared_lanes
from prealloc.model.events import LaneHalted, LanePaused, Note
from prealloc.model.lane import Lane
from prealloc.model.outcome import Answer
from prealloc.model.policy import NEVER_S, RunPolicy
from prealloc.testing import FakeClock


@contextmanager
def lane_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "lane"


def a_run(path: Path, clock: FakeClock, *, policy: dict[str, Any] | None = None, **limits: Any) -> RateLimiter[str]:
    """The limiter of one run on the lane k, which it shares by this file."""
    share = SharedLane(lambda: path)
    return RateLimiter([Lane(name="k", **limits)], RunPolicy(**(policy or {})), now=clock, share=lambda lane: share)


def fullest(moments: list[float], window_s: float) -> int:
    """The most of these moments in any window [t, t + window)."""
    moments = sorted(moments)
    return max((bisect_left(moments, at + window_s) - place for place, at in enumerate(moments)), default=0)


def notes(limiter: RateLimiter[str]) -> list[str]:
    return [news.text for news in limiter.news() if isinstance(news, Note) and not SHARED.match(news.text)]


SHARED = re.compile("other runs of yours use these lanes too, and share their limits: k$")


steps = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 0.3), st.integers(0, 4)), min_size=1, max_size=120)
"""(which run, how long after the step before, how many requests it asks for)"""


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), steps)
@examples(60)
def test_the_lowest_limit_holds_over_all_runs(limits: list[int], taken: list[tuple[int, float, int]]) -> None:
    """In every window of a second, whoever asks when; and no slot comes before the one that was given before it."""
    clock, turn, moments = FakeClock(1000.0), 0, []
    with lane_path() as path:
        runs = [a_run(path, clock, queries_per_second=limit) for limit in limits]
        for each in runs:
            each.grants()  # from now on the others know of it
        for which, pause_s, requests in taken:
            clock.advance(pause_s)
            limiter = runs[which % len(runs)]
            for _ in range(requests):
                turn += 1
                limiter.ask("k", "a", turn, 0)
            for each in runs:  # a master looks every 25 ms while somebody waits
                moments += [grant.at for grant in each.grants()]
        for each in runs:
            each.close()
    assert all(later > before for before, later in pairwise(moments))
    assert fullest(moments, 1.0) <= min(limits)


@given(
    st.integers(10, 500),
    st.lists(st.tuples(st.booleans(), st.floats(0, 20), st.integers(0, 300), st.floats(0, 1)), max_size=60),
)
@examples(60)
def test_a_token_limit_holds_over_all_runs(limit: int, asked: list[tuple[bool, float, int, float]]) -> None:
    """At most L in any minute, though only one run declares it; by what was used, where that is not more than asked."""
    clock, went = FakeClock(1000.0), []
    with lane_path() as path:
        declares, other = a_run(path, clock, tokens_per_minute=limit), a_run(path, clock)
        for each in (declares, other):
            each.grants()
        for turn, (which, pause_s, tokens, used) in enumerate(asked):
            clock.advance(pause_s)
            limiter = declares if which else other
            limiter.ask("k", "a", turn, tokens)
            while not (granted := [*declares.grants(), *other.grants()]):  # both are there
                clock.advance(3.0)
            really = int(used * min(tokens, limit))
            limiter.done("k", "a", turn, really, Answer(came_through=True))
            went.append((granted[0].at, really))
            clock.advance(0.2)
            assert limiter.grants() == []  # soon enough it is written down
    for at, _ in went:
        assert sum(tokens for moment, tokens in went if at <= moment < at + 60.0) <= limit


@pytest.mark.parametrize("limit", [5, 40, 200])
def test_no_shares_are_fixed(limit: int) -> None:
    """Three runs that always ask use more than 95% of the limit, each a good part of it; when two end, the third has
    all of it, at once.
    """
    clock = FakeClock(1000.0)
    with lane_path() as path:
        runs = [a_run(path, clock, queries_per_second=limit) for _ in range(3)]
        moments: list[list[float]] = [[], [], []]
        for each in runs:
            for turn in range(100 * limit):
                each.ask("k", "a", turn, 0)
        while clock() < 1010.0:
            for limiter, mine in zip(runs, moments, strict=True):
                clock.advance(0.0083)  # each looks every 25 ms
                mine += [grant.at for grant in limiter.grants()]
        together = sorted(at for mine in moments for at in mine)
        assert (len(together) - 1) / (together[-1] - together[0]) > 0.95 * limit
        assert all(len(mine) > len(together) / 5 for mine in moments)
        runs[0].close()  # one ends, one is killed
        alone = []
        while clock() < 1020.0:
            clock.advance(0.025)
            alone += [grant.at for grant in runs[2].grants()]
        assert (len(alone) - 1) / (alone[-1] - alone[0]) > 0.95 * limit
        assert fullest(together + alone, 1.0) <= limit


@given(
    st.sampled_from([{"queries_per_second": 7}, {"tokens_per_minute": 300}, {"requests_per_minute": 9}, {}]),
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 400), st.booleans()), max_size=60),
)
@examples(60)
def test_one_run_alone_is_paced_as_if_nothing_were_shared(
    limits: dict[str, int], asked: list[tuple[float, int, bool]]
) -> None:
    """To the last digit, with pauses and all."""
    clock = FakeClock(1000.0)
    with lane_path() as path:
        both = [
            a_run(path, clock, **limits),
            RateLimiter[str]([Lane(name="k", **limits)], RunPolicy(), now=clock),
        ]
        for turn, (pause_s, tokens, refused) in enumerate(asked):
            clock.advance(pause_s)
            for each in both:
                each.ask("k", "a", turn, tokens)
            mine, unshared = (each.grants() for each in both)
            assert mine == unshared
            for each in both:
                each.done(
                    "k", "a", turn, tokens // 2, Answer(http_status=429) if refused else Answer(came_through=True)
                )
            mine, unshared = (each.news() for each in both)  # type: ignore[assignment]
            assert mine == unshared


def test_what_a_dead_run_has_declared_holds_for_a_while() -> None:
    """Its slots count until their window is over, its lower limit until it has not been seen for some seconds."""
    clock = FakeClock(1000.0)
    with lane_path() as path:
        dead, alive = a_run(path, clock, queries_per_second=1), a_run(path, clock, queries_per_second=50)
        dead.ask("k", "a", 1, 0)
        (given,) = dead.grants()
        for turn in range(1000):
            alive.ask("k", "a", turn, 0)
        moments = []
        while clock() < 1000.0 + 2 * ALIVE_S:
            clock.advance(0.025)
            moments += [grant.at for grant in alive.grants()]
        clock.advance(100.0)
        assert alive.grants()
        with closing(LaneFile(path)) as file:
            assert len(file.read()) == 1  # by now the dead one is forgotten
    assert moments[0] >= given.at + 1.0
    while_it_counts = [at for at in moments if at < 1000.0 + ALIVE_S]
    assert fullest(while_it_counts, 1.0) == 1
    assert len(moments) - len(while_it_counts) > 50 * (ALIVE_S - 2 * BEAT_S)


def test_a_limit_that_is_changed_holds_for_all_at_once() -> None:
    """What `prealloc ctl --rate` sets in one run, the others heed from their next turn on."""
    clock = FakeClock(1000.0)
    with lane_path() as path:
        changed, other = a_run(path, clock, queries_per_second=50), a_run(path, clock, queries_per_second=50)
        for turn in range(500):
            other.ask("k", "a", turn, 0)
        assert other.grants()
        changed.change("k", 2)
        changed.grants()
        moments = []
        while clock() < 1004.0:
            clock.advance(0.025)
            moments += [grant.at for grant in other.grants()]
            changed.grants()
        assert 6 <= len(moments) <= 9
        changed.close()
        clock.advance(1.0)
        assert len([*other.grants(), *other.grants()]) > 1


def test_a_pause_is_for_all() -> None:
    """A 429 of one run keeps the others from sending, and they say so. One that halts its lane is not told: the others
    ask for themselves, and so does the run after the key was fixed.
    """
    clock = FakeClock(1000.0)
    with lane_path() as path:
        first, second = a_run(path, clock), a_run(path, clock, policy={"max_wait_s": 60.0})
        second.grants()
        first.grants()
        second.grants()
        (note,) = first.news()  # that the other is there
        assert isinstance(note, Note)
        assert SHARED.match(note.text)
        clock.advance(BEAT_S)
        second.grants()
        assert [type(news) for news in second.news()] == [Note]
        first.done("k", "a", 1, 0, Answer(http_status=429, retry_after_s=41.0))
        first.grants()
        second.ask("k", "a", 1, 0)
        assert second.grants() == []
        (news,) = second.news()
        assert isinstance(news, LanePaused)
        assert news.wait_s == 41.0
        clock.advance(40.9)
        assert second.grants() == []
        clock.advance(0.1)
        assert len(second.grants()) == 1
        first.done("k", "a", 2, 0, Answer(http_status=429, retry_after_s=NEVER_S))
        first.grants()
        second.ask("k", "a", 2, 0)
        assert len(second.grants()) == 1
        third = a_run(path, clock)
        third.done("k", "a", 2, 0, Answer(http_status=429, retry_after_s=600.0))
        third.grants()
        second.ask("k", "a", 3, 0)
        assert second.grants() == []
        (news,) = second.news()  # it waits for nothing that it may not wait for
        assert isinstance(news, LaneHalted)


GAP_S = 1 / 10 * (1 + GUARD) - 1e-6


@given(st.binary(max_size=300), st.booleans(), st.floats(1002.0, 1003.0))
@examples(15)
def test_a_damaged_file_is_made_anew(rubbish: bytes, cut: bool, strikes_at: float) -> None:
    """It is noted, once by the run that sees it; the limit holds all the while, and nobody stops."""
    clock, moments, damaged = FakeClock(1000.0), [], None
    with lane_path() as path:
        runs = [a_run(path, clock, queries_per_second=10) for _ in range(2)]
        for each in runs:
            for turn in range(200):
                each.ask("k", "a", turn, 0)
        for each in cycle(runs):
            clock.advance(0.0125)
            if clock() > 1008.0:
                break
            if clock() > strikes_at and damaged is None:
                whole = path.read_bytes()
                path.write_bytes(whole[: len(whole) // 2] if cut else rubbish + whole[len(rubbish) :])
                damaged = path.read_bytes() not in (whole, b"")
            moments += [grant.at for grant in each.grants()]
        told = [note for each in runs for note in notes(each)]
    assert len(told) == damaged
    assert all("was damaged" in note for note in told)
    assert all(later - before > GAP_S for before, later in pairwise(sorted(moments)))
    assert len(moments) > 9 * (8.0 - REFILL_S) - 2


def test_a_run_that_is_stopped_in_its_turn_stops_nobody() -> None:
    """While it keeps the lock, the others wait a second, say so and go on by themselves; then they share again."""
    clock = FakeClock(1000.0)
    with lane_path() as path:
        run = a_run(path, clock, queries_per_second=10)
        for turn in range(100):
            run.ask("k", "a", turn, 0)
        assert run.grants()
        with path.open("rb") as stopped:
            fcntl.flock(stopped, fcntl.LOCK_EX)
            moments: list[float] = []
            while clock() < 1005.0:
                clock.advance(0.025)
                moments += [grant.at for grant in run.grants()]
            assert 1000.0 + STUCK_S < moments[0] < 1000.0 + STUCK_S + 0.2
            assert len(moments) > 9 * 3
        (note,) = notes(run)
        assert "another run keeps it locked" in note
        before = path.read_bytes()
        clock.advance(0.2)
        assert run.grants()
        assert path.read_bytes() != before
        assert notes(run) == []


def test_where_the_file_cannot_be_used_the_run_goes_on() -> None:
    """With a note, which many lanes have together; some time later it is tried again."""
    clock = FakeClock(1000.0)
    with lane_path() as path:
        broken = True

        def where(lane: Lane) -> Path:
            if broken:
                raise Unusable(f"{path.parent}: Read-only file system")
            return path if lane.name == "k" else path.with_name("l")

        lanes = [Lane(name=name, queries_per_second=10) for name in "kl"]
        run = RateLimiter[str](lanes, RunPolicy(), now=clock, share=lambda lane: SharedLane(lambda: where(lane)))
        for name in "kl":
            run.ask(name, "a", 1, 0)
        assert len(run.grants()) == 2
        (note,) = notes(run)
        assert note.endswith("Read-only file system")
        broken = False
        clock.advance(AGAIN_S)
        run.grants()
        assert path.exists()
        path.unlink()  # with the folder, when the user logs out
        clock.advance(BEAT_S)
        run.grants()
        assert path.exists()
        assert notes(run) == []


def test_accounts_of_another_boot_are_nobodys(tmp_path: Path) -> None:
    """A file that has outlived the machine's restart binds nobody, and is no damage."""
    late, clock, path = FakeClock(5e6), FakeClock(1000.0), tmp_path / "lane"
    before = a_run(path, late, queries_per_second=1)
    before.done("k", "a", 1, 0, Answer(http_status=429, retry_after_s=100.0))
    before.grants()
    after = a_run(path, clock, queries_per_second=1)
    after.ask("k", "a", 1, 0)
    assert len(after.grants()) == 1
    assert after.news() == []


def files_of(lanes: list[Lane], settings: dict[str, Any] | None = None) -> list[str]:
    """Where the lanes of one run are shared."""
    share, found = shared_lanes(lanes, settings or {}), []
    for lane in lanes:
        shared = share(lane)
        assert isinstance(shared, SharedLane)
        found.append(str(shared._where()))
    return found


def test_which_lanes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same key at the same endpoint, whatever its name; without a key the same name at the same endpoint."""
    monkeypatch.setenv("ONE", "key-1")
    monkeypatch.setenv("SAME", "key-1")
    monkeypatch.setenv("OTHER", "key-2")
    one, same, other, unset = (
        Lane(name=name.lower(), key_env=name) for name in ("ONE", "SAME", "OTHER", "NOT_SET_HERE")
    )
    (mine,) = files_of([one])
    assert files_of([same]) == [mine]
    assert files_of([same], {"base_url": "https://a.example/v1"}) != [mine]
    there = files_of([same], {"base_url": "https://a.example/v1/"})
    assert there == files_of([one], {"base_url": "https://a.example/v1"})
    assert files_of([Lane(name="one", key_env="ONE", deployment="d")]) != [mine]
    assert files_of([other]) != [mine]
    assert files_of([unset]) == files_of([Lane(name="not_set_here")])
    assert files_of([Lane(name="k")]) != files_of([Lane(name="l")])
    # Who has divided one key into two lanes means two.
    assert len({*files_of([one, same]), mine}) == 3
    assert files_of([one, same]) == files_of([one, same])


def test_no_key_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 11: neither a key nor a hash that others could make of it; and nobody else may look."""
    monkeypatch.setenv("ONE", "sk-not-a-real-key-1")
    lane = Lane(name="one", key_env="ONE", queries_per_second=3)
    run = RateLimiter[str]([lane], RunPolicy(), share=shared_lanes([lane], {}))
    run.ask("one", "a", 1, 0)
    assert run.grants()
    run.close()
    assert run.news() == []
    folder = runtime_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder == Path(os.environ["XDG_RUNTIME_DIR"], "prealloc")
    names = {path.name for path in folder.iterdir()}
    secret = SharedPaths(folder).secret
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"not-a-real" not in path.read_bytes()
    secret.unlink()  # another user's secret
    files_of([lane])
    assert len({path.name for path in folder.iterdir()} | names) == len(names)
    (before,), (after,) = names - {"secret"}, {Path(path).name for path in files_of([lane])}
    assert before != after


def test_where_runs_meet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the runtime folder that is the user's own, whether or not a variable names it; else in /tmp. Never in another
    user's, which `sudo` leaves in the variable.
    """
    me = os.getuid()
    assert runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "prealloc"
    usual = runtime_folder({})
    assert usual in (Path(f"/run/user/{me}/prealloc"), Path(f"/tmp/prealloc-{me}"))
    for named in ("relative", "", "/nowhere"):
        assert runtime_folder({"XDG_RUNTIME_DIR": named}) in (usual, Path(f"/tmp/prealloc-{me}"))
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    assert runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path)}) == Path(f"/tmp/prealloc-{me + 1}")
    with pytest.raises(Unusable, match=f"belongs to user {me}"):
        private_folder(tmp_path / "prealloc")
    assert not (tmp_path / "prealloc").exists()


@pytest.mark.parametrize("trap", ["a link", "a file", "open to all", "a long secret", "a linked secret", "a FIFO"])
def test_traps_in_the_folder_are_not_walked_into(trap: str, tmp_path: Path) -> None:
    """In /tmp anybody may have put something there first: then the run goes on alone, and says why."""
    folder = runtime_folder()
    paths = SharedPaths(folder)
    if trap == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    elif trap == "a file":
        folder.touch()
    else:
        folder.mkdir(mode=0o755 if trap == "open to all" else 0o700)
    if trap == "a long secret":
        paths.secret.write_bytes(b"x" * 33)
    elif trap == "a linked secret":
        (tmp_path / "theirs").write_bytes(b"x" * 32)
        paths.secret.symlink_to(tmp_path / "theirs")
    elif trap == "a FIFO":
        os.mkfifo(paths.secret)
    lane = Lane(name="k", queries_per_second=3)
    run = RateLimiter[str]([lane], RunPolicy(), share=shared_lanes([lane], {}))
    run.ask("k", "a", 1, 0)
    assert run.grants()
    (note,) = notes(run)
    assert str(folder) in note
    assert not list((tmp_path / "elsewhere").glob("*"))


def test_slots_that_are_late_count_for_all() -> None:
    """Who is paced by the minute may not use its slot so late that it meets another run's in one second."""
    clock = FakeClock(1000.0)
    with lane_path() as path:
        minute, second = a_run(path, clock, requests_per_minute=60), a_run(path, clock, queries_per_second=5)
        minute.ask("k", "a", 1, 0)
        (alone,) = minute.grants()
        second.grants()
        clock.advance(2 * (1 + GUARD))
        minute.ask("k", "a", 2, 0)
        (beside,) = minute.grants()
        assert (alone.late_s, beside.late_s) == (0.6, 0.01)
        assert beside.at <= clock() + AHEAD_S
