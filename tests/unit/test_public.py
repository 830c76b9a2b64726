"""The public names: what `import prealloc` offers, to programs and to who writes them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import prealloc

ROOT = Path(__file__).parents[2]
STUB = ROOT / "prealloc" / "__init__.pyi"


def test_every_listed_name_is_there() -> None:
    """Each name of the stub is what the module that it names calls so; nothing else is public."""
    listed = [line.split()[1::2] for line in STUB.read_text().splitlines()]  # from HOME import NAME as NAME
    assert [name for _, name, again in listed if name != again] == []
    for home, name, _ in listed:
        assert getattr(prealloc, name) is getattr(sys.modules[home], name)
    names = sorted(name for _, name, _ in listed)
    assert dir(prealloc) == prealloc.__all__ == names
    with pytest.raises(AttributeError, match="'prealloc' has no attribute 'nothing'"):
        _ = prealloc.nothing  # type: ignore[attr-defined]


def test_import_loads_nothing() -> None:
    """`import prealloc` alone loads no module of its own, and asking for the names neither."""
    program = "import sys, prealloc; dir(prealloc); print(*[n for n in sys.modules if n.startswith('prealloc.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.timeout(600)
def test_a_type_checker_sees_every_name(tmp_path: Path) -> None:
    """Each name has a type; a name that is not there and an option that is misspelled are refused."""
    program = tmp_path / "program.py"
    wrong = ["prealloc.nothing", 'prealloc.run("plan", "m:f", "out", timout_s=3)', 'prealloc.plan("t.json", shard=3)']
    program.write_text("\n".join(["import prealloc", *(f"prealloc.{name}" for name in dir(prealloc)), *wrong, ""]))
    options = ["--strict", "--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache")]
    # In a process of its own: mypy raises the limit of recursion, which other tests meet.
    done = subprocess.run([sys.executable, "-m", "mypy", *options, str(program)], capture_output=True, text=True)
    right = 1 + len(dir(prealloc))
    lines = [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error: " in line]
    assert lines == [right + 1, right + 2, right + 3], done.stdout + done.stderr


@pytest.mark.parametrize(
    "page", [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", *(ROOT / "examples").glob("*.py")], ids=str
)
def test_docs_and_examples_name_what_is_public(page: Path) -> None:
    """What a reader copies holds from release to release: `prealloc`, `prealloc.testing`, and the agents' names."""
    named = set(re.findall(r"\bprealloc\.(\w+)\.\w", page.read_text()))
    imported = set(re.findall(r"^\s*from prealloc\.(\w+)", page.read_text(), re.MULTILINE))
    rooms = {path.stem for path in (ROOT / "prealloc").iterdir() if path.stem[0] not in "_."}
    assert (named | imported) & (rooms - {"testing", "agents", "errors"}) == set()
