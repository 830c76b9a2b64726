"""One session of a run, first or resumed: from the journal to the shards that are left, and back to the journal."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from itertools import islice
from typing import Any

import msgspec

from prealloc.engines.base import Engine, RunSetup, ShardJob
from prealloc.engines.bound import largest_slice, run_bound_s, shares_of, workers_wanted
from prealloc.engines.control import Control
from prealloc.engines.control_socket import ControlSocket, NoSocket
from prealloc.engines.handover import Units
from prealloc.engines.log import refuse_odd_logs
from prealloc.engines.master import conduct
from prealloc.engines.queue import Launch, ShardQueue, WaitingShard
from prealloc.errors import CannotGoOn, PlanError
from prealloc.files.atomic import must_write
from prealloc.files.faultpoint import Point, fault_point
from prealloc.lanes.limiter import RateLimiter
from prealloc.lanes.sharing import shared_lanes
from prealloc.model.events import (
    AttemptEnded,
    Event,
    Note,
    Observer,
    RunEnded,
    RunStarted,
    ShardEnded,
    ShardInfo,
    ShardShare,
    Watching,
)
from prealloc.model.outcome import Status
from prealloc.model.plan import Unit
from prealloc.model.words import quoted
from prealloc.store.asked import EVERYTHING, Asked
from prealloc.store.claims import Claims
from prealloc.store.fold import Due, RunState, UnitState, by_shard, fold, reopen, used_by
from prealloc.store.journal import last_session
from prealloc.store.journal_lines import AttemptLine, Reopened, SessionEnded, SessionStarted
from prealloc.store.journal_writer import JournalWriter
from prealloc.store.lane_log import LaneLog
from prealloc.store.run_folder import OpenRun
from prealloc.store.seals import seals
from prealloc.store.telemetry import Telemetry
from prealloc.store.totals import totals
from prealloc.worker.job import Key, UnitOrder

MISSING_SHOWN = 20
_UNITS_A_LINE = 1000
"""Of a line of the journal that names units."""


@contextmanager
def _under_way() -> Iterator[None]:
    """A plan that is damaged during its run is not bad input: it is too late to refuse it."""
    try:
        yield
    except PlanError as error:
        hint = "restore the file as it was, then `prealloc resume`; what finished is kept"
        raise CannotGoOn(error.problem, where=error.where, hint=hint) from error


@_under_way()
def run_session(
    run: OpenRun,
    engine: Engine,
    *,
    before: RunState | None = None,
    asked: Asked = EVERYTHING,
    reused: Sequence[AttemptLine] = (),
    notes: Sequence[str] = (),
    observer: Observer,
    claims: Claims | None = None,
) -> RunEnded:
    """Runs what is asked for and has no final outcome. Plan and engine have been checked, the caller holds the lock.

    `before` is the fold of what earlier sessions have left, if there were any. `reused` are outcomes taken over from
    another run; they are journalled first. With `claims` it is a run of an experiment, and leaves alone what others
    have decided or hold. Raises CannotGoOn.
    """
    started = time.monotonic()
    for folder in (run.paths.logs, run.paths.lanes):
        with must_write(folder):
            fault_point(Point.SESSION_FOLDERS)
            folder.mkdir(exist_ok=True)  # nothing in them is needed: somebody may have cleaned up
    refuse_odd_logs(run.paths.logs)
    policy = run.policy
    session = last_session(run.paths) + 1
    journal = JournalWriter(run.paths.supervisor_journal(session), fsync=policy.fsync)
    lanes = run.plan.spec.lanes
    limiter: RateLimiter[Any] = RateLimiter(lanes, policy, share=shared_lanes(lanes, run.plan.spec.settings))
    control: Control | None = None
    try:
        _begin(run, journal, session, asked, before)
        for attempt in reused:
            journal.append(attempt)
        if reused or (claims is not None and before is None):
            before = fold(run.paths, run.units())
        left = units_left(run, before, asked, claims)
        wanted = workers_wanted(run, left, engine, moves=engine.facts.hands_back)
        setup = RunSetup(
            paths=run.paths,
            session=session,
            worker=run.file.worker,
            import_path=run.file.import_path,
            limiter=limiter,
            policy=policy,
            slice_bytes=largest_slice(run),
            first_jobs=min(wanted, len(left)),
            journal=journal,
            cleanup=run.file.cleanup,
        )
        engine.open(setup)
        at_once, too_few = engine.allowed(wanted)
        control = Control(run, at_once=at_once, engine=engine, limiter=limiter, journal=journal)
        control.limits.spend_within(run.prices, used_by(before))
        elsewhere = claims.elsewhere(before) if claims is not None and before is not None else set()
        no_socket = _open_socket(run, control)  # whoever hears that the run has started may ask it for changes
        telemetry = Telemetry(run.paths, session, limiter.figures)
        observer.handle(telemetry.note(_run_started(run, engine, control, before, left, asked, elsewhere)))
        untidied = len(_due(run, before))
        tidying = f"first, {untidied} attempts of earlier sessions are cleaned up" if untidied else None
        for text in (*notes, too_few, no_socket, tidying, *(before.warnings if before else ())):
            if text is not None:
                observer.handle(Note(text=text))
        if before is not None and not left:
            which = "every unit" if asked.part.is_all else "every unit that was asked for"
            observer.handle(Note(text=f"nothing is left to run: {which} has its outcome"))
        lane_log = LaneLog(run.paths, lanes, session)
        decided = {unit for unit, state in before.units.items() if state.open and state.first} if before else set()

        def observe_all(event: Event) -> None:
            event = telemetry.note(event)
            if lanes:
                lane_log.note(event)
            if claims is not None and isinstance(event, ShardEnded):
                claims.leave(event.shard)
            if decided and isinstance(event, AttemptEnded) and Unit(event.shard, event.task, event.repeat) in decided:
                event = msgspec.structs.replace(event, first=False)
            observer.handle(event)

        ended = conduct(
            engine,
            ShardQueue(
                [_waiting(run, shard) for shard in _in_order(run, left)],
                {lane.name: control.shares[lane.name].room for lane in lanes},
                lambda: [_waiting(run, shard) for shard in claims.again()] if claims else [],
            ),
            _JobMaker(run, control, before, asked, claims, observer).make,
            limiter=limiter,
            control=control,
            observer=Watching(observe_all, observer.tick),
        )
        telemetry.close()
        control.close()
        engine.close()  # now, since the end of the session comes after that of its workers
        _seal(run, journal, session)
        journal.append(SessionEnded(session=session, ended_at=time.time()))
    finally:
        if control is not None:
            control.close()
        engine.close()
        limiter.close()
        journal.close()
    fault_point(Point.SESSION_END)
    state = fold(run.paths, run.units())
    elsewhere = claims.elsewhere(state) if claims is not None else set()
    summary = summarise(run, state, asked, duration_s=time.monotonic() - started, elsewhere=elsewhere)
    if ended.signal is not None:
        summary = msgspec.structs.replace(summary, exit_code=128 + ended.signal)
    fault_point(Point.SESSION_TELL)
    observer.handle(summary)
    return summary


def _open_socket(run: OpenRun, control: Control) -> str | None:
    """Opens the socket for `prealloc ctl`. If there is none, says so: a run does not need it."""
    try:
        control.socket = ControlSocket(run.paths)
    except NoSocket as error:
        return f"prealloc ctl cannot reach this run: {error}"
    return None


def _begin(run: OpenRun, journal: JournalWriter, session: int, asked: Asked, before: RunState | None) -> None:
    """Writes down what the session is asked for, and opens what it is to run again, in `before` too."""
    part, again = asked.part, asked.reopened
    reopen_failed = part.failed and part.is_all
    journal.append(
        SessionStarted(
            session=session,
            reopen_failed=reopen_failed,
            started_at=time.time(),
            part=None if part.is_all else part,
            options=run.policy.differing(run.file.policy),
            on_end=None if run.on_end == run.file.on_end else run.on_end or "",
            prices={} if run.prices == run.file.prices else run.prices,
            made_with=None if run.made_with == run.file.made_with else run.made_with,
        )
    )
    if before is not None:
        _seal(run, journal, session - 1)  # what a session that was killed has left
    for at in range(0, len(again), _UNITS_A_LINE):
        journal.append(Reopened(units=again[at : at + _UNITS_A_LINE]))
    if before is not None:
        reopen(before.units.values() if reopen_failed else map(before.units.__getitem__, again))


def _seal(run: OpenRun, journal: JournalWriter, upto: int) -> None:
    for seal in seals(run.paths, upto):
        journal.append(seal)


def summarise(
    run: OpenRun,
    state: RunState,
    asked: Asked = EVERYTHING,
    *,
    duration_s: float,
    elsewhere: Set[Unit] = frozenset(),
) -> RunEnded:
    """The end of a run as its journal shows it. `elsewhere` are the units that other runs of its experiment have."""
    state = state.leaving(elsewhere)
    not_ok = [
        (unit, each) for unit, each in state.units.items() if each.status is not Status.OK and unit not in elsewhere
    ]
    missing = (f"{unit} ({each.status.value})" for unit, each in not_ok if asked(unit, each))
    shown = tuple(islice(missing, MISSING_SHOWN))
    left_out = Counter(each.open for unit, each in not_ok if not asked(unit, each))
    cells = {shard: manifest.cell for shard, manifest in run.manifests.items()}
    whole = totals(state, run.types(), factors=run.plan.spec.factor_values, cells=cells, leave_out=elsewhere)
    return RunEnded(
        run=str(run.paths.root),
        census=state.census(),
        rate=whole.success.rate(whole.success.reported),
        success=whole.success,
        types=whole.types,
        factors=whole.factors,
        errors=whole.errors,
        further_errors=whole.further_errors,
        slowest=whole.slowest,
        library_opens=state.library_opens,
        duration_s=round(duration_s, 3),
        exit_code=1 if shown else 0,
        missing=shown,
        resume=resume_command(run, state, elsewhere),
        elsewhere=len(elsewhere),
        not_asked=left_out[True],
        not_ok_before=left_out[False],
        stopped=state.stopped if any(each.open and asked(unit, each) for unit, each in not_ok) else None,
    )


def resume_command(run: OpenRun, state: RunState, elsewhere: Set[Unit] = frozenset()) -> str | None:
    """What runs the rest: plain resume while something is open, else --failed, which opens what is final.

    None if every unit is ok that is not `elsewhere`.
    """
    mine = [each for unit, each in state.units.items() if unit not in elsewhere]
    if all(unit.status is Status.OK for unit in mine):
        return None
    some_open = any(unit.open for unit in mine)
    return f"prealloc resume {quoted(run.paths.root)}" + ("" if some_open else " --failed")


def units_left(
    run: OpenRun, before: RunState | None, asked: Asked = EVERYTHING, claims: Claims | None = None
) -> dict[str, int]:
    """Units to run, and attempts to clean up after, by shard; shards with none are left out."""
    if before is None and asked == EVERYTHING:
        return {entry.id: entry.units for entry in run.plan.shards if entry.units}
    due = [due.unit for due in _due(run, before)]  # their shards come first
    left = (
        unit
        for unit, state in _open_states(run, before)
        # One that another run of the experiment has decided is not for us, but one that this run reopens is its own.
        if asked(unit, state) and not (claims is not None and state.first is None and claims.is_decided(unit))
    )
    return Counter(unit.shard for unit in (*due, *left))


def _open_states(run: OpenRun, before: RunState | None) -> Iterator[tuple[Unit, UnitState]]:
    states = before.units if before is not None else dict.fromkeys(run.units(), UnitState())
    return ((unit, state) for unit, state in states.items() if state.open)


def _not_asked(run: OpenRun, before: RunState | None, asked: Asked, elsewhere: Set[Unit]) -> Mapping[str, int]:
    """Units that are open and that nobody asks for, by shard."""
    if asked.part.is_all:
        return {}
    left_out = (unit for unit, state in _open_states(run, before) if not asked(unit, state))
    return Counter(unit.shard for unit in left_out if unit not in elsewhere)


def _due(run: OpenRun, before: RunState | None) -> list[Due]:
    """What is to be cleaned up after before anything runs."""
    return before.due if before is not None and run.file.cleanup is not None else []


def _waiting(run: OpenRun, shard: str) -> WaitingShard:
    return WaitingShard(shard, run.manifests[shard].served_by)


def _in_order(run: OpenRun, left: Mapping[str, int]) -> list[str]:
    """The shards as they start: those that take longest first, where that is known, else in the plan's order.

    Of one of which only a part is left, its part of the time counts.
    """
    if run.times is None:
        return [*left]
    seconds: dict[str, float] = {}
    for shard, units in left.items():
        names = run.names(shard)
        whole = run.times.of_shard([*zip(names.ids, names.types, strict=True)])
        seconds[shard] = whole * units / max(1, len(names.ids))
    return sorted(left, key=lambda shard: -seconds[shard])


class _JobMaker:
    """Makes a shard's job when it is launched: only what runs is held."""

    def __init__(
        self,
        run: OpenRun,
        control: Control,
        before: RunState | None,
        asked: Asked,
        claims: Claims | None,
        observer: Observer,
    ) -> None:
        self._run = run
        self._control = control
        self._before = before
        self._asked = asked
        self._claims = claims
        self._observer = observer
        self._numbers = itertools.count(1)
        self._elsewhere: dict[str, set[Unit]] = {}
        """By shard, for those that have been asked for: what is left to other runs of the experiment."""

    def make(self, launch: Launch) -> ShardJob | None:
        """None: other runs have all of it."""
        run, shard, units = self._run, launch.shard.id, launch.shard.units
        names, due = run.names(shard), [due for due in _due(run, self._before) if due.unit.shard == shard]
        if units is not None:
            due = list(units.due)  # those of earlier sessions are for its first job
        elif self._before is None and self._asked == EVERYTHING:
            repeats, positions = range(run.manifests[shard].repeats), range(len(names.ids))
            units = Units(tuple(UnitOrder(position, repeat, 1) for repeat in repeats for position in positions))
        else:
            states = _states(run, self._before, self._asked, shard, names.ids)
            if self._claims is not None:
                due = [] if shard in self._elsewhere else due  # else it is for what others held when it came first
                mine = self._claim(self._claims, shard, [(_unit(shard, names.ids, key), each) for key, each in states])
                states = [(key, each) for key, each in states if _unit(shard, names.ids, key) in mine]
                if not states and not due:
                    return None
            units = _open_units(states)
        return ShardJob(
            number=next(self._numbers),
            manifest=run.manifests[shard].on(self._control.shares[launch.lane].lane),
            policy=self._control.policy_of(shard, launch.lane),
            ids=list(zip(names.ids, names.types, strict=True)),
            units=units._replace(due=tuple(due)),
            copies=run.copies(shard),
            timeouts=run.timeouts(shard),
        )

    def _claim(self, claims: Claims, shard: str, states: Sequence[tuple[Unit, UnitState]]) -> set[Unit]:
        """The open units of a shard that this run is to run now: at first all that are free, then what became free."""
        open_ = {unit: state for unit, state in states if state.open}
        own = set[Unit]() if shard in self._elsewhere else {unit for unit, each in open_.items() if each.first}
        wanted = self._elsewhere.get(shard, open_.keys() - own)  # what it has decided once is this run's own
        mine = claims.claim(shard, [unit for unit in open_ if unit in wanted])
        self._elsewhere[shard] = wanted - mine
        self._observer.handle(ShardShare(shard=shard, units=len(states) - len(self._elsewhere[shard])))
        return own | mine


def _unit(shard: str, ids: Sequence[str], key: tuple[int, int]) -> Unit:
    position, repeat = key
    return Unit(shard, ids[position], repeat)


def _open_units(states: Sequence[tuple[Key, UnitState]]) -> Units:
    """Those that have no final outcome."""
    orders = tuple(
        UnitOrder(position, repeat, state.attempts + 1) for (position, repeat), state in states if state.open
    )
    return Units(orders, tuple((*key, state.deaths) for key, state in states if state.open and state.deaths))


def longest_s(run: OpenRun, engine: Engine) -> float | None:
    """The longest that the run can take from its start, if it gets the workers that it may have; None: unbounded."""
    left = units_left(run, None)
    return run_bound_s(run, shares_of(run, run.policy), left, workers_wanted(run, left, engine, moves=False))


def _states(
    run: OpenRun, before: RunState | None, asked: Asked, shard: str, ids: Sequence[str]
) -> list[tuple[tuple[int, int], UnitState]]:
    """The units of a shard in the order they start: every task once, then every task again. Without those that are
    open and not asked for.
    """
    untouched = UnitState()
    units = (
        ((position, repeat), Unit(shard, task, repeat))
        for repeat in range(run.manifests[shard].repeats)
        for position, task in enumerate(ids)
    )
    states = ((key, unit, before.units[unit] if before else untouched) for key, unit in units)
    return [(key, state) for key, unit, state in states if not state.open or asked(unit, state)]


def _run_started(
    run: OpenRun,
    engine: Engine,
    control: Control,
    before: RunState | None,
    left: dict[str, int],
    asked: Asked,
    elsewhere: Set[Unit],
) -> RunStarted:
    least, most = control.concurrency()
    return RunStarted(
        run=str(run.paths.root),
        plan=run.plan.id,
        engine=run.file.engine,
        shards=shard_infos(run, before, asked, elsewhere),
        workers=control.at_once,
        concurrency=least,
        concurrency_most=most,
        bound_s=run_bound_s(run, control.shares, left, control.at_once) if engine.facts.can_kill else None,
        lanes=run.plan.spec.lanes,
        guards_library=engine.facts.guards_library,
    )


def shard_infos(
    run: OpenRun, before: RunState | None, asked: Asked, elsewhere: Set[Unit] = frozenset()
) -> tuple[ShardInfo, ...]:
    """What is known of each shard when a session begins. `elsewhere` is what other runs of its experiment have."""
    not_asked = _not_asked(run, before, asked, elsewhere)
    not_here = Counter(unit.shard for unit in elsewhere)
    done = by_shard(before.units if before else {}, run.manifests, closed=True)
    return tuple(
        ShardInfo(
            id=entry.id,
            units=entry.units - not_here[entry.id],
            settings=run.manifests[entry.id].settings,
            lane=run.manifests[entry.id].planned_lane,
            done=done[entry.id][0],
            success=done[entry.id][1],
            not_asked=not_asked.get(entry.id, 0),
        )
        for entry in run.plan.shards
    )
