"""What an index and a pool have in common: tasks that are found in a packed table, by id, by type, by chance."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from prealloc.library.base import StoredLibrary
from prealloc.library.packed.table import Columns
from prealloc.model.plan import LibraryInfo
from prealloc.model.task_hash import stable_hash


class PackedLibrary(StoredLibrary):
    """A library whose ids, types and spans are in a packed table. Close it, or use `with`."""

    def __init__(
        self,
        columns: Columns,
        path: Path,
        *,
        size: int,
        sha256: str,
        difficulty: str | None,
        keep: tuple[str, ...],
    ) -> None:
        super().__init__(
            info=LibraryInfo(
                path=str(path.absolute()),
                name=path.name,
                bytes=size,
                sha256=sha256,
                tasks=len(columns),
                types=columns.counts(),
                difficulty=difficulty,
            ),
            ids=columns.ids(),
            types=columns.types(),
            without_workflow=columns.head.without_workflow,
            two_ids=columns.head.two_ids,
            keep=keep,
        )
        self.columns = columns
        self._of_type: dict[str, Sequence[int]] = {}

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.columns.position(id) is not None

    def hashes(self) -> Sequence[int]:
        return self.columns.hash

    def order(self) -> Sequence[int]:
        return self.columns.written()

    def places(self, ids: Iterable[str]) -> dict[str, int]:
        found = {id: self.columns.position(id) for id in ids}
        return {id: place for id, place in found.items() if place is not None}

    def position(self, id: str) -> int:
        """Where a task is. Raises KeyError."""
        position = self.columns.position(id)
        if position is None:
            raise KeyError(id)
        return position

    def random_position(self, type: str | None, seed: int) -> int:
        """A task of a type (None: of any), the same for the same seed in whatever order the library is.

        Raises KeyError for a type that the library does not have.
        """
        if type is not None and type not in self._of_type:
            if type not in self.columns.head.types:
                raise KeyError(type)
            self._of_type[type] = self.columns.of_type(type)
        among = range(len(self)) if type is None else self._of_type[type]
        return among[stable_hash(msgspec.json.encode([seed, type]).decode()) % len(among)]

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
