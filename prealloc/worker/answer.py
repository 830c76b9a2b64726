"""What a server said to a request that failed: of the key, and of when to come back."""

from __future__ import annotations

import re

from prealloc.model.outcome import FORBIDDEN, PAYMENT_REQUIRED, UNAUTHORIZED, Answer
from prealloc.worker.infrastructure import ask, every_error, http_status, status_of
from prealloc.worker.retry_after import retry_after_s


def refused_status(error: BaseException) -> int | None:
    """The status by which a server has refused the key itself; None if it has not.

    401 and 402 say so. 403 may be moderation, or a page that the agent has visited: its body must speak of key,
    permission or billing.
    """
    for each in every_error(error):
        code = status_of(each)
        if code in (UNAUTHORIZED, PAYMENT_REQUIRED) or (code == FORBIDDEN and _speaks_of_the_key(each)):
            return code
    return None


def answer_of(error: BaseException | None) -> Answer:
    """What came of a request whose block was left by this error; None: by none."""
    if error is None:
        return Answer(came_through=True)
    refused = ask(refused_status, error)
    status = ask(http_status, error) if refused is None else refused
    return Answer(False, status, ask(retry_after_s, error), refused is not None)


_OF_THE_KEY = re.compile(
    r"\bkeys?\b|api[ _-]?key|permission|billing|payment|credit|balance|quota|(?<!re)subscription|authori[sz]ed|"
    r"authentication|credential|security token|access[ _-]?denied|(?:have|has|no) access",
    re.I,
)
_OF_THE_CONTENT = re.compile(r"moderation|flagged|content[ _-]?(?:policy|filter|management)|safety|guardrail", re.I)
_PAGE = re.compile(r"\s*<")
_ADDRESS = re.compile(r"https?://\S+")
_BODY_LOOKED_AT = 10_000
"""Characters: no server that refuses a key says so later in what it says."""


def _speaks_of_the_key(error: BaseException) -> bool:
    said = _body(error)
    if _PAGE.match(said) or _OF_THE_CONTENT.search(said):
        return False  # a web page: no API answers like this
    return _OF_THE_KEY.search(said) is not None


def _body(error: BaseException) -> str:
    """What the server answered, as far as the error has it; else the error's own text, without addresses."""
    body = getattr(error, "body", None)  # openai, anthropic
    if not body:
        body = ask(lambda each: each.response.text, error)  # type: ignore[attr-defined]  # requests, httpx
    return str(body)[:_BODY_LOOKED_AT] if body else _ADDRESS.sub("", str(error)[:_BODY_LOOKED_AT])
