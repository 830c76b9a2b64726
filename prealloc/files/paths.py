"""Every file name that prealloc writes, spelled once."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

_MOST_NAME_BYTES = 240

SHARD_ID = re.compile(r"[a-z0-9._-]{1,100}")
"""Shard ids are file names; they are made by prealloc and checked when they are read back."""


def is_pattern(path: Path) -> bool:
    """Whether a path is a pattern of files (`data/*.jsonl`, `tasks/**/task.json`), and not one of a file."""
    return glob.has_magic(str(path)) and not os.path.lexists(path)


def seen_from(folder: Path, given: Path) -> Path:
    """A path that counts from a folder; in the folder's own name * stands for itself."""
    path = folder / given
    return glob.escape(str(folder)) / given if glob.has_magic(str(given)) and is_pattern(path) else path


def files_of(library: Path) -> list[Path]:
    """A library, and the files that it is in: those of a pattern, or all in a folder and below it."""
    if is_pattern(library):
        return [Path(name) for name in glob.iglob(str(library), recursive=True)]
    found, folders = [library], [library] if os.path.isdir(library) else []
    while folders:
        with suppress(OSError, ValueError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                found.append(Path(entry.path))
                if entry.is_dir(follow_symlinks=False):
                    folders.append(found[-1])
    return found


class _In:
    """The path of this name in a folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: _Folder, kind: type[_Folder]) -> Path:
        return folder.root / self._name


class _Folder(msgspec.Struct, frozen=True):
    """A folder of ours, which knows the names in it."""

    root: Path


class PlanPaths(_Folder, frozen=True):
    """A plan folder: `plan.json`, `shards/<shard>.json`, `slices/<sha256>.json`."""

    plan_file = _In("plan.json")
    slices = _In("slices")

    def manifest(self, shard: str) -> Path:
        return self.root / self.manifest_name(shard)

    def slice(self, sha256: str) -> Path:
        return self.root / self.slice_name(sha256)

    @staticmethod
    def manifest_name(shard: str) -> str:
        return f"shards/{shard}.json"

    @staticmethod
    def slice_name(sha256: str) -> str:
        return f"slices/{sha256}.json"

    @classmethod
    def of_manifest(cls, manifest: Path) -> PlanPaths:
        """The plan folder that a manifest file lies in."""
        return cls(manifest.absolute().parent.parent)


def plan_beside(manifest: Path) -> PlanPaths:
    """The whole plan that a manifest is of: the folder that it lies in; of what was left in a run, the run's plan."""
    paths = PlanPaths.of_manifest(manifest)
    run = RunPaths(paths.root.parent.parent)
    return run.plan if paths.root.parent == run.root / "rest" and run.run_file.is_file() else paths


class RunPaths(_Folder, frozen=True):
    """A run folder: `run.json`, the plan's copy, `journal/`, `journal-aside/`, `logs/`, `lanes/`, `scores/`, ..."""

    run_file = _In("run.json")
    journal = _In("journal")
    aside = _In("journal-aside")
    """What a repair moved out of the journal."""
    logs = _In("logs")
    lanes = _In("lanes")
    telemetry = _In("telemetry.jsonl")
    """How it went over time: memory, tasks, lanes."""
    running = _In("running.json")
    """The units that run now, for other terminals."""
    lock = _In("lock")
    control = _In("control")
    """Names the socket of the master that works on the run."""
    claims = _In("claims")
    """The units that it runs now, for the other runs of its experiment."""
    spools = _In("spools")
    """Names the folders, seen by all machines, that hosts of its sessions have written to."""
    scores = _In("scores")
    """What scorers have said of its results, beside the journal."""
    scores_lock = _In("scores.lock")
    """Held by whoever writes scores."""
    results = _In("results")
    """Where outside programs tell their results."""

    @property
    def plan(self) -> PlanPaths:
        return PlanPaths(self.root / "plan")

    def scored(self, name: str) -> Path:
        return self.scores / f"{name}.jsonl"

    def log(self, shard: str) -> Path:
        return self.logs / f"{shard}.log"

    def reported(self, shard: str, session: int) -> Path:
        """What the outside program of a shard has told in a session."""
        return self.results / f"{shard}.{session:04d}.jsonl"

    def rest(self, session: int) -> PlanPaths:
        """Manifests of what was left when a session began, for outside programs."""
        return PlanPaths(self.root / "rest" / f"{session:04d}")

    def lane(self, number: int) -> Path:
        """What became of a lane's limit. By the lane's place in the plan: its name is the user's text."""
        return self.lanes / f"lane-{number:02d}.jsonl"

    def worker_journal(self, shard: str, session: int, incarnation: int) -> Path:
        """One file per worker process. Sessions count from 1, incarnations of a shard in a session too."""
        return self.journal / f"{shard}.{session:04d}.{incarnation:04d}.jsonl"

    def supervisor_journal(self, session: int) -> Path:
        return self.journal / f"supervisor.{session:04d}.jsonl"

    def aside_piece(self, name: str, number: int) -> Path:
        """A piece of the journal file `name`, or all of a stray file; numbers count from 1 per name."""
        short = os.fsdecode(os.fsencode(name)[:_MOST_NAME_BYTES])  # a stranger's name may be as long as names can be
        return self.aside / f"{short}.{number}"


_RUN_NUMBER = re.compile(r"[0-9]{4,9}")


class ExperimentPaths(_Folder, frozen=True):
    """An experiment folder: `experiment.json`, `config.toml`, `lock`, `latest`, `runs/<number>/`."""

    experiment_file = _In("experiment.json")
    config = _In("config.toml")
    """What is wanted, as the latest run of it was told."""
    lock = _In("lock")
    """Held for a moment by whoever makes a run or claims units."""
    latest = _In("latest")
    """The highest number that a run of it has had: its folder may have been moved away."""
    runs = _In("runs")

    def run(self, number: int) -> Path:
        return self.runs / f"{number:04d}"

    def numbers(self) -> list[int]:
        """Of the runs that there are, in their order."""
        names = os.listdir(self.runs) if self.runs.is_dir() else []
        return sorted(int(name) for name in names if _RUN_NUMBER.fullmatch(name))

    @property
    def is_there(self) -> bool:
        return os.path.lexists(self.experiment_file)

    @classmethod
    def of_run(cls, run: Path) -> ExperimentPaths | None:
        """The experiment that a run folder lies in; None if it lies in none."""
        folder = run.absolute()
        found = cls(folder.parent.parent)
        is_one = folder.parent.name == "runs" and _RUN_NUMBER.fullmatch(folder.name) and found.is_there
        return found if is_one else None


def plan_of(folder: Path) -> Path:
    """The plan folder that a user means: the one that is named, or the plan of the run or of an experiment's latest."""
    experiment = ExperimentPaths(folder)
    if experiment.is_there and (numbers := experiment.numbers()):
        folder = experiment.run(numbers[-1])
    run = RunPaths(folder)
    return run.plan.root if run.run_file.is_file() and not PlanPaths(folder).plan_file.exists() else folder


MOST_SOCKET_BYTES = 107 if sys.platform == "linux" else 103
"""Of the path of a Unix socket."""


def control_sockets(run: Path, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Where the socket of a run's master may be, the best place first. The folder is to be its owner's alone.

    The same at each session of the run, so that a socket that a killed master left is found and replaced.
    """
    name = hashlib.sha256(os.fsencode(os.path.realpath(run))).hexdigest()[:20] + ".sock"
    runtime, temporary = environment.get("XDG_RUNTIME_DIR", ""), environment.get("TMPDIR", "")
    own = f"prealloc-{os.getuid()}" if hasattr(os, "getuid") else "prealloc"
    # The base directory specification: a relative path is to be ignored.
    folders = [Path(runtime, "prealloc")] if os.path.isabs(runtime) else []
    folders += [Path(folder, own) for folder in (temporary, "/tmp") if os.path.isabs(folder)]
    return [path for folder in folders if len(os.fsencode(path := folder / name)) <= MOST_SOCKET_BYTES]


def workflow_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of generated workflows, by default: below the user's cache folder."""
    return _cache(environment) / "workflows"


def index_places(library: Path) -> tuple[Path, Path]:
    """Where the index of a library file may lie: beside it; or in the user's cache folder, if that cannot be."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(library))).hexdigest()[:40]
    return library.with_name(f"{library.name}.index"), _cache() / "indexes" / f"{name}.index"


def runtime_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of what the user's runs on this machine share while they run. It need not be there.

    In $XDG_RUNTIME_DIR; without that where it usually is, so that a job of cron finds the same; else in /tmp, which is
    everybody's: see private_folder. After `sudo` the variable may name the folder of another user.
    """
    named, user = environment.get("XDG_RUNTIME_DIR", ""), os.getuid()
    base = named if os.path.isabs(named) else f"/run/user/{user}"
    try:
        if os.stat(base).st_uid == user:
            return Path(base, "prealloc")
    except (OSError, ValueError):
        pass
    return Path(f"/tmp/prealloc-{user}")


class SharedPaths(_Folder, frozen=True):
    """The files in that folder."""

    secret = _In("secret")

    def lane(self, digest: str) -> Path:
        """What runs have taken of a lane. The number is that of the format: versions of prealloc may differ in it."""
        return self.root / f"lane.{digest}.1"

    def lanes(self) -> list[Path]:
        """Those of all lanes."""
        return sorted(self.root.glob("lane.*.1"))


def _cache(environment: Mapping[str, str] = os.environ) -> Path:
    named = environment.get("XDG_CACHE_HOME", "")
    # The base directory specification: a relative path is to be ignored.
    base = Path(named) if os.path.isabs(named) else Path(os.path.expanduser("~"), ".cache")
    return base / "prealloc"


def workflow_cache_name(generator: str, version: str) -> str:
    """The file of what one version of one generator has made. A digest: both are the user's text."""
    return hashlib.sha256(json.dumps([generator, version]).encode()).hexdigest()[:40] + ".jsonl"


class JournalName(NamedTuple):
    """Who wrote a journal file: a worker of `shard`, or the supervisor if that is None."""

    session: int
    shard: str | None
    incarnation: int


_SUPERVISOR = re.compile(r"supervisor\.([0-9]{4,9})\.jsonl")
_WORKER = re.compile(r"([a-z0-9._-]{1,100})\.([0-9]{4,9})\.([0-9]{4,9})\.jsonl")


def readable_name(name: str) -> str:
    """A file's name as text: a byte that is not text becomes an escape, so that JSON can hold it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def parse_journal_name(name: str) -> JournalName | None:
    """Who wrote the journal file of this name; None if prealloc gives no such name."""
    if found := _SUPERVISOR.fullmatch(name):
        return JournalName(int(found[1]), None, 0)
    if found := _WORKER.fullmatch(name):
        return JournalName(int(found[2]), found[1], int(found[3]))
    return None


def current_folder() -> tuple[str, ...]:
    """The folder that this process stands in; none if it has been removed."""
    try:
        return (os.getcwd(),)
    except FileNotFoundError:
        return ()
