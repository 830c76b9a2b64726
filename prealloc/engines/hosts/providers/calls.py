"""A host as a call of subprocess.run in a worker of some engine, which waits for it.

The call is one of the standard library, so nothing of prealloc's has to be importable in the engine: Dask, say,
unpickles what it is given in its scheduler too.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prealloc.engines.hosts.providers.base import ProviderError
from prealloc.model.words import brief
from prealloc.processes.signals import how_it_ended


@contextmanager
def in_its_words(problem: str) -> Iterator[None]:
    """Passes on what an engine raises as a ProviderError. Engines raise errors of any kind."""
    try:
        yield
    except ProviderError:
        raise
    except Exception as error:
        raise ProviderError(f"{problem}: {_said(error)}") from None


def how_a_call_ended(result: Callable[[], subprocess.CompletedProcess[bytes]], engine: str) -> str:
    """Why a host is gone, from the result of its call or from what the engine raises instead."""
    try:
        return how_it_ended(result().returncode)
    except Exception as error:
        return f"{engine} says {_said(error)}"


def _said(error: Exception) -> str:
    return ": ".join(filter(None, (type(error).__name__, brief(error))))
