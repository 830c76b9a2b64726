"""Journal lines that no writer of ours leaves. Damage is exit code 3: what is around it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from ground import Ground

from corpus.case import RESULTS, RESUME, REUSE, STATUS, UNITS, Case

WORKER_FILE = "run/journal/shard-00.*.jsonl"
SUPERVISOR_FILE = "run/journal/supervisor.*.jsonl"
ALL = (STATUS, RESULTS, UNITS, RESUME, REUSE)


def line(change: Callable[[bytes], bytes], *, number: int = 1, file: str = WORKER_FILE) -> Callable[[Ground], None]:
    """One line (from 0) of a journal file, changed as bytes."""

    def spoil(ground: Ground) -> None:
        path = ground.path(file)
        lines = path.read_bytes().split(b"\n")
        lines[number] = change(lines[number])
        path.write_bytes(b"\n".join(lines))

    return spoil


def field(name: str, value: Any) -> Callable[[bytes], bytes]:
    """One field of a line, changed or added."""
    return lambda raw: json.dumps(json.loads(raw) | {name: value}, separators=(",", ":")).encode()


def raw_field(name: bytes, value: bytes) -> Callable[[bytes], bytes]:
    """One field, in a spelling of its own."""

    def change(raw: bytes) -> bytes:
        return field(name.decode(), "HERE")(raw).replace(b'"HERE"', value)

    return change


LINES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "pickle": (lambda raw: b"\x80\x04\x95\x10.", "damaged"),
    "not JSON": (lambda raw: b"hello", "damaged"),
    "empty": (lambda raw: b"", "damaged"),
    "zeros": (lambda raw: b"\0" * 50, "damaged"),
    "brackets": (lambda raw: b"[" * 100_000, "damaged"),
    "brackets in a result": (raw_field(b"result", b"[" * 100_000), "damaged"),
    "bad UTF-8": (lambda raw: raw.replace(b"shard-00", b"shard-\xff\xfe"), "damaged"),
    "half a pair": (raw_field(b"task", b'"\\ud800"'), "damaged"),
    "BOM": (lambda raw: b"\xef\xbb\xbf" + raw, "damaged"),
    "UTF-16": (lambda raw: raw.decode().encode("utf-16").replace(b"\n", b""), "damaged"),
    "status twice": (lambda raw: raw[:-1] + b',"status":"failed"}', "twice"),
    "key twice in a result": (raw_field(b"result", b'{"a":1,"a":2}'), "twice"),
    "two in one": (lambda raw: raw + raw, "damaged"),
    "unknown field": (field("more", 1), "unknown field"),
    "unknown status": (field("status", "fine"), "status"),
    "status not_run": (field("status", "not_run"), "not_run"),
    "field gone": (lambda raw: raw.replace(b'"working_s"', b'"workin_s"'), "damaged"),
    "another shard": (field("shard", "shard-01"), "it belongs to shard"),
    "shard leads up": (field("shard", "../../outside"), "it belongs to shard"),
    "task not planned": (field("task", "/etc/passwd"), "the plan has no unit"),
    "repeat not planned": (field("repeat", 2), "the plan has no unit"),
    "repeat of -1": (field("repeat", -1), "the plan has no unit"),
    "repeat of 65 bits": (field("repeat", 2**64), "damaged"),
    "attempt 0": (field("attempt", 0), "attempt"),
    "attempt of 62 bits": (field("attempt", 2**62), "attempt"),
    "attempt of 400 digits": (raw_field(b"attempt", b"9" * 400), "damaged"),
    "attempt of 5000 digits": (raw_field(b"attempt", b"9" * 5000), "damaged"),
    "working for ever": (field("working_s", 1e308), "working_s"),
    "working NaN": (raw_field(b"working_s", b"NaN"), "damaged"),
    "working 1e999": (raw_field(b"working_s", b"1e999"), "damaged"),
    "memory of -1": (field("peak_rss", -1), "peak_rss"),
    "integer of 400 digits in a result": (raw_field(b"result", b'{"score":' + b"9" * 400 + b"}"), "64 bits"),
    "session in a worker's file": (
        lambda raw: b'{"kind":"session","session":1,"reopen_failed":true}',
        "only the supervisor",
    ),
    "unknown kind": (lambda raw: b'{"kind":"shell","command":"rm"}', "damaged"),
    "17 MB": (lambda raw: b'"' + b"x" * (18 << 20) + b'"', "damaged"),
    "8 MB with a key twice": (raw_field(b"result", b'["' + b"x" * (8 << 20) + b'",{"a":1,"a":1}]'), "damaged"),
}

RECORDS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another session": (field("session", 7), "it belongs to session 7"),
    "session of 65 bits": (field("session", 2**64), "damaged"),
    "session twice": (lambda raw: raw[:-1] + b',"session":1}', "twice"),
    "unknown field": (field("more", 1), "unknown field"),
    "unknown kind": (field("kind", "shell"), "damaged"),
    "a death nobody planned": (
        lambda raw: b'{"kind":"death","shard":"x","task":"y","repeat":0,"attempt":1,"reason":""}',
        "the plan has no unit",
    ),
    "a unit that nobody planned is open again": (
        lambda raw: b'{"kind":"reopened","units":[["shard-00","y",0]]}',
        "the plan has no unit",
    ),
    "a change of something unknown": (
        lambda raw: b'{"kind":"steered","at":1.0,"change":{"shell":"rm"}}',
        "unknown field",
    ),
    "a death of attempt 2**62": (
        lambda raw: b'{"kind":"death","shard":"shard-00","task":"y","repeat":0,"attempt":%d,"reason":""}' % 2**62,
        "attempt",
    ),
}


def cases() -> Iterator[Case]:
    """Each is one line in the middle of a file, or one name in the folder."""
    for name, (change, says) in LINES.items():
        yield Case(f"journal: {name}", line(change), ALL, says, "shard-00.0001.0001.jsonl", 3)
    for name, (change, says) in RECORDS.items():
        spoil = line(change, number=0, file=SUPERVISOR_FILE)
        yield Case(f"supervisor: {name}", spoil, ALL, says, "supervisor.0001.jsonl", 3)
    for name in (
        "notes.txt",
        "SHARD-00.0001.0002.jsonl",
        "shard-00.1.1.jsonl",
        "supervisor.٠٠٠٢.jsonl",
        f"supervisor.{'9' * 200}.jsonl",
        "shard-00.0001.0001.jsonl.pkl",
    ):
        yield Case(f"journal: a file {name[:40]}", stranger(name), ALL, "not a journal file", name[:30], 3)


def stranger(name: str) -> Callable[[Ground], None]:
    """A further file in the journal."""
    return lambda ground: ground.path("run/journal").joinpath(name).write_bytes(b"")
