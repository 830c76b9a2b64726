"""What a scorer has said of a run's results, in a file of its own beside the journal, which stays as it is.

The first line names the scorer; then comes a line for each result that was scored. A line that was cut off by a kill is
left out, and its result is scored again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from prealloc.errors import JournalError, Mistake, OptionsError
from prealloc.files.atomic import must_write
from prealloc.files.paths import ExperimentPaths, RunPaths
from prealloc.files.regular import Missing, Unusable, open_regular
from prealloc.model.document import UNREADABLE, Document
from prealloc.model.outcome import ScoreValue
from prealloc.model.plan import Unit
from prealloc.model.words import brief, quoted, shown
from prealloc.store.unit_outcome import UnitOutcome

_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_AGAIN = "score again with ‹force›, which makes the file anew"


class ScoresFile(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line."""

    format: str = "prealloc.scores"
    version: int = 1
    plan: str
    scorer: str
    """`module:function`."""


class Score(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the scorer has said of one attempt's result."""

    shard: str
    task: str
    repeat: int
    attempt: int
    success: bool | None = None
    score: ScoreValue | None = None
    unclear: str | None = None
    error: str | None = None
    """It raised: then it has said nothing of the result."""

    @property
    def key(self) -> tuple[Unit, int]:
        return Unit(self.shard, self.task, self.repeat), self.attempt


class Scores:
    """The scores of a run under one name, as they were when this was made."""

    def __init__(self, run: RunPaths, name: str) -> None:
        self.path = run.scored(check_score_name(name))
        self.scorer: str | None = None
        """None: there is no such file yet."""
        self.plan: str | None = None
        self.by_attempt: dict[tuple[Unit, int], Score] = {}
        self._whole = 0
        """Bytes of its whole lines."""
        for number, raw in enumerate(self._lines(), 1):
            try:
                if number == 1:
                    head = msgspec.json.decode(raw, type=ScoresFile)
                    self.scorer, self.plan = head.scorer, head.plan
                else:
                    score = msgspec.json.decode(raw, type=Score)
                    self.by_attempt[score.key] = score
            except UNREADABLE as error:
                problem = f"line {number} is not a score: {brief(error)}"
                raise JournalError(problem, where=str(self.path), hint=_AGAIN) from None

    def _lines(self) -> Iterator[bytes]:
        try:
            with open(open_regular(self.path, inside=self.path.parent.parent), "rb") as file:
                for raw in file:
                    if not raw.endswith(b"\n"):  # cut off by a kill
                        return
                    self._whole += len(raw)
                    yield raw
        except Missing:
            return
        except Unusable as error:
            raise JournalError(str(error), where=str(self.path), hint="remove it, then score again") from None

    @contextmanager
    def writer(self, head: ScoresFile, *, anew: bool) -> Iterator[Callable[[Score], None]]:
        """Goes on with the file, or makes it anew: what it gives writes a score down. Raises CannotGoOn if it cannot.

        Not for two threads at once.
        """
        whole = 0 if anew else self._whole
        with must_write(self.path):
            self.path.parent.mkdir(exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.ftruncate(file, whole)
            os.lseek(file, whole, os.SEEK_SET)

        def append(line: ScoresFile | Score) -> None:
            raw = msgspec.json.encode(line) + b"\n"
            with must_write(self.path):
                while raw:
                    raw = raw[os.write(file, raw) :]

        try:
            if not whole:
                append(head)
            yield append
        finally:
            os.close(file)


def check_score_name(name: str) -> str:
    """The name, if a file may have it. Raises OptionsError."""
    if not _NAME.fullmatch(name):
        hint = "use letters, digits, . _ -, at most 64"
        raise OptionsError([Mistake("‹name›", f"{shown(name)} cannot be the name of scores", hint)])
    return name


def score_names(run: RunPaths) -> list[str]:
    """The names under which a run has scores."""
    names = os.listdir(run.scores) if run.scores.is_dir() else []
    return sorted(name.removesuffix(".jsonl") for name in names if name.endswith(".jsonl"))


def rejudged(outcomes: Iterable[UnitOutcome], root: Path, name: str) -> Iterator[UnitOutcome]:
    """The outcomes of a run or an experiment with success and score as these scores have them.

    An ok result without one is unknown. Raises OptionsError if a run has no scores of this name.
    """
    known: dict[str | None, Scores] = {}
    for outcome in outcomes:
        if outcome.run not in known:
            folder = root if outcome.run is None else ExperimentPaths(root).runs / outcome.run
            known[outcome.run] = _scores_of(RunPaths(folder), name)
        yield _rejudged(outcome, known[outcome.run])


def _scores_of(run: RunPaths, name: str) -> Scores:
    found = Scores(run, name)
    if found.scorer is None:
        there = ", ".join(score_names(run))
        hint = (
            f"use one of {there}"
            if there
            else f"make them: prealloc rescore {quoted(run.root)} --scorer MODULE:FUNCTION"
        )
        raise OptionsError([Mistake("‹scores›", f"{run.root} has no scores named {shown(name)}", hint)])
    return found


def _rejudged(outcome: UnitOutcome, scores: Scores) -> UnitOutcome:
    first, latest = (
        scores.by_attempt.get((outcome.unit, each.attempt.attempt)) if each is not None else None
        for each in (outcome.first, outcome.outcome)
    )
    return msgspec.structs.replace(
        outcome,
        scorer=scores.scorer,
        success=latest.success if latest else None,
        score=latest.score if latest else None,
        unclear=latest.unclear if latest else None,
        first_success=first.success if first else None,
        first_score=first.score if first else None,
    )
