"""What ways to give workers their tasks take: a table, a line for each note on a way, and bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text

from prealloc.memory.figures import Comparison, WayFigures
from prealloc.memory.watch import Reached
from prealloc.report import human
from prealloc.report.grid import GAP, Column, draw, fit, known, left_out
from prealloc.report.page import Page, fact, heading, svg_of, whole
from prealloc.report.visible import visible

BAR = "━"
MOST_BAR = 60
SVG_WIDTH = 120
_COLOURS = {"measured": "", "scaled": "yellow", "left_out": "yellow", "failed": "bold red"}


def render_memory(found: Comparison) -> Page:
    """The comparison as a page."""
    return Page(lambda width: [*_facts(found), Text(), *_table(found, width), Text(), *_charts(found, width)])


def reached_line(title: str, reached: Reached | None) -> str:
    """What is being done and how far it is, for people who wait."""
    if reached is None:
        return f"{title}: starting"
    told = f"{reached.ready} of {human.count(reached.workers, 'worker')} ready"
    return f"{title}: {told}, {human.size(reached.pss)}, {human.duration(reached.elapsed_s)}"


def memory_svg(found: Comparison) -> str:
    """The page as an SVG picture."""
    return svg_of(render_memory(found), SVG_WIDTH, "prealloc memory", "prealloc-memory")


def _facts(found: Comparison) -> list[Text]:
    machine = found.machine
    memory = human.size(int(machine["memory_bytes"]))
    library = f"{human.count(found.library_tasks, 'task')}, {human.size(found.library_bytes)}"
    facts = {
        "library": f"{visible(found.library)}: {library}",
        "workers": f"{found.workers} x {human.count(found.num_instances, 'task')}, seed {found.seed}",
        "machine": f"{machine['cores']} cores, {memory}, {machine['system']}, {machine['python']}",
        "watched": f"each way for {human.duration(found.seconds)}, while every worker holds and reads its tasks",
    }
    return [fact(name, text, 9) for name, text in facts.items()]


def _table(found: Comparison, width: int | None) -> list[Text]:
    ways = found.ways

    def column(title: str, shown: Callable[[WayFigures], str], drop: int = 0, short: str | None = None) -> Column:
        return Column(title, [known(shown(way), _COLOURS[way.status]) for way in ways], drop=drop, short=short)

    names = Column("way", [Text(way.title) for way in ways], right=False)
    columns = [
        names,
        column("workers' PSS", lambda way: human.size(way.workers_pss), short="PSS"),
        column("workers' USS", lambda way: human.size(way.workers_uss), 30, "USS"),
        column("one worker", lambda way: human.size(way.worker_pss), 24, "each"),
        column("master", lambda way: human.size(way.master_pss), 10),
        column("together", lambda way: human.size(way.total_pss), 28, "all"),
        column("peak", lambda way: human.size(way.peak_pss), 25),
        column("growth", _growth, 20),
        column("first task", lambda way: human.duration(way.first_task_s), 8, "first"),
        column("last worker's first", lambda way: human.duration(way.last_first_task_s), short="last"),
        column("x prealloc", lambda way: _times(way.times_prealloc)),
    ]
    titles, *rows = draw(fit(columns, width))
    lines = [titles]
    for way, row in zip(ways, rows, strict=True):
        lines += [row, *(_below(text, way, width) for text in _remarks(way))]
    return [*lines, *left_out(columns, width)]


def _remarks(way: WayFigures) -> list[str]:
    told = [visible(way.note)] if way.note else []
    if way.prepared_s is not None:
        told.append(f"{human.duration(way.prepared_s)} of it for the pool's file, which is made once per library")
    if way.library_opens is not None:
        told.append(f"library opens by workers: {way.library_opens}")
    return told


def _below(text: str, way: WayFigures, width: int | None) -> Text:
    line = Text(f"  {text}", style=_COLOURS[way.status] or "dim")
    return whole(line) if way.status in ("failed", "left_out") else line


def _charts(found: Comparison, width: int | None) -> list[Text]:
    memory = [(way, way.total_pss, human.size(way.total_pss)) for way in found.ways]
    times = [(way, way.last_first_task_s, human.duration(way.last_first_task_s)) for way in found.ways]
    return [
        heading("memory of workers and master, all holding their tasks"),
        *_bars(memory, width),
        Text(),
        heading("from the start to the last worker's first task"),
        *_bars(times, width),
    ]


def _bars(rows: Sequence[tuple[WayFigures, float | None, str]], width: int | None) -> list[Text]:
    label = max(len(way.title) for way, _, _ in rows)
    number = max(len(text) for _, _, text in rows)
    most = max((value for _, value, _ in rows if value is not None), default=0.0)
    room = MOST_BAR if width is None else max(1, min(MOST_BAR, width - label - number - 2 * GAP))
    lines = []
    for way, value, text in rows:
        # What is there is seen: one character, however small its part.
        length = max(1, round(room * value / most)) if value and most else 0
        colour = "green" if way.way == "prealloc" else "cyan"
        bar = (BAR * length, colour)
        gap = " " * GAP
        lines.append(Text.assemble(f"{way.title:<{label}}{gap}", bar, f"{gap if length else ''}{text}"))
    return lines


def _growth(way: WayFigures) -> str:
    """Less than 1% of what there is counts as flat: allocators breathe."""
    if way.growth_pss is None or way.total_pss is None:
        return human.NOTHING
    if abs(way.growth_pss) * 100 < way.total_pss:
        return "flat"
    return ("+" if way.growth_pss > 0 else "-") + human.size(abs(way.growth_pss))


def _times(value: float | None) -> str:
    if value is None:
        return human.NOTHING
    return f"{value:.1f}x" if value < 9.95 else f"{value:.0f}x"
