"""The task libraries of a plan: one, or one for each difficulty of which only the ids that all hold are planned."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from prealloc.errors import LibraryError, Mistake, OptionsError, refuse
from prealloc.library import read_library
from prealloc.library.open import is_parts
from prealloc.model.cell import DIFFICULTY
from prealloc.model.fields import COMMON, Fields
from prealloc.model.listed import Listed
from prealloc.model.plan import LibraryInfo
from prealloc.model.plan_spec import PlanSpec
from prealloc.model.task_hash import stable_hashes
from prealloc.model.words import listed as listed_words
from prealloc.planning.shortlist import Shortlist, WithListed, shortlist_of

if TYPE_CHECKING:
    from prealloc.library.base import Library
    from prealloc.model.task import LightweightTask

    Complete = Callable[[Library, dict[int, LightweightTask]], dict[int, LightweightTask]]

LibraryInPython = str | Path | Iterable[Any]
"""A path, or the tasks: mappings, or a frame of rows."""

PLACE = "{difficulty}"


class Sources(NamedTuple):
    """`ids` and `types` of the tasks that can be planned; libraries by difficulty, None if there is only one.

    Of a library of which only a shortlist was looked at, they are those of the shortlist.
    """

    ids: Sequence[str]
    types: Sequence[str]
    available: Mapping[str, int] | None
    """How many tasks of each type there are; None: as many as in `types`."""
    places: Sequence[int] | None
    """Where in the library each of `ids` is; None: in the same order."""
    libraries: dict[str | None, Library]
    infos: list[LibraryInfo]
    dropped: int
    """Ids that some difficulty holds and not all."""

    def types_there(self) -> Mapping[str, int]:
        """How many tasks of each type there are."""
        return Counter(self.types) if self.available is None else self.available

    def tasks(
        self, difficulty: str | None, positions: Sequence[int], complete: Complete | None = None
    ) -> dict[int, LightweightTask]:
        """The tasks at these positions of `ids`, as the library of this difficulty has them.

        `complete` gets the library and the tasks by their position in it, and gives them as they are to be.
        """
        library = self.libraries[difficulty]
        places = self._places_in(library, positions)
        tasks = dict(zip(places, library.tasks(places), strict=True))
        if complete is not None:
            tasks = complete(library, tasks)
        return {position: tasks[place] for position, place in zip(positions, places, strict=True)}

    def texts(self, difficulty: str | None, positions: Sequence[int]) -> Iterator[bytes]:
        """The JSON texts of these tasks with all their fields, as they lie in the library of this difficulty."""
        library = self.libraries[difficulty]
        return library.texts(self._places_in(library, positions))

    def _places_in(self, library: Library, positions: Sequence[int]) -> Sequence[int]:
        if len(self.libraries) > 1:
            place_of = library.places(self.ids[position] for position in positions)
            return [place_of[self.ids[position]] for position in positions]
        return positions if self.places is None else [self.places[position] for position in positions]


def read_sources(
    library: LibraryInPython,
    spec: PlanSpec,
    shards: Sequence[int] | None,
    *,
    difficulty: str | None = None,
    fields: Fields = COMMON,
    notes: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] | None = None,
    stream: bool = False,
    listed: Listed | None = None,
) -> Sources:
    """Reads each library once. Raises LibraryError, and OptionsError for a path that does not fit the factors.

    `shards` are the numbers of shards that the cells have: they bound what can be chosen of a library that is not
    to be held in memory. None: nothing does.
    """
    libraries: dict[str | None, Library] = {}
    paths = library_paths(library, spec, difficulty)
    if stream and len(paths) > 1:
        notes("‹stream› is ignored: all libraries must be read to find the ids that every difficulty has")
    for key, path, name in paths:
        # Which ids all difficulties hold is only known when all of them have been read.
        shortlist = partial(_shortlist, spec, shards, listed) if len(paths) == 1 else None
        opened = read_library(
            path,
            difficulty=name,
            keep=spec.shipped,
            fields=fields,
            progress=progress,
            notes=notes,
            shortlist=shortlist,
            stream=stream,
        )
        if difficulty is not None and PLACE not in str(library) and not (opened.took and os.path.isdir(path)):
            kind = "a pattern" if opened.took else "a file"
            notes(f"difficulty {difficulty!r} has no effect: {library} is {kind}")
        if two := opened.counts.two_ids:
            notes(f"{two} of {opened.info.tasks} tasks have an instance_id that is not their id: the id counts")
        libraries[key] = opened
    sources = pair(libraries) if len(libraries) > 1 else _single(libraries, spec, None if listed else shards)
    return sources if listed is None else _limited(sources, listed)


def _shortlist(spec: PlanSpec, shards: Sequence[int] | None, listed: Listed | None) -> Shortlist | WithListed | None:
    if shards is None:
        return None
    plain = Shortlist(spec, shards)
    return plain if listed is None else WithListed(plain, stable_hashes(sorted(listed.named())), listed.only is None)


def _limited(sources: Sources, listed: Listed) -> Sources:
    """The tasks that the lists leave. Raises OptionsError for ids that no library has."""
    there = set(sources.ids)
    if missing := sorted((listed.only or frozenset()) - there):
        raise OptionsError(
            [Mistake("‹ids›", f"{len(missing)} of them are not in the library: {listed_words(missing)}", "omit them")]
        )
    kept = [place for place, id in enumerate(sources.ids) if listed.takes(id)]
    types = [sources.types[place] for place in kept]
    available = None
    if sources.available is not None and listed.only is None:
        dropped = Counter(sources.types[place] for place, id in enumerate(sources.ids) if not listed.takes(id))
        available = {name: count - dropped[name] for name, count in sources.available.items()}
    return sources._replace(
        ids=[sources.ids[place] for place in kept],
        types=types,
        available=available,
        places=kept if sources.places is None else [sources.places[place] for place in kept],
        infos=[msgspec.structs.replace(info, listed=listed.digests()) for info in sources.infos],
    )


def _single(libraries: dict[str | None, Library], spec: PlanSpec, shards: Sequence[int] | None) -> Sources:
    ((_, library),) = libraries.items()
    available = library.info.types
    hashes = library.hashes()
    if hashes is None or shards is None:
        return Sources(library.ids, library.types, available, None, libraries, [library.info], 0)
    places = shortlist_of(spec, shards, hashes, library.types)
    ids, types = ([names[place] for place in places] for names in (library.ids, library.types))
    return Sources(ids, types, available, places, libraries, [library.info], 0)


def library_paths(
    library: LibraryInPython, spec: PlanSpec, difficulty: str | None
) -> list[tuple[str | None, Any, str | None]]:
    """(key, path, difficulty) of each library: the factor's value, where `{difficulty}` or a folder leads with it."""
    if not isinstance(library, str | os.PathLike):
        if difficulty is not None or DIFFICULTY in spec.factor_values:
            hint = "give paths, or one difficulty at a time"
            raise OptionsError([Mistake("‹difficulty›", "tasks given in Python have no difficulty", hint)])
        return [(None, library, None)]
    path = Path(library)
    if DIFFICULTY not in spec.factor_values:
        return [(None, library_path(path, difficulty, hint="give ‹difficulty›, or the factor difficulty"), difficulty)]
    mistakes = []
    if difficulty is not None:
        mistakes.append(Mistake("‹difficulty›", "difficulty is also a factor", "omit one of them"))
    if PLACE not in str(library) and (not path.is_dir() or is_parts(path)):
        hint = f"write {PLACE} where the files' names differ, or name their folder"
        mistakes.append(Mistake("LIBRARY", f"{library} is one library, but difficulty is a factor", hint))
    refuse(mistakes)
    return [(value, library_path(path, value), value) for value in spec.factor_values[DIFFICULTY]]


def library_path(library: Any, difficulty: str | None, *, hint: str = "give ‹difficulty›") -> Any:
    """The path of a library, with the difficulty where it says `{difficulty}`. Raises OptionsError if it has none.

    What is in Python already is given as it is.
    """
    if not isinstance(library, str | os.PathLike):
        return library
    if difficulty is not None:
        return Path(str(library).replace(PLACE, difficulty))
    if PLACE in str(library):
        raise OptionsError([Mistake("LIBRARY", f"{library} needs a difficulty", hint)])
    return Path(library)


def pair(libraries: dict[str | None, Library]) -> Sources:
    """The libraries with the ids that all of them hold. Raises LibraryError if an id has two types, or none is left."""
    (key, first), *others = libraries.items()
    every: set[str] = set(first.ids)
    common: set[str] = set(first.ids)
    for _, other in others:
        every.update(other.ids)
        common.intersection_update(other.ids)
    type_of = dict(zip(first.ids, first.types, strict=True))
    for name, other in others:
        differ = [id for id, kind in zip(other.ids, other.types, strict=True) if id in common and type_of[id] != kind]
        if differ:
            raise LibraryError(
                f"{len(differ)} tasks have another type than at difficulty {key}: {listed_words(sorted(differ))}",
                where=f"{other.info.path} (difficulty {name})",
                hint="a task that is compared over difficulties must be of one type: give it the same in each file",
            )
    if not common:
        raise LibraryError(
            "no id is in all libraries",
            where=", ".join(scanned.info.name for scanned in libraries.values()),
            hint="cells are compared task by task: give libraries that hold the same ids",
        )
    ids = [id for id in first.ids if id in common]
    infos = [
        msgspec.structs.replace(scanned.info, dropped=len(scanned.ids) - len(common)) for scanned in libraries.values()
    ]
    return Sources(ids, [type_of[id] for id in ids], None, None, libraries, infos, len(every) - len(common))
