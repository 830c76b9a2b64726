"""Reporters while a run goes on: the live table, plain lines, JSON, quiet; and how it ended."""

from __future__ import annotations

import io

import pytest
from msgspec.structs import replace
from rich.console import Console
from scripted_run import check, ended, folded, script

from prealloc.model import events
from prealloc.report.live import TableReporter
from prealloc.report.plain import PlainReporter
from prealloc.report.reporter import QuietReporter, reporter
from prealloc.report.summary import exit_code_meaning
from prealloc.report.table import render_table


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_plain_lines() -> None:
    """Off a terminal: a line at the start, one each 5 s, one per ended shard, and the summary."""
    clock, out = Clock(), io.StringIO()
    plain = PlainReporter(Console(file=out), clock=clock)
    with plain:
        for now_s, event in script():
            clock.now_s = now_s
            plain.handle(event)
            plain.tick(now_s)
        clock.now_s = 13.0
        plain.handle(ended(plain.progress))
    check("plain", out.getvalue())


def test_the_table_is_drawn_by_ticks_alone() -> None:
    """Events draw nothing; ticks draw at most five times per second."""
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24, legacy_windows=False)
    table = TableReporter(console, clock=clock)
    with table:
        before = out.getvalue()
        for now_s, event in script():
            clock.now_s = now_s
            table.handle(event)
        assert out.getvalue() == before
        sizes = []
        for step in range(100):
            table.tick(13.0 + step / 100)
            sizes.append(len(out.getvalue()))
        assert len(set(sizes)) == 5
        table.handle(ended(table.progress))
    assert "exit code" in out.getvalue()


def test_plain_lines_become_rarer() -> None:
    """A long run does not fill its log: every 5 s at first, once a minute in the end."""
    clock, out = Clock(), io.StringIO()
    with PlainReporter(Console(file=out), clock=clock) as plain:
        plain.handle(script()[0][1])
        counts = []
        for now_s in range(1, 7201):
            plain.tick(float(now_s))
            if now_s in (60, 3600, 7200):
                counts.append(out.getvalue().count(" done "))
    assert counts[0] >= 10
    assert counts[2] - counts[1] == 60
    assert counts[1] <= 100


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_footer_keeps_what_matters(width: int) -> None:
    """On a narrow terminal the least important part goes first, never that workers were lost or that it stops."""
    progress = folded(script())
    progress.apply(events.Stopping(drain_s=10.0, grace_s=5.0), 13.0)
    lines = render_table(progress, 13.0, height=24).text(width).splitlines()
    (footer,) = (line for line in lines if "1 worker lost" in line)
    assert "stopping" in footer
    assert "…" not in footer
    assert ("2 retries" in footer) == (width >= 80)


@pytest.mark.parametrize(
    ("told", "at_s", "line"),
    [
        ((10.0, 5.0), 13.0, "stopping: 4 tasks may finish within 10 s; Ctrl-C again stops now"),
        ((10.0, 5.0), 20.5, "stopping: 4 tasks may finish within 3 s; Ctrl-C again stops now"),
        ((10.0, 5.0), 24.0, "stopping now: what ran may clean up for 5 s; Ctrl-C again kills"),
        ((0.0, 5.0), 13.0, "stopping now: what ran may clean up for 5 s; Ctrl-C again kills"),
        ((0.0, 0.0), 13.0, "stopping now: 4 tasks killed"),
    ],
)
def test_ctrl_c_says_what_happens_now(told: tuple[float, float], at_s: float, line: str) -> None:
    """How many tasks still run, for how long they may, and what the next Ctrl-C does; the same in table and lines."""
    progress = folded(script())
    event = events.Stopping(drain_s=told[0], grace_s=told[1])
    progress.apply(event, 13.0)
    assert f"  {line}\n" in render_table(progress, at_s, height=24).text(80)
    clock, out = Clock(), io.StringIO()
    clock.now_s = 13.0
    with PlainReporter(Console(file=out), clock=clock) as plain:
        for now_s, each in script():
            plain.progress.apply(each, now_s)
        plain.handle(event)
    assert out.getvalue().startswith("stopping")


def test_what_is_told_before_the_start_stays_whole_above_the_table() -> None:
    """It may be the command without which nothing starts; it is shown at once, and not again in the table."""
    out, told = io.StringIO(), "start the hosts: prealloc host --join /tmp/prealloc-join-0/host-1.json"
    console = Console(file=out, force_terminal=True, width=40, height=24, legacy_windows=False, color_system=None)
    with TableReporter(console, clock=Clock(), environment={}) as table:
        table.handle(events.Note(text=told))
        table.tick(0.5)
        assert "\nprealloc host --join /tmp/prealloc-join-0/host-1.json" in out.getvalue().replace("\r", "")
        for _, event in script()[:1]:
            table.handle(event)
        table.tick(1.0)
    assert out.getvalue().count("host-1.json") == 1


def test_a_resized_terminal_begins_anew() -> None:
    """Nobody knows where the lines of the old width are: the screen is emptied once, and the table drawn whole."""
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=24, legacy_windows=False)
    with TableReporter(console, clock=clock, environment={}) as table:
        for now_s, event in script():
            table.progress.apply(event, now_s)
        table.tick(13.0)
        table.tick(14.0)
        assert "\x1b[2J" not in out.getvalue()
        console.width = 60
        table.tick(15.0)
        table.tick(16.0)
        assert out.getvalue().count("\x1b[H\x1b[2J") == 1
        assert "runs/prompt-study-7" in out.getvalue().partition("\x1b[2J")[2]


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, True),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "screen", "TERM_PROGRAM": "tmux"}, False),
        ({}, False),
    ],
)
def test_frames_in_one_piece(environment: dict[str, str], known: bool) -> None:
    """Where the terminal is known to have DEC mode 2026, each frame is between its begin and its end; else neither."""
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=24, legacy_windows=False)
    with TableReporter(console, clock=clock, environment=environment) as table:
        table.tick(1.0)
        table.tick(2.0)
    written = out.getvalue()
    assert written.count("\x1b[?2026h") == written.count("\x1b[?2026l") == (3 if known else 0)
    frames = written.split("\x1b[?2026h")[1:]
    assert all("starting" in frame.partition("\x1b[?2026l")[0] for frame in frames)


def test_json_wins_then_quiet_then_the_terminal() -> None:
    """One reporter for each way of asking."""
    pipe = Console(file=io.StringIO())
    screen = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    named = [
        reporter(json=True, quiet=True, console=screen),
        reporter(quiet=True, console=screen),
        reporter(console=screen),
        reporter(console=pipe),
        reporter(console=dumb),
    ]
    assert [type(r).__name__ for r in named] == [
        "JsonLinesReporter",
        "QuietReporter",
        "TableReporter",
        "PlainReporter",
        "PlainReporter",
    ]


def test_quiet_speaks_only_if_something_is_wrong() -> None:
    """Nothing on success; one line with the census and the command for the rest otherwise."""
    for code, lines in ((0, 0), (1, 1)):
        errors = io.StringIO()
        with QuietReporter(errors) as quiet:
            for _, event in script():
                quiet.handle(event)
            end = ended(folded(script()))
            quiet.handle(replace(end, exit_code=code))
        assert len(errors.getvalue().splitlines()) == lines


def test_exit_codes_have_a_meaning() -> None:
    """Each exit code of the design is named."""
    assert exit_code_meaning(0) == "all planned units are ok"
    assert exit_code_meaning(130) == "stopped by SIGINT; what finished is kept"
    assert exit_code_meaning(143) == "stopped by SIGTERM; what finished is kept"
    assert exit_code_meaning(77) == "unknown"
