"""Ready experiments: a TOML file of options, and prealloc's environment variables. The only reader of either.

    [library]   path, difficulty, require_workflow, id_field, type_field, workflow_field, tasks_field, id_from, ...
    [sampling]  the options of a plan, by their names on the command line: shards, num_instances, stratify, seed, ...
    [factors]   any names, each a list of values; or several [[factors]], whose cells are put together
    [[exclude]] partial cells that are left out
    [settings]  given to every worker function
    [[lanes]]   name, models, deployment, key_env, shards_at_once, limits
    [run]       worker, engine, cleanup, and the options of a run: concurrency, workers, timeout, retries, ...
    [estimate]  requests_per_task, tokens_per_task, seconds_per_task
    [prices]    for each model a table of dollars per million tokens: input, output, cache_read, cache_write

Times may have a unit ("10m"), sizes too ("2GB"), and be "none" where the limit is optional.

Environment, for what is true of a machine rather than of an experiment: PREALLOC_WORKERS, PREALLOC_ENGINE.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from prealloc.errors import InputError, Mistake, OptionsError
from prealloc.files.paths import seen_from
from prealloc.files.regular import Unusable, read_regular
from prealloc.model.lane import Lane
from prealloc.model.options import Option, did_you_mean, options_of, spelled
from prealloc.model.plan_spec import LibraryOptions, PlanSpec
from prealloc.model.policy import EngineOptions, RunPolicy, WorkerOptions
from prealloc.model.prices import Price, read_prices
from prealloc.model.where import refuse_where
from prealloc.model.words import brief
from prealloc.planning.estimate import Effort

T = TypeVar("T")

MOST_BYTES = 2**16
"""A larger file is not a config: a usual one has twenty lines."""

_MANY_DOTS = re.compile(rb"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){64}")

SECTIONS: dict[str, tuple[str, Sequence[type]]] = {
    "library": ("The task library.", (LibraryOptions,)),
    "sampling": ("Which tasks each cell gets, and how many shards.", (PlanSpec,)),
    "lanes": ("An API key or deployment that shards queue for, and its limits.", (Lane,)),
    "run": ("How the plan is run.", (WorkerOptions, RunPolicy, EngineOptions)),
    "estimate": ("What one task takes, for the estimate of `prealloc plan`.", (Effort,)),
}
"""The sections of declared options. `lanes` is a list of them."""
TABLES = {
    "factors": "Any names, each with a list of values. The cells are the combinations of their values. A list of such "
    "tables: all cells of each, shared ones once.",
    "exclude": "Partial cells: the cells that hold one of them are left out. A list.",
    "settings": "Given to every worker function as ctx.settings, beside the factors.",
    "prices": 'For each model a table `[prices."MODEL"]`, in dollars per million tokens: `input`, `output`, and if it '
    "has them `cache_read` and `cache_write`. Costs are computed when they are shown; tokens without a price "
    "are counted as such.",
}
"""The sections whose keys are the user's own."""


class ConfigOption(NamedTuple):
    """An option as a config may give it."""

    field: str
    option: Option
    default: Any


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """What a config file says; only the keys that it has, by the names of fields."""

    library: dict[str, Any]
    sampling: dict[str, Any]
    """Options of PlanSpec.checked: those of [sampling], with factors, exclude, settings and lanes."""
    run: dict[str, Any]
    estimate: dict[str, Any]
    prices: dict[str, Price]


def load_config(file: str | Path) -> Experiment:
    """Reads and checks a config file. Raises OptionsError with every mistake in it, each under its key.

    A relative library path counts from the config file's folder.
    """
    from prealloc.planning.cells import lay_out  # only for a config file: every run looks at the environment

    path = Path(file)
    read = _Read(_parse(path))
    library = read.section("library")
    sampling = read.section("sampling")
    factors, settings, lanes = read.factors(), read.table("settings"), read.lanes()
    extra = {"settings": settings, "factors": factors, "lanes": lanes, "exclude": read.exclude()}
    sampling |= {name: value for name, value in extra.items() if value}
    run = read.section("run")
    effort = read.section("estimate")
    prices = read_prices(read.table("prices"), read.mistakes, "[prices]")
    spec = read.check("sampling", lambda: PlanSpec.checked(**sampling))
    if spec is not None:
        read.check("sampling", lambda: lay_out(spec))
        if factors:  # else they are those of a plan that is there already
            read.check("run", lambda: refuse_where(run.get("where", ()), spec.factor_values))
    if read.mistakes:
        mistakes = dict.fromkeys(read.mistakes)  # a wrong value is reported by its reader, and then by the whole
        raise OptionsError([Mistake(f"{path} {where}", problem, hint) for where, problem, hint in mistakes])
    library |= {
        name: str(seen_from(path.parent, Path(library[name]).expanduser()))
        for name in ("path", "ids", "exclude_ids")
        if name in library
    }
    return Experiment(library=library, sampling=sampling, run=run, estimate=effort, prices=prices)


def config_schema() -> dict[str, Any]:
    """The JSON Schema of config files, for editors."""
    sections = {name: _section_schema(about, options_in(name)) for name, (about, _) in SECTIONS.items()}
    sections["lanes"] = {"type": "array", "items": {**sections["lanes"], "required": ["name"]}}
    scalar = {"type": ["string", "number", "boolean"]}
    design = {"type": "object", "additionalProperties": {"type": "array", "minItems": 1, "items": scalar}}
    kinds: dict[str, dict[str, Any]] = {
        "factors": {"anyOf": [design, {"type": "array", "items": design}]},
        "exclude": {"type": "array", "items": {"type": "object", "additionalProperties": scalar}},
        "settings": {"type": "object"},
        "prices": {"type": "object", "additionalProperties": _price_schema()},
    }
    tables = {name: {"description": about, **kinds[name]} for name, about in TABLES.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A prealloc experiment",
        "type": "object",
        "additionalProperties": False,
        "properties": {**sections, **tables},
    }


def _price_schema() -> dict[str, Any]:
    properties = {
        name: {"description": option.help, **option.reader.schema()} for name, option in options_of(Price).items()
    }
    needed = ["input", "output"]
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": needed}


def _section_schema(about: str, options: Mapping[str, ConfigOption]) -> dict[str, Any]:
    properties = {}
    for name, (_, option, default) in options.items():
        told = {"default": default} if default not in (None, msgspec.NODEFAULT) else {}
        properties[name] = {"description": _key(option.help), **option.reader.schema(), **told}
    return {"description": about, "type": "object", "additionalProperties": False, "properties": properties}


def options_in(section: str) -> dict[str, ConfigOption]:
    """The options that a section may hold, by the name that a file gives them."""
    found = {}
    for struct in SECTIONS[section][1]:
        defaults = {each.name: each.default for each in msgspec.structs.fields(struct)}
        for field, option in options_of(struct).items():
            if section == "lanes" or field not in TABLES:  # a lane has settings of its own, the others are a section
                default = defaults[field]
                default = None if isinstance(default, msgspec.UnsetType) or default is msgspec.NODEFAULT else default
                found[option.name] = ConfigOption(field, option, default)
    return found


class _Read:
    """A parsed file, what is wrong with it so far, and its parts as far as they are right."""

    def __init__(self, sections: dict[str, Any]) -> None:
        self._sections = sections
        self.mistakes: list[Mistake] = []
        known = [*SECTIONS, *TABLES]
        for name in sections:
            if name not in known:
                self.mistakes.append(Mistake(name, "there is no such section", did_you_mean(name, known)))

    def section(self, name: str) -> dict[str, Any]:
        """The values of a section, by field; those that are wrong are left out."""
        return self._values(name, f"[{name}]", self._of_kind(name, dict))

    def table(self, name: str) -> dict[str, Any]:
        """A section whose keys are the user's own."""
        return self._of_kind(name, dict)

    def factors(self) -> Any:
        """The table, or the tables of that name."""
        several = isinstance(self._sections.get("factors"), list)
        return self._of_kind("factors", list) if several else self.table("factors")

    def exclude(self) -> tuple[Any, ...]:
        return tuple(self._of_kind("exclude", list))

    def lanes(self) -> tuple[Lane, ...]:
        """The lanes; none if one of them is wrong, so that nothing is judged by those that are left."""
        found: list[Lane | None] = []
        for number, fields in enumerate(self._of_kind("lanes", list), 1):
            where = f"[[lanes]] {number}"
            if isinstance(fields, dict):
                options = options_in("lanes")
                self.mistakes += [
                    Mistake(f"{where} {key}", "there is no such key", did_you_mean(key, options))
                    for key in fields
                    if key not in options
                ]
                fields = {key: value for key, value in fields.items() if key in options}
                found.append(self.check("lanes", lambda w=where, f=fields: Lane.checked(where=w, **f)))  # type: ignore[misc]
            else:
                self.mistakes.append(Mistake(where, "it is not a table", "write [[lanes]] and its keys below"))
                found.append(None)
        right = tuple(lane for lane in found if lane is not None)
        return right if len(right) == len(found) else ()

    def check(self, section: str, made: Callable[[], T]) -> T | None:
        """What `made` makes; None if it refuses, with its mistakes noted in the words of the file."""
        try:
            return made()
        except OptionsError as error:
            for where, problem, hint in error.mistakes:
                self._note(section, where, problem, hint)
        return None

    def _values(self, name: str, where: str, given: Mapping[str, Any]) -> dict[str, Any]:
        options = options_in(name)
        fields = {field: key for key, (field, _, _) in options.items()}
        read = {}
        for key, value in given.items():
            if key in options:
                field, option, _ = options[key]
                found: list[Mistake] = []
                read_value = option.reader.read(f"‹{field}›", value, found)
                for mistake in found:
                    self._note(name, *mistake)
                if not found:
                    read[field] = read_value
            elif key in fields:
                self.mistakes.append(Mistake(f"{where} {key}", f"it is called {fields[key]}", f"write {fields[key]}"))
            elif name == "sampling" and key == "settings":
                self.mistakes.append(Mistake(f"{where} {key}", "it is a section", "write [settings]"))
            else:
                self.mistakes.append(Mistake(f"{where} {key}", "there is no such key", did_you_mean(key, options)))
        return read

    def _of_kind(self, name: str, kind: type[T]) -> T:
        value = self._sections.get(name, kind())
        if isinstance(value, kind):
            return value
        brackets = f"[[{name}]]" if kind is list else f"[{name}]"
        self.mistakes.append(Mistake(name, "it is not a section", f"write {brackets} and its keys below"))
        return kind()

    def _note(self, section: str, where: str, problem: str, hint: str) -> None:
        """Notes a mistake with its options as the file spells them."""
        place = _key(where)
        if isinstance(self._sections.get("factors"), list):
            place = place.replace(_KEYS["factors"], "[[factors]]")
        place = place if place.startswith(("[", "lane ")) else f"[{section}] {place}"
        self.mistakes.append(Mistake(place, _key(problem), _key(hint)))


def _key(text: str) -> str:
    """The text with each option as a file spells it."""
    return spelled(text, _KEYS.get)


_KEYS = {field: key for section in SECTIONS for key, (field, _, _) in options_in(section).items()}
_KEYS |= {"where": "[[run.where]]"}
_KEYS |= {"factors": "[factors]", "settings": "[settings]", "exclude": "[[exclude]]", "lanes": "[[lanes]]"}


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Run options that the environment sets. Raises OptionsError."""
    found: dict[str, Any] = {}
    if workers := environment.get("PREALLOC_WORKERS"):
        if not workers.isdecimal() or int(workers) < 1:
            raise OptionsError(
                [Mistake("PREALLOC_WORKERS", f"{workers!r} is not a whole number", "set it to 1 or more")]
            )
        found["workers"] = int(workers)
    if engine := environment.get("PREALLOC_ENGINE"):
        found["engine"] = engine
    return found


def _parse(path: Path) -> dict[str, Any]:
    try:
        raw = read_regular(path, most=MOST_BYTES)
        if _MANY_DOTS.search(raw):  # tomllib takes the square of their number
            raise ValueError("more than 64 names are joined by dots")
        return tomllib.loads(raw.decode("utf-8-sig"))
    except (Unusable, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"it is not a config file: {brief(error)}", where=str(path), hint="give a TOML file") from None
    except RecursionError:
        raise InputError("it is nested too deep", where=str(path), hint="give a TOML file") from None
