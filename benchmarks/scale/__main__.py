"""`python -m benchmarks.scale`: what the ways to reach a task cost, from 60 MB to 6 GB and to ten million tasks.

Takes about 15 minutes and 11 GB of disk; with --quick half a minute. Exits with 0 if every command did its work.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.report import Table
from benchmarks.scale import sharing
from benchmarks.scale.libraries import real_tasks, small_tasks
from benchmarks.scale.measure import ROOT, Cost, Failed, alternating, prealloc, run
from benchmarks.scale.others import WAYS
from benchmarks.show import markdown, show

OTHERS_BYTES = 16 << 30
"""Memory that the other ways may take on the most tasks that they are tried on."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a smoke test: small libraries, figures without meaning")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there as well")
    parser.add_argument("--folder", type=Path, help="where the libraries are made  [a new one]")
    options = parser.parse_args()
    counts = (1_000, 5_000, 20_000) if options.quick else (100_000, 1_000_000, 10_000_000)
    large = 2_000 if options.quick else 63_000
    rounds = 1 if options.quick else 5
    with tempfile.TemporaryDirectory(prefix="prealloc-scale-", dir=options.folder) as folder:
        tables = [_machine()]
        small, big = Path(folder, "small.json"), Path(folder, "big.json")
        _tell("making libraries")
        real_tasks(small, 630)
        real_tasks(big, large)
        tables += [_index_table(small, big), _plan_table(small, big, rounds)]
        big.unlink()
        tables.append(_one_pass_table(Path(folder, "large.json"), 630 if options.quick else 7_500, rounds))
        tables += _sharing_tables(small, Path(folder), options.quick)
        tables.append(_scale_table(Path(folder), counts))
    show(tables)
    if options.markdown:
        options.markdown.write_text(markdown(tables))
    return 0


def _machine() -> Table:
    return Table("Machine", ["", ""], [[name, value] for name, value in describe_machine().items()])


def _index_table(small: Path, big: Path) -> Table:
    rows = []
    for library in (small, big):
        _tell(f"indexing {library.name}")
        cost = prealloc("library", "index", str(library))
        index = library.with_name(f"{library.name}.index")
        rows.append(
            [
                _size(library.stat().st_size),
                f"{cost.seconds:.2f} s",
                _size(cost.peak_bytes),
                _size(index.stat().st_size),
            ]
        )
    return Table("`prealloc library index`", ["library", "time", "peak memory", "index"], rows)


def _plan_table(small: Path, big: Path, rounds: int) -> Table:
    rows = []
    for name, more in (("500 tasks", ()), ("500 tasks, --stratify", ("--stratify",))):
        _tell(f"planning {name} from both indexes")
        one, two = alternating(rounds, *(partial(prealloc, *_plan_words(library, *more)) for library in (small, big)))
        ratio = f"{two.seconds / one.seconds:.2f}"
        rows.append(
            [name, f"{one.seconds:.2f} s", f"{two.seconds:.2f} s", ratio, _size(one.peak_bytes), _size(two.peak_bytes)]
        )
    size = [_size(path.stat().st_size) for path in (small, big)]
    columns = ["plan", f"from {size[0]}", f"from {size[1]}", "ratio", "peak memory", "of the large one"]
    return Table(f"`prealloc plan` with an index, whole processes, median of {rounds}", columns, rows)


def _plan_words(library: Path, *more: str) -> list[str]:
    out = str(library.with_suffix(".plan"))
    return ["plan", str(library), "--shards", "25", "-n", "20", *more, "--out", out, "--force", "--json"]


def _one_pass_table(library: Path, tasks: int, rounds: int) -> Table:
    _tell("reading large tasks in one pass")
    real_tasks(library, tasks)
    script = str(ROOT / "benchmarks" / "scale" / "others.py")
    index = library.with_name(f"{library.name}.index")

    def streamed() -> Cost:
        index.unlink()
        return prealloc(*_plan_words(library, "--stream"))

    ways: dict[str, Callable[[], Cost]] = {
        "reading and hashing its bytes": lambda: run(sys.executable, script, "bytes", str(library)),
        "json.load": lambda: run(sys.executable, script, "load", str(library)),
        "prealloc library index": lambda: prealloc("library", "index", str(library)),
        "prealloc plan --stream": streamed,
    }
    rounds = min(rounds, 3)
    costs = alternating(rounds, *ways.values())
    rows = [
        [
            name,
            f"{cost.cpu_seconds:.2f} s",
            f"{cost.seconds:.2f} s",
            _size(cost.peak_bytes),
            f"{cost.cpu_seconds / costs[0].cpu_seconds:.1f}",
            f"{costs[1].cpu_seconds / cost.cpu_seconds:.1f}x",
        ]
        for name, cost in zip(ways, costs, strict=True)
    ]
    title = f"{_size(library.stat().st_size)} of large tasks, read once: whole processes, median of {rounds}"
    library.unlink()
    columns = ["", "processor", "time", "peak memory", "processor, in readings", "json.load takes"]
    return Table(title, columns, rows)


def _sharing_tables(small: Path, folder: Path, quick: bool) -> list[Table]:
    pool = folder / "tasks.pool"
    prealloc("library", "convert", str(small), str(pool))
    if quick:
        sharing.WATCHED_S, sharing.TRIAL_S = 0.5, 0.2
    _tell("memory of 25 readers")
    memory = sharing.readers_memory(pool)
    rows = [
        ["the pool's file", _size(memory.pool_bytes)],
        ["25 processes without the pool", _size(memory.without)],
        ["with it, every task read once", _size(memory.first)],
        [f"after {sharing.WATCHED_S:g} s of reading", _size(memory.last)],
        ["added, in copies of the pool", f"{memory.copies:.2f}"],
    ]
    tables = [Table("25 readers of a SharedTaskPool: sum of PSS", ["", ""], rows)]
    for processes in (2, sharing.READERS):
        _tell(f"reads per second of {processes} processes")
        reads = sharing.reads_per_second(small, pool, processes)
        first = reads[0].per_s
        speeds = [[each.way, f"{each.per_s:,.0f}", f"{first / each.per_s:,.0f}x"] for each in reads]
        title = f"Random reads of 47 KB workflows, {processes} processes"
        tables.append(Table(title, ["way", "reads/s", "the first is"], speeds))
    return tables


def _scale_table(folder: Path, counts: tuple[int, ...]) -> Table:
    done: dict[str, dict[int, Cost]] = {}
    for count in counts:
        library = small_tasks(folder / f"{count}.jsonl", count)
        for name, measure in _ways(library, folder, last=count == counts[-1]).items():
            _tell(f"{name}, {count:,} tasks")
            try:
                done.setdefault(name, {})[count] = measure()
            except Failed as error:
                _tell(f"   {error}")
        library.unlink()
    rows = []
    for name, costs in done.items():
        cells = [f"{costs[n].seconds:.1f} s, {_size(costs[n].peak_bytes)}" if n in costs else "failed" for n in counts]
        (n1, c1), (n2, c2) = list(costs.items())[-2:]
        added_us = (c2.seconds - c1.seconds) / (n2 - n1) * 1e6
        added_bytes = (c2.peak_bytes - c1.peak_bytes) / (n2 - n1)
        rows.append([name, *cells, f"{added_us:.1f} us, {added_bytes:,.0f} B"])
    return Table(
        "25 shards x 20 tasks from JSON lines of 310 bytes a task: seconds and peak memory of whole processes",
        ["way", *(f"{count:,} tasks" for count in counts), "cost per added task"],
        rows,
    )


def _ways(library: Path, folder: Path, *, last: bool) -> dict[str, Callable[[], Cost]]:
    index = library.with_name(f"{library.name}.index")

    def streamed() -> Cost:
        index.unlink()
        return prealloc(*_plan_words(library, "--stream"))

    ways: dict[str, Callable[[], Cost]] = {
        "prealloc library index": lambda: prealloc("library", "index", str(library)),
        "prealloc plan, with the index": lambda: prealloc(*_plan_words(library)),
        "prealloc plan --stream": streamed,
    }
    script = str(ROOT / "benchmarks" / "scale" / "others.py")
    for name in WAYS:
        words = (sys.executable, script, name, str(library), str(folder / "others"))
        ways[name] = lambda words=words: run(*words, memory_bytes=OTHERS_BYTES if last else None)  # type: ignore[misc]
    return ways


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
