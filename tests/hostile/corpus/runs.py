"""run.json, and the plan's copy in a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from corpus.case import NO_DOCUMENTS, ON_RUN, RESUME, STATUS, Case, put, set_in, swap

RUN_FILE = "run/run.json"

VALUES: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "newer version": (("version",), 2, "version 2"),
    "format of a plan": (("format",), "prealloc.plan", "not a prealloc.run"),
    "unknown field": (("more",), 1, "unknown field"),
    "another plan": (("plan",), "0" * 64, "the plan was edited"),
    "worker of no text": (("worker",), ["os", "system"], "a field is wrong"),
    "-1 at once": (("policy", "concurrency"), -1, "--concurrency"),
    "10**12 at once": (("policy", "concurrency"), 10**12, "--concurrency"),
    "-5 workers": (("policy", "workers"), -5, "--workers"),
    "10**9 workers": (("policy", "workers"), 10**9, "--workers"),
    "timeout of 0": (("policy", "timeout_s"), 0, "--timeout"),
    "timeout of ages": (("policy", "timeout_s"), 1e300, "--timeout"),
    "timeout of text": (("policy", "timeout_s"), "600", "a field is wrong"),
    "negative wait": (("policy", "max_wait_s"), -1.0, "--max-wait"),
    "10**9 retries": (("policy", "retries"), 10**9, "--retries"),
    "drain of ages": (("policy", "drain_s"), 1e300, "--drain"),
    "grace of ages": (("policy", "grace_s"), 1e300, "--grace"),
    "no start": (("policy", "start_s"), -3, "--start-timeout"),
    "results of terabytes": (("policy", "max_result_bytes"), 2**50, "--max-result"),
    "logs of -1 byte": (("policy", "max_log_bytes"), -1, "--max-log"),
    "memory of -1": (("policy", "memory_bytes"), -1, "--memory"),
    "policy field": (("policy", "more"), 1, "unknown field"),
    "import from here": (("import_path",), ["."], "imported from '.'"),
    "import with NUL": (("import_path",), ["/a\0b"], "imported from"),
}


def cases() -> Iterator[Case]:
    """Whatever stands in run.json binds the resume: it is believed only as far as `prealloc run` writes it."""
    for name, raw in NO_DOCUMENTS.items():
        yield Case(f"run.json: {name}", put(RUN_FILE, raw), ON_RUN, "", "run.json")
    for name, (steps, value, says) in VALUES.items():
        where = "plan.json" if name == "another plan" else "run.json"
        yield Case(f"run.json: {name}", set_in(RUN_FILE, *steps, to=value), ON_RUN, says, where)
    for name, value, says in (
        ("is no name", "rm -rf /", "does not name a function"),
        ("is __main__", "__main__:x", "__main__"),
        ("is a path", "../evil:run", "does not name a function"),
        ("is not there", "no_such_module_xyz:run", "no module"),
    ):
        yield Case(f"run.json: worker {name}", set_in(RUN_FILE, "worker", to=value), (RESUME,), says, value)
    engine = set_in(RUN_FILE, "engine", to="../evil")
    yield Case("run.json: engine", engine, (RESUME,), "there is no engine", "--engine")
    inside = set_in(RUN_FILE, "import_path", to=["RUN"])

    def bring_code(ground: Any) -> None:
        inside(ground)
        swap(RUN_FILE, b'"RUN"', b'"%s/run/code"' % str(ground.root).encode())(ground)
        (ground.root / "run" / "code").mkdir()
        (ground.root / "run" / "code" / "evil.py").write_text(
            f"open({str(ground.root / 'outside' / 'thesis.tex')!r}, 'w')\ndef run(task, ctx): return 1\n"
        )
        set_in(RUN_FILE, "worker", to="evil:run")(ground)

    yield Case("run.json: brings its code", bring_code, (RESUME, STATUS), "not a folder beside the run", "run.json")
    edited = set_in("run/plan/plan.json", "spec", "seed", to=4)
    yield Case("run: plan edited", edited, ON_RUN, "", "plan.json")
    sliced = swap("run/plan/slices/*.json", b"optimal_sequence", b"optimal_sequencf")
    yield Case("run: slice edited", sliced, (RESUME,), "not what was planned", "slices")
    manifest = swap("run/plan/shards/shard-01.json", b'"model": "m"', b'"model": "n"')
    yield Case("run: manifest edited", manifest, ON_RUN, "not the manifest", "shard-01.json")
