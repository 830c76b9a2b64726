"""What a worker's code is: the commit of its repository, the packages that are installed, the host."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from prealloc.model.provenance import Provenance
from prealloc.model.words import listed

GIT_S = 5.0
"""A repository that takes longer to say whether it has changed is one of which that is not known."""
_SUFFIXES = (".dist-info", ".egg-info")


def provenance_of(worker: str, import_path: Sequence[str], *, is_command: bool) -> Provenance:
    """Of `module:function`, or of a command, which runs in the first of the folders. Imports nothing."""
    place = Path(import_path[0]) if is_command else _module_file(worker.partition(":")[0], import_path)
    commit, dirty = (None, None) if place is None else _git_state(place)
    return Provenance(
        commit=commit,
        dirty=dirty,
        packages=", ".join(sorted(set(_installed([*import_path, *sys.path])))),
        python=platform.python_version(),
        host=socket.gethostname(),
    )


def other_code(then: Provenance | None, now: Provenance) -> Iterator[str]:
    """What has changed since the run began, in a sentence each: its units are then of different code."""
    if then is None:
        return
    if then.commit is not None and now.commit is not None and then.commit != now.commit:
        yield f"the worker's code has changed since the run began: {now.code}, then commit {then.commit}"
    before, after = (dict(each.rsplit(" ", 1) for each in of.packages.split(", ") if each) for of in (then, now))
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if changed:
        told = [f"{name} {before.get(name, 'none')} -> {after.get(name, 'none')}" for name in changed]
        yield f"installed packages have changed since the run began: {listed(told, 3)}"


def _module_file(module: str, import_path: Sequence[str]) -> Path | None:
    parts = module.split(".")
    for folder in map(Path, import_path):
        for path in (folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts, "__init__.py")):
            if path.is_file():
                return path
    try:
        spec = importlib.util.find_spec(parts[0])  # of a name without dots nothing is imported
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None and os.path.isabs(spec.origin) else None


def _git_state(place: Path) -> tuple[str | None, bool | None]:
    """The commit, and whether what is there differs from it."""
    folder = place if place.is_dir() else place.parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None, None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if changed == "" and place != folder:
        return commit, _git(folder, "ls-files", "--", place.name) == ""
    return commit, None if changed is None else changed != ""


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None if there is no git, it fails, or it takes too long."""
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=GIT_S, env=environment, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip()


def _installed(folders: Sequence[str]) -> Iterator[str]:
    """Packages by the names of their metadata: to read these takes seconds where there are hundreds."""
    for folder in dict.fromkeys(folders):
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix in _SUFFIXES and stem.count("-"):
                package, version = stem.split("-")[:2]
                yield f"{package.replace('_', '-').lower()} {version}"
