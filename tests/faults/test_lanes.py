"""Rows 21 and 22: what a lane bears is kept to, whatever happens to its shards."""

from __future__ import annotations

import json
import random
import signal
import time
from typing import Any

import pytest
from chat_server import KEY, chat_server
from counting_server import counting_server
from harness import HERE, Stage, wait_until
from zygote import run_command, zygote

import prealloc
from examples import in_laws
from prealloc.model.lane import Lane
from prealloc.store.plan_folder import write_plan
from prealloc.testing import make_plan, make_task

pytestmark = pytest.mark.fault


@pytest.fixture(autouse=True, scope="module")
def clients() -> None:
    """The agents of this module import them."""
    zygote().load("httpx", "openai", "requests")


CHAT = "prealloc.agents.openai_chat:run"


def lane(name: str = "k", **limits: Any) -> Lane:
    return Lane.checked(name=name, **{"shards_at_once": 64, **limits})


def prealloc_(*words: str, code: int = 0) -> str:
    """What a command prints for people, if it ends with this exit code."""
    done = run_command(words, HERE)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def plan_on(stage: Stage, lanes: list[Lane], workflows: list[Any], *, shards: int, **settings: Any) -> None:
    """One task for each workflow, dealt to the shards, which stand on the lanes in turn."""
    tasks = [make_task(f"t{number:03}", workflow=workflow) for number, workflow in enumerate(workflows)]
    write_plan(make_plan(tasks, shards=shards, lanes=lanes, settings=settings), stage.plan)


@pytest.mark.parametrize("worker", ["saturate", in_laws("saturate_async")])
def test_eight_shards_saturate_two_lanes(stage: Stage, worker: str) -> None:
    """Row 22: in no window of a second more than the limit, and nearly all of it used.

    The server counts what arrives: 8 shards with 4 tasks each, which all always have a request to send. Asserted is
    what holds on a machine that is busy with other things; `make chaos` measures the gates, 100% and 95%.
    """
    limits = {"slow": 40, "fast": 100}
    with counting_server() as server:
        lanes = [lane(name, queries_per_second=limit) for name, limit in limits.items()]
        workflows = [{"requests": limits["fast" if n % 2 else "slow"] * 5 // 16} for n in range(32)]
        plan_on(stage, lanes, workflows, shards=8, port=server.port)
        session = stage.start("-c", "4", worker=f"lane_agents:{worker}")
        assert session.wait() == 0
        for name, limit in limits.items():
            assert server.fullest(name, 1.0) <= 1.05 * limit + 1
            assert server.rate(name) >= 0.7 * limit
        assert all(event["waiting_s"] > event["working_s"] for event in session.of("attempt_ended"))
    stage.check(session)


def test_that_the_limiter_is_what_limits(stage: Stage) -> None:
    """The test above can fail: without turns the same workers pass the limit at once."""
    with counting_server() as server:
        plan_on(stage, [lane(queries_per_second=20)], [{"requests": 20}] * 8, shards=8, port=server.port, limited=False)
        assert stage.start(worker="lane_agents:saturate").wait() == 0
        assert server.fullest("k", 1.0) > 30


def test_a_shard_that_holds_budget_dies(stage: Stage) -> None:
    """Row 22: the limit holds in every window all the same, and the others go on with the rate that is left."""
    with counting_server() as server:
        workflows = [{"die": n < 4} for n in range(60)]
        plan_on(stage, [lane(queries_per_second=20)], workflows, shards=4, port=server.port)
        session = stage.start("-c", "2", worker="lane_agents:dies_holding")
        assert session.wait() == 0
        assert len(session.of("worker_lost")) >= 4
        assert len(server.arrived["k"]) == 60
        assert server.fullest("k", 1.0) <= 22
    stage.check(session)


def test_a_429_slows_the_siblings_and_fails_none(stage: Stage) -> None:
    """Row 21: after a 429 with Retry-After nobody of the lane sends before it is over; all end ok, no retry used.

    The other lane does not notice.
    """

    def answer(name: str, before: int) -> tuple[int, dict[str, str]]:
        return (429, {"Retry-After": "1"}) if (name, before) == ("k", 5) else (200, {})

    with counting_server(answer) as server:
        lanes = [lane(queries_per_second=20), lane("other", queries_per_second=20)]
        plan_on(stage, lanes, [None] * 60, shards=4, port=server.port)
        session = stage.start("-c", "2", "--retries", "1", worker="lane_agents:raises")
        assert session.wait() == 0
        refused_at = server.arrived["k"][5]
        after = sorted(at for at in server.arrived["k"] if at > refused_at)
        # What had its turn already when the 429 came back may still arrive.
        assert sum(at < refused_at + 0.95 for at in after) <= 4
        assert sum(refused_at < at < refused_at + 0.95 for at in server.arrived["other"]) >= 5
        assert len(session.of("attempt_ended", status="infra")) == 1
    stage.check(session)


def test_a_storm_of_429s(stage: Stage) -> None:
    """Row 21: 30% of the requests are turned away for some seconds; every task ends ok at default settings.

    Nobody is charged for the wait: it is waiting, not working.
    """
    draw, until = random.Random(3), time.monotonic() + 8

    def answer(name: str, before: int) -> tuple[int, dict[str, str]]:
        stormy = time.monotonic() < until and draw.random() < 0.3
        return (429, {"Retry-After": "1"}) if stormy else (200, {})

    with counting_server(answer) as server:
        plan_on(stage, [lane(queries_per_second=50)], [None] * 80, shards=4, port=server.port)
        session = stage.start("-c", "4", "--timeout", "5", worker="lane_agents:raises")
        assert session.wait(60) == 0
        assert session.of("attempt_ended", status="infra")
        assert all(event["working_s"] < 1 for event in session.of("attempt_ended"))
    stage.check(session)


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_in_trouble(stage: Stage, status: int) -> None:
    """Row 21: 5xx is tried again with backoff, and never slows the lane by itself."""
    with counting_server(lambda name, before: (status if before % 3 == 0 else 200, {})) as server:
        plan_on(stage, [lane(queries_per_second=50)], [None] * 12, shards=2, port=server.port)
        session = stage.start("-c", "4", "--retries", "8", worker="lane_agents:raises")
        assert session.wait() == 0
    stage.check(session)


@pytest.mark.parametrize("engine", ["local", in_laws("inline")])
def test_a_dead_key_costs_nothing_but_time(stage: Stage, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """Row 21: what it met, and what had not begun on its lane, ends ok on the other lane, each unit once.

    A real server, the real openai client. The screens say that the lane has halted, and no resume is needed.
    """
    count = 24 if engine == "local" else 12  # one after the other
    with chat_server() as server:
        monkeypatch.setenv("GOOD_KEY", KEY)
        monkeypatch.setenv("DEAD_KEY", "wrong-key-0123")
        lanes = [lane("good", key_env="GOOD_KEY"), lane("dead", key_env="DEAD_KEY")]
        settings = {"model": "m", "base_url": server.url, "tool_success_rate": 1.0}
        tasks = [make_task(f"t{n:02}", workflow={"optimal_sequence": ["search"]}) for n in range(count)]
        write_plan(make_plan(tasks, shards=4, lanes=lanes, settings=settings), stage.plan)
        session = stage.start("-c", "3", "--engine", engine, worker=CHAT)
        assert session.wait() == 0
        assert session.census == {"ok": count}
        assert [(event["lane"], event["hint"]) for event in session.of("lane_halted")] == [("dead", "fix DEAD_KEY")]
        ended = session.of("attempt_ended")
        ok, refused = ({e["task"] for e in ended if e["status"] == status} for status in ("ok", "infra"))
        assert len(ok) == len([event for event in ended if event["status"] == "ok"]) == count
        assert {event["lane"] for event in ended if event["status"] == "ok"} == {"good"}
        assert 1 <= len(refused) <= 6  # two workers with three tasks each
        assert not any(event["outcome"] for event in ended if event["status"] == "infra")
        assert {event["shard"] for event in session.of("shard_ended")} == {f"shard-0{n}" for n in range(4)}
        stage.check(session)
        assert "halted" in prealloc_("status", str(stage.run))
        assert "lane dead" not in prealloc_("doctor", str(stage.run))  # nothing is left to run
        moved = next(str(each.unit) for each in prealloc.outcomes(stage.run) if each.task in refused)
        assert "GOOD_KEY" in prealloc_("show", str(stage.run), moved)  # the settings of the lane that served it


def test_a_dead_key_is_not_the_agents_failure(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 21: what it met is `infra`, at once and in all workers; what had not begun is not run, if no other lane
    serves its model.

    The screens name the variable and how to go on, the doctor too; `resume` refuses while it is not set, and runs
    the rest when it is fixed. A real server, the real openai client.
    """
    with chat_server() as server:
        monkeypatch.setenv("GOOD_KEY", KEY)
        monkeypatch.setenv("DEAD_KEY", "wrong-key-0123")
        lanes = [lane("good", key_env="GOOD_KEY", models=("other",)), lane("dead", key_env="DEAD_KEY")]
        settings = {"model": "m", "base_url": server.url, "tool_success_rate": 1.0}
        tasks = [make_task(f"t{n:02}", workflow={"optimal_sequence": ["search"]}) for n in range(20)]
        write_plan(make_plan(tasks, shards=2, lanes=lanes, settings=settings), stage.plan)
        session = stage.start("-c", "3", worker=CHAT)
        assert session.wait() == 1
        assert session.census["infra"] + session.census["not_run"] == 20
        assert 1 <= session.census["infra"] <= 6  # two workers with three tasks each
        refused = session.of("attempt_ended", status="infra", outcome=True)
        assert len(refused) == session.census["infra"]  # none was tried again; one may have waited for that
        assert {event["error"]["http_status"] for event in refused} == {401}
        (halted,) = session.of("lane_halted")
        assert (halted["lane"], halted["hint"]) == ("dead", "fix DEAD_KEY")
        stage.check(session)

        going_on = f"fix DEAD_KEY, then prealloc resume {stage.run}"
        assert going_on in prealloc_("status", str(stage.run), code=1)
        doctor = prealloc_("doctor", str(stage.run), code=1)
        assert "lane dead halted" in doctor
        assert "DEAD_KEY" in doctor
        assert f"{session.census['not_run']} have never run" in " ".join(doctor.split())
        assert "all fine" not in doctor

        monkeypatch.delenv("DEAD_KEY")
        monkeypatch.delenv("GOOD_KEY")
        before = sorted((stage.run / "journal").iterdir())
        refusal = stage.resume()
        assert refusal.wait() == 2
        assert "DEAD_KEY is not set" in refusal.output()
        assert "GOOD_KEY" not in refusal.output()  # its lane has nothing to serve
        assert sorted((stage.run / "journal").iterdir()) == before

        monkeypatch.setenv("DEAD_KEY", KEY)
        second = stage.resume()
        assert second.wait() == 0
        assert second.census == {"ok": 20}
        stage.check(second)
        assert "halted" not in prealloc_("status", str(stage.run))
        assert "lane dead" not in prealloc_("doctor", str(stage.run))


@pytest.mark.parametrize("engine", ["local", "inline"])
def test_an_agent_that_swallows_a_401(stage: Stage, engine: str) -> None:
    """Row 21: its attempt is `infra` whatever it does afterwards: returns, raises another error, exits, hangs."""
    with counting_server(lambda name, before: (401 if before < 1 else 200, {})) as server:
        for then in ("return", "raise", "exit", *(["hang"] if engine == "local" else [])):
            server.arrived.clear()
            folder = stage.root / then
            plan = make_plan(3, workflow={"then": then}, lanes=[lane()], settings={"port": server.port})
            write_plan(plan, folder / "plan")
            words = ("run", str(folder / "plan"), "--worker", "lane_agents:swallows", "--out", str(folder / "run"))
            session = stage.command(*words, "--engine", engine, "--timeout", "1")
            assert session.wait() == 1
            assert session.census == {"infra": 1, "not_run": 2}, then
            (ended,) = session.of("attempt_ended")
            assert ended["error"]["http_status"] == 401


OF_THE_KEY = '{"error": {"type": "permission_error", "message": "Your API key may not use this model."}}'
MODERATION = '{"error": {"message": "Your input was flagged by moderation: how to copy a key", "code": 403}}'
PAGE = "<html><h1>Forbidden</h1>You don't have permission to access / on this server.</html>"


@pytest.mark.parametrize(
    ("bodies", "failed", "halts"),
    [
        pytest.param([OF_THE_KEY], {0}, True, id="of the key"),
        pytest.param([MODERATION, PAGE, None] * 3, {6}, False, id="now and then"),
        pytest.param([MODERATION] * 9, {2, 3, 4}, True, id="three in a row"),
    ],
)
@pytest.mark.parametrize("turn", [True, in_laws(False)], ids=["in turns", "without"])
def test_a_403_halts_the_lane_only_if_it_is_the_key(
    stage: Stage, bodies: list[str | None], failed: set[int], halts: bool, turn: bool
) -> None:
    """Row 21: that is, if its body speaks of it, or three come in a row; else it is the agent's: moderation, a page.

    Two of the three are `failed` before anybody can know. The third is in row when the lane halts, and so may be a
    fourth: which comes first, its ending or the word to its worker, is not said.
    """

    def answer(name: str, before: int) -> tuple[int, dict[str, str], str]:
        body = bodies[before] if before < len(bodies) else None
        return (200, {}, "") if body is None else (403, {}, body)

    with counting_server(answer) as server:
        plan_on(stage, [lane(shards_at_once=1)], [{"no turn": not turn}] * 10, shards=1, port=server.port)
        session = stage.start(worker="lane_agents:asks_with_httpx")
        assert session.wait() == 1
        assert session.census.get("failed", 0) in failed
        assert bool(session.of("lane_halted")) == halts
        assert session.census.get("ok", 0) == (0 if halts else 4)
        assert session.census.get("not_run", 0) >= (6 if halts else 0)
    stage.check(session)


QUOTA = '{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'


@pytest.mark.parametrize(("engine", "other"), [("local", True), in_laws("inline", True), in_laws("local", False)])
@pytest.mark.parametrize(
    ("headers", "body", "told"),
    [({"Retry-After": "7200"}, "", "asks to wait 7,200 s"), ({}, QUOTA, "quota of its key is used up")],
    ids=["too long", "quota"],
)
def test_a_server_that_need_not_be_asked_again_ends_its_lane(
    stage: Stage, headers: dict[str, str], body: str, told: str, engine: str, other: bool
) -> None:
    """Row 31: at once, and the line says why. Who waits for a turn is told; none is `failed`.

    All units end ok on the other lane. Without another one, resume runs the rest.
    """
    used_up = {"k"}

    def answer(name: str, before: int) -> tuple[int, dict[str, str], str]:
        return (429, headers, body) if name in used_up else (200, {}, "")

    with counting_server(answer) as server:
        lanes = [lane(requests_per_minute=120), *([lane("other")] if other else [])]
        plan_on(stage, lanes, [None] * 8 * len(lanes), shards=2 * len(lanes), port=server.port)
        session = stage.start("-c", "4", "--engine", engine, worker="lane_agents:raises")
        assert session.wait() == (0 if other else 1)
        assert session.census.get("ok", 0) == (16 if other else 0)
        assert session.census.get("infra", 0) + session.census.get("not_run", 0) == (0 if other else 8)
        assert len(server.arrived["k"]) <= 2  # one may have had its turn before the answer came
        (halted,) = session.of("lane_halted")
        assert (halted["lane"], told in halted["reason"]) == ("k", True), halted
        errors = [each["error"] for each in session.of("attempt_ended", status="infra")]
        assert any("would pass the max_wait of 3600 s" in error["message"] for error in errors if error["http_status"])
        assert all("the lane has halted" in error["message"] for error in errors if not error["http_status"])
        stage.check(session)
        if not other:
            used_up.clear()
            second = stage.resume()
            assert second.wait(60) == 0
            stage.check(second)


def test_the_status_shows_who_waits_for_a_server(stage: Stage) -> None:
    """Row 31: while it lasts, from another terminal too."""
    with counting_server(lambda name, before: (429, {"Retry-After": "41"})) as server:
        plan_on(stage, [lane()], [None] * 4, shards=1, port=server.port)
        session = stage.start("--drain", "0", worker="lane_agents:raises")
        session.wait_for("lane_paused", http_status=429, wait_s=41.0)
        wait_until(lambda: "lane k waits 4" in prealloc_("status", str(stage.run), code=1), "word of the wait")
        (waits,) = json.loads(prealloc_("status", str(stage.run), "--json", code=1))["waiting"]
        assert (waits["lane"], waits["http_status"]) == ("k", 429)
        session.signal(signal.SIGINT)
        session.wait()
        assert "waits" not in prealloc_("status", str(stage.run), code=1)


def test_a_refused_key_without_a_lane(stage: Stage) -> None:
    """There is nothing to halt: each unit is `infra` at once, without a retry, and `resume` runs it again."""
    bad = {"None"}
    with counting_server(lambda name, before: (401 if name in bad else 200, {})) as server:
        plan_on(stage, [], [None] * 4, shards=1, port=server.port)
        session = stage.start(worker="lane_agents:asks_with_httpx")
        assert session.wait() == 1
        assert session.census == {"infra": 4}
        assert len(server.arrived["None"]) == 4
        bad.clear()
        second = stage.resume()
        assert second.wait() == 0
    stage.check(second)


@pytest.mark.parametrize("engine", ["local", "inline"])
def test_keys_that_are_not_set(stage: Stage, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them in one error, exit code 2, no folder. One that the worker's own module sets is there."""
    names = ("NO_KEY_1", "NO_KEY_2", "KEY_OF_THE_MODULE", "NO_KEY_OF_A_LANE_WITHOUT_SHARDS")
    lanes = [lane(f"k{n}", key_env=name, models=("other",) if n == 3 else ()) for n, name in enumerate(names)]
    plan_on(stage, lanes, [None] * 3, shards=3, model="m")
    session = stage.start("--engine", engine, worker="sets_a_key:solve")
    assert session.wait() == 2
    assert all(f"{name} is not set" in session.output() for name in names[:2])
    assert not any(name in session.output() for name in names[2:])
    assert not stage.run.exists()
    monkeypatch.setenv("NO_KEY_1", "x")
    monkeypatch.setenv("NO_KEY_2", "x")
    second = stage.start("--engine", engine, worker="sets_a_key:solve")
    assert second.wait() == 0


def test_a_lane_through_which_nothing_comes(stage: Stage) -> None:
    """After 20 infrastructure outcomes in a row a lane starts nothing more; --halt-after says how many."""
    with counting_server(lambda name, before: (503 if name == "key" else 200, {})) as server:
        plan_on(stage, [lane("key"), lane("other")], [None] * 60, shards=4, port=server.port)
        session = stage.start("--retries", "0", "--halt-after", "5", worker="lane_agents:raises")
        assert session.wait() == 1
        assert 5 <= session.census["infra"] < 20  # some were under way when it halted
        assert session.census["ok"] == 60 - session.census["infra"]  # what had not begun, on the other lane
        assert session.of("lane_halted", lane="key")
    stage.check(session)


def test_shards_queue_for_their_lane(stage: Stage) -> None:
    """At most its number of shards run at once on a lane, and no more than it bears tasks; lanes run side by side."""
    with counting_server() as server:
        lanes = [lane("one", shards_at_once=1), lane("two", shards_at_once=4, concurrency=2)]
        workflows = [{"requests": 1}] * 24
        plan_on(stage, lanes, workflows, shards=12, port=server.port)
        session = stage.start(worker="lane_agents:saturate")
        assert session.wait() == 0
        running: dict[str, set[int]] = {"one": set(), "two": set()}
        most = dict.fromkeys(running, 0)
        for event in session.events:
            if event["event"] == "shard_started":
                running[event["lane"]].add(event["pid"])
            elif event["event"] == "worker_gone":
                for pids in running.values():
                    pids.discard(event["pid"])
            most = {name: max(most[name], len(pids)) for name, pids in running.items()}
        assert most == {"one": 1, "two": 2}
    stage.check(session)


def test_a_lane_that_adapts(stage: Stage) -> None:
    """--rate-mode adaptive: the limit rises to what the server bears, is cut after a 429, and its way is kept."""
    with counting_server(lambda name, before: (429, {"Retry-After": "1"}) if before == 70 else (200, {})) as server:
        plan_on(stage, [lane(queries_per_second=100)], [{"requests": 20}] * 16, shards=4, port=server.port)
        options = ("-c", "4", "--rate-mode", "adaptive")
        session = stage.start(*options, worker="lane_agents:saturate")
        assert session.wait() == 0
        told = session.of("lane_changed")
        assert "doubled" in told[0]["reason"]
        assert any("cut" in event["reason"] for event in told)
        assert server.fullest("k", 1.0) <= 106
        kept = [json.loads(line) for line in (stage.run / "lanes" / "lane-00.jsonl").read_text().splitlines()]
        changes = [line["limit"] for line in kept if line["event"] == "lane_changed"]
        assert changes == [event["limit"] for event in told]
        assert [line["wait_s"] for line in kept if line["event"] == "lane_paused"] == [1.0]
    stage.check(session)


def test_a_key_refused_to_what_is_over_its_time_stops_nobody(stage: Stage) -> None:
    """Row 21 with 33: a late ending is evidence. Its lane goes on, and the run ends."""
    plan_on(stage, [lane()], ["hang", None, None, None], shards=1, port=0)
    session = stage.start("--timeout", "0.5", worker="lane_agents:refused_late")
    assert session.wait(30) == 1
    assert session.census == {"timeout": 1, "ok": 3}
    stage.check(session)
