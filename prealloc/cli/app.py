"""The commands put together, and what becomes of their errors."""

from __future__ import annotations

import errno
import os
import sys

import typer

from prealloc.cli import (
    compare,
    config,
    doctor,
    experiment,
    export,
    library,
    memory,
    plans,
    report,
    rescore,
    runs,
    size,
)
from prealloc.cli.output import Stop, describe, print_error, print_json
from prealloc.errors import CannotGoOn, Mistake, OptionsError, PreallocError

app = typer.Typer(
    name="prealloc",
    help="Plan an LLM-agent benchmark once, ship every worker only its own tasks, never lose a result.",
    epilog="Exit codes: 0 all units are ok; 1 some are not; 2 bad input, nothing was changed; "
    "3 prealloc could not go on; 128 + N stopped by signal N.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_OF_STDOUT = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO})

plans.add_to(app)
runs.add_to(app)
doctor.add_to(app)
memory.add_to(app)
size.add_to(app)
compare.add_to(app)
report.add_to(app)
export.add_to(app)
rescore.add_to(app)
app.add_typer(experiment.app, name="experiment")
app.add_typer(library.app, name="library")
app.add_typer(config.app, name="config")


@app.callback(invoke_without_command=True)
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
        app(standalone_mode=True)
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
