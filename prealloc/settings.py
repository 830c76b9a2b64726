"""Ready experiments: a TOML file of options, and prealloc's environment variables. The only reader of either.

    [library]   path, difficulty, require_workflow
    [sampling]  what PlanSpec.checked takes: shards, num_instances, stratify, strategy, seed, ...
    [run]       what RunPolicy.checked takes: concurrency, workers, timeout_s, retries, ...; and worker, engine.
                Times may have a unit ("10m"), memory_bytes too ("2GB").

Environment, for what is true of a machine rather than of an experiment: PREALLOC_WORKERS, PREALLOC_ENGINE.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import InputError, Mistake, OptionsError
from prealloc.files.regular import Unusable, read_regular
from prealloc.model.json_value import brief, shown
from prealloc.model.plan import PlanSpec
from prealloc.model.policy import RunPolicy

MOST_BYTES = 2**16
"""A larger file is no config: one of ours has twenty lines."""

_MANY_DOTS = re.compile(rb"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){64}")
_LIBRARY_KEYS = {"path": str, "difficulty": str, "require_workflow": bool}
_RUN_KEYS = {"worker": str, "engine": str}


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """What a config file says, by section; only the keys that it has."""

    library: dict[str, Any]
    sampling: dict[str, Any]
    run: dict[str, Any]


def load_config(path: Path) -> Experiment:
    """Reads and checks a config file. Raises OptionsError with every mistake in it, each under its key.

    A relative library path counts from the config file's folder.
    """
    sections = _parse(path)
    mistakes: list[Mistake] = []
    _refuse_unknown(f"{path}", sections, {"library", "sampling", "run"}, mistakes)
    library, sampling, run = (_section(path, sections, name, mistakes) for name in ("library", "sampling", "run"))
    spec_keys = inspect.signature(PlanSpec.checked).parameters
    policy_keys = inspect.signature(RunPolicy.checked).parameters
    _refuse_unknown(f"{path} [library]", library, _LIBRARY_KEYS, mistakes)
    _refuse_unknown(f"{path} [sampling]", sampling, spec_keys, mistakes)
    _refuse_unknown(f"{path} [run]", run, {*policy_keys, *_RUN_KEYS}, mistakes)
    _check_types(f"{path} [library]", library, _LIBRARY_KEYS, mistakes)
    _check_types(f"{path} [run]", run, _RUN_KEYS, mistakes)
    for check, options, keys in ((PlanSpec.checked, sampling, spec_keys), (RunPolicy.checked, run, policy_keys)):
        try:
            check(**{key: value for key, value in options.items() if key in keys})
        except OptionsError as error:
            mistakes += [Mistake(f"{path} {where}", problem, mend) for where, problem, mend in error.mistakes]
    if mistakes:
        raise OptionsError(mistakes)
    if "path" in library:
        library = {**library, "path": str(path.parent / library["path"])}
    return Experiment(library=library, sampling=sampling, run=run)


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Run options that the environment sets. Raises OptionsError."""
    found: dict[str, Any] = {}
    if workers := environment.get("PREALLOC_WORKERS"):
        if not workers.isdecimal() or int(workers) < 1:
            raise OptionsError([Mistake("PREALLOC_WORKERS", f"{workers!r} is no whole number", "set it to 1 or more")])
        found["workers"] = int(workers)
    if engine := environment.get("PREALLOC_ENGINE"):
        found["engine"] = engine
    return found


def _parse(path: Path) -> dict[str, Any]:
    try:
        raw = read_regular(path, most=MOST_BYTES)
        if _MANY_DOTS.search(raw):  # tomllib takes the square of their number
            raise ValueError("more than 64 names are joined by dots")
        return tomllib.loads(raw.decode())
    except (Unusable, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"it is no config file: {brief(error)}", where=str(path), mend="give a TOML file") from None
    except RecursionError:
        raise InputError("it is nested too deep", where=str(path), mend="give a TOML file") from None


def _section(path: Path, sections: Mapping[str, Any], name: str, mistakes: list[Mistake]) -> dict[str, Any]:
    section = sections.get(name, {})
    if isinstance(section, dict):
        return section
    mistakes.append(Mistake(f"{path} {name}", "it is no section", f"write [{name}] and its keys below"))
    return {}


def _refuse_unknown(where: str, section: Mapping[str, Any], known: Collection[str], mistakes: list[Mistake]) -> None:
    for key in section:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            mend = f"did you mean {close[0]}?" if close else f"use one of {', '.join(sorted(known))}"
            mistakes.append(Mistake(f"{where} {key}", "there is no such key", mend))


def _check_types(where: str, section: Mapping[str, Any], types: Mapping[str, type], mistakes: list[Mistake]) -> None:
    for key, kind in types.items():
        if key in section and not isinstance(section[key], kind):
            mistakes.append(
                Mistake(f"{where} {key}", f"{shown(section[key])} has the wrong type", f"write a {kind.__name__}")
            )
