"""The command line: parses, calls the API, hands events to a reporter, exits with its code."""

from __future__ import annotations

_RUNS_NO_CODE = frozenset({"plan", "show", "verify", "diff", "status", "results", "compare", "size", "library"})
# Of a user, or of a library that sends things away: files that such code leaves open are written out at the very end.


def main() -> int:
    """Runs the command in sys.argv; returns the exit code."""
    import atexit
    import gc
    import sys

    _open_standard_streams()
    # Tasks come in by the ten thousand and stay: looking for garbage among them at every 700th cost a tenth of a run.
    gc.set_threshold(100_000, 20, 20)
    if _RUNS_NO_CODE & {*sys.argv[1:2]}:
        atexit.register(gc.freeze)  # nor at the end, among all that was loaded: that is a sixth of a short command
    try:
        if sys.argv[1:2] == ["host"] and not {"-h", "--help"} & {*sys.argv}:
            # On many machines at once, and each holds what it has loaded for as long as the run takes.
            from prealloc.engines.hosts.start import main as host

            return host(sys.argv[2:])
        from prealloc.cli.app import run_app

        return run_app()
    except KeyboardInterrupt:  # while modules were still being loaded
        return 130


def _open_standard_streams() -> None:
    """Puts /dev/null where the caller has closed a standard stream (`>&-`).

    Else the next file that is opened, a journal perhaps, would get its number, and what anybody prints.
    """
    import os
    import sys

    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, number)
            if nothing != number:
                os.close(nothing)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  # for as long as we live
