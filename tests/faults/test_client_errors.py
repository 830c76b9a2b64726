"""Rows 18 and 21: what real clients raise, and what cannot be written down, crosses processes as text."""

from __future__ import annotations

import json

import pytest
from harness import Stage
from troubled_server import ALWAYS, NEVER_REACHED, ONCE, RETRY_AFTER_S, troubled_server

from examples import in_laws
from prealloc.model.policy import LEAST_PAUSE_S

pytestmark = pytest.mark.fault

SPEAKS = {"redis": "redis", "grpc": "grpc", "google.api_core over gRPC": "grpc"}
"""The rest speaks HTTP."""
STATUSES = {*ALWAYS, "429", "500", "503"}
NOT_MET = {
    "http.client": {*STATUSES, "proxy"},  # it raises for no status, and knows of proxies only what it is told
    "redis": {*STATUSES, "proxy"},
    "grpc": {"reset", "cut"},  # as `garbled`: it is a connection that speaks no HTTP/2
    "google.api_core over gRPC": {"reset", "cut"},
}
CLIENTS = (
    "aiohttp",
    "anthropic",
    "asyncio.TaskGroup",
    "botocore",
    "docker",
    "google.api_core",
    "google.api_core over gRPC",
    "google.genai",
    "grpc",
    "http.client",
    "httpx",
    "litellm",
    "ollama",
    "openai",
    "redis",
    "requests",
    "tenacity",
    "urllib",
    "websockets",
)
QUICK = ("aiohttp", "asyncio.TaskGroup", "http.client", "httpx", "openai", "redis", "requests", "urllib", "websockets")
"""Those that are imported in less than a second."""
DO_NOT_UNPICKLE = {"httpx", "litellm", "openai"}


@pytest.mark.parametrize(
    ("clients", "worker"), [(QUICK, "clients:ask"), in_laws(CLIENTS, "slow_clients:ask")], ids=["quick", "all"]
)
def test_errors_of_real_clients(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, clients: tuple[str, ...], worker: str
) -> None:
    """Rows 21 and 31: each client's errors are judged rightly, whatever it calls them; each fails its own try alone.

    What is the infrastructure's is tried again, what is wrong with the request is not. An answer's status is told, a
    Retry-After is heeded, and that is waiting, not working. Every try asks the server once. That
    some of these clients raise errors which pickle but do not unpickle is why errors cross processes as text (law 6).
    """
    with troubled_server() as server:
        troubles = {
            f"{client.replace(' ', '-')}-{trouble}": (client, trouble)
            for client in clients
            for trouble in (*ONCE, *NEVER_REACHED, *ALWAYS)
            if trouble not in NOT_MET.get(client, ())
        }
        tasks = {
            task: {"client": client, "url": f"{server.place(trouble, SPEAKS.get(client, 'http'))}/{trouble}/{task}"}
            for task, (client, trouble) in troubles.items()
        }
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, server.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1,localhost,no-such-host.invalid")
        stage.make_plan(tasks)
        session = stage.start("-c", "8", "--timeout", "60", "--retries", "1", worker=worker)
        assert session.wait(110) == 1
        wrong = []
        for task, (client, trouble) in troubles.items():
            ended = session.of("attempt_ended", task=task)
            wanted = ["failed"] if trouble in ALWAYS else ["infra", "ok" if trouble in ONCE else "infra"]
            right = [each["status"] for each in ended] == wanted
            right = right and (trouble in NEVER_REACHED or server.asked[task] == len(ended))
            if trouble in STATUSES:
                right = right and ended[0]["error"]["http_status"] == int(trouble)
            if trouble == "429":
                least_s = LEAST_PAUSE_S if client == "ollama" else RETRY_AFTER_S  # its errors hold no headers
                right = right and ended[1]["waiting_s"] >= least_s
            if not right:
                wrong.append((task, [each["status"] for each in ended], ended[-1], server.asked[task]))
        assert not wrong, "\n".join(map(str, wrong))
    assert all(
        (stage.signals / f"does-not-unpickle.{client}").exists() for client in DO_NOT_UNPICKLE.intersection(clients)
    )
    stage.check(session)


def test_a_request_that_may_take_as_long_as_the_attempt(stage: Stage) -> None:
    """Whether its own timeout or the attempt's comes first is chance; it is `timeout` every time, never `infra`."""
    with troubled_server() as server:
        asked = [(client, n) for client in ("requests", "httpx", "urllib", "asyncio") for n in range(5)]
        stage.make_plan({f"{client}-{n}": {"client": client} for client, n in asked}, settings={"server": server.url})
        session = stage.start("-c", "10", "--timeout", "1", worker="lane_agents:ask_to_the_end")
        assert session.wait(110) == 1
        assert session.census == {"timeout": 20}
        for ended in session.of("attempt_ended"):
            assert (ended["error"]["type"], ended["attempt"]) == ("Timeout", 1)
    stage.check(session)


NOT_JSON = ("nan", "bytes", "cycle", "surrogate", "set", "key", "integer")


@pytest.mark.parametrize("concurrency", [in_laws(1), 4])
def test_what_is_no_json(stage: Stage, concurrency: int) -> None:
    """Only that task fails, and it says which field; a result or an error of 100 MB breaks nothing either."""
    odd = {name: {"do": "no_json", "what": name} for name in NOT_JSON}
    huge = {"result": {"do": "no_json", "what": "huge"}, "error": {"do": "huge_error"}}
    stage.make_plan({**odd, **huge, **{f"t{n}": {"do": "ok"} for n in range(6)}})
    session = stage.start("-c", str(concurrency))
    assert session.wait() == 1
    assert session.census == {"ok": 6, "failed": len(odd) + 2}
    for name in (*NOT_JSON, "result"):
        (ended,) = session.of("attempt_ended", task=name)
        assert ended["error"]["type"] == "NoJson"
        assert "result" in ended["error"]["message"]
    for path in (stage.run / "journal").iterdir():
        assert path.stat().st_size < 2**20
        assert all(json.loads(line) for line in path.read_bytes().splitlines())
    stage.check(session)
