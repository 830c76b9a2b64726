"""A JSON library after the scan: ids and types of all tasks, and any task on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError
from prealloc.library.base import BaseLibrary, TaskMaker, has_two_ids, is_null
from prealloc.library.rows import AnyRow
from prealloc.model.plan import LibraryInfo
from prealloc.model.task import LightweightTask


class ScannedLibrary(BaseLibrary):
    """A library that was read whole. Keeps its bytes in memory for as long as it lives.

    `ids` and `types` have one string per task, in file order.
    """

    way = "json"

    def __init__(
        self,
        *,
        info: LibraryInfo,
        ids: list[str],
        types: list[str],
        rows: Sequence[AnyRow],
        keep: tuple[str, ...],
        took: str | None,
        blame: Callable[[int, str, msgspec.Raw, StrictJsonError], LibraryError],
        whole: Callable[[Sequence[int]], Iterator[bytes]],
    ) -> None:
        self.info = info
        self.ids = ids
        self.types = types
        self.took = took
        self.without_workflow = sum(map(is_null, rows))
        self._rows = rows
        self._maker = TaskMaker(keep, blame)
        self._whole = whole

    def two_ids(self) -> int:
        return sum(map(has_two_ids, self._rows))

    def task(self, position: int) -> LightweightTask:
        return self._maker.make(position, self.ids[position], self.types[position], self._rows[position])

    def objects(self, positions: Sequence[int]) -> Iterator[bytes]:
        return self._whole(positions)
