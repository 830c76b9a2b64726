"""Ready experiments: a TOML file of options, and prealloc's environment variables. The only reader of either.

    [library]   path, difficulty, require_workflow
    [sampling]  what PlanSpec.checked takes: shards, num_instances, num_instances_per_cell, stratify, seed, ...
    [factors]   any names, each a list of values; [[exclude]] partial cells that are left out
    [settings]  given to every worker function
    [[lanes]]   what Lane.checked takes: name, models, deployment, key_env, shards_at_once, limits
    [run]       what RunPolicy.checked takes: concurrency, workers, timeout_s, retries, ...; worker, engine, cleanup
    [estimate]  what Effort.checked takes: requests_per_task, tokens_per_task, seconds_per_task

Times may have a unit ("10m"), sizes too ("2GB"), and be "none" where there may be no limit.

Environment, for what is true of a machine rather than of an experiment: PREALLOC_WORKERS, PREALLOC_ENGINE.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from prealloc.errors import InputError, Mistake, OptionsError
from prealloc.files.regular import Unusable, read_regular
from prealloc.model.json_value import brief
from prealloc.model.lane import Lane
from prealloc.model.plan import PlanSpec
from prealloc.model.policy import RunPolicy
from prealloc.model.secret import holds_secret

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")

MOST_BYTES = 2**16
"""A larger file is no config: one of ours has twenty lines."""

_MANY_DOTS = re.compile(rb"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){64}")
_OF_THE_RUN = ("worker", "engine", "cleanup")
"""Keys of [run] that are no part of its policy."""
_MAY_BE_NONE = ("timeout_s", "memory_bytes", "halt_after_infra", "workers")
"""TOML has no null: these are switched off by the text `none`."""
_OPTION = re.compile(r"--([a-z][a-z-]*)")
_KEY_OF = {
    "all": "whole",
    "type": "types",
    "quota": "quotas",
    "timeout": "timeout_s",
    "max-wait": "max_wait_s",
    "halt-after": "halt_after_infra",
    "drain": "drain_s",
    "grace": "grace_s",
    "start-timeout": "start_s",
    "memory": "memory_bytes",
}
"""How a file spells an option, where not just with _ for -."""


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """What a config file says; only the keys that it has."""

    library: dict[str, Any]
    sampling: dict[str, Any]
    """Options of PlanSpec.checked: those of [sampling], with factors, exclude, settings and lanes."""
    run: dict[str, Any]
    estimate: dict[str, Any]


def load_config(path: Path) -> Experiment:
    """Reads and checks a config file. Raises OptionsError with every mistake in it, each under its key.

    A relative library path counts from the config file's folder.
    """
    from prealloc.planning.cells import lay_out  # only who has a config file: every run looks at the environment
    from prealloc.planning.estimate import Effort

    read = _Read(_parse(path))
    library = read.section("library")
    lanes = read.lanes()
    factors = read.section("factors")
    sampling: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in read.section("sampling").items()
    }
    extra = {"settings": read.settings(), "factors": factors, "lanes": lanes}
    if read.is_right("exclude") and read.is_right("factors"):
        extra["exclude"] = tuple(read.sections.get("exclude", ()))
    sampling |= {name: value for name, value in extra.items() if value}
    run: dict[str, Any] = {
        key: None if value == "none" and key in _MAY_BE_NONE else value for key, value in read.section("run").items()
    }
    effort = read.section("estimate")
    policy = {key: value for key, value in run.items() if key not in _OF_THE_RUN}
    spec = read.check("sampling", lambda: PlanSpec.checked(**sampling))
    read.check("run", lambda: RunPolicy.checked(**policy))
    read.check("estimate", lambda: Effort.checked(**effort))
    if spec is not None:
        read.check("sampling", lambda: lay_out(spec))
    if read.mistakes:
        raise OptionsError([Mistake(f"{path} {where}", problem, mend) for where, problem, mend in read.mistakes])
    if "path" in library:
        library = {**library, "path": str(path.parent / library["path"])}
    return Experiment(library=library, sampling=sampling, run=run, estimate=effort)


def config_schema() -> dict[str, Any]:
    """The JSON Schema of config files, for editors."""
    from prealloc.model.config import Config

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


class _Read:
    """A parsed file, what is wrong with it so far, and its parts as far as they are right."""

    def __init__(self, sections: dict[str, Any]) -> None:
        self.sections = sections
        self.mistakes: list[Mistake] = []
        self._wrong: set[tuple[str | int, ...]] = set()
        from pydantic import ValidationError

        from prealloc.model.config import Config  # builds its models: only who has a config file pays for that

        try:
            Config.model_validate(sections)
        except ValidationError as error:
            for each in error.errors(include_url=False):
                self._note(each)

    def is_right(self, *place: str | int) -> bool:
        """Whether nothing is wrong at this place or below it."""
        return not any(wrong[: len(place)] == place for wrong in self._wrong)

    def section(self, name: str) -> dict[str, Any]:
        """The keys of a section that are right."""
        if (name,) in self._wrong:
            return {}
        return {key: value for key, value in self.sections.get(name, {}).items() if self.is_right(name, key)}

    def settings(self) -> dict[str, Any]:
        """[settings], with those of [sampling], where they once stood."""
        older = self.section("sampling").get("settings", {})
        newer = self.section("settings")
        self.mistakes += [
            Mistake(f"[settings] {name}", "it is in [sampling] settings too", "keep one of them")
            for name in newer
            if name in older
        ]
        return {**older, **newer}

    def lanes(self) -> list[Lane]:
        """The lanes; none if one of them is wrong, so that nothing is judged by those that are left."""
        if ("lanes",) in self._wrong:
            return []
        found: list[Lane | None] = []
        for number, fields in enumerate(self.sections.get("lanes", ())):
            if isinstance(fields, dict):
                known = {key: value for key, value in fields.items() if key in Lane.__struct_fields__}
                where = f"[[lanes]] {number + 1}"
                found.append(self.check("lanes", lambda w=where, k=known: Lane.checked(where=w, **k)))  # type: ignore[misc]
            else:
                found.append(None)
        right = [lane for lane in found if lane is not None]
        return right if len(right) == len(found) and self.is_right("factors") else []

    def check(self, section: str, made: Callable[[], T]) -> T | None:
        """What `made` makes; None if it refuses, with its mistakes noted in the words of the file."""
        try:
            return made()
        except OptionsError as error:
            self.mistakes += [
                Mistake(_place(section, where), _spelled(problem), _spelled(mend))
                for where, problem, mend in error.mistakes
            ]
        except TypeError as error:
            self.mistakes.append(
                Mistake(f"[{section}]", f"a value has the wrong type: {error}", "see `prealloc config schema`")
            )
        return None

    def _note(self, error: ErrorDetails) -> None:
        place = error["loc"]
        unknown = error["type"] == "extra_forbidden"
        if place[0] == "lanes" and len(place) > 2 and not unknown:
            return  # Lane.checked tells it
        self._wrong.add(place)
        section, *keys = place
        if not keys:
            where = str(section)
        elif section in ("lanes", "exclude"):
            where = " ".join([f"[[{section}]]", str(int(keys[0]) + 1), *map(str, keys[1:])])
        else:
            where = " ".join([f"[{section}]", *map(str, keys[:1])])
        if unknown:
            known = _keys_at(place)
            close = difflib.get_close_matches(str(place[-1]), known, n=1)
            mend = f"did you mean {close[0]}?" if close else f"use one of {', '.join(sorted(known))}"
            mistake = Mistake(where, "there is no such key", mend)
        elif not keys:
            brackets = f"[[{section}]]" if section in ("lanes", "exclude") else f"[{section}]"
            mistake = Mistake(where, "it is no section", f"write {brackets} and its keys below")
        else:
            kind = "wrong type" if error["type"].endswith(("_type", "_parsing")) else "wrong value"
            needed = error["msg"].removeprefix("Input should be ").removeprefix("a valid ")
            mistake = Mistake(where, f"{_shown(error['input'])} has the {kind}", f"it must be: {needed}")
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)


def _keys_at(place: tuple[str | int, ...]) -> list[str]:
    """The keys that may stand where the last part of `place` does."""
    from prealloc.model.config import Config, LaneSection

    if len(place) == 1:
        return list(Config.model_fields)
    inner = LaneSection if place[0] == "lanes" else type(Config.model_fields[str(place[0])].default)
    return list(inner.model_fields)


def _place(section: str, where: str) -> str:
    """Where an option stands in a file."""
    if where.startswith("--set "):
        return f"[settings] {where.removeprefix('--set ')}"
    if where.startswith(("[", "lane ")):
        return where
    return f"[{section}] {_spelled(where)}"


def _spelled(text: str) -> str:
    """The text, each option as a file spells it."""
    return _OPTION.sub(lambda found: _KEY_OF.get(found[1], found[1].replace("-", "_")), text)


def _shown(value: Any) -> str:
    if holds_secret(value):
        return "what is given"  # a key that got into the wrong place is not shown
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


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
