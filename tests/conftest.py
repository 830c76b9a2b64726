"""What holds for every test: it does not depend on how the suite was started."""

from __future__ import annotations

import contextlib
import gc
import os
import pathlib
import signal
import sys
import tempfile

import pytest
from hypothesis import settings
from zygote import ForkServers, Providers

from examples import EVERY, examples
from prealloc.files.temporary import temporary_folder

settings.register_profile("laws", parent=examples(100))
settings.load_profile("laws")

gc.disable()  # until all is loaded: see pytest_collection_finish

# Bytecode is kept: the tests start some thousand interpreters, and each would compile the whole package.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# numpy would start a thread for each core in every process that imports it, and let it spin.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

# Every run asks git for the commit of its worker's code: where it asks here, that is a tenth of a run.
os.environ["GIT_CEILING_DIRECTORIES"] = str(pathlib.Path(__file__).parents[1])

# What a test kills leaves its socket and its temporary files: in here. Workers of xdist inherit the session's.
_session = contextlib.ExitStack()
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # pytest keeps what failed tests have written
    os.environ["TMPDIR"] = os.environ["XDG_RUNTIME_DIR"] = str(_session.enter_context(temporary_folder("test")))
tempfile.tempdir = os.environ["TMPDIR"]

# A shell's background job ignores these, and what it starts inherits that: a test could not send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves to `make laws` what is for it alone; see examples.py."""
    left = [item for item in items if not EVERY and item.get_closest_marker("in_laws")]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in {*left}]


def pytest_collection_finish() -> None:
    """What is loaded by now stays: no collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """No process of a test lives by now."""
    _session.close()


@pytest.fixture(autouse=True)
def own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a machine of its own, as far as processes meet there in what they share or leave."""
    folder = tempfile.mkdtemp(prefix="")
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", folder)


@pytest.fixture(autouse=True)
def forked_servers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines of this process fork what starts workers and hosts: interpreters take longer to start than most runs."""
    if request.node.get_closest_marker("fresh") is None:
        monkeypatch.setattr("prealloc.engines.server_process.subprocess", ForkServers())
        monkeypatch.setattr("prealloc.engines.spawn_launcher.subprocess", ForkServers())
        monkeypatch.setattr("prealloc.generating.session.subprocess", ForkServers())
        monkeypatch.setattr("prealloc.engines.hosts.providers.client.subprocess", Providers())
