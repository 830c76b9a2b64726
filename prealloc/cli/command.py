"""How a command shows itself: its options in groups, examples as they stand, exit codes; and what is missing.

Plain text, not typer's panels: these load rich for every --help, shorten long names on 80 columns, and take a default
in brackets for markup.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from prealloc.errors import Mistake, OptionsError
from prealloc.model.words import cut

UsageError: Any = typer.BadParameter.__base__
"""Of a command line that cannot be read; typer does not export it."""

Function = TypeVar("Function", bound=Callable[..., Any])

GENERAL = "General"
"""The group of the options that every command has: it comes last."""

_RENAMED = {"--durations-from": "--history"}
"""Options that had another name once."""

_EXIT_CODES = "exit_codes"

_NAMES = 30
"""A longer option stands on a line of its own."""


def command(*, good: str = "done", bad: str = "") -> Callable[[Function], Function]:
    """Makes a function a command of its module. `good` is what exit code 0 says of it, `bad` what 1 says, if it can."""
    codes = [f"0 {good}", *([f"1 {bad}"] if bad else []), "2 bad input, nothing was changed"]
    codes += ["3 prealloc could not go on", "128 + N stopped by signal N"]

    def mark(function: Function) -> Function:
        function.__dict__[_EXIT_CODES] = f"Exit codes: {'; '.join(codes)}."
        return function

    return mark


def add_commands(app: typer.Typer, module: ModuleType) -> None:
    """Adds the commands of a module to the app, in their order."""
    for each in vars(module).values():
        if (codes := getattr(each, "__dict__", {}).get(_EXIT_CODES)) is not None:
            app.command(cls=Command, epilog=codes)(each)


_AS_WRITTEN: dict[Any, Callable[[Any], Any]] = {
    str: str,
    Path: Path,
    list[str]: list,
    list[Path]: lambda values: [Path(each) for each in values],
}


def _read_quickly(params: Iterable[Any]) -> None:
    """Has values that are absent, texts or paths taken as they are written, and leaves the rest to typer.

    Typer makes a reader for each parameter, and its latest versions load pydantic to do so: that takes longer than all
    else. Earlier ones have no such descriptor, and need no pydantic.
    """
    for param in params:
        if "process_value" not in vars(param):  # else that is done
            param.process_value = _reader(param)


def _reader(param: Any) -> Callable[[Any, Any], Any]:
    process, descriptor = param.process_value, getattr(param, "type_descriptor", None)
    kind = getattr(descriptor, "annotation", None)
    read = _AS_WRITTEN.get(kind)
    # Without a descriptor, several values that are absent become an empty tuple.
    needed = param.required or (descriptor is None and (param.nargs == -1 or getattr(param, "multiple", False)))

    def processed(context: Any, value: Any) -> Any:
        if (value is not None or needed) and type(value) is not kind:  # as a default is
            if read is None or not value:
                return process(context, value)
            value = read(value)
        return value if param.callback is None else param.callback(context, param, value)

    return processed


class Group(TyperGroup):
    """A group of commands."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        _read_quickly(self.get_params(ctx))
        return super().parse_args(ctx, args)


class Command(TyperCommand):
    """A command with its help in groups. Missing parameters are reported at once, before anything else."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        _read_quickly(self.get_params(ctx))
        words = list(args)
        if renamed := [(name, new) for word in words if (new := _RENAMED.get(name := word.partition("=")[0]))]:
            raise OptionsError([Mistake(name, f"it is called {new} now", f"write {new}") for name, new in renamed])
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            if unknown := getattr(error, "option_name", None):
                raise OptionsError([_misused(unknown, getattr(error, "possibilities", None), ctx)]) from None
            extra = str(error).partition("unexpected extra ")[2].partition(" (")[2].removesuffix(")")
            taken = [param.metavar for param in self.get_params(ctx) if param.param_type_name == "argument"]
            if extra and "LIBRARY" in taken:
                hint = "put a pattern in quotes: 'data/*.jsonl' is one library of many files"
                raise OptionsError(
                    [Mistake("LIBRARY", f"only one is taken, and there is more: {cut(extra)}", hint)]
                ) from None
            if not isinstance(error, typer.BadParameter) or type(error) is typer.BadParameter:
                raise  # a wrong value: only a subclass is of a missing one
        ctx.resilient_parsing = True
        super().parse_args(ctx, words)
        missing = [
            param for param in self.get_params(ctx) if param.required and ctx.params.get(param.name or "") is None
        ]
        raise OptionsError([_missing(param, ctx) for param in missing])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        return ["[OPTIONS]", *(str(each.metavar) if each.required else f"[{each.metavar}]" for each in arguments)]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        for paragraph in inspect.cleandoc(self.help or "").split("\n\n"):
            formatter.write_paragraph()
            lines = paragraph.splitlines()
            if all(line.startswith("  ") for line in lines):
                formatter.write("".join(f"  {line}\n" for line in lines))  # to be pasted, so as it stands
            else:
                with formatter.indentation():
                    formatter.write_text(paragraph)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            if (record := _record(param)) is not None:
                groups.setdefault(_group(param), []).append(record)
        general = groups.pop(GENERAL)
        if len(groups) > 2:
            groups[GENERAL] = general
        else:
            groups["Options"] += general
        width = max(len(name) for rows in groups.values() for name, _ in rows if len(name) <= _NAMES)
        for group, rows in groups.items():
            if rows:
                with formatter.section(group):
                    formatter.write_dl([(name.ljust(width), text) for name, text in rows], col_max=_NAMES)


def _misused(name: str, possible: Sequence[str] | None, ctx: Any) -> Mistake:
    """An option that there is not, or that lacks its value."""
    known = next((param for param in ctx.command.params if name in param.opts), None)
    options = f"All options: {ctx.command_path} -h"
    if known is not None:
        return Mistake(name, f"it needs a value, {known.metavar}", f"{known.help} {options}")
    close = difflib.get_close_matches(name, possible or (), n=1, cutoff=0.0)
    return Mistake(name, "there is no such option", f"did you mean {close[0]}? {options}" if close else options)


def _missing(param: Any, ctx: Any) -> Mistake:
    name = param.metavar if param.param_type_name == "argument" else param.opts[0]
    return Mistake(name, "it is missing", f"{param.help} All options: {ctx.command_path} -h")


def _group(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return GENERAL if param.name == "help" else param.rich_help_panel or "Options"


def _record(param: Any) -> tuple[str, str] | None:
    """How a parameter is written, and its help."""
    if param.param_type_name == "argument":
        return param.metavar, param.help
    if param.hidden:
        return None
    name = ", ".join(sorted(param.opts, key=len))
    if param.secondary_opts:
        name = name.replace("--", "--[no-]")
    elif not param.is_flag:
        name = f"{name} {param.metavar}"
    default = param.show_default if isinstance(param.show_default, str) else param.default
    told = "required" if param.required else ""
    if not param.is_flag and isinstance(default, str | int):
        told = f"default: {default}"
    return name, f"{param.help}  [{told}]" if told else param.help
