"""The thirty tools of the sample library: six areas, five operations each."""

from __future__ import annotations

from typing import Any

import msgspec

_AREAS = {
    "document_store": "documents kept in folders and buckets",
    "table_engine": "rows and columns of tabular data",
    "web_client": "resources behind an HTTP address",
    "message_queue": "messages waiting in a named queue",
    "text_workshop": "plain and marked-up text",
    "number_bench": "series of measurements",
}
_OPERATIONS = {
    "loader": ("Brings in {what} from a location that the caller names", "source", "string"),
    "checker": ("Compares {what} with a set of rules and lists what breaks them", "rules", "array"),
    "shaper": ("Rewrites {what} into the layout that the next step expects", "layout", "object"),
    "selector": ("Keeps the part of {what} that meets a condition and drops the rest", "condition", "string"),
    "publisher": ("Hands {what} over to a destination and confirms the delivery", "destination", "string"),
}
_DOMAIN_ERRORS = ("REFUSED_INPUT", "NOT_REACHABLE", "OUT_OF_QUOTA", "PARTIAL_RESULT", "TOOK_TOO_LONG")


def _parameter(name: str, kind: str, what: str, *, required: bool, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "description": what, "required": required, **more}


def _tool(area: str, what: str, operation: str, place: int) -> dict[str, Any]:
    sentence, parameter, kind = _OPERATIONS[operation]
    before = [f"{area}_{other}" for other in list(_OPERATIONS)[: list(_OPERATIONS).index(operation)]]
    return {
        "name": f"{area}_{operation}",
        "description": f"{sentence.format(what=what)}.",
        "parameters": [
            _parameter(parameter, kind, f"The {parameter} to use", required=True, constraints={"empty": False}),
            _parameter("settings", "object", "Further switches", required=False, default={}, constraints={}),
        ],
        "returns": [
            {"name": "done", "type": "boolean", "description": "Whether it ended well"},
            {"name": "output", "type": "object", "description": "What came of it"},
        ],
        "errors": [{"code": code, "description": f"The {operation} stopped"} for code in _DOMAIN_ERRORS],
        "dependencies": before[-2:],
        "metadata": {"category": area, "operation": operation, "version": "1.2.0", "execution_order": place},
    }


TOOLS: dict[str, dict[str, Any]] = {
    f"{area}_{operation}": _tool(area, what, operation, place)
    for place, (area, what) in enumerate(_AREAS.items())
    for operation in _OPERATIONS
}
"""The registry: tools by name."""

TOOL_NAMES = tuple(TOOLS)

# Encoded once: the same few kilobytes stand in every workflow thousands of times.
PROTOCOLS = {name: msgspec.Raw(msgspec.json.encode(tool)) for name, tool in TOOLS.items()}
PARAMETERS = {name: msgspec.Raw(msgspec.json.encode(tool["parameters"])) for name, tool in TOOLS.items()}
