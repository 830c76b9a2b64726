"""Config files: everything that TOML can hold, under every key that we know."""

from __future__ import annotations

from collections.abc import Iterator

from ground import Ground

from corpus.case import Case, Words, put
from prealloc.settings import options_in

CONFIGURED_PLAN: Words = ("plan", "--config", "exp.toml", "--out", "new")
CONFIGURED_RUN: Words = ("run", "plan", "--config", "exp.toml", "--out", "new")
BOTH = (CONFIGURED_PLAN, CONFIGURED_RUN)

VALUES = {
    "text": '"x"',
    "empty text": '""',
    "integer": "3",
    "-1": "-1",
    "10**12": "1000000000000",
    "70 bits": "1180591620717411303424",
    "float": "1.5",
    "nan": "nan",
    "inf": "inf",
    "true": "true",
    "date": "1979-05-27",
    "time": "1979-05-27T07:32:00Z",
    "list": "[1, 2]",
    "texts": '["a", "a"]',
    "list of lists": '[["a", 1]]',
    "table": '{ a = "b" }',
    "table of nan": "{ a = nan }",
    "table of dates": "{ a = 1979-05-27 }",
    "table of 70 bits": "{ a = 1180591620717411303424 }",
}
_NUMBERS = ("integer", "float")
_TIMES = ("timeout", "max_wait", "drain", "grace", "start_timeout", "max_time", "lease")
_TEXTS = ("worker", "worker_name", "engine", "cleanup", "on_end", "listen", "ship", "path", "difficulty")
FINE = {
    ("shards", "integer"), ("num_instances", "integer"), ("num_instances_per_cell", "integer"),
    ("repeats", "integer"), ("seed", "integer"),
    ("seed", "10**12"),
    ("per_type", "true"), ("per_cell", "true"), ("stratify", "true"), ("all", "true"),
    ("concurrency", "integer"), ("workers", "integer"), ("retries", "integer"), ("fsync", "true"),
    ("max_result", "integer"), ("max_log", "10**12"), ("memory", "10**12"),
    ("require_workflow", "true"),
    *((key, kind) for key in _TIMES for kind in _NUMBERS),
    *((key, kind) for key in _TEXTS for kind in ("text", "empty text")),
    ("timeout_field", "text"), ("rebalance", "true"),
    ("halt_after", "integer"), ("max_failures", "integer"), ("hosts", "integer"), ("room", "integer"),
    *(("max_cost", kind) for kind in ("integer", "float", "10**12", "70 bits")),
}  # fmt: skip
"""Key and kind of value that go together, as far as the config alone can tell."""


def cases() -> Iterator[Case]:
    """One wrong value, or a file that is none."""
    sections = {
        "library": ("path", "difficulty", "require_workflow"),
        "sampling": (*options_in("sampling"), "settings"),
        "run": tuple(options_in("run")),
    }
    for section, keys in sections.items():
        for key in keys:
            for kind, value in VALUES.items():
                if (key, kind) not in FINE:
                    text = f"[{section}]\n{key} = {value}\n"
                    yield Case(f"config: {key} = {kind}", put("exp.toml", text), BOTH, "", "exp.toml")
    for name, raw in FILES.items():
        yield Case(f"config: {name}", put("exp.toml", raw), BOTH, "", "exp.toml")
    yield Case("config: 100 KB", _long, BOTH, "more than", "exp.toml")


FILES: dict[str, bytes] = {
    "pickle": b"\x80\x04\x95\x15\x00\x00\x00",
    "two BOMs": b'\xef\xbb\xbf\xef\xbb\xbf[run]\nworker = "a:b"\n',
    "UTF-16": "[run]\n".encode("utf-16"),
    "bad UTF-8": b'[run]\nworker = "\xff"\n',
    "lone surrogate": b'[run]\nworker = "\\ud800"\n',
    "NUL": b"[run]\0\n",
    "cut": b"[run",
    "key twice": b"[run]\nretries = 1\nretries = 1\n",
    "section twice": b"[run]\n[run]\n",
    "unknown section": b"[shell]\ncommand = 1\n",
    "unknown key": b"[run]\npickle = 1\n",
    "section of text": b'run = "x"\n',
    "10,000 brackets": b"[run]\nretries = " + b"[" * 10_000,
    "10,000 braces": b"[run]\nretries = " + b"{a=" * 10_000,
    "30,000 dots": b"[run]\n" + b".".join([b"a"] * 15_000) + b" = 1\n",
    "15,000 sections": b"[run" + b".a" * 15_000 + b"]\n",
    "5000 digits": b"[sampling]\nseed = " + b"9" * 5000 + b"\n",
    "settings too deep": b"[sampling]\nsettings = { a = " + b"[" * 200 + b"nan" + b"]" * 200 + b" }\n",
}


def _long(ground: Ground) -> None:
    (ground.root / "exp.toml").write_bytes(b"# words\n" * 13_000)
