"""Tasks with all their fields, for the few that somebody needs whole: the scan keeps none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Raw

from prealloc.files.strict_json import StrictJsonError, compact
from prealloc.library.disk import Buffer
from prealloc.library.text.diagnose import Diagnosis
from prealloc.library.text.formats import Format


def whole_tasks(fmt: Format, text: Buffer, diagnosis: Diagnosis, positions: Sequence[int]) -> Iterator[bytes]:
    """The object of each of these tasks as compact JSON, checked strictly. Raises LibraryError.

    A second pass over the text finds them. It costs what the scan did, and no scan pays for it that needs none.
    """
    tasks = fmt.tasks(text, Raw)
    chosen = [tasks[position] for position in positions]
    del tasks  # a view for every task of the library: as much as all of its ids take
    for position, raw in zip(positions, chosen, strict=True):
        try:
            whole = compact(raw)
        except StrictJsonError as error:
            raise diagnosis.of_task(position, error) from None
        yield whole
