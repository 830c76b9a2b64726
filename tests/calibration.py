"""`make calibration`: what the intervals hold and how often a difference is claimed that is not there, by simulation.

Tasks are drawn, each with its own chance of success (Beta distributed), then the units of each. An interval must hold
the true rate in 93% of the samples at least. Two cells that are equal on average may be told apart in 6% at most. Wider
intervals would do that too: their mean width is shown, and beside it that of a t interval on the tasks' means.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from prealloc.statistics.difference import paired
from prealloc.statistics.rate import mean, rate

SIZES = [(12, 1), (20, 1), (20, 3), (20, 5), (60, 1), (60, 3), (60, 5), (200, 1), (200, 5)]
"""(tasks, repeats)"""
KINDS = {"varied, mean 0.6": (0.6, 0.4), "alike, mean 0.6": (30.0, 20.0), "mean 0.9": (1.8, 0.2)}
"""The parameters of the Beta distribution that tasks are drawn from."""
COVERED, ALARMS = 0.93, 0.06

Sample = dict[str, list[float]]


class Found(NamedTuple):
    """What came of the samples of one kind and size."""

    kind: str
    tasks: int
    repeats: int
    covered: float
    width: float
    width_of_t: float
    difference_covered: float
    alarms: float

    @property
    def is_calibrated(self) -> bool:
        return self.covered >= COVERED and self.difference_covered >= COVERED and self.alarms <= ALARMS


def simulate(kind: str, tasks: int, repeats: int, samples: int, rng: random.Random) -> Found:
    """Draws so many samples, and pairs of them whose tasks differ one by one but not on average."""
    a, b = KINDS[kind]
    true = a / (a + b)
    covered = alarms = differences = 0
    width = width_of_t = 0.0
    for _ in range(samples):
        first, second = (_draw([rng.betavariate(a, b) for _ in range(tasks)], repeats, rng) for _ in range(2))
        one, plain, both = rate(first), mean(first), paired(first, second)
        if one is None or plain is None or both is None:
            raise AssertionError("a sample has no units")
        covered += one.low <= true <= one.high
        width += one.high - one.low
        width_of_t += plain.high - plain.low
        differences += both.low <= 0 <= both.high
        alarms += both.p <= 0.05
    each = samples
    return Found(
        kind, tasks, repeats, covered / each, width / each, width_of_t / each, differences / each, alarms / each
    )


def _draw(chances: list[float], repeats: int, rng: random.Random) -> Sample:
    return {f"t{n}": [float(rng.random() < chance) for _ in range(repeats)] for n, chance in enumerate(chances)}


def all_sizes(samples: int, seed: int) -> Iterator[Found]:
    """Every kind and size, with the same seed the same."""
    for kind in KINDS:
        for tasks, repeats in SIZES:
            yield simulate(kind, tasks, repeats, samples, random.Random(f"{seed} {kind} {tasks} {repeats}"))


def main() -> int:
    """Prints the table; 1 if a gate is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    table = Table(title=f"95% intervals and p <= .05 over {options.samples} samples each, seed {options.seed}")
    for column in ("tasks' rates", "tasks x repeats", "rate held", "width", "of t", "difference held", "alarms", ""):
        table.add_column(column)
    missed = 0
    for found in all_sizes(options.samples, options.seed):
        missed += not found.is_calibrated
        table.add_row(
            *(found.kind, f"{found.tasks} x {found.repeats}", f"{found.covered:.1%}", f"{found.width:.3f}"),
            *(f"{found.width_of_t:.3f}", f"{found.difference_covered:.1%}", f"{found.alarms:.1%}"),
            "" if found.is_calibrated else "missed",
        )
    Console(width=110).print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
