"""The libraries of this bench."""

from __future__ import annotations

from pathlib import Path

from benchmarks.scale.measure import prealloc

TYPES = ("data_pipeline", "api_integration", "basic_task", "multi_stage_pipeline", "simple_task")
_TEXT = "x" * 190


def small_tasks(path: Path, count: int) -> Path:
    """JSON lines of so many tasks, of about 310 bytes each."""
    with path.open("w", buffering=1 << 20) as file:
        for number in range(count):
            file.write(
                f'{{"id":"task_{number:08d}","task_type":"{TYPES[number % 5]}","description":"{_TEXT}",'
                f'"workflow":{{"steps":[{number},{number * 7}],"note":"n{number}"}}}}\n'
            )
    return path


def real_tasks(path: Path, count: int) -> Path:
    """A sample library of so many tasks of 96 KB, pretty-printed JSON."""
    prealloc("library", "sample", str(path), "--tasks", str(count), "--workflow-bytes", "84000")
    return path
