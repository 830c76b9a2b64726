"""Code that hosts get from the master: packed the same way each time, so that its digest says what it is."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
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
    import zipfile  # here and below: most hosts get nothing that is packed

    written = io.BytesIO()
    try:
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, file in _files(path):
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), file.read_bytes(), zipfile.ZIP_DEFLATED)
    except OSError as error:
        raise EngineError(f"it cannot be shipped: {error.strerror}", where=str(path)) from None
    return written.getvalue()


def module_digest(worker: str, import_path: Sequence[str]) -> str | None:
    """Of the file of the worker's module, found without importing it; None if it has none."""
    name = worker.partition(":")[0]
    before = sys.path[:]
    sys.path[:0] = import_path
    try:
        found = find_spec(name)
        if found is None or found.origin is None or not os.path.isfile(found.origin):
            return None
        return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()
    except Exception:  # noqa: BLE001  # a parent package runs the user's code
        return None
    finally:
        sys.path[:] = before


def unpacked(archive: Path, folder: Path) -> Path:
    """Shipped code, ready to be imported."""
    import zipfile

    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)  # its names were made by our own master, and checked by extractall
    return folder
