"""The corpus of hostile input: named cases, each a good file spoiled in one way, and what must come of it.

Small files are spelled out, big ones (bombs, brackets) are generated. See `case.py` for what a case is; one module per
kind of file. `every_case()` gives them all.
"""

from __future__ import annotations

from collections.abc import Iterator

from corpus import configs, journals, libraries, places, plans, runs
from corpus.case import Case


def every_case() -> Iterator[Case]:
    """All cases, in a fixed order; their names are unique."""
    for module in (libraries, plans, runs, journals, configs, places):
        yield from module.cases()
