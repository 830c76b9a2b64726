"""Tasks with all their fields, for the few that somebody needs whole: the scan keeps none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Raw

from prealloc.library.disk import Buffer
from prealloc.library.text.formats import Format


def whole_texts(fmt: Format, text: Buffer, positions: Sequence[int]) -> Iterator[bytes]:
    """The object of each of these tasks, as it lies in the text.

    A second pass over the text finds them. It costs what the scan did, and no scan pays for it that needs none.
    """
    tasks = fmt.tasks(text, Raw)
    chosen = [tasks[position] for position in positions]
    del tasks  # a view for every task of the library: as much as all of its ids take
    yield from map(bytes, chosen)
