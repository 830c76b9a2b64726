"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.size import Size
from benchmarks.workload import Workload


def describe_machine() -> dict[str, str]:
    """Names and values, in the order they are shown."""
    free = psutil.virtual_memory().available / 1e9
    packages = ("prealloc", "mpire", "loky")
    return {
        "cores": f"{len(os.sched_getaffinity(0))} ({_processor()})",
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB, {free:.1f} GB of it free",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in packages),
    }


def describe_workload(load: Workload, size: Size) -> dict[str, str]:
    """What was worked on."""
    megabytes = load.library.stat().st_size / 1e6
    return {
        "library": f"{size.library_tasks} tasks, {megabytes:.1f} MB, workflows of {size.workflow_bytes:,} bytes",
        "start": f"{size.workers} workers x {size.tasks} tasks",
        "throughput": f"{size.noop_tasks:,} tasks that do nothing, {size.noop_workers} workers",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
