"""A lane: an API key or deployment that shards queue for, and its limits."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from prealloc.errors import Mistake, refuse
from prealloc.model.document import Document
from prealloc.model.options import Names, Option, Table, Text, Whole, read_options
from prealloc.model.secret import looks_secret
from prealloc.model.setting import as_stored, setting_mistakes

MODEL = "model"
"""The factor, or else the setting, by which lanes know whether they serve a cell."""
OF_THE_LANE = {"deployment": "deployment", "key_env": "api_key_env"}
"""Fields of a lane, and the settings that the workers of its shards get from them."""

MOST = 1_000_000_000
_LIMIT = Whole(1, MOST)


class Lane(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One lane. Limits that are None do not exist. Make one with `Lane.checked(...)`."""

    name: Annotated[
        str, Option(Text("NAME", "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "letters, digits, . _ -, at most 64"), "Its name.")
    ]
    models: Annotated[tuple[str, ...], Option(Names(), "The models that it serves.", unset="every model")] = ()
    deployment: Annotated[
        str | None, Option(Text(), "Given to the workers of its shards as the setting deployment.", unset="none")
    ] = None
    key_env: Annotated[
        str | None,
        Option(
            Text("NAME", "[A-Za-z_][A-Za-z0-9_]{0,127}", "the name of an environment variable, never the key itself"),
            "The environment variable that holds the key, never the key; the setting api_key_env.",
            unset="none",
        ),
    ] = None
    shards_at_once: Annotated[int, Option(_LIMIT, "Shards that run at once.")] = 1
    concurrency: Annotated[
        int | None,
        Option(_LIMIT, "Tasks at once over all its shards together.", unset="the run's concurrency in each shard"),
    ] = None
    queries_per_second: Annotated[int | None, Option(_LIMIT, "Requests per second.", unset="no limit")] = None
    requests_per_minute: Annotated[int | None, Option(_LIMIT, "Requests per minute.", unset="no limit")] = None
    tokens_per_minute: Annotated[int | None, Option(_LIMIT, "Tokens per minute.", unset="no limit")] = None
    settings: Annotated[
        dict[str, Any] | UnsetType,
        Option(Table(), "Further settings for the workers of its shards, such as base_url.", unset="none"),
    ] = UNSET
    """Unset they are not written, as in the plans from before there were any."""

    @classmethod
    def checked(cls, *, where: str = "lane", **fields: Any) -> Lane:
        """The lane of these fields. Raises OptionsError with every mistake, each reported under `where`."""
        secret = [name for name in ("name", "deployment", "key_env") if looks_secret(fields.get(name))]
        found = [
            Mistake(f"{where} {name}", "it looks like a key itself", "name the environment variable that holds the key")
            for name in secret
        ]
        given = {name: value for name, value in fields.items() if name not in secret and value is not UNSET}
        if isinstance(key := given.get("key_env"), str) and not key.isidentifier():
            del given["key_env"]  # it may be a key: it is not shown
            hint = "give the name of an environment variable, never the key itself"
            found.append(Mistake(f"{where} key_env", "it is not the name of an environment variable", hint))
        settings = Table().read(f"{where} settings", given.pop("settings", None), found)
        found += _settings(f"{where} settings", settings)
        read = read_options(cls, given, found, where=f"{where} ")
        if "name" not in fields:
            found.append(Mistake(where, "it has no name", 'give it one: name = "..."'))
        refuse(found)
        return cls(**read, settings=as_stored(settings) if settings else UNSET)

    @property
    def for_workers(self) -> dict[str, Any]:
        """The settings that the workers of its shards get from it."""
        named = {name: value for field, name in OF_THE_LANE.items() if (value := getattr(self, field)) is not None}
        return {**(self.settings or {}), **named}

    def serves(self, model: object) -> bool:
        """Whether a cell with this model can be run on it."""
        return not self.models or model in self.models

    def share(self, shards: int, concurrency: int, of_cell: int | None = None) -> tuple[int, int]:
        """(shards at once, tasks at once in each), for this many shards that would each take `concurrency` tasks.

        No more shards at once than the lane allows tasks: together they stay within its own `concurrency`, also where
        the run's options say `of_cell` for the cell of a shard.
        """
        at_once = max(1, min(self.shards_at_once, shards))
        if self.concurrency is None:
            return at_once, concurrency if of_cell is None else of_cell
        at_once = min(at_once, self.concurrency)
        most = self.concurrency // at_once
        return at_once, most if of_cell is None else min(of_cell, most)


def _settings(where: str, settings: dict[str, Any]) -> list[Mistake]:
    found = setting_mistakes(where, settings)
    for field, name in OF_THE_LANE.items():
        if name in settings:
            found.append(Mistake(f"{where} {name}", "it is an option of the lane", f"write it as {field}"))
    if MODEL in settings:
        hint = "name the lane's models in `models`, and its own name of one in `deployment`"
        found.append(Mistake(f"{where} {MODEL}", "the model is a factor, or a setting of all", hint))
    return found


class LaneFigures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A lane in an interval of time."""

    limit: float | None = None
    """Requests per second that it may send, at the end of the interval; None: it has no such limit."""
    turns: int = 0
    """Requests that were let go."""
    tokens: int = 0
    """What those that were answered have used, as far as they said so."""
    refused: int = 0
    """Answers with HTTP 429."""
    holders: int = 0
    """Workers with a request that waits for its turn or its answer: the most at a time."""

    def then(self, later: LaneFigures) -> LaneFigures:
        """Both intervals together."""
        return LaneFigures(
            limit=later.limit,
            turns=self.turns + later.turns,
            tokens=self.tokens + later.tokens,
            refused=self.refused + later.refused,
            holders=max(self.holders, later.holders),
        )

    def since(self, before: LaneFigures) -> LaneFigures:
        """Of two that count from the same start: what lies between."""
        return LaneFigures(
            limit=self.limit,
            turns=self.turns - before.turns,
            tokens=self.tokens - before.tokens,
            refused=self.refused - before.refused,
            holders=self.holders,
        )
