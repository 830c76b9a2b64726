"""Lanes that several runs share: what the key bears is kept to by all of them together."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from counting_server import CountingServer, counting_server, fullest
from harness import Session, Stage, wait_until
from zygote import zygote

from prealloc.model.lane import Lane
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan, make_task

pytestmark = pytest.mark.fault


@pytest.fixture(autouse=True, scope="module")
def clients() -> None:
    """The agents of this module import them."""
    zygote().load("httpx", "requests")


LIMIT = 20


def start(stage: Stage, lane: Lane, server: CountingServer, requests: int) -> Session:
    """A run of its own, whose 8 tasks on 2 shards always have a request to send, until they have sent so many."""
    tasks = [make_task(f"t{number}", workflow={"requests": requests // 8}) for number in range(8)]
    folder = stage.root / lane.name
    plan = make_plan(tasks, shards=2, lanes=[lane], settings={"port": server.port})
    write_plan(plan, folder / "plan")
    words = ("run", str(folder / "plan"), "--worker", "lane_agents:saturate", "--out", str(folder / "run"), "-c", "4")
    return stage.command(*words)


def rate(moments: Sequence[float]) -> float:
    """Requests per second from the first to the last."""
    return (len(moments) - 1) / (moments[-1] - moments[0])


def test_three_runs_share_one_key_and_one_is_killed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """In no second more than the limit, which is used, by three runs, by the two that are left, and by the last one.

    Each calls the key by a name of its own, and declares another limit: the lowest holds. The slots of the killed run
    are free again by themselves.
    """
    monkeypatch.setenv("ONE_KEY", "shared-key-1")
    monkeypatch.setenv("SAME_KEY", "shared-key-1")
    lanes = [
        Lane(name="a", key_env="ONE_KEY", queries_per_second=LIMIT, shards_at_once=2),
        Lane(name="b", key_env="SAME_KEY", queries_per_second=LIMIT * 2, shards_at_once=2),
        Lane(name="c", key_env="ONE_KEY", requests_per_minute=LIMIT * 60, shards_at_once=2),
    ]
    with counting_server() as server:
        killed, short, long = (
            start(stage, lane, server, requests) for lane, requests in zip(lanes, (800, 80, 120), strict=True)
        )
        wait_until(lambda: all(len(server.arrived[name]) >= 16 for name in "abc"), "requests of all three")
        all_there = max(server.arrived[name][0] for name in "abc")
        killed.process.kill()
        killed_at = time.monotonic()
        killed.wait()
        assert (short.wait(), long.wait()) == (0, 0)
    arrived = {name: sorted(server.arrived[name]) for name in "abc"}
    together = sorted(at for moments in arrived.values() for at in moments)
    assert fullest(together, 1.0) <= 1.05 * LIMIT + 1
    three = [at for at in together if all_there <= at <= killed_at]
    assert rate(three) >= 0.7 * LIMIT
    assert all(sum(all_there <= at <= killed_at for at in moments) >= len(three) / 10 for moments in arrived.values())
    left = [at for at in together if at > max(killed_at + 1, arrived["a"][-1])]
    assert rate([at for at in left if at <= arrived["b"][-1]]) >= 0.7 * LIMIT
    for session in (short, long):
        (note,) = session.of("note")
        assert note["text"].startswith("other runs of yours use these lanes too")


def test_runs_with_keys_of_their_own_do_not_meet(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: the same lanes' names with different keys are different lanes."""
    monkeypatch.setenv("ONE_KEY", "shared-key-1")
    monkeypatch.setenv("SAME_KEY", "another-key-1")
    with counting_server() as server:
        runs = [
            start(stage, Lane(name=name, key_env=key, queries_per_second=LIMIT, shards_at_once=2), server, 80)
            for name, key in (("a", "ONE_KEY"), ("b", "SAME_KEY"))
        ]
        assert [run.wait() for run in runs] == [0, 0]
    assert fullest([*server.arrived["a"], *server.arrived["b"]], 1.0) > 1.3 * LIMIT


def test_a_429_pauses_the_other_runs_too(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """None sends before the server's pause is over, and the run that was not asked says that it waits."""
    monkeypatch.setenv("ONE_KEY", "shared-key-1")
    refused_at: list[float] = []

    def answer(name: str, before: int) -> tuple[int, dict[str, str]]:
        if name == "a" and before == 10:
            refused_at.append(time.monotonic())
            return 429, {"Retry-After": "2"}
        return 200, {}

    with counting_server(answer) as server:
        runs = [
            start(stage, Lane(name=name, key_env="ONE_KEY", queries_per_second=LIMIT, shards_at_once=2), server, 120)
            for name in "ab"
        ]
        wait_until(lambda: bool(refused_at), "the 429")
        assert [run.wait() for run in runs] == [0, 0]
    paused = [at for at in (*server.arrived["a"], *server.arrived["b"]) if refused_at[0] < at < refused_at[0] + 1.9]
    assert len(paused) <= 4  # those whose turn had come
    assert [event["lane"] for run in runs for event in run.of("lane_paused")] == ["a", "b"]
