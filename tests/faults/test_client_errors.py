"""Rows 18 and 21: what real clients raise, and what cannot be written down, crosses processes as text."""

from __future__ import annotations

import json

import pytest
from harness import Stage
from troubled_server import ALWAYS, ONCE, RETRY_AFTER_S, troubled_server

pytestmark = pytest.mark.fault

CLIENTS = ("httpx", "openai", "litellm")


def test_errors_of_real_clients(stage: Stage) -> None:
    """Each fails its own try alone. Infrastructure is tried again and Retry-After is heeded; 400 and 401 are not.

    Waiting as the server asked is waiting, not working; and every try asks the server once. That all of these
    clients raise errors which pickle but do not unpickle is why errors cross processes as text (law 6).
    """
    troubles = {
        f"{client}-{trouble}": {"client": client, "trouble": trouble}
        for client in CLIENTS
        for trouble in ("none", *ONCE, *ALWAYS)
    }
    with troubled_server() as server:
        stage.make_plan(troubles, settings={"server": server.url})
        session = stage.start("-c", "8", "--timeout", "20", worker="clients:ask")
        assert session.wait(100) == 1
        assert session.census == {"ok": len(CLIENTS) * (1 + len(ONCE)), "failed": len(CLIENTS) * len(ALWAYS)}
        for task, told in troubles.items():
            ended = session.of("attempt_ended", task=task)
            statuses = [each["status"] for each in ended]
            if told["trouble"] in ALWAYS:
                assert statuses == ["failed"], ended
            elif told["trouble"] in ONCE:
                assert statuses == ["infra", "ok"], ended
            else:
                assert statuses == ["ok"], ended
            assert server.asked[task] == len(ended)
            if told["trouble"] == "429":
                assert ended[1]["waiting_s"] >= RETRY_AFTER_S
                assert ended[1]["working_s"] < RETRY_AFTER_S
            if told["trouble"] not in ("none", "reset", "silent"):
                assert told["client"] in ended[0]["error"]["type"]
                assert told["trouble"] in ended[0]["error"]["message"]
    assert all((stage.signals / f"does-not-unpickle.{client}").exists() for client in CLIENTS)
    stage.check(session)


NOT_JSON = ("nan", "bytes", "cycle", "surrogate", "set", "key", "integer")


@pytest.mark.parametrize("concurrency", [1, 4])
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
