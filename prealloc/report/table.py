"""The picture of a run: a row per shard, the total, and what there is to say about it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from prealloc.model.events import RunStarted
from prealloc.model.outcome import FINAL, Status
from prealloc.report import human
from prealloc.report.grid import Column, cut, draw, fit, known, left_out, still_different
from prealloc.report.lanes import HALTED_SHOWN, halted_lines, hosts_line, lanes_line
from prealloc.report.page import Page, whole, wrapped
from prealloc.report.progress import RunProgress
from prealloc.report.shard_progress import ShardProgress, State, Tally
from prealloc.report.success import incomplete, success_notes
from prealloc.report.visible import value, visible

MARKS = {
    State.RUNNING: ("●", "cyan"),
    State.DRAINING: ("◐", "yellow"),
    State.LOST: ("↻", "yellow"),
    State.WAITING: ("·", "dim"),
    State.ENDED: ("✓", "green"),
}
COLOURS = {
    Status.OK: "green",
    Status.FAILED: "red",
    Status.TIMEOUT: "yellow",
    Status.CRASHED: "red",
    Status.OUT_OF_MEMORY: "red",
    Status.INFRA: "yellow",
    Status.CANCELLED: "yellow",
    Status.NOT_RUN: "dim",
}
_TITLES = {
    # status: full title, short title, how soon it goes when space is short
    Status.OK: ("ok", None, 0),
    Status.FAILED: ("failed", "fail", 0),
    Status.TIMEOUT: ("timeout", "time", 3),
    Status.INFRA: ("infra", None, 5),
    Status.CRASHED: ("crashed", "crash", 4),
    Status.OUT_OF_MEMORY: ("oom", None, 6),
    Status.CANCELLED: ("cancelled", "canc", 5),
}
_NOTES = 3
_NAMED = 3
_TALL = 16
"""From this height on there is room for a rule and an empty line."""
_BAR = 16
_NAME = 42
"""Ids may have 100 characters."""
_BAR_LEAST = 6
_WIDE = 128
"""From this width on there is room for the last error of each shard."""
_ERROR = 60
_ERROR_LEAST = 16


def render_table(progress: RunProgress, now_s: float, *, height: int | None = None) -> Page:
    """The run as it stands at `now_s`, in at most `height` lines; None shows every shard."""
    return Page(lambda width: _picture(progress, now_s, width, height))


def _picture(progress: RunProgress, now_s: float, width: int | None, height: int | None) -> list[Text]:
    if progress.started is None:
        return [Text("starting", style="dim")]
    tall = height is None or height >= _TALL
    # Only at the end: until then, that much is left to do.
    first = incomplete(progress.total.success.decided, progress.total.units) if progress.ended is not None else []
    # The header, the titles, the total and the line below it always stand; a rule and a blank line if tall.
    fixed = 4 + (2 if tall else 0) + len(first)
    notes = [line for each in _remarks(progress, now_s, width, tall) for line in _broken(each, width, height)]
    notes = notes if height is None else notes[: max(1, (height - fixed) // 2)]

    def columns(lines: int) -> tuple[list[Column], dict[State, int]]:
        """The table above this many lines, and the states of the shards that are not in it."""
        rows, rest = _rows(progress, None if height is None else max(1, height - fixed - lines))
        return _columns(progress, rows, now_s, width), rest

    every, rest = columns(len(notes))
    lost = _lost(every, width, height) if tall else []
    if lost and height is not None:  # that takes the line of a shard
        every, rest = columns(len(notes) + len(lost))
        lost = _lost(every, width, height)
    lines = draw(fit(every, width))
    span = lines[0].cell_len
    total = lines.pop()
    return [
        *first,
        _header(progress, now_s, width, span),
        *([Text()] if tall else []),
        *lines,
        *([Text(_rest(rest), style="dim")] if rest else []),
        *([Text("─" * span, style="dim")] if tall else []),
        total,
        _footer(progress, width),
        *notes,
        *lost,
    ]


def _lost(columns: Sequence[Column], width: int | None, height: int | None) -> list[Text]:
    return [line for each in left_out(columns, width) for line in _broken(each, width, height)]


def _broken(line: Text, width: int | None, height: int | None) -> list[Text]:
    """The line in as many as it takes. In the picture that stays, which has no height, commands are never cut."""
    if width is None or line.cell_len <= width:
        return [line]
    indent = " " * (len(line.plain) - len(line.plain.lstrip()))
    lines = [Text(indent + piece, line.style) for piece in wrapped(line.plain.strip(), width - len(indent))]
    return lines if height is not None else [whole(each) for each in lines]


def _remarks(progress: RunProgress, now_s: float, width: int | None, tall: bool) -> list[Text]:
    """What stands below the table, the most important first."""
    stopping = stopping_line(progress, now_s)
    lanes, hosts = lanes_line(progress, width, now_s), hosts_line(progress, width)
    return [
        *([Text(f"  {stopping}", "bold yellow")] if stopping is not None else []),
        *halted_lines(progress, HALTED_SHOWN if tall else 1),
        *([lanes] if lanes is not None else []),
        *([hosts] if hosts is not None else []),
        *_notes(progress, _NOTES if tall else 1),
        *(_closely(progress, now_s, width) if progress.is_watched and progress.ended is None else []),
    ]


def _closely(progress: RunProgress, now_s: float, width: int | None) -> list[Text]:
    """What runs since longest, and the last errors: for those who do not see the run itself."""
    running = progress.longest_running(_NAMED)
    lines = [
        Text(
            f"  running  {cut(visible(unit), _NAME, middle=True)} for {human.duration(max(0.0, now_s - began_s))}",
            "dim",
        )
        for unit, began_s in running
    ]
    more = progress.running - len(running)
    lines += [Text(f"           {more:,} more", "dim")] if more > 0 and running else []
    errors = list(progress.last_errors)[-_NAMED:] if width is None or width < _WIDE else []
    for unit, error in errors:
        text = visible(human.error(error.type, error.message.strip().partition("\n")[0]))
        lines.append(Text(f"  error    {cut(visible(unit), _NAME, middle=True)}: {text}", "dim"))
    return lines


def stopping_line(progress: RunProgress, now_s: float) -> str | None:
    """Why nothing starts: `stopping: 32 tasks may finish within 10 s; Ctrl-C again stops now`; None if tasks do."""
    event = progress.stopping
    if progress.ended is not None:
        return None
    tasks = human.count(progress.running, "task")
    if event is None and progress.limit is not None:
        return f"{visible(progress.limit)}: no further task starts; what runs may end"
    if event is None:
        return "paused: no further task starts; what runs may end" if progress.paused else None
    left_s = progress.stopping_s + event.drain_s - now_s
    if left_s > 0:
        return f"stopping: {tasks} may finish within {human.duration(math.ceil(left_s))}; Ctrl-C again stops now"
    if event.grace_s:
        return f"stopping now: what ran may clean up for {human.duration(event.grace_s)}; Ctrl-C again kills"
    return f"stopping now: {tasks} killed"


def _rows(progress: RunProgress, room: int | None) -> tuple[Sequence[ShardProgress], dict[State, int]]:
    """The shards that are shown, and the states of those that are not."""
    every = len(progress.shards)
    if room is None or every <= room or len(progress.most_interesting(every)) <= room:
        return progress.most_interesting(every), {}
    rows = progress.most_interesting(max(0, room - 1))
    rest = progress.states()
    for shard in rows:
        rest[progress.state(shard)] -= 1
    return rows, {state: count for state, count in rest.items() if count}


def _columns(progress: RunProgress, rows: Sequence[ShardProgress], now_s: float, width: int | None) -> list[Column]:
    total = progress.total
    tallies: list[Tally] = [*rows, total]
    digits = len(str(total.units))
    done = [Text(f"{shard.done}/{shard.units}", "" if shard.done else "dim") for shard in rows]
    running = [*(known(str(len(shard.running))) for shard in rows), known(str(progress.running), "bold")]
    rates = [*(shard.per_s(now_s) for shard in rows), progress.per_s(now_s)]
    held = [*(progress.worker_memory.get(shard.id) for shard in rows), progress.memory and progress.memory.total]
    columns = [
        _names(progress, rows),
        *_settings(progress, rows),
        Column(
            "",
            [_bar(tally, _BAR) for tally in tallies],
            right=False,
            least=_BAR_LEAST,
            drop=8,
            make=lambda width: [_bar(tally, width) for tally in tallies],
        ),
        Column("done", [*done, Text(f"{total.done}/{total.units}", style="bold")], reserve=2 * digits + 1),
        *(_counts(status, tallies, total, digits) for status in _TITLES if _has_column(status, total)),
        Column(
            "success",
            [known(human.share(progress.success_rate(tally), 0)) for tally in tallies],
            short="succ",
            reserve=4,
        ),
        Column("running", running, short="now", drop=30),
        Column("rate", [known(human.rate(each)) for each in rates], drop=7, reserve=7),
        Column("eta", [known(human.clock(each)) for each in _etas(progress, rows, now_s)], drop=2, reserve=5),
        Column("memory", [known(human.size(each)) for each in held], short="mem", drop=9, reserve=6),
    ]
    if width is not None and width >= _WIDE:
        errors = [*map(_last_error, rows), Text()]
        columns.append(Column("last error", errors, right=False, least=_ERROR_LEAST, drop=35))
    return columns


def _names(progress: RunProgress, rows: Sequence[ShardProgress]) -> Column:
    natural = min(_NAME, max((len(shard) for shard in progress.shards), default=0) + 2)

    def names(width: int) -> list[Text]:
        return [*(_name(progress, shard, width) for shard in rows), Text("  total", style="bold")]

    # The ends of ids tell shards apart, and so much of the rest as it takes: with the mark, but within the screen.
    ids = tuple(visible(shard.id) for shard in rows)
    least = min(natural, still_different(ids, 18, middle=True) + 2)
    return Column("  shard", names(natural), right=False, least=least, reserve=natural, make=names)


def _settings(progress: RunProgress, rows: Sequence[ShardProgress]) -> list[Column]:
    """Those that tell shards apart, if any do. They are not said twice: ids of shards are made of them."""
    if all(
        value(each) in shard.id for shard in rows for key, each in shard.settings.items() if key in progress.telling
    ):
        return []
    texts = (
        " ".join(f"{visible(key)}={value(shard.settings[key])}" for key in progress.telling if key in shard.settings)
        for shard in rows
    )
    cells = [*(Text(text, style="dim") for text in texts), Text()]
    return [Column("settings", cells, right=False, least=12, drop=40)]


def _etas(progress: RunProgress, rows: Sequence[ShardProgress], now_s: float) -> list[float | None]:
    typical_s = progress.typical_s()
    shards = (shard.eta_s(now_s, typical_s) if progress.state(shard) is State.RUNNING else None for shard in rows)
    return [*shards, progress.eta_s(now_s)]


def _last_error(shard: ShardProgress) -> Text:
    error = shard.last_error
    if error is None:
        return Text()
    said = error.message[:_ERROR].strip().partition("\n")[0]
    return Text(cut(visible(human.error(error.type.rpartition(".")[2], said)), _ERROR), "dim")


def _has_column(status: Status, total: Tally) -> bool:
    return status is not Status.CANCELLED or bool(total.counts.get(status))


def _counts(status: Status, tallies: Sequence[Tally], total: Tally, digits: int) -> Column:
    title, short, drop = _TITLES[status]
    cells = [known(str(tally.counts.get(status, 0)), COLOURS[status]) for tally in tallies]
    # What never happened is the first thing to give up; units that the rate leaves out stay beside it.
    if not total.counts.get(status):
        drop = drop and drop + 20
    elif status not in FINAL:
        drop = 0
    return Column(title, cells, short=short, drop=drop, reserve=digits if status is Status.OK else 3)


def _name(progress: RunProgress, shard: ShardProgress, width: int) -> Text:
    state = progress.state(shard)
    mark, colour = MARKS[state]
    if state is State.ENDED and shard.counts.get(Status.OK, 0) < shard.units:
        mark, colour = "!", "yellow"
    # The ends of ids tell shards apart, so it is the middle that goes.
    name = cut(visible(shard.id), max(1, width - 2), middle=True)
    return Text.assemble((f"{mark} ", colour), (name, "dim" if state is State.WAITING else "default"))


def _bar(tally: Tally, width: int) -> Text:
    bar = Text()
    filled = _cells(tally.decided, tally.units, width)
    bad = min(filled, _cells(tally.decided - tally.counts.get(Status.OK, 0), tally.units, width))
    bar.append("━" * (filled - bad), style="green")
    bar.append("━" * bad, style="red")
    return bar.append("─" * (width - filled), style="dim")


def _cells(part: int, whole: int, width: int) -> int:
    """Cells of a bar: the first one as soon as there is anything, the last one only when there is all."""
    if part <= 0 or whole <= 0:
        return 0
    return width if part >= whole else min(width - 1, max(1, round(width * part / whole)))


def _rest(rest: dict[State, int]) -> str:
    named = ", ".join(f"{count} {state}" for state, count in rest.items())
    return f"… {sum(rest.values())} more: {named}"


def _header(progress: RunProgress, now_s: float, width: int | None, span: int) -> Text:
    started = progress.started
    if started is None:
        return Text()
    facts = _facts(started)
    elapsed = human.clock(int(progress.elapsed_s(now_s)))
    least = min(len(started.run), 24)
    while width is not None and facts and _facts_len(facts) + len(elapsed) + 2 + least > width:
        facts.pop(0)
    room = 60 if width is None else max(8, width - _facts_len(facts) - len(elapsed) - 2)
    name = cut(visible(started.run), room, middle=True)
    header = Text(name, style="bold")
    for fact in facts:
        header.append(f"  {fact}", style="dim")
    gap = max(2, (span if width is None else min(span, width)) - header.cell_len - len(elapsed))
    return header.append(" " * gap).append(elapsed)


def _facts(started: RunStarted) -> list[str]:
    # Not the bound: so far away, it would be read as an estimate.
    return [
        visible(started.engine),
        f"plan {visible(started.plan)[:8]}",
        f"{human.count(started.workers, 'worker')} x {human.at_once(started.concurrency, started.concurrency_most)}",
    ]


def _facts_len(facts: Sequence[str]) -> int:
    return sum(len(fact) + 2 for fact in facts)


def _footer(progress: RunProgress, width: int | None) -> Text:
    """What there is to say of the whole; on a narrow terminal the least important goes first."""
    parts: list[tuple[int, Text]] = []  # as of columns: 0 stays, of the others the highest goes first
    if progress.opens:
        parts.append((0, Text(f"library opens by workers: {progress.opens}", style="bold red")))
    elif progress.started is not None and progress.started.guards_library:
        parts.append((1, Text("library opens by workers: 0", style="dim")))
    if progress.ended is None:
        parts.append((2, Text(f"{progress.running:,} running", style="dim")))
        if progress.is_stopping or progress.paused:
            parts.append((0, Text("stopping" if progress.is_stopping else "paused", style="yellow")))
    if progress.memory is not None:
        parts.append((4, Text(human.size(progress.memory.total), style="dim")))
    if progress.total.retries:
        parts.append((3, Text(human.count(progress.total.retries, "retry", "retries"), style="dim")))
    if progress.lost:
        parts.append((0, Text(human.count(progress.lost, "worker") + " lost", style="yellow")))
    while True:
        footer = Text("  ").append_text(Text(" · ", style="dim").join(text for _, text in parts))
        drop, least = max(enumerate(parts), key=lambda each: each[1][0], default=(0, (0, None)))
        if width is None or footer.cell_len <= width or not least[0]:
            return footer
        parts.pop(drop)


def _notes(progress: RunProgress, most: int) -> list[Text]:
    notes = list(progress.notes)[-most:]
    success = progress.total.success
    if progress.ended is None and success.unknown:  # the summary says it at the end
        notes += success_notes(success)
    return [Text(f"  {visible(note)}", style="italic") for note in notes]
