"""What a unit is known by across runs: what its worker was given, never which lane served it.

    the worker's name, the settings that matter and the cell's factors, the task's bytes, the repeat

Two units of one plan may be alike in all of that: the same task in several shards of a cell (`paired`, `independent`).
Such copies are numbered in the plan's order.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from prealloc.model.plan import Manifest, SliceRef, Unit
from prealloc.model.plan_spec import PlanSpec
from prealloc.model.policy import RunPolicy
from prealloc.model.words import cut, shown

if TYPE_CHECKING:
    from prealloc.model.task import LightweightTask


class Rule(NamedTuple):
    """Which differences between two units do not matter."""

    neutral: frozenset[str] = frozenset()
    """Settings."""
    by_id: bool = False
    """Tasks of one id and workflow are the same, whatever other fields were shipped."""

    @classmethod
    def of(cls, policy: RunPolicy) -> Rule:
        """The rule of a run."""
        return cls(frozenset(policy.neutral), policy.same_task == "id")


class TaskFacts(NamedTuple):
    """A task as a worker function sees it, in digests."""

    type: str
    workflow: bytes
    fields: tuple[tuple[str, bytes], ...]


class Identity(NamedTuple):
    """What a unit is known by."""

    worker: str
    given: bytes
    """The settings that matter and the cell's factors, as JSON in the order of their names."""
    task: str
    facts: TaskFacts
    repeat: int
    copy: int = 0
    """Which of the plan's units that are alike in all of the above."""

    def digest(self) -> bytes:
        """32 bytes that stand for it."""
        text = msgspec.json.encode([self.worker, self.task, self.repeat, self.copy])
        facts = msgspec.json.encode(self.facts)
        return hashlib.blake2b(b"\0".join((text, self.given, facts)), digest_size=32).digest()


Tasks = Callable[[str], "Iterable[LightweightTask]"]
"""The tasks of a shard."""


class Facts:
    """The facts of tasks, by slice: each slice is read once, however many shards and plans have it."""

    def __init__(self) -> None:
        self._known: dict[SliceRef, list[tuple[str, TaskFacts]]] = {}

    def of(self, manifest: Manifest, tasks: Tasks) -> list[tuple[str, TaskFacts]]:
        """(id, facts) of the shard's tasks in their order."""
        if manifest.slice not in self._known:
            self._known[manifest.slice] = [(task.id, _facts(task)) for task in tasks(manifest.id)]
        return self._known[manifest.slice]


def identities(
    worker: str,
    spec: PlanSpec,
    manifests: Mapping[str, Manifest],
    tasks: Tasks,
    rule: Rule,
    facts: Facts | None = None,
) -> dict[Unit, Identity]:
    """Those of every unit of a plan of this spec, in the plan's order.

    Not the settings of a lane, nor the field that names a task's timeout, unless the user has asked to keep it.
    """
    facts = facts or Facts()
    mine = {name: value for name, value in spec.settings.items() if name not in rule.neutral}
    for_us = {*spec.shipped} - {*spec.keep}
    found: dict[Unit, Identity] = {}
    copies: Counter[Identity] = Counter()
    for shard, manifest in manifests.items():
        given = msgspec.json.encode({**mine, **manifest.cell}, order="sorted")
        known = [(task, _reduced(each, rule, for_us)) for task, each in facts.of(manifest, tasks)]
        for repeat in range(manifest.repeats):
            for task, each in known:
                first = Identity(worker, given, task, each, repeat)
                found[Unit(shard, task, repeat)] = first._replace(copy=copies[first]) if copies[first] else first
                copies[first] += 1
    return found


def copy_numbers(manifests: Mapping[str, Manifest], ids: Callable[[str], Sequence[str]]) -> dict[str, dict[str, int]]:
    """Of each shard: its tasks that earlier shards of its cell have too, and how many of them."""
    seen: dict[bytes, Counter[str]] = {}
    found = {}
    for shard, manifest in manifests.items():
        before = seen.setdefault(msgspec.json.encode(manifest.cell, order="sorted"), Counter())
        mine = ids(shard)
        found[shard] = {task: before[task] for task in mine if before[task]}
        before.update(mine)
    return found


def differences(was: Identity, is_: Identity, factors: Iterable[str]) -> list[str]:
    """How a unit that is wanted differs from one that was run, in words. `factors` are the names of factors."""
    found = []
    if was.worker != is_.worker:
        found.append(f"worker {cut(was.worker)} -> {cut(is_.worker)}")
    before, after = (msgspec.json.decode(each.given, type=dict[str, msgspec.Raw]) for each in (was, is_))
    factors = set(factors)
    for name in sorted({*before, *after}):
        kind = "factor" if name in factors else "setting"
        found += _change(f"{kind} {name}", _value(before.get(name)), _value(after.get(name)))
    if was.facts.type != is_.facts.type:
        found.append(f"type {cut(was.facts.type)} -> {cut(is_.facts.type)}")
    if was.facts.workflow != is_.facts.workflow:
        found.append("the task's workflow")
    fields = dict(was.facts.fields), dict(is_.facts.fields)
    for name in sorted({*fields[0], *fields[1]}):
        one, other = (each.get(name) for each in fields)
        if one is None or other is None:
            found.append(f"field {cut(name)} is {'new' if one is None else 'gone'}")
        elif one != other:
            found.append(f"field {cut(name)}")
    return found


def _facts(task: LightweightTask) -> TaskFacts:
    fields = msgspec.json.decode(task.extra_json, type=dict[str, msgspec.Raw]) if task.extra_json != b"{}" else {}
    found = tuple((name, _digest(bytes(value))) for name, value in sorted(fields.items()))
    return TaskFacts(task.type, _digest(task.workflow_json), found)


def _reduced(facts: TaskFacts, rule: Rule, for_us: Set[str]) -> TaskFacts:
    if rule.by_id:
        return TaskFacts("", facts.workflow, ())
    if not for_us:
        return facts
    return facts._replace(fields=tuple((name, digest) for name, digest in facts.fields if name not in for_us))


def _digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=16).digest()


def _value(raw: msgspec.Raw | None) -> str | None:
    return None if raw is None else shown(msgspec.json.decode(raw)) if len(raw) > 60 else bytes(raw).decode()


def _change(what: str, before: str | None, after: str | None) -> Iterator[str]:
    if before != after:
        if before is None or after is None:
            yield f"{what} is {'new' if before is None else 'gone'}"
        else:
            yield f"{what} {before} -> {after}"
