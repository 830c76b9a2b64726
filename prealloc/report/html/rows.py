"""What the tables of a report say, in words and numbers. The numbers are those of the estimators; none is made here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from prealloc.model.lane import Lane
from prealloc.model.outcome import Status
from prealloc.report import human
from prealloc.report.compare_view import heading, notes, p_value, points, row_name, verdict
from prealloc.report.html.pictures.forest import Line
from prealloc.report.html.say import Say
from prealloc.report.success import rate_notes
from prealloc.store.clusters import Cluster
from prealloc.store.comparison import Compared, Comparison
from prealloc.store.results_row import ResultsRow
from prealloc.store.run_report import Matrix, RunReport, Source

MOST_COLUMNS, MOST_ROWS = 16, 60


class Rate(NamedTuple):
    """A rate as it is shown: with its interval, and the sample that it is over."""

    share: str
    interval: str
    tasks: str
    row: ResultsRow

    @property
    def said(self) -> str:
        return f"{self.share}, {self.interval}, {self.tasks}"


def rate(row: ResultsRow) -> Rate:
    """The headline of some units: by their first outcomes."""
    return Rate(human.share(row.rate), between(row.low, row.high), human.count(row.tasks, "task"), row)


def between(low: float | None, high: float | None) -> str:
    """`60.8 to 69.4%`."""
    return human.NOTHING if low is None or high is None else f"{low * 100:.1f} to {high * 100:.1f}%"


def census(row: ResultsRow) -> dict[str, int]:
    """Units by their latest status, those that stand first."""
    return {str(status): getattr(row, status) for status in Status}


def head_notes(report: RunReport) -> list[str]:
    """What a reader of the rate must know."""
    row = report.total
    told = rate_notes(row)
    if undecided := row.units - row.decided:
        known = row.best is not None
        limits = f": success is between {between(row.worst, row.best)} whatever becomes of them" if known else ""
        told.insert(0, f"{human.count(undecided, 'unit')} without a final outcome{limits}")
    told += [
        f"lane {note.lane} halted: {note.reason}{f'; {note.hint}' if note.hint else ''}"
        for source in report.sources
        for note in source.lane_notes
        if note.event == "lane_halted" and note.session == max((each.number for each in source.sessions), default=0)
    ]
    return told


class Forest(NamedTuple):
    """A comparison as a picture and a table."""

    title: str
    heading: str
    lines: Sequence[Line]
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]


def forest(found: Comparison, say: Say) -> Forest:
    """The rows of `prealloc compare`, each with a line for the picture."""
    numbers = ("tasks", "rate", "against", "difference", "interval", "better", "worse", "same", "p")
    titles = (found.factor, *numbers, "verdict")
    against = {say.value(row.against) for row in found.rows}
    only = f" against {next(iter(against))}" if len(against) == 1 else ""
    keys = ", ".join(say.text(name) for name in found.rows[0].group) if found.rows else ""
    title = f"{say.text(found.factor)}{only}{f', by {keys}' if keys else ''}"
    lines = [_line(row, say, named=not only) for row in found.rows]
    return Forest(title, heading(found), lines, titles, [_cells(row, say) for row in found.rows], notes(found))


def _line(row: Compared, say: Say, *, named: bool) -> Line:
    """`named`: lines have different values to be compared with, so each says its own."""
    found = row.difference
    group = ", ".join(_named(value, say) for value in row.group.values())
    cells = f" ({row.cells} of {row.of_cells} cells)" if row.cells < row.of_cells else ""
    name = f"{say.value(row.value)}{f' against {say.value(row.against)}' if named else ''}{cells}"
    if found is None:
        return Line(group, name, None, 0.0, 0.0, "open", verdict(row))
    kind = row.verdict if row.verdict in ("better", "worse") else "open"
    return Line(group, name, found.value, found.low, found.high, kind, f"{points(found.value)}: {row.verdict}")


def _cells(row: Compared, say: Say) -> Sequence[str]:
    name, found = say.text(row_name(row)), row.difference
    if found is None:
        return (name, *[human.NOTHING] * 9, verdict(row))
    return (
        name,
        f"{found.tasks:,}",
        human.share(found.first),
        human.share(found.second),
        points(found.value),
        f"{points(found.low)} to {points(found.high)}",
        f"{found.better:,}",
        f"{found.worse:,}",
        f"{found.same:,}",
        p_value(row.p),
        verdict(row),
    )


class Grid(NamedTuple):
    """A matrix as a table; None where there are no units."""

    row_key: str
    column_key: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Rate | None]]]
    left_out: str


def grid(matrix: Matrix, say: Say) -> Grid:
    """Its first rows and columns, if there are too many to read."""
    rows, columns = matrix.rows[:MOST_ROWS], matrix.columns[:MOST_COLUMNS]
    more = [
        f"{len(every) - len(shown):,} more {name}"
        for every, shown, name in ((matrix.rows, rows, "rows"), (matrix.columns, columns, "columns"))
        if len(every) > len(shown)
    ]
    return Grid(
        say.text(matrix.row_key),
        say.text(matrix.column_key),
        [_named(value, say) for value in columns],
        [
            (
                _named(value, say) if matrix.row_key else "all",
                [rate(row) if (row := matrix.cells.get((top, left))) else None for left in range(len(columns))],
            )
            for top, value in enumerate(rows)
        ],
        ", ".join(more),
    )


def _named(value: Any, say: Say) -> str:
    return human.NOTHING if value is None else say.value(value)


class Failures(NamedTuple):
    """A cluster in words."""

    place: int
    cluster: Cluster
    units: str
    share: str
    error: str
    where: Sequence[str]
    examples: Sequence[tuple[int, str]]
    """Each with its row in the table of units; -1: it is not listed."""


def failures(report: RunReport, say: Say, listed: Sequence[int]) -> list[Failures]:
    """The clusters, the largest first."""
    row_of = {place: row for row, place in enumerate(listed)}
    return [_failures(report, place, each, say, row_of) for place, each in enumerate(report.clusters)]


def _failures(report: RunReport, place: int, each: Cluster, say: Say, row_of: Mapping[int, int]) -> Failures:
    where = [
        f"{say.text(one.key)} {_named(one.value, say)}: {one.units:,} of {each.units:,} "
        f"({human.share(one.share_of_all, 0)} of {'those' if number else 'all'} units)"
        for number, one in enumerate(each.concentrations)
    ]
    error = human.error(each.type, each.template)
    if not error:
        error = "(no attempt has ended)" if each.status is Status.NOT_RUN else "(no error was noted)"
    examples = [(row_of.get(at, -1), say.text(str(report.members[at].unit.unit))) for at in each.examples]
    return Failures(place, each, f"{each.units:,}", human.share(each.share, 0), say.text(error), where, examples)


def provenance(source: Source, say: Say) -> list[tuple[str, str]]:
    """Where the numbers of a run come from. Of a library its name and digest, not its place; of a lane no key."""
    file = source.file
    options = [f"{name} {say.value(value)}" for name, value in source.options.items()]
    facts = [
        ("plan", source.plan.id),
        ("seed", f"{source.plan.seed}, ranking {source.plan.ranking}"),
        *(
            ("library", f"{each.name}, {human.count(each.tasks, 'task')}, sha256 {each.sha256}")
            for each in source.plan.libraries
        ),
        ("worker", say.text(file.worker)),
        ("engine", file.engine),
        ("started", file.created_at),
        ("sessions", f"{len(source.sessions):,}"),
        ("made by", f"prealloc {file.prealloc}, Python {file.python}, {file.platform}"),
        ("options", ", ".join(options) or "the defaults"),
    ]
    if file.made_with is not None:
        facts += [("code", file.made_with.code), ("host", say.text(file.made_with.host))]
        facts.append(("packages", say.text(file.made_with.packages)))
    if lanes := source.plan.spec.lanes:
        facts.append(("lanes", "; ".join(_lane(lane) for lane in lanes)))
    if source.running:
        facts.append(("state", "it was running when this page was made"))
    return facts + [("warning", warning) for warning in source.warnings]


def _lane(lane: Lane) -> str:
    limits = [
        f"{getattr(lane, name):,} {said}"
        for name, said in (
            ("concurrency", "tasks at once"),
            ("queries_per_second", "requests/s"),
            ("requests_per_minute", "requests/min"),
            ("tokens_per_minute", "tokens/min"),
        )
        if getattr(lane, name) is not None
    ]
    return f"{lane.name} ({', '.join(limits)})" if limits else lane.name


def opens(sources: Iterable[Source]) -> str:
    """Whether workers tried to open the library."""
    sources = list(sources)
    count = sum(source.library_opens for source in sources)
    guarded = all(source.guards_library for source in sources)
    return f"{count:,}" if count or guarded else "not guarded by this engine"
