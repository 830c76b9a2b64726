"""What a writer counts of the tasks it takes, so that no reader need open them all to know."""

from __future__ import annotations

from collections import Counter

import msgspec

from prealloc.library.base import Record, has_two_ids, is_null
from prealloc.library.rows import LooseRow

_row = msgspec.json.Decoder(LooseRow)


class Tally:
    """Counts of the tasks that were added."""

    def __init__(self) -> None:
        self.types: Counter[str] = Counter()
        self.tasks = 0
        self.without_workflow = 0
        self.two_ids = 0

    def add(self, record: Record) -> None:
        row = _row.decode(record.text)
        self.types[record.type] += 1
        self.tasks += 1
        self.without_workflow += is_null(row)
        self.two_ids += has_two_ids(row)
