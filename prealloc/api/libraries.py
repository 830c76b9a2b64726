"""index(), convert(), stats(): what is done with task libraries themselves.

A library is a file, a folder with a difficulty, or a path with `{difficulty}` in it, as for a plan.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from prealloc.api.sources import LibraryInPython, library_path
from prealloc.errors import LibraryError, Mistake, refuse
from prealloc.library import read_library
from prealloc.library.open import text_source
from prealloc.model.fields import Fields
from prealloc.model.keywords import FieldOptions
from prealloc.model.options import Bytes, Whole

if TYPE_CHECKING:
    from prealloc.library.convert import Converted
    from prealloc.library.packed.index import IndexMade
    from prealloc.library.stats import Stats

Progress = Callable[[int, int], None]


def index(
    library: str | Path,
    *,
    difficulty: str | None = None,
    progress: Progress | None = None,
    **named: Unpack[FieldOptions],
) -> IndexMade:
    """Makes the index of a JSON library file, beside it or in the user's cache folder. Raises LibraryError."""
    from prealloc.library.packed.index import make_index

    return make_index(json_path(library, difficulty, **named), fields=Fields.checked(**named), progress=progress)


def check_index(library: str | Path, *, difficulty: str | None = None, progress: Progress | None = None) -> str:
    """Reads the whole library again and compares it with its index; gives its sha256. Raises LibraryError."""
    from prealloc.library.packed.index import check_index

    return check_index(json_path(library, difficulty), progress=progress)


def convert(
    library: LibraryInPython,
    out: str | Path,
    *,
    to: str | None = None,
    force: bool = False,
    difficulty: str | None = None,
    notes: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    **named: Unpack[FieldOptions],
) -> Converted:
    """Writes the tasks of a library in another format, which `to` or the name of `out` says. Raises LibraryError."""
    from prealloc.library.convert import convert

    return convert(
        library_path(library, difficulty),
        out,
        to=to,
        force=force,
        difficulty=difficulty,
        fields=Fields.checked(**named),
        notes=notes,
        progress=progress,
    )


def is_text(library: str | Path, *, difficulty: str | None = None, **named: Unpack[FieldOptions]) -> bool:
    """Whether a library is a text, such as JSON: then `convert` tells its progress in bytes, else in tasks."""
    return text_source(library_path(library, difficulty), difficulty, Fields.checked(**named)) is not None


def stats(
    library: LibraryInPython,
    *,
    difficulty: str | None = None,
    reads: int = 0,
    cache_bytes: int | str | None = None,
    sampled: int = 1000,
    seed: int = 0,
    notes: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    **named: Unpack[FieldOptions],
) -> Stats:
    """Types, fields and sizes of a library, of `sampled` tasks of each type; with `reads` also this many random reads.

    Half of the reads are of a tenth of the tasks, as of users of a library who come back to some of them.
    `cache_bytes` bounds the cache, a number or a text such as 64MB. Raises LibraryError, and OptionsError with every
    mistake.
    """
    mistakes: list[Mistake] = []
    reads = Whole(0, 10**9).read("‹reads›", reads, mistakes)
    sampled = Whole(1, 10**9).read("‹sampled›", sampled, mistakes)
    most_bytes = Bytes(optional=True).read("‹cache_bytes›", cache_bytes, mistakes)
    refuse(mistakes)
    from prealloc.library.stats import stats_of

    path, fields = library_path(library, difficulty), Fields.checked(**named)
    opened = read_library(path, difficulty=difficulty, fields=fields, notes=notes, progress=progress)
    return stats_of(opened, reads=reads, cache_bytes=most_bytes, sampled=sampled, seed=seed)


def json_path(library: str | Path, difficulty: str | None, **named: Unpack[FieldOptions]) -> Path:
    """The file of a JSON library. Raises LibraryError for all others: they have no index and need none."""
    if str(library) == "-":
        hint = "save it to a file, and index that"
        raise LibraryError("standard input cannot be indexed: it can be read only once", where="-", hint=hint)
    text = text_source(library_path(library, difficulty), difficulty, Fields.checked(**named))
    if text is None or text.made:
        hint = "plan from it as it is, or convert it: prealloc library convert LIBRARY tasks.db"
        raise LibraryError(
            "only one list in a JSON file can be indexed, or one object of tasks: others are read without an index",
            where=str(library),
            hint=hint,
        )
    return Path(text.path)
