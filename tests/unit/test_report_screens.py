"""Screens: the pictures of a scripted run, compared character by character."""

from __future__ import annotations

import io
from typing import Any, cast

import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from run_events import attempt_ended, run_started, shard_info
from scripted_run import check, ended, folded, script

from prealloc.errors import Mistake, OptionsError, RunFolderError
from prealloc.model import events
from prealloc.model.outcome import ErrorInfo, Status, Successes
from prealloc.report.grid import Column, left_out
from prealloc.report.grid import table as table_of
from prealloc.report.lanes import hosts_line
from prealloc.report.page import Page, fact, svg_of
from prealloc.report.problem import render_error
from prealloc.report.progress import RunProgress
from prealloc.report.summary import render_summary
from prealloc.report.table import render_table


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_table_screens(width: int) -> None:
    """The table of a scripted run looks exactly so, and no line of it is wider than the terminal."""
    text = render_table(folded(script()), 13.0, height=24).text(width)
    assert max(map(cell_len, text.splitlines())) <= width
    check(f"table-{width}", text)


@pytest.mark.parametrize("height", [24, None])
def test_a_narrow_table_says_which_columns_it_drops(height: int | None) -> None:
    """Live or at the end: what stands in the titles of a wide table stands in a narrow one, or is named below it."""
    progress = folded(script(shards=60))
    wide = render_table(progress, 13.0, height=height).text(200).splitlines()[2].split()
    *shown, last = render_table(progress, 13.0, height=height).text(80).splitlines()
    assert last.startswith("too narrow, ")
    named = {*shown[2].split(), *last.rpartition(": ")[2].split(", ")}
    short = {"fail": "failed", "time": "timeout", "crash": "crashed", "succ": "success"}
    assert {short.get(name, name) for name in named} >= set(wide) - {"last", "error"}


def test_names_stay_different_and_settings_that_they_say_are_not_repeated() -> None:
    """On a narrow terminal no two shards look alike; settings have a column only if ids do not say them."""
    models = ("qwen2.5-7b", "qwen2.5-72b")

    def table(width: int, *, named: str) -> str:
        shards = tuple(
            shard_info(f"{model}.baseline-and-more.0{n}", 2, settings={"model": model + named})
            for model in models
            for n in range(2)
        )
        _, started = script()[0]
        return render_table(folded([(0.0, replace(started, shards=shards))]), 1.0, height=24).text(width)

    rows = [line.split()[1] for line in table(60, named="").splitlines() if line.startswith("·")]
    assert len(set(rows)) == 4
    names = Column("name", [Text("x" * 60 + end) for end in "ab"], right=False, least=5, names=True)
    number = Column("number", [Text("1"), Text("2")])
    assert [line.plain for line in table_of([names, number], 20)][
        1
    ] == "xxxxxxxxxxx…       1"  # no column is lost for it
    assert left_out([names, number], 20) == []
    assert "settings" not in table(200, named="")
    assert "model=qwen2.5-72b/v2" in table(200, named="/v2")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_is_clamped_to_the_height(width: int) -> None:
    """60 shards in 12 lines: the total is there, the running ones come first, the rest is summed up."""
    progress = folded(script(shards=60))
    lines = render_table(progress, 13.0, height=12).text(width).splitlines()
    assert len(lines) <= 12
    assert any(line.strip().startswith("total") for line in lines)
    assert lines[2].startswith("●")
    (rest,) = [line for line in lines if line.startswith("…")]
    shown = sum(line[0] in "●↻·✓!" for line in lines)
    assert rest.startswith(f"… {60 - shown} more: ")


def test_no_height_is_exceeded() -> None:
    """Whatever the terminal's height, the table stays within it and shows the total."""
    progress = folded(script(shards=60))
    for height in range(6, 80):
        lines = render_table(progress, 13.0, height=height).text(80).splitlines()
        assert len(lines) <= height
        assert any(line.strip().startswith("total") for line in lines)


def test_clamped_screen() -> None:
    """60 shards at 80 x 12 look exactly so."""
    check("table-80x12", render_table(folded(script(shards=60)), 13.0, height=12).text(80))


@pytest.mark.parametrize("width", [80, 120])
def test_summary_screens(width: int) -> None:
    """The summary of the scripted run looks exactly so; its census adds up to the plan's units."""
    progress = folded(script())
    end = ended(progress)
    assert sum(end.census.values()) == progress.total.units
    check(f"summary-{width}", render_summary(progress, end).text(width))


def test_the_summary_tells_who_opened_the_library() -> None:
    """An opened library is never overlooked; an engine that cannot see says so instead of promising."""
    progress = folded(script())
    end = ended(progress)
    assert "library opens by workers: 0\n" in render_summary(progress, end).text()
    progress.apply(events.LibraryOpenedByWorker(shard="gpt-4o.easy.001", path="/data/tasks.json"), 13.0)
    text = render_summary(progress, end).text()
    assert "library opens by workers: 1\n  gpt-4o.easy.001 opened /data/tasks.json\n" in text


def test_what_is_copied_is_never_cut() -> None:
    """The command that runs the rest stands whole on the narrowest page."""
    progress = folded(script())
    assert "prealloc resume runs/prompt-study-7\n" in render_summary(progress, ended(progress)).text(20)


HOSTILE = "[red]x[/red]\x1b[31m\r\u202e\x9b2J\udcff[link=http://a]"


def hostile_run() -> RunProgress:
    info = shard_info("s[bold]\x1b]0;t\x07", 2, settings={HOSTILE: HOSTILE})
    error = ErrorInfo(type=HOSTILE, message=HOSTILE)
    return folded(
        [
            (0.0, run_started(info, run=HOSTILE, plan=HOSTILE, engine=HOSTILE, guards_library=False)),
            (1.0, events.Note(text=HOSTILE)),
            (1.0, attempt_ended(info.id, HOSTILE, Status.FAILED, type=HOSTILE, error=error)),
        ]
    )


def test_no_foreign_text_reaches_the_terminal_raw() -> None:
    """Markup is shown as it stands; control characters, direction marks and lone surrogates as escapes."""
    progress = hostile_run()
    end = ended(progress, HOSTILE)
    error = RunFolderError(HOSTILE, where=HOSTILE, hint=HOSTILE)
    options = OptionsError([Mistake(HOSTILE, HOSTILE, HOSTILE)] * 2)
    pages = [
        render_table(progress, 2.0),
        render_summary(progress, end),
        render_error(error),
        render_error(options),
    ]
    for page in pages:
        text = page.text()
        assert all(line.isprintable() for line in text.splitlines())
        assert "[red]x[/red]\\x1b[31m" in text
        # No colours here, so every control sequence would be one of the foreign text's.
        console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=300)
        page.print(console)
        assert all(line.isprintable() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def test_errors_are_told_with_their_hint() -> None:
    """Problem, where and hint each have their line; of wrong options every one is listed."""
    one = render_error(RunFolderError("it is taken", where="run/", hint="prealloc resume run/")).text()
    assert one == "error  it is taken\nwhere  run/\nhint   prealloc resume run/\n"
    mistakes = [Mistake("--shards", "0 is below 1", "give 1 or more"), Mistake("--seed", "-1", "give 0")]
    check("options-error-80", render_error(OptionsError(mistakes)).text(80))


def test_a_narrow_error_is_wrapped_not_cut() -> None:
    """On a narrow terminal no word of an error is lost."""
    problem = "the run folder has a journal already and belongs to somebody else"
    text = render_error(RunFolderError(problem)).text(40)
    assert text.split()[1:] == problem.split()
    assert max(map(len, text.splitlines())) <= 40


def test_what_is_to_be_pasted_stands_in_one_line() -> None:
    """Where words are wrapped, also in the picture that stays, a command and a path are not: half of one is none."""
    command, path = "prealloc resume 'runs/prompt study 7' --failed", "/a/folder/that/has/a/name/longer/than/the/screen"
    hint = f"make some room on the disk, move {path} away, then `{command}`; or stop others"
    lines = render_error(RunFolderError("it is full", hint=hint)).text(40).splitlines()
    assert [line.strip() for line in lines[1:]] == [
        *("hint   make some room on the disk, move", path, "away, then", f"`{command}`;", "or stop others")
    ]
    progress = folded(script()[:1])
    progress.apply(events.Note(text=f"a host is waited for, start it: {command}"), 1.0)
    assert f"\n  {command}\n" in render_table(progress, 2.0).text(40)
    assert max(map(len, render_table(progress, 2.0, height=30).text(40).splitlines())) <= 40


def test_a_long_fact_goes_on_below() -> None:
    """What a fact says is broken between words, under its own start, and nothing of it is lost."""
    page = Page(lambda width: [fact("factor", "model: small, large, huge", 8)])
    assert page.text(20) == "factor  model:\n        small,\n        large, huge\n"
    assert page.text() == "factor  model: small, large, huge\n"


def test_the_last_error_has_a_column_where_there_is_room() -> None:
    """From 128 columns on, as one line, and no number goes for it."""
    progress = folded(script())
    assert "last error" not in render_table(progress, 13.0, height=24).text(127)
    for width, titles in ((128, ("mem", "eta", "rate", "now")), (160, ("memory", "eta", "rate", "running"))):
        wide = render_table(progress, 13.0, height=24).text(width)
        assert "ValueError: no" in wide
        assert all(title in wide for title in titles)


def test_hosts_in_a_line() -> None:
    """Those that are ill come first, with what runs there; what does not fit is counted."""
    progress = folded(script())
    for n, state in enumerate(("works", "silent", "works"), start=1):
        progress.hosts[f"host-{n}"] = events.HostState(
            host=f"host-{n}", machine="m", state=cast("Any", state), running=n, room=8, memory=10**9
        )
    wide, narrow = hosts_line(progress, 200), hosts_line(progress, 60)
    assert wide is not None
    assert narrow is not None
    first = "  hosts  host-2 silent 2 of 8 workers 1.0 GB · "
    assert wide.plain == first + "host-1 1 of 8 workers 1.0 GB · host-3 3 of 8 workers 1.0 GB"
    assert narrow.plain == first + "2 more"


def test_the_report_of_a_good_run_is_one_screen() -> None:
    """At most 24 lines, the verdict first, no rows of zeros, whatever there is to say; types where no factor is."""
    progress = folded(script())
    end = ended(progress)
    units = sum(end.census.values())
    good = {str(status): 0 for status in Status} | {"ok": units}
    totals = {"units": 10, "ok": 10, "rate": 0.5, "success": Successes(decided=10, successes=5, reported=True)}
    factors = tuple(events.FactorTotal(factor="model", value=f"m{n}", **totals) for n in range(30))
    types = tuple(events.TypeTotal(type=f"type{n}", **totals) for n in range(30))
    success = Successes(decided=units, successes=9, unknown=3, unclear=2, example='"no"', reported=True)
    changes = {"census": good, "success": success, "types": types, "errors": (), "further_errors": 0}
    changes |= {"missing": (), "exit_code": 0, "resume": None}
    for found, title in ((factors, "by factor"), ((), "by type")):
        text = render_summary(progress, replace(end, **changes, factors=found)).text(80)
        lines = text.splitlines()
        assert len(lines) <= 24, text
        assert lines[0] == "exit code  0: all planned units are ok"
        assert title in lines
        assert "  … 23 more" in lines
        assert not any(line.split()[1:2] == ["0"] for line in lines)
        by = "model" if found else "type"
        assert lines[-1] == f"look at    prealloc results runs/prompt-study-7 --by {by}"


def test_a_table_says_which_columns_it_gave_up() -> None:
    """On a narrow terminal; where there is room for all, nothing is said."""
    narrow = render_table(folded(script()), 13.0).text(60)
    named = "too narrow, 6 columns are left out: timeout, crashed, oom, running, rate, memory"
    assert " ".join(narrow.splitlines()[-2:]) == named
    assert "too narrow" not in render_table(folded(script()), 13.0).text(200)


def test_a_picture_for_the_readme() -> None:
    """The SVG of a page is the same every time."""
    one, two = (svg_of(render_table(folded(script()), 13.0), 110, "prealloc run", "prealloc") for _ in range(2))
    assert one == two


def test_a_terminal_without_unicode() -> None:
    """Where the encoding is ASCII, only ASCII is written, and nothing is raised."""
    raw = io.BytesIO()
    for force in (True, False):
        console = Console(file=io.TextIOWrapper(raw, "ascii"), force_terminal=force, width=100)
        render_table(hostile_run(), 2.0).print(console)
        render_table(folded(script()), 13.0).print(console)
        console.file.flush()
        console.file.detach()  # type: ignore[attr-defined]
    assert b"total" in raw.getvalue()
