"""Code that hosts get from the master: packed the same way each time, so that its digest says what it is."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from prealloc.errors import EngineError, Mistake

MOST_BYTES = 16 * 2**20
_LEFT_OUT = frozenset({"__pycache__", ".git", ".venv", "venv", "node_modules", ".mypy_cache", ".ruff_cache"})
_EPOCH = (1980, 1, 1, 0, 0, 0)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """(name in the archive, file) of the Python files, and of the data beside them, in order."""
    if path.is_file():
        yield path.name, path
        return
    for each in sorted(path.rglob("*")):
        inside = each.relative_to(path)
        if each.is_file() and not _LEFT_OUT.intersection(inside.parts) and each.suffix != ".pyc":
            yield inside.as_posix(), each


def refuse_unfit(path: Path) -> list[Mistake]:
    """What keeps it from being shipped."""
    where = f"‹ship› {path}"
    if not path.exists():
        return [Mistake(where, "it is not there", "name a Python file, or a folder of them")]
    size = count = 0
    for name, file in _files(path):
        size, count = size + file.stat().st_size, count + name.endswith(".py")
        if size > MOST_BYTES:
            problem = f"it holds more than {MOST_BYTES // 2**20} MiB"
            return [Mistake(where, problem, "name the folder of the worker's code alone, or install it on the hosts")]
    return [] if count else [Mistake(where, "no Python file is in it", "name a Python file, or a folder of them")]


def packed(path: Path) -> bytes:
    """An archive of it: the same files give the same bytes. Raises EngineError if it cannot be read."""
    written = io.BytesIO()
    try:
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, file in _files(path):
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), file.read_bytes(), zipfile.ZIP_DEFLATED)
    except OSError as error:
        raise EngineError(f"it cannot be shipped: {error.strerror}", where=str(path)) from None
    return written.getvalue()
