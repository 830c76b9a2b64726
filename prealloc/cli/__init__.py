"""The command line: parses, calls the API, hands events to a reporter, exits with its code."""

from __future__ import annotations


def main() -> int:
    """Runs the command in sys.argv; returns the exit code."""
    import gc

    # Tasks come in by the ten thousand and stay: looking for garbage among them at every 700th cost a tenth of a run.
    gc.set_threshold(100_000, 20, 20)
    try:
        from prealloc.cli.app import run_app

        return run_app()
    except KeyboardInterrupt:  # while modules were still being loaded
        return 130
