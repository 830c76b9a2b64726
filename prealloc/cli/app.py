"""The commands put together, and what becomes of their errors."""

from __future__ import annotations

import errno
import functools
import os
import sys
from importlib import import_module

import typer

from prealloc.cli.command import Group, add_commands
from prealloc.cli.output import Stop, describe, print_error, print_json
from prealloc.errors import CannotGoOn, Mistake, OptionsError, PreallocError

_COMMANDS = (
    *("plans", "runs", "results", "debug", "control", "doctor", "memory", "size", "compare", "report", "export"),
    *("rescore", "host"),
)
_GROUPS = {
    "experiment": "Look at the experiments that runs fill.",
    "library": "Work on task libraries themselves.",
    "config": "Check and write config files.",
}
"""Modules: of commands, and of groups of commands that have their name."""

_HELP = """Plan an LLM-agent benchmark once, ship every worker only its own tasks, never lose a result.

\b
First steps:
  prealloc library sample tasks.json --tasks 63
  prealloc plan tasks.json --shards 3 -n 10 --out plan/
  prealloc run plan/ --worker prealloc.agents.simulate:run --out run/
  prealloc results run/ --by type
"""

ALONE = {"plan": "plans", "run": "runs", "resume": "runs"}
"""Commands for which their own module is loaded alone: to load all of them takes as long as to read a library."""

_OF_STDOUT = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO})


@functools.cache
def app_of(module: str | None = None) -> typer.Typer:
    """All commands, or those of one module."""
    made = typer.Typer(
        name="prealloc",
        cls=Group,
        help=_HELP,
        epilog="Exit codes: 0 all units are ok; 1 some are not; 2 bad input, nothing was changed; "
        "3 prealloc could not go on; 128 + N stopped by signal N.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for name in _COMMANDS if module is None else [module]:
        add_commands(made, import_module(f"prealloc.cli.{name}"))
    for name, about in _GROUPS.items() if module is None else ():
        group = typer.Typer(cls=Group, help=about, no_args_is_help=True, rich_markup_mode=None)
        add_commands(group, import_module(f"prealloc.cli.{name}"))
        made.add_typer(group, name=name)
    made.callback(invoke_without_command=True)(_root)
    return made


def _root(
    version: bool = typer.Option(False, "--version", help="Show the version and exit.", is_eager=True),
) -> None:
    if version:
        from prealloc._version import __version__

        typer.echo(f"prealloc {__version__}")
        raise typer.Exit


def run_app() -> int:
    """Runs the command in sys.argv; returns the exit code. Bad input never shows a traceback."""
    code = 0
    try:
        code = _run()
        sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in _OF_STDOUT:
            raise
        # Python would fail once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if error.errno != errno.EPIPE:  # else the reader of the pipe has left
            print_error(CannotGoOn(f"output cannot be written: {error.strerror}"), json=False)
            return code or CannotGoOn.exit_code
    return code


def _run() -> int:
    try:
        app_of(ALONE.get(sys.argv[1]) if len(sys.argv) > 1 else None)(standalone_mode=True)
    except Stop as stop:
        return stop.code
    except PreallocError as error:
        print_error(error, json="--json" in sys.argv)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except SystemExit as done:  # typer's own: help, usage errors, which it has shown
        message = getattr(done.__context__, "format_message", None)
        if "--json" in sys.argv and message is not None:
            print_json({"event": "error", **describe(OptionsError([Mistake("usage", message(), "see -h")]))})
        return done.code if isinstance(done.code, int) else 1
    return 0
