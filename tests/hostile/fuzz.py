"""Row 26: mutated files, 10,000 of them. Each is taken for what it really says, or refused as a typed error.

    python tests/hostile/fuzz.py [--count 10000] [--seed N] [--only INDEX]

The same seed gives the same mutants; mutant INDEX depends on seed and index alone. Ends with exit code 1 if any mutant
broke the law, and prints how to make that mutant again. `make test` runs the first SLICE of seed 0.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import msgspec  # everything from here on is found by the lines above, or needs nothing
import oracles
import zstandard
from ground import Cost, Ground, measured, snapshot
from mutate import mutate

from prealloc.api.outcomes import outcomes, results
from prealloc.api.plans import plan, verify
from prealloc.api.status import status
from prealloc.errors import InputError, JournalError, LibraryError, PlanError, PreallocError, RunFolderError
from prealloc.model.plan_spec import PlanSpec
from prealloc.model.policy import RunPolicy
from prealloc.settings import load_config, options_in
from prealloc.store.plan_folder import load_shard

COUNT = 10_000
SLICE = 250
"""Mutants in `make test`: about four seconds."""

MOST_S = 1.0
MOST_BYTES = 64 * 2**20
EVERY_COMMAND = 10
"""One mutant in so many also goes through the command line."""


class Kind(NamedTuple):
    """A kind of file: where it lies, how it is read, and what may come of it."""

    name: str
    pattern: str
    share: int
    """Of COUNT, in parts."""
    read: Callable[[Ground, bytes], str | None]
    """Reads the spoiled ground; raises what prealloc raises. Returns why the reading was wrong, if it was."""
    refuses: tuple[type[PreallocError], ...]
    command: tuple[str, ...]
    lines: bool = False
    packed: str = ""


# -- readers ----------------------------------------------------------------------------------------------------


def read_plan_file(ground: Ground, raw: bytes) -> str | None:
    verify(ground.root / "plan")
    return oracles.plan_file(raw, (ground.stock / "plan/plan.json").read_bytes())


def read_manifest(ground: Ground, raw: bytes) -> str | None:
    good = (ground.stock / "plan/shards/shard-00.json").read_bytes()
    with contextlib.suppress(PlanError):
        shard = load_shard(ground.root / "plan/shards/shard-00.json")
        if shard.manifest.slice.sha256 != json.loads(good)["slice"]["sha256"] or shard.manifest.repeats < 1:
            return "load_shard took another slice"
    verify(ground.root / "plan")
    return oracles.the_same(raw, good)


def read_slice(ground: Ground, raw: bytes) -> str | None:
    path = ground.path("plan/slices/*.json")
    verify(ground.root / "plan")
    return oracles.the_same(raw, (ground.stock / path.relative_to(ground.root)).read_bytes())


def read_run_file(ground: Ground, raw: bytes) -> str | None:
    status(ground.root / "run")
    return oracles.run_file(raw, (ground.stock / "run/run.json").read_bytes())


def read_journal(ground: Ground, raw: bytes) -> str | None:
    found = status(ground.root / "run")
    units = set()
    for outcome in outcomes(ground.root / "run"):
        units.add((outcome.shard, outcome.task, outcome.repeat))
        attempt = outcome.read()
        if attempt is not None and (attempt.shard, attempt.task, attempt.repeat) not in units:
            return "an outcome of another unit"
    msgspec.json.encode(results(ground.root / "run", by=["type"]))
    counted = oracles.journal(ground.root / "run/journal", units)
    if isinstance(counted, str):
        return counted
    return None if counted == found.census else f"the census is {found.census}, it should be {counted}"


def read_lock(ground: Ground, raw: bytes) -> str | None:
    return "nobody holds it" if status(ground.root / "run").running else None


def read_config(ground: Ground, raw: bytes) -> str | None:
    found = load_config(ground.root / "exp.toml")
    said = oracles.config(raw)
    for name in ("library", "sampling", "run"):
        options = options_in(name)
        fields = {options[key].field if key in options else key for key in said.get(name, {})}
        tables = {
            table for table in ("settings", "factors", "exclude", "lanes") if name == "sampling" and said.get(table)
        }
        if getattr(found, name).keys() != fields | tables:
            return f"[{name}] says {said.get(name)}"
    spec = PlanSpec.checked(**found.sampling)
    policy = RunPolicy.checked(**{key: value for key, value in found.run.items() if key in RunPolicy.__struct_fields__})
    for value in (spec, policy):
        if msgspec.json.decode(msgspec.json.encode(value), type=type(value)) != value:
            return f"{value} is not what would be read back"
    return None


def library_reader(
    name: str, unpack: Callable[[bytes], bytes], *, lines: bool
) -> Callable[[Ground, bytes], str | None]:
    """Reads a library whole, workflows too."""

    def read(ground: Ground, raw: bytes) -> str | None:
        made = plan(ground.root / name, whole=True)
        tasks = made.shards[0].tasks
        found = [(t.id, t.type, json.dumps(t.workflow, sort_keys=True)) for t in tasks]
        text = unpack(raw).decode()
        try:
            said = oracles.library(text, lines=lines)
        except (ValueError, AttributeError, KeyError, TypeError):
            said = oracles.library(text, lines=not lines)  # the content decides where the name leaves it open
        return None if sorted(found) == sorted(said) else "other tasks than the file has"

    return read


def _unzstd(raw: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()


KINDS = (
    Kind("library", "tasks.json", 14, library_reader("tasks.json", bytes, lines=False), (LibraryError,),
         ("plan", "tasks.json", "--all")),
    Kind("library lines", "tasks.jsonl", 8, library_reader("tasks.jsonl", bytes, lines=True), (LibraryError,),
         ("plan", "tasks.jsonl", "--all"), lines=True),
    Kind("library gzip", "tasks.json.gz", 4, library_reader("tasks.json.gz", gzip.decompress, lines=False),
         (LibraryError,), ("plan", "tasks.json.gz", "--all"), packed="gzip"),
    Kind("library zstd", "tasks.json.zst", 4, library_reader("tasks.json.zst", _unzstd, lines=False),
         (LibraryError,), ("plan", "tasks.json.zst", "--all"), packed="zstd"),
    Kind("plan.json", "plan/plan.json", 14, read_plan_file, (PlanError,), ("verify", "plan")),
    Kind("manifest", "plan/shards/shard-00.json", 9, read_manifest, (PlanError,), ("show", "plan")),
    Kind("slice", "plan/slices/*.json", 5, read_slice, (PlanError,), ("verify", "plan")),
    Kind("run.json", "run/run.json", 12, read_run_file, (RunFolderError, PlanError), ("status", "run")),
    Kind("journal", "run/journal/shard-00.*", 16, read_journal, (JournalError,), ("results", "run"), lines=True),
    Kind("supervisor", "run/journal/supervisor.*", 5, read_journal, (JournalError,), ("status", "run"), lines=True),
    Kind("lock", "run/lock", 1, read_lock, (RunFolderError,), ("status", "run")),
    Kind("config", "exp.toml", 8, read_config, (InputError,), ("plan", "--config", "exp.toml")),
)  # fmt: skip
DECK = [kind for kind in KINDS for _ in range(kind.share)]


# -- running ----------------------------------------------------------------------------------------------------


class Tally(NamedTuple):
    """What came of the mutants of one run."""

    counts: Counter[tuple[str, str]]
    worst_s: dict[str, float]
    worst_bytes: dict[str, int]
    broken: list[str]


class Fuzz:
    """Mutants over one ground. Good files are measured first: what they take is the scale."""

    def __init__(self, root: Path, seed: int) -> None:
        self.seed = seed
        self.ground = Ground(root)
        raw = (self.ground.stock / "tasks.json").read_bytes()
        for folder in (self.ground.stock, self.ground.root):
            (folder / "tasks.json.gz").write_bytes(gzip.compress(raw))
            (folder / "tasks.json.zst").write_bytes(zstandard.ZstdCompressor().compress(raw))
        self.ground.lay_out()
        self.good: dict[str, Cost] = {}
        for kind in KINDS:
            path = self.ground.path(kind.pattern)
            for _ in range(2):  # the first time something may be imported
                costs: list[Cost] = []
                with measured(costs):
                    wrong = kind.read(self.ground, path.read_bytes())
                assert wrong is None, (kind.name, wrong)
            self.good[kind.name] = costs[0]

    def run(self, indexes: Sequence[int]) -> Tally:
        tally = Tally(Counter(), {}, {}, [])
        for index in indexes:
            self.one(index, tally)
        return tally

    def one(self, index: int, tally: Tally) -> None:
        """Makes one mutant, reads it, and puts the good file back."""
        random = Random(f"{self.seed}/{index}")
        kind = random.choice(DECK)
        path = self.ground.path(kind.pattern)
        good, times = path.read_bytes(), path.stat()
        raw = self.spoiled(kind, good, random)
        path.write_bytes(raw)
        before = snapshot(self.ground.root)
        problems: list[str] = []
        costs: list[Cost] = []
        with measured(costs):
            ending = self.ending(kind, raw, problems)
        if costs[0].seconds > MOST_S:
            problems.append(f"it took {costs[0].seconds:.2f} s")
        if costs[0].bytes > self.good[kind.name].bytes + MOST_BYTES:
            problems.append(f"it took {costs[0].bytes >> 20} MB")
        if index % EVERY_COMMAND == 0:
            problems += self.command(kind, ending)
        if snapshot(self.ground.root) != before:
            problems.append("it touched files")
            self.ground.lay_out()
        path.write_bytes(good)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        tally.counts[kind.name, ending] += 1
        tally.worst_s[kind.name] = max(tally.worst_s.get(kind.name, 0.0), costs[0].seconds)
        tally.worst_bytes[kind.name] = max(tally.worst_bytes.get(kind.name, 0), costs[0].bytes)
        again = f"python tests/hostile/fuzz.py --seed {self.seed} --only {index}"
        tally.broken.extend(f"{kind.name}: {problem}\n  again: {again}" for problem in problems)

    def spoiled(self, kind: Kind, good: bytes, random: Random) -> bytes:
        if not kind.packed or random.random() < 0.5:
            return mutate(good, random, lines=kind.lines)
        inside = mutate((self.ground.stock / "tasks.json").read_bytes(), random)
        return gzip.compress(inside) if kind.packed == "gzip" else zstandard.ZstdCompressor().compress(inside)

    def ending(self, kind: Kind, raw: bytes, problems: list[str]) -> str:
        try:
            wrong = kind.read(self.ground, raw)
        except PreallocError as error:
            if not isinstance(error, kind.refuses):
                problems.append(f"{type(error).__name__} is not what refuses it: {error}")
            if not (error.problem and (error.hint or getattr(error, "mistakes", None)) and len(str(error)) < 4000):
                problems.append(f"the message is not one: {str(error)[:500]}")
            return "refused"
        except Exception as error:
            problems.append(f"{type(error).__name__}: {str(error)[:500]}")
            return "broken"
        if wrong:
            problems.append(f"it was taken, but {wrong}")
        return "taken"

    def command(self, kind: Kind, ending: str) -> Iterator[str]:
        """What is wrong with the command's own way of saying the same."""
        try:
            done = self.ground.type(*kind.command)
        except Exception as error:
            yield f"{' '.join(kind.command)} raised {type(error).__name__}: {str(error)[:500]}"
            return
        code = 3 if JournalError in kind.refuses else 2
        if ending == "refused" and kind.name != "manifest" and done.code != code:
            yield f"{' '.join(kind.command)} gave exit code {done.code}, not {code}"
        if done.code not in (0, 1, code) or "Traceback" in done.err:
            yield f"{' '.join(kind.command)} gave exit code {done.code}: {done.err[:500]}"


def main() -> int:
    """Runs as the top of this module says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", type=int, default=None, help="this one mutant")
    options = parser.parse_args()
    seed = time.time_ns() % 10**9 if options.seed is None else options.seed
    indexes = range(options.count) if options.only is None else [options.only]
    print(f"fuzz: {len(indexes)} mutated files, seed {seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="prealloc-fuzz-") as folder:
        fuzz = Fuzz(Path(folder) / "here", seed)
        tally = fuzz.run(indexes)
    print(f"{'kind':16} {'files':>6} {'refused':>8} {'taken':>6} {'worst':>8} {'memory':>8} {'good file':>10}")
    for kind in KINDS:
        ends = {ending: tally.counts[kind.name, ending] for ending in ("refused", "taken", "broken")}
        print(
            f"{kind.name:16} {sum(ends.values()):6} {ends['refused']:8} {ends['taken']:6} "
            f"{tally.worst_s.get(kind.name, 0) * 1000:5.0f} ms {tally.worst_bytes.get(kind.name, 0) / 2**20:5.1f} MB "
            f"{fuzz.good[kind.name].bytes / 2**20:7.1f} MB"
        )
    print(f"{len(indexes)} mutants in {time.monotonic() - began:.0f} s; {len(tally.broken)} broke the law")
    for problem in tally.broken[:50]:
        print(problem)
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
