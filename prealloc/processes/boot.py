"""The boot of this machine: what clocks, locks and process ids hold for."""

from __future__ import annotations

from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Differs between machines, and between boots of one. Empty elsewhere than on Linux."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
