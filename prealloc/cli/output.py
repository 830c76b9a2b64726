"""What commands share in speaking: JSON on stdout; notes, warnings and errors on stderr."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from prealloc.errors import Mistake, OptionsError, PreallocError
from prealloc.files.paths import readable_name


class Stop(Exception):
    """Ends the command with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def print_json(value: Any) -> None:
    """One JSON line on stdout. Paths are text; what is not a character (a byte of a file's name) is escaped."""
    try:
        encoded = msgspec.json.encode(value, enc_hook=_path_text)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(with_texts(msgspec.to_builtins(value, enc_hook=_path_text), _escaped))
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()


def _path_text(value: Any) -> str:
    if isinstance(value, Path):
        return readable_name(str(value))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _escaped(text: str) -> str:
    """A text as JSON can hold it."""
    try:
        return readable_name(text)
    except UnicodeEncodeError:  # it does not come from the name of a file
        return text.encode("utf-8", "backslashreplace").decode()


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A plain value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {with_texts(key, change): with_texts(each, change) for key, each in value.items()}
    return [with_texts(each, change) for each in value] if isinstance(value, list | tuple) else value


def print_note(text: str) -> None:
    """A sentence for the user, beside the output: on stderr, on a terminal broken between words."""
    from prealloc.cli.options import in_flags
    from prealloc.report.visible import visible

    told = f"note: {visible(in_flags(text))}"
    if sys.stderr.isatty():
        from prealloc.report.page import wrapped

        told = "\n".join(wrapped(told, shutil.get_terminal_size().columns))
    sys.stderr.write(f"{told}\n")


def print_warning(text: str) -> None:
    """A note that nobody may miss. A line of its own under it is a command to paste."""
    from rich.console import Console
    from rich.text import Text

    from prealloc.cli.options import in_flags
    from prealloc.report.page import Page, prose, whole
    from prealloc.report.visible import visible

    first, _, command = in_flags(text).partition("\n")
    warned = [prose(f"warning: {visible(first)}", "bold yellow")]
    Page(lambda width: [*warned, *([whole(Text(f"    {visible(command)}"))] if command else [])]).print(
        Console(stderr=True)
    )


def print_error(error: PreallocError, *, json: bool) -> None:
    """An error on stderr; with `json` also as an object on stdout."""
    from rich.console import Console

    from prealloc.report.problem import render_error

    error = _as_typed(error)
    if json:
        print_json({"event": "error", **describe(error)})
    render_error(error).print(Console(stderr=True))


def _as_typed(error: PreallocError) -> PreallocError:
    """The error with its options as the command line spells them."""
    from prealloc.cli.options import in_flags

    if isinstance(error, OptionsError):
        return OptionsError([Mistake(*map(in_flags, mistake)) for mistake in error.mistakes])
    told = copy.copy(error)
    told.problem = in_flags(error.problem)
    told.hint = error.hint and "\n".join(map(_with_command, error.hint.splitlines()))
    return told


_OFFERED = re.compile(r"‹(id_from|tasks_field)› ((?:'[^']*'|\"[^\"]*\"|[^\s'\",$]|,(?=\S))+)")


def _with_command(hint: str) -> str:
    """A line of a hint; behind it the command with the first option that it offers. None if types lack as well."""
    from prealloc.cli.options import in_flags
    from prealloc.model.fields import NAME

    offered = (found for found in _OFFERED.finditer(hint) if re.fullmatch(NAME, "".join(shlex.split(found[2]))))
    found, told = next(offered, None), in_flags(hint)
    if found is None or (found[1] == "id_from" and "‹type_field›" in hint):
        return told
    flag = in_flags(f"‹{found[1]}›")
    if any(word.startswith(flag[:6]) for word in sys.argv):
        return told
    return f"{told}, such as: {command_again([flag, *shlex.split(found[2])])}"


def command_again(more: Sequence[str]) -> str:
    """The command line as it was given, with more options. None may stand behind a `--`."""
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    return shlex.join(["prealloc", *given[:end], *more, *given[end:]])


def describe(error: PreallocError) -> dict[str, Any]:
    """An error as plain values."""
    mistakes = [mistake._asdict() for mistake in error.mistakes] if isinstance(error, OptionsError) else []
    return {
        "type": type(error).__name__,
        "problem": error.problem,
        "where": error.where,
        "hint": error.hint,
        "mistakes": mistakes,
        "exit_code": error.exit_code,
    }
