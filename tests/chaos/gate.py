"""A gate: what was promised, what was measured, and whether that is good enough."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import Table
from benchmarks.show import show


class Gate(NamedTuple):
    """One promise of RELIABILITY.md."""

    row: str
    """Of its table of faults."""
    name: str
    limit: float
    unit: str
    measured: float | None
    """The worst of all trials; None: nothing could be measured."""
    trials: int
    detail: str = ""
    least: bool = False
    """At least the limit, in place of at most."""

    @property
    def kept(self) -> bool:
        if self.measured is None or self.trials == 0:
            return False
        return self.measured >= self.limit if self.least else self.measured <= self.limit

    @property
    def verdict(self) -> str:
        return "kept" if self.kept else "not measured" if self.measured is None else "MISSED"


def options(module: str, about: str | None, *, minutes: float) -> argparse.Namespace:
    """Of a module that measures gates by kills, for so many minutes if nothing else is asked for."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--seed", type=int, help="of what is random (default: a new one, which is printed)")
    parser.add_argument("--minutes", type=float, default=minutes, help="for the kills, at most (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the trials")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser.parse_args()


def machine() -> dict[str, str]:
    """What was measured on. The load is that of the others: ask before anything runs."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    return {
        "cores": f"{len(os.sched_getaffinity(0))} ({model.partition(':')[2].strip() or platform.machine()})",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "kernel": f"{platform.system()} {platform.release()}",
    }


def report(about: dict[str, str], gates: Sequence[Gate], broken: Sequence[str], file: Path | None) -> int:
    """Prints the tables, writes them to `file` as JSON too; returns the exit code: 0 if every gate was kept."""
    about = {**about, "load after": f"{os.getloadavg()[0]:.2f}"}
    columns = ["row", "gate", "limit", "measured (worst)", "trials", "verdict", ""]
    cells = [
        [
            gate.row,
            gate.name,
            f"{'at least' if gate.least else 'at most'} {_figure(gate.limit, gate.unit)}",
            "-" if gate.measured is None else _figure(gate.measured, gate.unit),
            f"{gate.trials:,}",
            gate.verdict,
            gate.detail,
        ]
        for gate in gates
    ]
    show([Table("Machine", ["", ""], [list(each) for each in about.items()]), Table("Gates", columns, cells)])
    for line in broken:
        print(f"broken: {line}")
    if file is not None:
        rows = [{**gate._asdict(), "verdict": gate.verdict} for gate in gates]
        file.write_text(json.dumps({"about": about, "gates": rows, "broken": list(broken)}, indent=2) + "\n")
    return 0 if all(gate.kept for gate in gates) and not broken else 1


def _figure(value: float, unit: str) -> str:
    return f"{value:.3f} {unit}" if unit in ("s", "x") else f"{value:,.0f} {unit}".strip()
