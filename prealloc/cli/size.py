"""prealloc size."""

from __future__ import annotations

from typing import Any

import msgspec

from prealloc.cli.command import command
from prealloc.cli.options import JsonFlag, takes
from prealloc.cli.output import print_json
from prealloc.model.size import SizeOptions


@command()
@takes(SizeOptions)
def size(json: JsonFlag = False, *, given: dict[str, Any]) -> None:
    """Say how many tasks an experiment needs to show something.

    The numbers are for one cell. Cells that are compared have the same tasks.

    Examples:

      prealloc size --half-width 5%
      prealloc size --diff 5%
      prealloc size --diff 3% --differ 15% --power 90%
      prealloc size --half-width 5% --rate 80% --icc 60%
      prealloc size --diff 5% --from run/ --factor model
    """
    from prealloc.api.size import size as ask

    found = ask(**given)
    if json:
        print_json({**msgspec.structs.asdict(found), "cheapest": found.cheapest})
        return
    from prealloc.report.size_view import render_sizes

    render_sizes(found).print()
