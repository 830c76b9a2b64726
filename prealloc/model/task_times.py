"""How long tasks have taken in past runs, to start the shards that take longest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_ANY = (None, None)


class TaskTimes:
    """Mean working times of past units, by task; of a task that is new, by its type, else over all."""

    def __init__(self, past: Iterable[tuple[str, str, float]]) -> None:
        """`past` has the task's id, its type and the seconds of each unit."""
        sums: dict[tuple[str | None, str | None], tuple[float, int]] = {}
        for task, kind, seconds in past:
            for group in ((task, None), (None, kind), _ANY):
                total, count = sums.get(group, (0.0, 0))
                sums[group] = total + seconds, count + 1
        self._means = {group: total / count for group, (total, count) in sums.items()}

    def seconds(self, task: str, kind: str) -> float:
        """Of one unit; 0 if there is no past at all."""
        found = (self._means.get(group) for group in ((task, None), (None, kind), _ANY))
        return next((seconds for seconds in found if seconds is not None), 0.0)

    def of_shard(self, tasks: Sequence[tuple[str, str]]) -> float:
        """Of all these units (task, type), one after the other."""
        return sum(self.seconds(task, kind) for task, kind in tasks)
