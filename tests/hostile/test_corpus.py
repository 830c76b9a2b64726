"""Row 26: every hostile file of the corpus is refused by every command, and nothing else happens."""

from __future__ import annotations

import os

import pytest
from corpus import every_case
from corpus.case import NO_DOCUMENTS, RESUME, Case, Words
from ground import Cost, Done, Ground, measured, snapshot
from zygote import run_command

from examples import in_laws

CASES = list(every_case())
MOST_S = 1.0
MOST_BYTES = 64 * 2**20
ALL = os.environ.get("PREALLOC_HOSTILE") == "all"
"""`make fuzz` and `make laws` set this: each case by all its commands. Else each case by one of them, in turn."""

EVERY_CONFIG, EVERY_NO_DOCUMENT = (1, 1) if ALL else (20, 4)
"""`make test` takes each twentieth of the thousand cases of a config's keys and values, and each fourth of those where
what is no document stands in the place of one of ours: every class of mistake is met in some file."""

PROCESSES = (
    "library: gzip bomb",
    "plan.json: 100,000 brackets",
    "plan.json: file leads up",
    "sealed slice: brackets",
    "run.json: 10**12 at once",
    "run.json: brings its code",
    "journal: status twice",
    "journal: pickle",
    "config: shards = nan",
    "config: 10,000 braces",
    "plan/plan.json is a FIFO",
    "run/lock is a FIFO",
    "run/journal is a link out",
    "lock is a hard link",
)
"""Cases that run as processes of their own too: what in-process runs cannot show (hangs, tracebacks at exit)."""

VALUES = [case for case in CASES if case.name.startswith("config: ") and " = " in case.name]
NO_DOCUMENT = [case for case in CASES if case not in VALUES and case.name.partition(": ")[2] in NO_DOCUMENTS]
CHOSEN = [
    *(case for case in CASES if case not in VALUES and case not in NO_DOCUMENT),
    *VALUES[::EVERY_CONFIG],
    *NO_DOCUMENT[::EVERY_NO_DOCUMENT],
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    made = Ground(tmp_path_factory.mktemp("ground") / "here")
    for words in (("verify", "plan"), ("show", "plan"), ("status", "run"), ("results", "run")):
        assert made.type(*words).code == 0, words  # warm, and good before it is spoiled
    return made


@pytest.fixture
def ground(shared: Ground) -> Ground:
    shared.lay_out()
    return shared


def test_names_are_unique() -> None:
    """A case can be found by its name."""
    assert len({case.name for case in CASES}) == len(CASES)


def refusal_problems(case: Case, words: Words, done: Done) -> list[str]:
    """What is wrong with how a command refused."""
    found = []
    text = " ".join(done.err.split())
    if done.code != case.code:
        found.append(f"exit code {done.code}, not {case.code}")
    if "Traceback" in done.err + done.out:
        found.append("a traceback")
    if done.err.count("error  ") != 1 and "usage" not in done.err.lower():
        found.append(f"{done.err.count('error  ')} messages")
    if "hint   " not in done.err:
        found.append("no hint")
    # Long paths are broken over lines, so blanks do not count.
    for part in (case.says, case.file):
        if part.replace(" ", "") not in text.replace(" ", ""):
            found.append(f"no word of {part!r}")
    if len(done.err) > 4000:
        found.append(f"{len(done.err)} characters of message")
    if not done.err.replace("\n", "").isprintable():
        found.append("characters that do not print")
    return [f"{' '.join(words)}: {problem}: {done.err[:800]}" for problem in found]


def untouched(name: str) -> bool:
    """What a resume may write before it meets the damage: its lock, and the session that it opened."""
    return name in ("run/lock", "run/journal/supervisor.0002.jsonl")


@pytest.mark.parametrize(("turn", "case"), list(enumerate(CHOSEN)), ids=[case.name for case in CHOSEN])
def test_refused_by_every_command(ground: Ground, turn: int, case: Case) -> None:
    """A typed error with exit code, one message that names file and hint; within a second; nothing touched."""
    commands = case.commands if ALL else (case.commands[turn % len(case.commands)],)
    case.spoil(ground)
    spare = untouched if RESUME in case.commands and "lock" not in case.name else lambda name: False
    before = snapshot(ground.root, but=spare)
    problems: list[str] = []
    for words in commands:
        costs: list[Cost] = []
        with measured(costs):
            done = ground.type(*words)
        problems += refusal_problems(case, words, done)
        if costs[0].seconds > MOST_S:
            problems.append(f"{' '.join(words)}: it took {costs[0].seconds:.1f} s")
        if costs[0].bytes > MOST_BYTES + case.good_bytes:
            problems.append(f"{' '.join(words)}: it took {costs[0].bytes >> 20} MB")
    after = snapshot(ground.root, but=spare)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        problems.append(f"it touched {changed}")
    assert not problems, "\n".join(problems)


AS_PROCESSES = [case for case in CASES if case.name in PROCESSES]


@pytest.mark.parametrize(
    "case",
    [*AS_PROCESSES[::3], *(in_laws(case) for n, case in enumerate(AS_PROCESSES) if n % 3)],
    ids=lambda case: case.name,
)
def test_refused_by_a_real_process(ground: Ground, case: Case) -> None:
    """The same from outside: exit code, one message, no traceback, no hang, nothing touched."""
    case.spoil(ground)
    words = case.commands[-1]
    spare = untouched if words == RESUME and "lock" not in case.name else lambda name: False
    before = snapshot(ground.root, but=spare)
    ran = run_command(words, ground.root, {"COLUMNS": "200"}, timeout_s=20, torn_down=True)
    problems = refusal_problems(case, words, Done(ran.returncode, ran.stdout, ran.stderr))
    assert not problems, "\n".join(problems)
    assert snapshot(ground.root, but=spare) == before


def test_every_named_process_case_is_one() -> None:
    """The list above names cases that there are."""
    assert set(PROCESSES) <= {case.name for case in CASES}
