"""A lane: an API key or deployment that shards queue for, and what it bears."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from prealloc.errors import Mistake, OptionsError
from prealloc.model.document import Document
from prealloc.model.secret import looks_secret

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class Lane(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One lane. Limits that are None do not exist. Make one with `Lane.checked(...)`."""

    name: str
    models: tuple[str, ...] = ()
    """The models that it serves; empty: every model."""
    deployment: str | None = None
    key_env: str | None = None
    """The name of the environment variable that holds the key, never the key."""
    shards_at_once: int = 1
    concurrency: int | None = None
    """Tasks at once over all its shards together; None: --concurrency in each of them."""
    queries_per_second: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    @classmethod
    def checked(cls, *, where: str = "lane", **fields: Any) -> Lane:
        """The lane of these fields. Raises OptionsError with every mistake, each told under `where`."""
        found = [
            Mistake(f"{where} {name}", "there is no such key", f"use one of {', '.join(cls.__struct_fields__)}")
            for name in fields
            if name not in cls.__struct_fields__
        ]
        found += _text(where, fields, "name", _NAME, "letters, digits, . _ -, at most 64")
        found += _text(where, fields, "key_env", _VARIABLE, "the name of an environment variable, never the key itself")
        if "name" not in fields:
            found.append(Mistake(where, "it has no name", 'give it one: name = "..."'))
        found += [
            Mistake(f"{where} {name}", "it looks like a key itself", "name the environment variable that holds the key")
            for name in ("name", "deployment", "key_env")
            if looks_secret(fields.get(name))
        ]
        if not isinstance(fields.get("deployment"), str | None):
            found.append(Mistake(f"{where} deployment", f"{fields['deployment']!r} is no text", "write a string"))
        models = fields.get("models", ())
        if not isinstance(models, Sequence) or isinstance(models, str) or not all(isinstance(m, str) for m in models):
            found.append(Mistake(f"{where} models", f"{models!r} is no list of names", 'write ["model-a", "model-b"]'))
        for name in _NUMBERS & fields.keys():
            value = fields[name]
            if value is None and name != "shards_at_once":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
                found.append(Mistake(f"{where} {name}", f"{value!r} is no whole number", f"give 1 to {MOST}"))
        if found:
            raise OptionsError(found)
        return cls(**{**fields, "models": tuple(models)})

    def serves(self, model: object) -> bool:
        """Whether a cell with this model can be run on it."""
        return not self.models or model in self.models

    def share(self, shards: int, concurrency: int) -> tuple[int, int]:
        """(shards at once, tasks at once in each), for so many shards that would each take `concurrency` tasks.

        No more shards at once than the lane bears tasks: together they stay within its own `concurrency`.
        """
        at_once = max(1, min(self.shards_at_once, shards))
        if self.concurrency is None:
            return at_once, concurrency
        at_once = min(at_once, self.concurrency)
        return at_once, self.concurrency // at_once


MOST = 1_000_000_000
_NUMBERS = {"shards_at_once", "concurrency", "queries_per_second", "requests_per_minute", "tokens_per_minute"}


def _text(where: str, fields: dict[str, Any], name: str, pattern: re.Pattern[str], mend: str) -> list[Mistake]:
    value = fields.get(name)
    if value is None or (isinstance(value, str) and (pattern.fullmatch(value) or looks_secret(value))):
        return []  # what looks like a key is told of elsewhere, and not shown
    shown = repr(value) if name != "key_env" else "what is given"  # it may be a key: it is not shown
    return [Mistake(f"{where} {name}", f"{shown} cannot be one", f"give {mend}")]
