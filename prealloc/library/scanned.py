"""A library after the scan: ids and types of all tasks, and any task on demand."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec import UNSET

from prealloc.errors import LibraryError
from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.rows import AnyRow, has, kept
from prealloc.model.plan import LibraryInfo
from prealloc.model.task import LightweightTask


class ScannedLibrary:
    """What `read_library` returns. Keeps the library's bytes in memory for as long as it lives.

    `info` is the fingerprint; `ids` and `types` have one string per task, in file order;
    `without_workflow` counts the tasks whose workflow is missing or null; `took` says which file of a
    folder was taken, None for a file.
    """

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
    ) -> None:
        self.info = info
        self.ids = ids
        self.types = types
        self.took = took
        self.without_workflow = sum(map(_is_null, rows))
        self._rows = rows
        self._keep = keep
        self._keys = [msgspec.json.encode(name) for name in keep]
        self._blame = blame

    def __len__(self) -> int:
        return len(self.ids)

    def two_ids(self) -> int:
        """How many tasks have both `id` and `instance_id`, and they differ."""
        return sum(
            row.id is not UNSET and row.instance_id is not UNSET and row.id != row.instance_id for row in self._rows
        )

    def task(self, position: int) -> LightweightTask:
        """The task at a position of `ids`: its workflow and kept fields compacted and checked.

        Raises LibraryError, naming task, place and path, for a workflow that strict JSON refuses.
        """
        row = self._rows[position]
        # The id and type were checked by the scan; validating again would cost more than the compacting.
        return LightweightTask.trusted(
            self.ids[position],
            self.types[position],
            self._compact(position, "workflow", row.workflow) or b"null",
            self._extra(position, row) if self._keep else b"{}",
        )

    def tasks(self, positions: Iterable[int]) -> list[LightweightTask]:
        """`task(position)` for each of the positions."""
        collecting = gc.isenabled()
        gc.disable()
        try:
            return [self.task(position) for position in positions]
        finally:
            if collecting:
                gc.enable()

    def _extra(self, position: int, row: AnyRow) -> bytes:
        fields = []
        for i, (name, key) in enumerate(zip(self._keep, self._keys, strict=True)):
            value = self._compact(position, name, kept(row, i, name))
            if value is not None:
                fields.append(key + b":" + value)
        return b"{" + b",".join(fields) + b"}"

    def _compact(self, position: int, name: str, raw: msgspec.Raw) -> bytes | None:
        if not has(raw):
            return None
        try:
            return compact(raw)
        except StrictJsonError as error:
            raise self._blame(position, name, raw, error) from None


def _is_null(row: AnyRow) -> bool:
    if not has(row.workflow):
        return True
    with memoryview(row.workflow) as view:  # a view: bytes() would copy the whole library
        return len(view) == 4 and view[0] == ord("n")
