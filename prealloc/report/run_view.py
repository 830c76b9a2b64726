"""What a run was made of, in a few lines."""

from __future__ import annotations

from prealloc.report import human
from prealloc.report.page import Page, fact
from prealloc.report.visible import visible
from prealloc.store.run_folder import RunFile

_NAME = 10


def render_run(file: RunFile, bound_s: float | None) -> Page:
    """What bounds its time, the worker and its code, and where it ran; packages are counted."""
    bound = f"a session ends within {human.duration(bound_s)}, at the very latest"
    facts = [("run", bound if bound_s is not None else "nothing bounds its time"), ("worker", file.worker)]
    by = f"prealloc {file.prealloc}, Python {file.python}"
    if file.made_with is not None:
        packages = file.made_with.packages.count(",") + 1 if file.made_with.packages else 0
        facts.append(("code", file.made_with.code))
        by += f", {human.count(packages, 'package')} (--json names them), on {file.made_with.host}"
    facts.append(("with", f"{by}, {file.platform}"))
    return Page(lambda width: [fact(name, visible(text), _NAME) for name, text in facts])
