"""What a generator's source tells without being imported."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from prealloc.errors import OptionsError
from prealloc.generating.source import find_generator

DEADLY = "raise SystemExit('it was imported')\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(source: str, name: str = "gen.py") -> bytes:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(DEADLY + source)
    return path.read_bytes()


GOOD = {
    "def": "def make(task): return 1",
    "defaults": "def make(task, more=1, *, other=2): return 1",
    "rest": "def make(*tasks, **more): return 1",
    "lambda": "make = lambda task: 1",
    "object": "class Maker:\n  def __call__(self, task): return 1\nmake = Maker()",
    "imported": "from elsewhere import make",
    "star": "from elsewhere import *",
    "decorated": "@functools.cache\ndef make(): return 1",
    "one of two": "try:\n  from fast import make\nexcept ImportError:\n  def make(task): return 1",
    "by globals": "globals()['make'] = print",
}


@pytest.mark.parametrize("source", GOOD.values(), ids=GOOD)
def test_nothing_is_imported_and_what_may_work_is_let_through(source: str) -> None:
    """Importing the module would end this process. What is not surely wrong its own process looks at later."""
    write(source)
    assert find_generator("gen:make").version.startswith("sha256:")
    assert "gen" not in sys.modules


BAD = {
    "no such function": ("def made(task): return 1", "did you mean made"),
    "nothing there": ("", "has no make"),
    "a value": ("make = {'a': 1}", "not a function"),
    "no parameter": ("def make(): return 1", "too many positional"),
    "two parameters": ("def make(task, ctx): return 1", "missing a required argument: 'ctx'"),
    "by keyword only": ("def make(*, task): return 1", "too many positional"),
    "a keyword missing": ("def make(task, *, model): return 1", "missing a required"),
    "lambda": ("make = lambda: 1", "too many positional"),
    "broken": ("def make(task:", "does not parse"),
    "version from afar": ("from ._version import __version__\ndef make(task): return 1", "computed when it runs"),
    "version by a call": ("version = str(3)\ndef make(task): return 1", "computed when it runs"),
    "version twice": ("version = '1'\nversion = '2'\ndef make(task): return 1", "computed when it runs"),
    "empty version": ("version = ''\ndef make(task): return 1", "is not a version"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_what_cannot_work_is_told_with_the_hint(case: tuple[str, str]) -> None:
    """Before the library is read: where, what, how to fix it."""
    write(case[0])
    with pytest.raises(OptionsError) as caught:
        find_generator("gen:make")
    (mistake,) = caught.value.mistakes
    assert case[1] in f"{mistake.problem} {mistake.hint}"
    assert mistake.where == "‹generate_workflows› 'gen:make'"


@pytest.mark.parametrize(
    "name", ["gen", "gen:", ":make", "no_such_module:make", "gen.inner:make", "__main__:make", "sys:exit"]
)
def test_a_name_that_leads_nowhere_is_refused(name: str) -> None:
    """Not a name at all, no module, no file: each with a hint."""
    write("def make(task): return 1")
    with pytest.raises(OptionsError) as caught:
        find_generator(name)
    assert caught.value.mistakes[0].hint


VERSIONS = {
    "version = 3": "3",
    "version = 1.5": "1.5",
    "__version__ = '2.0'": "2.0",
    "version: str = 'a'\n__version__ = 'b'": "a",
    "version = 'module'\nmake.version = 'function'": "function",
    "make.__version__ = '7'": "7",
    "from importlib.metadata import version\n__version__ = '4'": "4",
    "def version(): return 5": None,
    "version = None or 1": "refused",
}


@pytest.mark.parametrize("source", VERSIONS)
def test_a_version_is_read_where_it_is_written_out(source: str) -> None:
    """The function's before the module's; without any, the digest of the source."""
    raw = write(f"def make(task): return 1\n{source}")
    said = VERSIONS[source]
    if said == "refused":
        with pytest.raises(OptionsError):
            find_generator("gen:make")
        return
    assert find_generator("gen:make").version == (said or f"sha256:{hashlib.sha256(raw).hexdigest()}")


def test_a_module_in_a_package_is_found_without_importing_the_package() -> None:
    """The package's own __init__ may load anything as well."""
    write("", "pack/__init__.py")
    write("version = 'in the package'\ndef make(task): return 1", "pack/gen.py")
    assert find_generator("pack.gen:make").version == "in the package"
    assert "pack" not in sys.modules
