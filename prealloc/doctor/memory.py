"""Memory that workers can have, and whether a control group allows less of it than the machine seems to have."""

from __future__ import annotations

from prealloc.doctor.finding import Finding, ok, warning
from prealloc.engines.admission import MOST_WORKERS, USABLE, expected_bytes
from prealloc.processes.cgroups import Bound, tightest

FEW_WORKERS = 4
_GB = 1e9


def check_memory() -> list[Finding]:
    """Free memory, swap, and the control groups."""
    import psutil

    machine, swap = psutil.virtual_memory(), psutil.swap_memory()
    return [
        check_free(machine.total, machine.available, tightest("memory")),
        check_swap(swap.total, swap.used),
    ]


def check_free(total: int, available: int, bound: Bound | None) -> Finding:
    """`available` is the machine's; what a control group leaves of it counts for the engine too."""
    seen = f"{available / _GB:.1f} of {total / _GB:.1f} GB available"
    free = available
    if bound is not None and bound.left < available:
        seen += f"; the control group {bound.folder} allows {bound.limit / _GB:.1f}, {bound.left / _GB:.1f} of it free"
        free = bound.left
    workers = bears(free)
    if workers < FEW_WORKERS:
        hint = "end what else runs here, raise the control group's limit, or use a larger machine"
        return warning("memory", f"{seen}: {workers} workers", hint)
    return ok("memory", f"{seen}: {min(workers, MOST_WORKERS)} workers before their slices")


def check_swap(total: int, used: int) -> Finding:
    """A machine that swaps times agents out for what is no fault of theirs."""
    if total == 0:
        return ok("swap", "none: what does not fit is killed at once")
    seen = f"{used / _GB:.1f} of {total / _GB:.1f} GB used"
    if used > 0.8 * total:
        return warning("swap", seen, "end what else runs here: tasks would time out while they wait for the disk")
    return ok("swap", seen)


def bears(free: int) -> int:
    """Workers that the engine would start with so much memory, before their slices."""
    return int(free * USABLE) // expected_bytes(0)
