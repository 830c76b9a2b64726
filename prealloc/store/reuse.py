"""Taking over: which outcomes of other runs a plan need not pay for again, and why not the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

import msgspec

from prealloc.errors import RunFolderError
from prealloc.model.outcome import FINAL
from prealloc.model.plan import Unit
from prealloc.store.fold import Outcome, fold
from prealloc.store.identity import Facts, Identity, Rule, TaskFacts, differences, identities
from prealloc.store.journal_lines import AttemptLine
from prealloc.store.run_folder import OpenRun

WHYS_TOLD = 5


class Finished(NamedTuple):
    """The units of another run: those with a final outcome, and how many there are without one."""

    run: str
    outcomes: Mapping[Identity, Outcome]
    open: int


class TakenOver(NamedTuple):
    """What of other runs a plan takes over."""

    outcomes: Mapping[Unit, tuple[Outcome, str]]
    """By its unit: an outcome, and the run that it comes from."""
    told: str
    """How many, and why not the others."""

    def lines(self) -> Iterator[AttemptLine]:
        """The lines that the journal gets for them. Raises JournalError."""
        for unit, (outcome, run) in self.outcomes.items():
            yield msgspec.structs.replace(outcome.line(), shard=unit.shard, attempt=1, reused=run)


def finished(run: OpenRun, worker: str, rule: Rule, facts: Facts) -> Finished:
    """What another run has to give. Raises RunFolderError if it was run by another worker."""
    if run.file.known_as != worker:
        problem = f"it was run by {run.file.known_as}, not by {worker}"
        hint = "outcomes are only taken over from the same worker function; omit ‹reuse›, or see ‹worker_name›"
        raise RunFolderError(problem, where=str(run.paths.root), hint=hint)
    state = fold(run.paths, run.units())
    known = identities(worker, run.plan.spec, run.manifests, run.tasks, rule, facts)
    latest = {unit: each.latest for unit, each in state.units.items()}
    ended = {known[unit]: each for unit, each in latest.items() if each is not None and each.attempt.status in FINAL}
    return Finished(str(run.paths.root.resolve()), ended, len(latest) - len(ended))


def take_over(wanted: Mapping[Unit, Identity], sources: Sequence[Finished], factors: Iterable[str]) -> TakenOver:
    """For each wanted unit the outcome of one that is the same: of equal copies the one of its number, else any.

    `factors` are the names of all factors, of the plan and of the other runs.
    """
    left: dict[Identity, dict[int, list[tuple[Outcome, str]]]] = defaultdict(lambda: defaultdict(list))
    for source in sources:
        for identity, outcome in source.outcomes.items():
            left[identity._replace(copy=0)][identity.copy].append((outcome, source.run))
    taken: dict[Unit, tuple[Outcome, str]] = {}
    for same_number in (True, False):
        for unit, identity in wanted.items():
            copies = left.get(identity._replace(copy=0))
            if unit in taken or not copies:
                continue
            number = identity.copy if same_number else min(copies)
            if found := copies.get(number):
                taken[unit] = found.pop(0)
                if not found:
                    del copies[number]
    missing = Counter(identity._replace(copy=0) for unit, identity in wanted.items() if unit not in taken)
    not_taken = Counter({identity: sum(map(len, copies.values())) for identity, copies in left.items() if copies})
    whys = _whys(missing, not_taken, set(factors))
    parts = [f"{len(taken)} of {len(wanted)} units taken over", *_told(whys)]
    if spare := not_taken.total() - whys.total():
        parts.append(f"{spare} finished {'one is' if spare == 1 else 'ones are'} not asked for")
    if missing and (still_open := sum(source.open for source in sources)):
        parts.append(f"{still_open} had no final outcome")
    return TakenOver(taken, "; ".join(parts))


def done_before(wanted: Collection[Identity], decided: Set[Identity], factors: Set[str]) -> str:
    """How many of these units are decided in an experiment, and what the others differ in from decided ones.

    Not by a factor: that there are other cells is what an experiment is for.
    """
    missing = Counter(identity._replace(copy=0) for identity in wanted if identity not in decided)
    others = Counter(identity._replace(copy=0) for identity in decided - set(wanted))
    whys = _whys(missing, others, set(factors))
    for why in [why for why in whys if any(part.startswith("factor ") for part in why)]:
        del whys[why]
    done = len(wanted) - missing.total()
    return "; ".join([f"{done} of {len(wanted)} units are done in this experiment", *_told(whys)])


def _whys(
    missing: Mapping[Identity, int], not_taken: Mapping[Identity, int], factors: set[str]
) -> Counter[tuple[str, ...]]:
    """In what finished units differ that are not taken.

    Each that is missing is compared with the most similar of them, and each of them with one that is missing at most:
    what no missing unit comes close to, nobody asks for.
    """
    nearest = _Nearest(not_taken)
    best: dict[Identity, tuple[int, Identity]] = {}
    for identity in missing:
        found, distance = nearest.to(identity)
        if found is not None and (found not in best or distance < best[found][0]):
            best[found] = distance, identity
    whys: Counter[tuple[str, ...]] = Counter()
    for found, (_, identity) in best.items():
        whys[tuple(differences(found, identity, factors))] += min(not_taken[found], missing[identity])
    return whys


def _told(whys: Counter[tuple[str, ...]]) -> Iterator[str]:
    """The most frequent reasons first."""
    ordered = whys.most_common()
    yield from (f"{_finished(count)}: {', '.join(why)}" for why, count in ordered[:WHYS_TOLD])
    if more := sum(count for _, count in ordered[WHYS_TOLD:]):
        yield f"{_finished(more)} in other ways"


def _finished(count: int) -> str:
    return "1 finished one differs" if count == 1 else f"{count} finished ones differ"


class _Nearest:
    """Finds the most similar unit. Units have few different settings: each pair of those is compared once."""

    def __init__(self, identities: Iterable[Identity]) -> None:
        by_task: dict[tuple[str, int], dict[tuple[str, TaskFacts], set[bytes]]]
        by_task = defaultdict(lambda: defaultdict(set))
        for each in identities:
            by_task[each.task, each.repeat][each.worker, each.facts].add(each.given)
        same: dict[frozenset[bytes], frozenset[bytes]] = {}
        self._by_task = {
            key: [(rest, same.setdefault(given := frozenset(each), given)) for rest, each in found.items()]
            for key, found in by_task.items()
        }
        self._values: dict[bytes, dict[str, msgspec.Raw]] = {}
        self._closest: dict[tuple[bytes, int], tuple[int, bytes]] = {}

    def to(self, identity: Identity) -> tuple[Identity | None, int]:
        """The one that differs in the fewest settings, factors and parts of the task, and in how many."""
        found: list[tuple[int, bytes, str, TaskFacts]] = []
        for (worker, facts), givens in self._by_task.get((identity.task, identity.repeat), ()):
            key = (identity.given, id(givens))
            if key not in self._closest:
                self._closest[key] = min((self._distance(identity.given, each), each) for each in givens)
            distance, given = self._closest[key]
            distance += _parts(identity.facts, facts) + (identity.worker != worker)
            found.append((distance, given, worker, facts))
        if not found:
            return None, 0
        distance, given, worker, facts = min(found)
        return identity._replace(worker=worker, given=given, facts=facts), distance

    def _distance(self, one: bytes, other: bytes) -> int:
        for each in (one, other):
            if each not in self._values:
                self._values[each] = msgspec.json.decode(each, type=dict[str, msgspec.Raw])
        mine, its = self._values[one], self._values[other]
        return sum(mine.get(name) != its.get(name) for name in {*mine, *its})


def _parts(one: TaskFacts, other: TaskFacts) -> int:
    """In how many parts two tasks differ."""
    fields = {name for name, _ in set(one.fields) ^ set(other.fields)}
    return (one.type != other.type) + (one.workflow != other.workflow) + len(fields)
