"""Inspect is a large package: without it these tests are skipped, unless PREALLOC_INSPECT=required."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest


@pytest.fixture(autouse=True)
def inspect_is_there() -> None:
    if find_spec("inspect_ai") is None:
        missing = "needs the extra `inspect`: make inspect"
        if os.environ.get("PREALLOC_INSPECT") == "required":
            pytest.fail(missing)
        pytest.skip(missing)
