"""The command line: parses, calls the API, hands events to a reporter, exits with its code."""

from __future__ import annotations


def main() -> int:
    """Runs the command in sys.argv; returns the exit code."""
    from prealloc.cli.app import run_app

    return run_app()
