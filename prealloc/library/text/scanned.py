"""A JSON library after the scan: ids and types of all tasks, and any task on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError
from prealloc.library.base import BaseLibrary, TaskMaker, has_two_ids, is_null
from prealloc.library.rows import AnyRow, any_has
from prealloc.library.text.diagnose import Diagnosis
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
        diagnosis: Diagnosis,
        texts: Callable[[Sequence[int]], Iterator[bytes]],
    ) -> None:
        self.info = info
        self.ids = ids
        self.types = types
        self.took = took
        self.without_workflow = sum(map(is_null, rows))
        self._rows = rows
        self._keep = keep
        self._maker = TaskMaker(keep, diagnosis.of_value)
        self._diagnosis = diagnosis
        self._texts = texts

    def two_ids(self) -> int:
        return sum(map(has_two_ids, self._rows))

    def task(self, position: int) -> LightweightTask:
        return next(self._tasks([position]))

    def texts(self, positions: Sequence[int]) -> Iterator[bytes]:
        return self._texts(positions)

    def absent(self, names: Iterable[str]) -> set[str]:
        return {name for name in names if not any_has(self._rows, self._keep.index(name), name)}

    def _tasks(self, positions: Iterable[int]) -> Iterator[LightweightTask]:
        if self._maker.keeps_all:
            asked = list(positions)
            for position, whole in zip(asked, self.objects(asked), strict=True):
                yield self._maker.make_whole(self.ids[position], self.types[position], whole)
        else:
            for position in positions:
                yield self._maker.make(position, self.ids[position], self.types[position], self._rows[position])

    def _blame(self, position: int, name: str, raw: msgspec.Raw, error: StrictJsonError) -> LibraryError:
        return self._diagnosis.of_task(position, error)
