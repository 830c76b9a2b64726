"""A part of a run: the units that a session is asked for. What is left out stays open; a later resume runs it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Unpack

from prealloc.model.document import Document
from prealloc.model.keywords import PartOptions
from prealloc.model.options import Cells, Flag, Names, Option, Whole, checked_options, options_of

_which = partial(Option, group="Which units")


class Part(Document, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Units that meet every condition here; without any condition, all. Make one with `Part.checked(...)`.

    `Part.checked(only="model=o3,prompt_type=cot", limit=2)`, `Part.checked(only=[{"model": "o3"}, {"model": "o4"}])`,
    `Part.checked(error="ValueError")`.
    """

    only: Annotated[
        tuple[dict[str, Any], ...],
        _which(Cells(), "Only cells with these factor values. A comma means and, ‹only› again means or."),
    ] = ()
    type: Annotated[tuple[str, ...], _which(Names("TYPES", commas=True, alone=True), "Only tasks of these types.")] = ()
    shard: Annotated[tuple[str, ...], _which(Names("SHARDS", alone=True), "Only these shards.")] = ()
    unit: Annotated[
        tuple[str, ...], _which(Names("UNITS", commas=True, alone=True), "Only these units, as shard/task#repeat.")
    ] = ()
    limit: Annotated[
        int | None, _which(Whole(1, optional=True), "The first N of these units in each shard.", unset="all")
    ] = None
    failed: Annotated[bool, _which(Flag(), "Also run units again that ended but are not ok.")] = False
    error: Annotated[
        tuple[str, ...], _which(Names("ERRORS", alone=True), "Only units that ended with these errors, final or not.")
    ] = ()

    @classmethod
    def checked(cls, **options: Unpack[PartOptions]) -> Part:
        """The part that these options name. Raises OptionsError with every mistake among them."""
        return cls(**checked_options(cls, options))

    @property
    def is_all(self) -> bool:
        """Every unit that is open is asked for. `failed` opens more of them, and leaves none out."""
        return not (self.only or self.type or self.shard or self.unit or self.error) and self.limit is None

    def words(self) -> str:
        """As it is typed: `--only model=o3 --limit 2`."""
        typed: list[tuple[str, Sequence[str]]] = [
            ("only", [",".join(f"{name}={value}" for name, value in cell.items()) for cell in self.only]),
            *((name, getattr(self, name)) for name in ("type", "shard", "unit", "error")),
            ("limit", [] if self.limit is None else [str(self.limit)]),
        ]
        words = [f"--{options_of(Part)[name].name} {shlex.quote(text)}" for name, texts in typed for text in texts]
        return " ".join([*words, *(["--failed"] if self.failed else [])])
