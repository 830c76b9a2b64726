"""What holds for every test: it does not depend on how the suite was started."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator

import pytest

# Bytecode is kept: the tests start some thousand interpreters, and each would compile the whole package.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell's background job ignores these, and what it starts inherits that: a test could not send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

_RUNTIME = tempfile.mkdtemp(prefix="prealloc-tests-")
_numbers = itertools.count()
os.environ["XDG_RUNTIME_DIR"] = _RUNTIME


@pytest.fixture(autouse=True)
def runtime_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a machine of its own, as far as runs share lanes on it."""
    folder = os.path.join(_RUNTIME, str(next(_numbers)))
    os.mkdir(folder, 0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)


@pytest.fixture(scope="session", autouse=True)
def _no_runtime_folder_is_left() -> Iterator[None]:
    yield
    shutil.rmtree(_RUNTIME)
