"""Worker functions of the unit tests."""

from __future__ import annotations

from typing import Any


def tell_seed(task: Any, ctx: Any) -> dict[str, Any]:
    """Returns the seed of its unit."""
    return {"success": True, "seed": ctx.seed}
