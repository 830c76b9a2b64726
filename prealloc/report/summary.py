"""The end of a run on one page: what became of every unit, why, how long, and what to do next."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Sequence

from rich.text import Text

from prealloc.model.events import RunEnded, Total
from prealloc.model.outcome import FINAL, Status
from prealloc.model.words import quoted
from prealloc.report import human
from prealloc.report.grid import Column, draw, fit, known, table
from prealloc.report.lanes import why_halted
from prealloc.report.page import Page, fact, heading, whole
from prealloc.report.progress import RunProgress
from prealloc.report.success import incomplete, success_notes
from prealloc.report.table import COLOURS
from prealloc.report.visible import value, visible

_FAILURES = 10
_ROWS = 8
"""Of a table of totals: the report of a run in which all is well has 24 lines at most."""
_MEANINGS = {
    0: "all planned units are ok",
    1: "some planned units are not ok",
    2: "bad input or usage; nothing was changed",
    3: "prealloc could not go on; what finished is kept",
}


def render_summary(progress: RunProgress, ended: RunEnded) -> Page:
    """The summary. `print(console)` shows it in colours on a terminal and as plain text elsewhere."""
    return Page(lambda width: _lines(progress, ended, width))


def exit_code_meaning(code: int) -> str:
    """What an exit code of prealloc says, in a few words."""
    if code in _MEANINGS:
        return _MEANINGS[code]
    try:
        return f"stopped by {signal.Signals(code - 128).name}; what finished is kept"
    except ValueError:
        return "unknown"


def _meaning(ended: RunEnded) -> str:
    if ended.not_asked or ended.not_ok_before:
        return exit_code_meaning(ended.exit_code).replace("planned units", "units that were asked for")
    if ended.exit_code == 0 and ended.elsewhere:
        return "all units that were left are ok" if _units(ended) else "nothing was left to run"
    return exit_code_meaning(ended.exit_code)


def _lines(progress: RunProgress, ended: RunEnded, width: int | None) -> list[Text]:
    blocks = [
        _facts(progress, ended),
        _census(ended, width),
        _totals(ended, width),
        _failures(ended, width),
        _missing(ended),
        _next(ended),
    ]
    lines: list[Text] = []
    for block in blocks:
        if block and lines:
            lines.append(Text())
        lines += block
    return lines


def _facts(progress: RunProgress, ended: RunEnded) -> list[Text]:
    """The verdict first, then what it is about."""
    colour = "green" if ended.exit_code == 0 else "red"
    verdict = _fact("exit code", Text(f"{ended.exit_code}: {_meaning(ended)}", colour))
    facts: list[tuple[str, str | Text]] = [("run", visible(ended.run))]
    if ended.stopped is not None:
        facts.append(("stopped", Text(visible(ended.stopped), style="yellow")))
    if ended.not_asked or ended.not_ok_before:
        facts.append(("not asked", _left_out(ended)))
    if _all_ok(ended) and _units(ended):
        facts.append(("units", f"{_units(ended):,}, all ok"))
    if ended.elsewhere:
        further = "further unit" if _units(ended) else "unit"
        facts.append(("elsewhere", f"{human.count(ended.elsewhere, further)} of the plan, in other runs"))
    facts.append(("duration", _duration(progress, ended)))
    if ended.success.decided:
        facts.append(("success", _success(ended)))
        facts += [("", note) for note in success_notes(ended.success)]
    if progress.total.retries or progress.lost:
        lost = f", {human.count(progress.lost, 'worker')} lost" if progress.lost else ""
        facts.append(("retries", f"{progress.total.retries:,}{lost}"))
    if progress.hosts_joined:
        gone = f", {progress.hosts_lost} gone before the end" if progress.hosts_lost else ""
        facts.append(("hosts", f"{progress.hosts_joined}{gone}"))
    if progress.peak is not None:
        peak = progress.peak
        parts = f"master {human.size(peak.master)}, workers {human.size(peak.workers)}"
        helpers = f", helpers {human.size(peak.other)}" if peak.other else ""
        facts.append(("memory", f"{human.size(peak.total)}, largest sample: {parts}{helpers}"))
    if ended.slowest:
        slow = ended.slowest[0]
        facts.append(("slowest", f"{human.duration(slow.working_s)}, {slow.status}: {visible(slow.unit)}"))
    lines = [verdict, *incomplete(ended.success.decided, _units(ended)), *(_fact(name, text) for name, text in facts)]
    for name, lane in progress.lanes.items():
        if lane.halted is not None:
            why = f"lane {visible(name)}: {why_halted(lane.halted, ended.run, progress.lanes)}"
            lines.append(_fact("halted", Text(why, style="red")))
    return [*lines, *_opens(progress, ended)]


def _duration(progress: RunProgress, ended: RunEnded) -> str:
    text = human.duration(ended.duration_s)
    if progress.waiting_s >= 0.05:
        text += f", tasks waited {human.duration(progress.waiting_s)} in all"
    if progress.earlier:
        text += f", {human.count(progress.earlier, 'unit')} done before"
    return text


def _left_out(ended: RunEnded) -> str:
    """What the session was not asked for."""
    parts = [f"{human.count(ended.not_asked, 'unit')}, still open"] if ended.not_asked else []
    parts += [f"{human.count(ended.not_ok_before, 'unit')} that ended before, not ok"] if ended.not_ok_before else []
    return "; ".join(parts)


def _success(ended: RunEnded) -> str:
    if ended.rate is None:
        return human.NOTHING
    success = ended.success
    return f"{human.share(ended.rate)}: {success.successes:,} of {human.count(success.rated, 'unit')}"


def _opens(progress: RunProgress, ended: RunEnded) -> list[Text]:
    """The promise of prealloc, kept or broken: it has a line of its own and is never left out."""
    # What was seen outweighs what was promised: an engine that does not guard may still have reported it.
    opens = max(ended.library_opens, progress.opens)
    if opens:
        by = [f"{visible(shard)} opened {visible(path)}" for shard, path in progress.opened[:3]]
        return [
            Text(f"library opens by workers: {opens}", style="bold red"),
            *(Text(f"  {line}", style="red") for line in by),
        ]
    if progress.started is not None and not progress.started.guards_library:
        return [Text("library opens by workers: not guarded by this engine", style="yellow")]
    return [Text("library opens by workers: 0", style="bold green")]


def _units(ended: RunEnded) -> int:
    """Those that were this run's to decide."""
    return sum(ended.census.values()) - ended.elsewhere


def _all_ok(ended: RunEnded) -> bool:
    return _units(ended) == ended.census.get(Status.OK, 0)


def _census(ended: RunEnded, width: int | None) -> list[Text]:
    """The outcomes that occur; nothing where the facts say that all units are ok."""
    if _all_ok(ended):
        return []
    units = _units(ended)
    census = {**ended.census, Status.NOT_RUN: ended.census.get(Status.NOT_RUN, 0) - ended.elsewhere}
    counts = [(status, census.get(status, 0)) for status in Status]
    rows: list[tuple[str, int]] = [*(row for row in counts if row[1]), ("units", units)]
    columns = [
        Column("status", [_status(name) for name, _ in rows], right=False),
        Column("units", [Text(f"{number:,}") for _, number in rows]),
        Column("", [Text(human.percent(number, units, 1)) for _, number in rows]),
    ]
    lines = draw(fit(columns, _less(width)), titles=False)
    lines[-1].stylize("bold")
    return [heading("outcomes"), *_indent(lines)]


def _totals(ended: RunEnded, width: int | None) -> list[Text]:
    """A row for each value of the factors, or for each type if there are none; the first ones."""
    what = "factor" if ended.factors else "type"
    named: list[tuple[str, Total]] = [(f"{total.factor}={value(total.value)}", total) for total in ended.factors]
    named = named or [(total.type, total) for total in ended.types]
    if not named:
        return []
    shown = named if len(named) <= _ROWS else named[: _ROWS - 1]
    columns = [
        Column(what, [Text(visible(name)) for name, _ in shown], right=False, least=12),
        Column("units", [Text(f"{total.units:,}") for _, total in shown]),
        Column("ok", [Text(f"{total.ok:,}") for _, total in shown]),
        Column("success", [Text(human.share(total.rate)) for _, total in shown]),
    ]
    beside = {
        "unknown": [total.success.unknown if ended.success.reported else 0 for _, total in shown],
        "no outcome": [total.units - total.success.decided for _, total in shown],
    }
    columns += [
        Column(title, [known(f"{number:,}") for number in numbers]) for title, numbers in beside.items() if any(numbers)
    ]
    lines = [heading(f"by {what}"), *_indent(draw(fit(columns, _less(width))))]
    if len(named) > len(shown):
        lines.append(Text(f"  … {len(named) - len(shown)} more", style="dim"))
    return lines


def _failures(ended: RunEnded, width: int | None) -> list[Text]:
    kinds = ended.errors
    if not kinds:
        return []
    shown = kinds[:_FAILURES]
    errors = [Text(visible(human.error(kind.type, kind.message) or human.NOTHING)) for kind in shown]
    columns = [
        Column("units", [Text(f"{kind.units:,}") for kind in shown]),
        Column("status", [Text(kind.status, style=COLOURS[kind.status]) for kind in shown], right=False),
        Column("error", errors, right=False, least=34),
        Column("for example", [Text(visible(kind.example), "dim") for kind in shown], right=False, drop=1),
    ]
    lines = [heading("not ok, by error"), *_indent(table(columns, _less(width)))]
    further = sum(kind.units for kind in kinds[_FAILURES:]) + ended.further_errors
    if further:
        lines.append(Text(f"  … {human.count(further, 'unit')} more, with other errors", style="dim"))
    return lines


def _missing(ended: RunEnded) -> list[Text]:
    if not ended.missing:
        return []
    not_ok = ended.not_ok
    lines = [whole(Text(f"  {visible(unit)}")) for unit in ended.missing]
    if not_ok <= len(ended.missing):
        return [heading("not ok"), *lines]
    return [heading(f"not ok, the first {len(ended.missing)} of {not_ok:,}"), *lines]


def _next(ended: RunEnded) -> list[Text]:
    """Where to look next, and what goes on with the run."""
    run = quoted(ended.run)
    by = list(dict.fromkeys(total.factor for total in ended.factors)) or ["type"]
    commands = [("look at", f"prealloc results {run} --by {shlex.quote(','.join(by))}")]
    if ended.errors:
        commands.append(("", f"prealloc show {run} {shlex.quote(ended.errors[0].example)}"))
    if ended.not_ok > len(ended.missing):
        commands.append(("", f"prealloc results {run} --units --not-ok"))
    lines = [_fact(name, visible(command)) for name, command in commands]
    if ended.resume is not None:
        lines.append(_fact("to go on", Text(visible(ended.resume), style="bold")))
        final = sum(ended.census.get(status, 0) for status in FINAL if status is not Status.OK)
        if final and not ended.resume.endswith(" --failed"):
            lines.append(_fact("", f"with --failed also {human.count(final, 'unit')} that ended and are not ok"))
    return lines


def _fact(name: str, text: Text | str) -> Text:
    return fact(name, text, 11)


def _status(name: str) -> Text:
    # The words of the journal and of `--json`, underscore and all: one can search for them.
    return Text(name, style=COLOURS[Status(name)] if name != "units" else "dim")


def _indent(lines: Sequence[Text]) -> list[Text]:
    return [Text("  ").append_text(line) for line in lines]


def _less(width: int | None) -> int | None:
    """What is left beside the indent."""
    return None if width is None else width - 2
