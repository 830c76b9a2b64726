"""`prealloc host`: reads where to join, and has the folder that the host writes to.

prealloc host --join FILE      or with the content of that file on standard input
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from prealloc.engines.hosts.host import Host, note
from prealloc.engines.hosts.spec import HostSpec, read_spec
from prealloc.engines.server_process import ServerProcess
from prealloc.errors import EngineError, PreallocError, RunFolderError
from prealloc.files.atomic import must_write
from prealloc.files.regular import Unusable, read_regular
from prealloc.files.temporary import temporary_folder
from prealloc.processes.signals import leave_to_master

MOST_SPEC = 2**20


def main(arguments: Sequence[str] | None = None, server: ServerProcess | None = None) -> int:
    """Runs a host until its end. Returns the exit code. `server` is the process of its fork server: see start.py."""
    parser = argparse.ArgumentParser(prog="prealloc host", description="Run shards here for a run elsewhere.")
    parser.add_argument("--join", metavar="FILE", help="how to join: a file that the run has written; default: stdin")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that has started this ends")
    given = parser.parse_args(arguments)
    leave_to_master()  # before and after it serves: what it has written is removed, whatever signals come
    try:
        spec = _read(given.join)
        with _spool_folder(spec) as folder:
            return Host(spec, folder, server, with_parent=given.with_parent or given.join is None).serve()
    except PreallocError as error:
        note(str(error))
        return error.exit_code


def _read(join: str | None) -> HostSpec:
    if join is not None:
        path = Path(join)
        try:
            return read_spec(read_regular(path, inside=path.absolute().parent, most=MOST_SPEC), join)
        except (Unusable, OSError) as error:
            raise RunFolderError(str(error), where=join, hint="name the file that the run has written") from None
    return read_spec(sys.stdin.buffer.read(MOST_SPEC), "standard input")


@contextlib.contextmanager
def _spool_folder(spec: HostSpec) -> Iterator[Path]:
    if spec.spool is None:  # workers may outlive a killed host for a moment: nobody reads what they write then
        with contextlib.ExitStack() as stack:
            with must_write("a temporary folder", EngineError):
                temporary = stack.enter_context(temporary_folder("host"))
            yield temporary
        return
    folder = Path(spec.spool, spec.name)
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        hint = "name a folder that all hosts can write to"
        raise RunFolderError(f"its spool cannot be made: {error.strerror}", where=str(folder), hint=hint) from None
    yield folder
    if not any(folder.iterdir()):  # the master has had all of it
        folder.rmdir()
        with contextlib.suppress(OSError):  # others write there yet
            folder.parent.rmdir()
