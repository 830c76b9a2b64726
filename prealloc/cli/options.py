"""Options that several commands share; and those that are declared with their values, made into typer's.

An option that a user gave wins over the config file's, which wins over the default.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from prealloc.cli.command import GENERAL
from prealloc.errors import Mistake, OptionsError
from prealloc.model.options import (
    Bytes,
    Cells,
    Dollars,
    Flag,
    Names,
    Number,
    OneOf,
    Option,
    Seconds,
    Share,
    Table,
    Whole,
    options_of,
    spelled,
)
from prealloc.model.part import Part
from prealloc.model.plan_spec import GenerateOptions, LibraryOptions, PlanSpec
from prealloc.model.policy import EngineOptions, RunPolicy, WorkerOptions
from prealloc.model.questions import CompareOptions, ReportOptions, ResultsOptions
from prealloc.model.size import SizeOptions
from prealloc.model.steer import Change
from prealloc.model.where import Where

JsonFlag = Annotated[bool, typer.Option("--json", help="Only JSON on stdout.", rich_help_panel=GENERAL)]
QuietFlag = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Say nothing unless something is not ok.", rich_help_panel=GENERAL),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A TOML file of options; the command line wins.", metavar="FILE")
]

LibraryArgument = Annotated[
    Path,
    typer.Argument(
        help="The task library: a file, a folder, a pattern of files in quotes, or a path with {difficulty}.",
        metavar="LIBRARY",
    ),
]
DifficultyOption = Annotated[
    str | None, typer.Option("--difficulty", help=options_of(LibraryOptions)["difficulty"].help, metavar="D")
]

ScoresOption = Annotated[
    str | None,
    typer.Option(
        "--scores", help=options_of(CompareOptions)["scores"].help, metavar="NAME", show_default="the results' own"
    ),
]

PricesOption = Annotated[
    Path | None,
    typer.Option(
        "--prices",
        help="A config whose [prices] say what tokens cost.",
        metavar="FILE",
        show_default="the prices that the run was started with",
    ),
]
HistoryOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--history",
        help="Start the longest shards first, judged by the times of their tasks in this run. Repeatable.",
        metavar="RUN",
    ),
]

_DECLARED = (
    *(LibraryOptions, PlanSpec, GenerateOptions, WorkerOptions, RunPolicy, EngineOptions, Part, Change),
    *(SizeOptions, CompareOptions, ReportOptions, ResultsOptions),
)
_OF_COMMANDS = (
    *("attempts", "by", "cache_bytes", "history", "experiment", "force", "format", "name", "not_ok", "out"),
    *("reads", "record", "reuse", "sampled", "seconds", "scorer", "stream", "tasks", "to", "ways", "workflow_bytes"),
)
"""Options that are declared where their command stands, by their names in Python."""


def takes(
    *structs: type, but: Sequence[str] = (), kept: Sequence[type] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the declared options of these structs: its keyword `given` has those that the user gave.

    They are read from text only as far as `parsed` does; their bounds are checked with their values. Those of `kept`
    structs have the values that they have, not their defaults, where they are not given.
    """
    options = {
        each.name: (options_of(struct)[each.name]._replace(unset=""), ())
        if struct in kept
        else (options_of(struct)[each.name], each.default)
        for struct in structs
        for each in msgspec.structs.fields(struct)
        if each.name in options_of(struct) and each.name not in but
    }
    made = [_parameter(name, option, default) for name, (option, default) in options.items()]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()

        @functools.wraps(command)
        def call(**values: Any) -> None:
            given = {name: _typed(option, values.pop(name)) for name, (option, _) in options.items()}
            command(**values, given={name: value for name, value in given.items() if value not in (None, [])})

        parameters = [each.replace(kind=each.KEYWORD_ONLY) for each in own if each.name != "given"] + made
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {each.name: each.annotation for each in parameters}
        return call

    return decorate


def _typed(option: Option, value: Any) -> Any:
    """The value; a number as one, which comes as text: so a wrong one is reported with all other mistakes."""
    if isinstance(option.reader, Number) and isinstance(value, str):
        return float(value) if re.fullmatch(r"[0-9]{1,30}(\.[0-9]{1,30})?", value) else value
    is_number = isinstance(option.reader, Whole) and isinstance(value, str) and re.fullmatch("-?[0-9]{1,30}", value)
    return int(value) if is_number else value


def parsed(given: Mapping[str, Any], mistakes: list[Mistake]) -> dict[str, Any]:
    """The given options as their readers take them: `a,b` is two names, `NAME=VALUE` a value by its name."""
    options = {name: option for struct in _DECLARED for name, option in options_of(struct).items()}
    found: dict[str, Any] = {}
    for name, value in given.items():
        reader = options[name].reader
        if isinstance(reader, Names):
            found[name] = tuple(value) if reader.commas or reader.whole else split_names(value)
        elif isinstance(reader, Table):
            found[name] = (_parse_settings if reader.values is None else _parse_quotas)(value, mistakes)
        else:
            found[name] = value
    return found


def _parse_quotas(texts: Sequence[str], mistakes: list[Mistake]) -> dict[str, int]:
    """`TYPE=N`, repeated, as {type: n}."""
    quotas: dict[str, int] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        if not equals or not name or not number.strip().isdecimal():
            mistakes.append(Mistake(f"--quota {text}", "it is not TYPE=N", "write it like data_pipeline=8"))
        elif name in quotas:
            mistakes.append(Mistake(f"--quota {text}", f"{name} has a quota already", "give one per type"))
        else:
            quotas[name] = int(number)
    return quotas


def _parse_settings(texts: Sequence[str], mistakes: list[Mistake]) -> dict[str, Any]:
    """`NAME=VALUE`, repeated, as {name: value}. A value that is JSON is that value, anything else is text."""
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            mistakes.append(Mistake(f"--set {text}", "it is not NAME=VALUE", "write it like model=qwen2.5-7b"))
        elif name in settings:
            mistakes.append(Mistake(f"--set {text}", f"{name} is set already", "set it once"))
        else:
            try:
                settings[name] = msgspec.json.decode(value)
            except (msgspec.DecodeError, UnicodeError):
                settings[name] = value
    return settings


def split_names(texts: Sequence[str]) -> tuple[str, ...]:
    """`a,b` and repeated options as one tuple of names."""
    return tuple(name.strip() for text in texts for name in text.split(","))


def taken(given: dict[str, Any], struct: type) -> dict[str, Any]:
    """The options of this struct, which are taken out of those that are given."""
    return {name: given.pop(name) for name in options_of(struct) if name in given}


def in_flags(text: str) -> str:
    """The text with each marked option as the command line spells it."""
    return spelled(text, _flags().get)


@functools.cache
def _flags() -> dict[str, str]:
    own = {name: name for name in _OF_COMMANDS} | {"cache_bytes": "cache"}
    declared = {name: option.name for struct in _DECLARED for name, option in options_of(struct).items()}
    flags = {name: "--" + user.replace("_", "-") for name, user in {**own, **declared}.items()}
    return {**flags, "factors": "[factors]", "exclude": "[[exclude]]", "lanes": "[[lanes]]", "library": "LIBRARY"}


def _parameter(field: str, option: Option, default: Any) -> inspect.Parameter:
    name = "--" + option.name.replace("_", "-")
    reader = option.reader
    kind: Any = str
    if isinstance(reader, Flag):
        kind, name = bool, f"{name}/--no-{name.removeprefix('--')}"
    elif isinstance(reader, Names | Table | Cells | Where):
        kind = list[str]
    elif isinstance(reader, OneOf):
        kind = type(reader.values[0])
    told = option.unset or ("" if default in (None, (), {}) or default is False else _written(reader, default))
    info = typer.Option(
        name,
        *([f"-{option.short}"] if option.short else []),
        help=in_flags(option.help) + _repeatable(reader) + (f"  [default: {told}]" if told else ""),
        metavar=reader.metavar or None,
        rich_help_panel=option.group or None,
    )
    annotation: Any = Annotated[kind | None, info]
    return inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _repeatable(reader: Any) -> str:
    if isinstance(reader, Names):
        return " Repeatable." if reader.whole else " Repeatable, or a,b."
    return " Repeatable." if isinstance(reader, Table | Where) else ""


def _written(reader: Any, value: Any) -> str:
    """A default as one would write it: 600 seconds are 10m, 2**24 bytes 16MiB."""
    if value is True:
        return "on"
    if isinstance(reader, Dollars | Seconds | Bytes | Share):
        return reader.write(value)
    return str(value) if isinstance(value, str | int) else ""


def read_config(path: Path | None, *sections: str) -> list[dict[str, Any]]:
    """The options in these sections of the config file; none without a file."""
    if path is None:
        return [{} for _ in sections]
    from prealloc.settings import load_config  # loaded only if there is a config file

    experiment = load_config(path)
    return [getattr(experiment, section) for section in sections]


def read_prices_of(path: Path | None) -> dict[str, Any] | None:
    """The prices in a config file; None without a file. Raises OptionsError if it has none."""
    if path is None:
        return None
    (prices,) = read_config(path, "prices")
    if not prices:
        raise OptionsError([Mistake(f"--prices {path}", "it has no prices", 'write [prices."MODEL"] in it')])
    return prices


def without_empty(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given: None and nothing at all were not. 0 was, and so was a flag that is off."""
    return {name: value for name, value in options.items() if value is not None and value not in ((), {})}
