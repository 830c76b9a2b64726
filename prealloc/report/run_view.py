"""What a run was made of, in a few lines."""

from __future__ import annotations

from prealloc.report.visible import visible
from prealloc.store.run_folder import RunFile


def made_with(file: RunFile) -> str:
    """The worker and its code, and where it ran; packages are counted."""
    lines = [("worker", file.worker)]
    by = f"prealloc {file.prealloc}, Python {file.python}"
    if file.made_with is not None:
        packages = file.made_with.packages.count(",") + 1 if file.made_with.packages else 0
        lines.append(("code", file.made_with.code))
        by += f", {packages:,} packages (--json names them), on {file.made_with.host}"
    lines.append(("with", f"{by}, {file.platform}"))
    return "\n".join(f"{name:<9} {visible(text)}" for name, text in lines)
