"""How many examples hypothesis draws: few and always the same ones in `make test`, all of them in `make laws`."""

from __future__ import annotations

import os
from collections.abc import Collection

from hypothesis import HealthCheck, settings

EVERY = bool(os.environ.get("PREALLOC_LAWS"))
MOST = 50


def examples(count: int, *, allow: Collection[HealthCheck] = ()) -> settings:
    """The settings of a law that wants so many examples, if there is time for them."""
    return settings(
        max_examples=count if EVERY else min(count, MOST),
        derandomize=not EVERY,
        deadline=None,
        suppress_health_check=(HealthCheck.too_slow, *allow),
    )
