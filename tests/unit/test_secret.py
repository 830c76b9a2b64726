"""Keys in the texts of errors: masked where they can be told, and nothing else is."""

from __future__ import annotations

import time

import pytest

from prealloc.model.secret import masked, named_variables


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://h/v1?key=AIzaSyA1234567&alt=json", "GET https://h/v1?key=***&alt=json"),
        ("url: /v1?x=1&access_token=abc (Caused by ...)", "url: /v1?x=1&access_token=*** (Caused by ...)"),
        ("/v1?api_key=abc123'", "/v1?api_key=***'"),
        ("Incorrect API key provided: sk-proj-abcd1234efgh.", "Incorrect API key provided: ***."),
        ("sk_live_abcdefgh1", "***"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer ***'}"),
        ("authorization: Basic Zm9vOmJhcg==", "authorization: Basic ***"),
        ('api_key="foo-bar"', 'api_key="***"'),
        ("x-api-key: abcdefg", "x-api-key: ***"),
        ("cannot reach http://user:secret@proxy:3128/", "cannot reach http://user:***@proxy:3128/"),
    ],
)
def test_what_is_masked(text: str, shown: str) -> None:
    """The key goes, what stands around it stays: it says what went wrong."""
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'key'",
        "task-0001-of-shard-02 at risk-assessment, sklearn",
        "Unexpected token < in JSON at position 0",
        "max_token=3 is over 2",
        "http://127.0.0.1:8080/v1?model=gpt-4&n=2",
        'File "/home/me/keys/agent.py", line 3',
        "",
    ],
)
def test_what_is_not(text: str) -> None:
    """Words that only sound like it are left alone."""
    assert masked(text) == text


def test_values_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of variables that are named, and of those whose name says so; not of any other, nor short ones."""
    values = {"LANE_1": "wordless-1", "SOME_TOKEN": "wordless-2", "GEMINI_API_KEY_2": "wordless-2-and-more"}
    for name, value in {**values, "HOME_OF_MONKEY": "/home/monkey", "SHORT_KEY": "true"}.items():
        monkeypatch.setenv(name, value)
    text = "wordless-1 wordless-2-and-more wordless-2 /home/monkey true"
    assert masked(text) == "wordless-1 *** *** /home/monkey true"
    assert masked(text, ["LANE_1", "NOT_SET"]) == "*** *** *** /home/monkey true"


def test_which_variables_settings_name() -> None:
    """A lane's, and those of the user's own settings that are named as these."""
    settings = {"api_key_env": "K1", "judge": {"key_env": "K2"}, "model": "GPT", "environment": "PROD"}
    assert named_variables(settings) == {"K1", "K2"}


def test_long_texts_take_no_time() -> None:
    """Texts come from servers: none makes the search go back and forth over it (that would take hours)."""
    began = time.process_time()
    for piece in ("?a", "&;", "sk-", "://a:", "bearer ", "api_key", "x" * 50):
        masked(piece * (20_000 // len(piece)))
    assert time.process_time() - began < 20
