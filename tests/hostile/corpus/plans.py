"""plan.json, manifests and slices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from ground import Ground

from corpus.case import (
    DIFF,
    NO_DOCUMENTS,
    ON_PLAN,
    RUN,
    RUN_LOCAL,
    SHOW,
    SHOW_SHARD,
    VERIFY,
    Case,
    edit,
    put,
    set_in,
    swap,
)
from prealloc.model.plan import PlanFile
from prealloc.model.plan_spec import PlanSpec
from prealloc.store.build import plan_id

PLAN_FILE = "plan/plan.json"
MANIFEST = "plan/shards/shard-00.json"
SLICE = "plan/slices/*.json"
HUGE = 10**12

PLAN_VALUES: dict[str, tuple[tuple[str | int, ...], Any, str]] = {
    "newer version": (("version",), 2, "version 2"),
    "version of text": (("version",), "1", "version '1'"),
    "format of a run": (("format",), "prealloc.run", "not a prealloc.plan"),
    "unknown field": (("more",), 1, "unknown field"),
    "another ranking": (("ranking",), "sha1/9", "ranking"),
    "another seed": (("seed",), 99, "seed"),
    "another id": (("id",), "0" * 64, "not the manifest that was planned"),
    "10**9 shards": (("spec", "shards"), 10**9, "--shards"),
    "no shards": (("spec", "shards"), 0, "--shards"),
    "shards of text": (("spec", "shards"), "many", "a field is wrong"),
    "3 shards, says the spec": (("spec", "shards"), 3, "it lists 2 shards"),
    "10**12 repeats": (("spec", "repeats"), HUGE, "--repeats"),
    "-1 repeats": (("spec", "repeats"), -1, "--repeats"),
    "huge num_instances": (("spec", "num_instances"), 2**63, "--num-instances"),
    "unknown strategy": (("spec", "strategy"), "chaos", "a field is wrong"),
    "types out of order": (("spec", "types"), ["b", "a"], "not written as prealloc writes it"),
    "huge units": (("shards", 0, "units"), HUGE, "not counts"),
    "negative units": (("shards", 0, "units"), -6, "not counts"),
    "other units": (("shards", 0, "units"), 7, "its units are not"),
    "negative types": (("shards", 0, "types"), {"a": -1}, "not counts"),
    "library of -1 bytes": (("libraries", 0, "bytes"), -1, "its library"),
    "library of no digest": (("libraries", 0, "sha256"), "x", "its library"),
    "library path with NUL": (("libraries", 0, "path"), "a\0b", "its library"),
    "deep settings": (("spec", "settings"), {"a": json.loads("[" * 505 + "]" * 505)}, "nested deeper"),
    **{
        f"shard id {name}": (("shards", 0, "id"), value, "not a shard id" if kind else "listed wrongly")
        for name, value, kind in (
            ("leads up", "../../x", True),
            ("is a path", "a/b", True),
            ("is absolute", "/etc/passwd", True),
            ("of dots", "..", True),
            ("with NUL", "a\0b", True),
            ("of 300 bytes", "a" * 300, True),
            ("of 101 bytes", "a" * 101, True),
            ("in capitals", "SHARD-01", True),
            ("empty", "", True),
            ("with a line feed", "shard-00\n", True),
            ("of another shard", "shard-01", False),
        )
    },
    "file leads up": (("shards", 0, "file"), "../../outside/thesis.tex", "listed wrongly"),
    "file is absolute": (("shards", 0, "file"), "/etc/passwd", "listed wrongly"),
}

MANIFEST_VALUES: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "newer version": (("version",), 2, "version 2"),
    "unknown field": (("more",), 1, "unknown field"),
    "10**12 repeats": (("repeats",), HUGE, "repeats is"),
    "no repeats": (("repeats",), 0, "repeats is 0"),
    "2 repeats": (("repeats",), 3, "not the manifest that was planned"),
    "another model": (("settings",), {"model": "cheaper"}, "not the manifest that was planned"),
    "huge seed": (("seed",), 2**63, "seed is"),
    "-1 tasks": (("slice", "tasks"), -1, "slice.tasks is -1"),
    "10**12 tasks": (("slice", "tasks"), HUGE, "slice.tasks is"),
    "-1 bytes": (("slice", "bytes"), -1, "slice.bytes is"),
    "10**18 bytes": (("slice", "bytes"), 10**18, "slice.bytes is"),
    "slice leads up": (("slice", "file"), "../../outside/thesis.tex", "not the name of a slice"),
    "slice is absolute": (("slice", "file"), "/etc/passwd", "not the name of a slice"),
    "slice of another digest": (("slice", "sha256"), "0" * 64, "not the name of a slice"),
    "id leads up": (("id",), "../x", "not a shard id"),
    "id with NUL": (("id",), "a\0", "not a shard id"),
}

SLICES: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"hello", "not a slice"),
    "brackets": (b'{"tasks":[{"id":"a","task_type":"t","workflow":' + b"[" * 100_000, "not a slice"),
    "no tasks": (b"{}", "not a slice"),
    "id empty": (b'{"tasks":[{"id":"","task_type":"t","workflow":1}]}', "empty id"),
    "id of half a pair": (b'{"tasks":[{"id":"\\ud800","task_type":"t","workflow":1}]}', "not a slice"),
    "half a pair": (b'{"tasks":[{"id":"a","task_type":"t","workflow":"\\ud800"}]}', "not a slice"),
    "id missing": (b'{"tasks":[{"task_type":"t","workflow":1}]}', "has no 'id'"),
    "id twice": (
        b'{"tasks":[{"id":"a","task_type":"t","workflow":1},{"id":"a","task_type":"t","workflow":1}]}',
        "hold",
    ),
    "cut": (b'{"tasks":[{"id":"a","task_type":"t","workflow":1}', "not a slice"),
}

LOOSE_SLICES: dict[str, tuple[bytes, str]] = {
    "key twice": (b'{"tasks":[{"id":"a","task_type":"t","workflow":{"b":1,"b":2}}]}', "twice"),
    "task key twice": (b'{"tasks":[{"id":"b","id":"a","task_type":"t","workflow":1}]}', "twice"),
    "65 bits": (b'{"tasks":[{"id":"a","task_type":"t","workflow":18446744073709551616}]}', "64 bits"),
    "deep": (b'{"tasks":[{"id":"a","task_type":"t","workflow":' + b"[" * 600 + b"]" * 600 + b"}]}", "nested deeper"),
}
"""These are refused by `verify`. A run takes them as its digest vouches for them, and the task's own attempt fails."""


def cases() -> Iterator[Case]:
    """Files that are none, values that cannot be, and files of the right digest that are no plan's."""
    for name, raw in NO_DOCUMENTS.items():
        yield Case(f"plan.json: {name}", put(PLAN_FILE, raw), ON_PLAN, "", "plan.json")
        on_shard = (VERIFY, SHOW_SHARD, RUN)
        yield Case(f"manifest: {name}", put(MANIFEST, raw), on_shard, "", "shard-00.json")
        yield Case(f"slice: {name}", put(SLICE, raw), (VERIFY, RUN), "", "slices")
    for name, (steps, value, says) in PLAN_VALUES.items():
        yield Case(f"plan.json: {name}", set_in(PLAN_FILE, *steps, to=value), (VERIFY, SHOW, RUN), says, "plan")
    for name, (keys, value, says) in MANIFEST_VALUES.items():
        commands = (VERIFY, SHOW_SHARD, RUN)
        yield Case(f"manifest: {name}", set_in(MANIFEST, *keys, to=value), commands, says, "shard-00.json")
    one_byte = swap(SLICE, b'"optimal_sequence"', b'"optimal_sequencf"')
    yield Case("slice: one byte", one_byte, (VERIFY, DIFF, SHOW, RUN, RUN_LOCAL), "not what was planned", "slices")
    yield Case("slice: one byte more", lambda g: _append(g), (VERIFY, RUN), "bytes, more than", "slices")
    for name, (raw, says) in SLICES.items():
        yield Case(f"sealed slice: {name}", sealed(raw), (VERIFY, RUN), says, "slices")
    yield Case("sealed slice, local engine", sealed(b"{}"), (RUN_LOCAL,), "not a slice", "slices")
    for name, (raw, says) in LOOSE_SLICES.items():
        yield Case(f"sealed slice: {name}", sealed(raw), (VERIFY,), says, "slices")
    yield Case("plan.json: huge units, sealed", huge_units, (VERIFY, RUN), "units", "plan")
    wrong = edit(PLAN_FILE, lambda d: d["shards"][0].update(types={"other": 3}))
    yield Case("plan.json: other types", wrong, (VERIFY, SHOW), "types of shard shard-00", "plan.json")
    yield Case("plan.json: 20 MB of brackets", put(PLAN_FILE, b"[]," * 7_000_000), (SHOW,), "not a JSON", "plan.json")
    lists = b'{"format":"prealloc.plan","version":1,"more":[' + b"[]," * 7_000_000 + b"[]]}"
    yield Case("plan.json: 20 MB of lists", put(PLAN_FILE, lists), (SHOW,), "", "plan.json")
    yield Case("plan.json: 65 MB", put(PLAN_FILE, b" " * (65 << 20)), (SHOW,), "more than", "plan.json")


def sealed(raw: bytes, **changes: Any) -> Callable[[Ground], None]:
    """A plan of one shard with this slice, in which every digest is right: made by somebody who means it."""

    def spoil(ground: Ground) -> None:
        sha256 = hashlib.sha256(raw).hexdigest()
        plan = json.loads(ground.path(PLAN_FILE).read_bytes())
        manifest = json.loads(ground.path(MANIFEST).read_bytes())
        for path in (*ground.path("plan/shards").iterdir(), *ground.path("plan/slices").iterdir()):
            path.unlink()
        (ground.root / f"plan/slices/{sha256}.json").write_bytes(raw)
        spec = msgspec.convert({**plan["spec"], "shards": 1, "repeats": 1, **changes}, PlanSpec)
        tasks = raw.count(b'"task_type"')
        id = plan_id(spec, [sha256])
        ref = {"file": f"slices/{sha256}.json", "sha256": sha256, "tasks": tasks, "bytes": len(raw)}
        manifest |= {"plan": id, "slice": ref, "repeats": spec.repeats}
        text = json.dumps(manifest).encode()
        ground.path("plan/shards").joinpath("shard-00.json").write_bytes(text)
        entry = plan["shards"][0] | {
            "sha256": hashlib.sha256(text).hexdigest(),
            "units": tasks * spec.repeats,
            "types": {"t": tasks},
        }
        plan |= {"id": id, "spec": msgspec.to_builtins(spec), "shards": [entry]}
        msgspec.convert(plan, PlanFile)
        ground.path(PLAN_FILE).write_text(json.dumps(plan))

    return spoil


def huge_units(ground: Ground) -> None:
    """Twenty tasks, each a million times: a small file that would take gigabytes to run."""
    tasks = ",".join(f'{{"id":"{n}","task_type":"t","workflow":1}}' for n in range(20))
    sealed(f'{{"tasks":[{tasks}]}}'.encode(), repeats=1_000_000)(ground)


def _append(ground: Ground) -> None:
    path = ground.path(SLICE)
    path.write_bytes(path.read_bytes() + b" ")
