"""How much of a law is tried: some cases and few examples, always the same ones, in `make test`; all in `make laws`.

CI runs both.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

EVERY = bool(os.environ.get("PREALLOC_LAWS"))
FEWEST, MOST = 5, 20
"""In `make test` a law draws a quarter of its examples, within these bounds."""


def examples(count: int, *, allow: Collection[HealthCheck] = ()) -> settings:
    """The settings of a law that wants so many examples, if there is time for them."""
    return settings(
        max_examples=count if EVERY else min(max(count // 4, FEWEST), MOST),
        derandomize=not EVERY,
        deadline=None,
        suppress_health_check=(HealthCheck.too_slow, *allow),
    )


def in_laws(*values: Any) -> Any:
    """A case for `make laws` alone: in `make test` another one of the same test takes the same way through the code."""
    return pytest.param(*values, marks=pytest.mark.in_laws)
