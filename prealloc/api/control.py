"""change(): asks a run that is running to go on in another way."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Unpack

import msgspec

from prealloc.engines.control_socket import peer_uid
from prealloc.errors import CannotGoOn, OptionsError, RunFolderError
from prealloc.files.lock import live_owner
from prealloc.files.paths import RunPaths
from prealloc.files.private import refuse_unless_private
from prealloc.files.regular import Unusable, read_regular
from prealloc.model.document import UNREADABLE
from prealloc.model.keywords import ChangeOptions
from prealloc.model.steer import Change, Course
from prealloc.model.words import quoted
from prealloc.store.run_folder import OpenRun

PATIENCE_S = 30.0
_MOST_PATH = 4096
_PIECE = 2**16


def change(run: str | Path, **options: Unpack[ChangeOptions]) -> Course:
    """Changes how a run goes on while it runs: `workers`, `concurrency`, `pause`, or the `rate` of a `lane`.

    Returns how it goes on from now; without options nothing is changed. Raises OptionsError for values that are wrong
    or that the run cannot change, RunFolderError if it does not run here, CannotGoOn if it does not answer.
    """
    asked = Change.checked(**options)
    paths = OpenRun(Path(run)).paths
    with _connected(paths) as server:
        try:
            server.sendall(msgspec.json.encode(asked) + b"\n")
            said = b""
            while chunk := server.recv(_PIECE):
                said += chunk
            course = msgspec.json.decode(said, type=Course)
        except TimeoutError:
            problem = f"the run has not answered within {PATIENCE_S:g} s, and nothing was changed"
            hint = "with the inline engine it answers between two tasks; try again"
            raise CannotGoOn(problem, where=str(run), hint=hint) from None
        except (OSError, *UNREADABLE):
            raise CannotGoOn("the run has ended just now", where=str(run), hint=_how(paths)) from None
    if course.mistakes:
        raise OptionsError(course.mistakes)  # type: ignore[arg-type]
    return course


def _connected(paths: RunPaths) -> socket.socket:
    """The socket of the run's master. Raises RunFolderError."""
    where = str(paths.root)
    owner = live_owner(paths.lock)
    if owner is None:
        raise RunFolderError("it is not running", where=where, hint=_how(paths))
    try:
        if not os.path.lexists(paths.control):
            hint = f"try again; it runs as process {owner.pid} on {owner.host}"
            raise RunFolderError("it has just begun, is about to end, or has no socket", where=where, hint=hint)
        path = Path(os.fsdecode(read_regular(paths.control, inside=paths.root, most=_MOST_PATH)))
        status = os.lstat(path)
        # A run folder is data: what it names is believed only if it is a socket that is this user's alone.
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.getuid():
            raise Unusable(f"{path} is not a socket of this user's alone")
        refuse_unless_private(path.parent)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.settimeout(PATIENCE_S)
            server.connect(os.fspath(path))
            if peer_uid(server) not in (None, os.getuid()):
                raise Unusable(f"{path} is another user's")
        except BaseException:
            server.close()
            raise
        return server
    except (Unusable, OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        hint = f"it runs as process {owner.pid} on {owner.host}: use ctl there, as the user who runs it"
        raise RunFolderError(f"its master cannot be reached: {reason}", where=where, hint=hint) from None


def _how(paths: RunPaths) -> str:
    return f"give the options to `prealloc resume {quoted(paths.root)}`"
