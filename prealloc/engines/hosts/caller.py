"""A host's end of its link: it connects to the master, again and again, until the master is surely gone."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections import deque
from http import HTTPStatus

from prealloc.engines.hosts.link import BEARER, SETTINGS, Closed, Failed, Link, LinkThread, Mailbox, Opened
from prealloc.engines.hosts.spec import HostSpec, needs_extra, trusting

AGAIN_S = 0.2
REFUSED = 3
"""Refusals in a row, within a second, after which the master's process is surely gone."""


class Caller:
    """A host's end: it connects, and connects again, until it is closed."""

    def __init__(self, spec: HostSpec) -> None:
        try:
            import websockets.asyncio.client  # noqa: F401
        except ImportError as error:
            raise needs_extra(error) from None
        self.mailbox = Mailbox()
        self._spec = spec
        self._context = trusting(spec.certificate)
        self._ended = False
        self.heard_at = 0.0
        """When the master has last said anything."""
        self.problem = ""
        """Why there is no connection now."""
        self._thread = LinkThread(self._call)

    def stop(self) -> None:
        """No further connection."""
        self._ended = True

    def close(self, most_s: float = 2.0) -> None:
        """Nor the present one, once what was sent on it is on its way."""
        self.stop()
        self._thread.end(most_s)

    async def _call(self) -> None:
        everywhere = REFUSED * len(self._spec.addresses)
        refused: deque[float] = deque(maxlen=everywhere)
        from websockets.exceptions import WebSocketException

        at = 0
        while not self._ended:
            address = self._spec.addresses[at % len(self._spec.addresses)]
            try:
                await self._once(address)
                refused.clear()
            except (OSError, WebSocketException) as error:  # a TimeoutError is an OSError
                at += 1
                now = time.monotonic()
                if _was_refused(error):
                    refused.append(now)
                else:
                    refused.clear()
                gone = len(refused) == everywhere and now - refused[0] < len(self._spec.addresses)
                denied = _status(error) == HTTPStatus.UNAUTHORIZED
                reason = "the master does not know this token (any more)" if denied else _words(error)
                self.problem = f"{address}:{self._spec.port}: {reason}"
                self.mailbox.put(Failed(self.problem, gone or denied))
                await asyncio.sleep(AGAIN_S)

    async def _once(self, address: str) -> None:
        from websockets.asyncio.client import connect

        shown = f"[{address}]" if ":" in address else address
        async with connect(
            f"wss://{shown}:{self._spec.port}/",
            ssl=self._context,
            additional_headers={"Authorization": f"{BEARER}{self._spec.token}"},
            user_agent_header=None,
            proxy=None,
            **SETTINGS,
        ) as connection:
            link = Link(self._spec.name, connection)
            self.problem = ""
            self.mailbox.put(Opened(link))
            reason = await link.carry(self.mailbox, self._heard)
            self.mailbox.put(Closed(link, reason))
            connection.transport.abort()

    def _heard(self, raw: bytes) -> None:
        self.heard_at = time.monotonic()


def _was_refused(error: BaseException) -> bool:
    if isinstance(error, ExceptionGroup):
        return all(map(_was_refused, error.exceptions))
    return isinstance(error, OSError) and (
        error.errno == errno.ECONNREFUSED or ("Connect call failed" in str(error) and "111" in str(error))
    )


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _words(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    number = getattr(error, "errno", None)
    return f"{os.strerror(number)} (errno {number})" if isinstance(number, int) and number > 0 else text
