"""How many tasks to take: what may be asked, and the answer."""

from __future__ import annotations

from typing import Annotated

import msgspec

from prealloc.model.options import Option, Share, Text, Whole

MOST_REPEATS = 100


class SizeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be shown, and what is known of the tasks. One of the first two is given."""

    half_width: Annotated[float | None, Option(Share(), "Show a rate to within this many points, such as 5%.")] = None
    difference: Annotated[
        float | None, Option(Share(), "Find a difference of this many points between two cells.", "diff")
    ] = None
    rate: Annotated[float, Option(Share(), "The expected rate, for ‹half_width›.")] = 0.5
    differ: Annotated[float, Option(Share(), "Share of tasks on which the two cells differ, for ‹difference›.")] = 0.25
    icc: Annotated[
        float,
        Option(Share(ends=True), "How alike repeats of a task are; at 100% they add nothing."),
    ] = 1.0
    repeats: Annotated[
        int | None, Option(Whole(1, MOST_REPEATS), "Repeats of each task.", unset="1, 2, 3 and 5 side by side")
    ] = None
    power: Annotated[float, Option(Share(), "The chance to find the difference, if it is there.")] = 0.8
    level: Annotated[float, Option(Share(), "Confidence: how often the interval holds the true value.")] = 0.95
    from_run: Annotated[
        str | None,
        Option(Text("RUN"), "Take rate, differ and icc from this run, unless they are given.", "from", unset="none"),
    ] = None
    factor: Annotated[
        str | None,
        Option(
            Text("NAME"), "With ‹from_run› and ‹difference›: the factor whose values are compared.", unset="the first"
        ),
    ] = None


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a past run says of it."""

    tasks: int
    """Those that it is taken from."""
    rate: float | None = None
    differ: float | None = None
    icc: float | None = None
    """None: the run has no repeats."""
    pairs: int | None = None
    """Pairs of cells that were compared."""
    factor: str | None = None


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """So many tasks, each so often, are enough."""

    repeats: int
    tasks: int
    units: int
    """Of one cell: tasks x repeats."""


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of size(): what was asked, and the sizes by repeats."""

    asked: SizeOptions
    """With what was taken from a run filled in."""
    sizes: tuple[Size, ...]
    known: Known | None = None

    @property
    def cheapest(self) -> Size:
        """That with the fewest units; of several, that with the fewest repeats."""
        return min(self.sizes, key=lambda size: (size.units, size.repeats))
