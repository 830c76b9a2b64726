"""Tasks that are in Python already: mappings, or a frame of rows, as JSON lines."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from prealloc.errors import LibraryError
from prealloc.library.disk import Progress
from prealloc.library.text.sources import Proof, Source
from prealloc.library.text.table import refuse_alike
from prealloc.model.json_value import MOST_DEPTH, NoJson, check_json
from prealloc.model.spelling import EVERY_FIELD

NAME = "tasks in Python"
_ROWS = 1_000


def python_source(tasks: Any, needed: frozenset[str]) -> Source:
    """An iterable of mappings; a `datasets.Dataset`, a pandas or polars frame, an Arrow table.

    Only the values of fields that are `needed` have to be JSON. Another value that is not JSON is left out of its task.
    """

    def read(proof: Proof, progress: Progress | None) -> Generator[bytes]:
        for place, task in enumerate(_rows(tasks)):
            line = _line(task, f"{NAME}, task {place}", needed)
            proof(line)
            yield line

    return Source(NAME, NAME, read, "lines", once=True)


def _rows(tasks: Any) -> Iterator[Any]:
    if hasattr(tasks, "iter_rows"):  # polars
        yield from tasks.iter_rows(named=True)
    elif hasattr(tasks, "to_dict") and hasattr(tasks, "columns"):  # pandas
        yield from tasks.to_dict("records")
    elif hasattr(tasks, "to_batches"):  # Arrow, of which a batch may be all
        refuse_alike(tasks.schema.names, NAME)
        for batch in tasks.to_batches():
            for at in range(0, batch.num_rows, _ROWS):
                yield from batch.slice(at, _ROWS).to_pylist()
    elif isinstance(tasks, Iterable) and not isinstance(tasks, Mapping | bytes | bytearray):
        yield from tasks
    else:
        problem = f"a task library is a path or an iterable of mappings, not {type(tasks).__name__}"
        raise LibraryError(problem, where=NAME, hint="give a list of dicts")


def _line(task: Any, where: str, needed: frozenset[str]) -> bytes:
    if not isinstance(task, Mapping):
        raise LibraryError(f"the task is not a mapping but {type(task).__name__}", where=where, hint="give dicts")
    fields = {}
    for name, value in task.items():
        try:
            plain = value.tolist() if hasattr(value, "tolist") else value  # of numpy: as Python has it
            check_json({name: plain}, "task", MOST_DEPTH + 1)
            fields[name] = plain
        except NoJson as error:
            if name in needed or EVERY_FIELD in needed:
                hint = "make it JSON: text, numbers, lists and dicts; or keep other fields"
                raise LibraryError(str(error), where=where, hint=hint) from None
    return msgspec.json.encode(fields) + b"\n"
