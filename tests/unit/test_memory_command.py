"""prealloc memory: really starts the processes of each way; leaves none of them, however it ends."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from command_line import Type
from rich.console import Console
from zygote import command_environment, zygote

from examples import in_laws
from prealloc.api.memory import compare_memory
from prealloc.memory import ways as ways_module
from prealloc.memory.child import FOLDER
from prealloc.memory.compare import bytes_needed, workers_that_fit
from prealloc.memory.figures import Comparison, Status, WayFigures
from prealloc.memory.loading import LINES, WHOLE, form_of, load_tasks
from prealloc.memory.ways import WAYS, Way
from prealloc.processes.parent import fresh_interpreter
from prealloc.report.memory_view import render_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is left behind is told by /proc")

MARK = "PREALLOC_TEST_MEMORY"
EVERY = list(WAYS)
SCREENS = Path(__file__).parents[1] / "golden" / "screens"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Forty tasks of 20 KB."""
    path = tmp_path / "tasks.json"
    tasks = [{"id": f"t{i}", "type": "ab"[i % 2], "workflow": {"steps": [["x" * 90, i]] * 200}} for i in range(40)]
    path.write_text(json.dumps({"tasks": tasks}))
    return path


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A mark that all processes started in the test carry; none of them may be left when it ends."""
    zygote()  # started in the test, it would carry the mark for ever
    monkeypatch.setenv(MARK, str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield str(tmp_path)
    assert marked(str(tmp_path)) == []
    assert list(tmp_path.glob("prealloc-memory-*")) == []


def marked(value: str) -> list[int]:
    """Living processes that were started with the mark."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                environment = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"{MARK}={value}".encode() in environment:
                found.append(int(name))
    return found


def measured(library: Path, **options: object) -> Comparison:
    return compare_memory(library, num_instances=5, seconds=0.3, **{"workers": 2, **options})  # type: ignore[arg-type]


def test_every_way_is_measured(library: Path, mark: str) -> None:
    """Each way gives figures that hold together, and prealloc's workers have not opened the library."""
    found = measured(library)
    assert [way.way for way in found.ways] == EVERY
    assert found.exit_code == 0
    for way in found.ways:
        check_measured(way)
    prealloc = found.ways[-1]
    assert prealloc.library_opens == 0
    assert prealloc.times_prealloc == 1.0
    assert all(way.library_opens is None for way in found.ways[:-1])


def check_measured(way: WayFigures) -> None:
    assert way.status == "measured", way.note
    assert way.started == len(way.processes) == 2
    assert way.workers_pss is not None
    assert way.workers_uss is not None
    assert way.master_pss is not None
    assert way.first_task_s is not None
    assert way.last_first_task_s is not None
    assert way.peak_pss is not None
    assert way.workers_uss > 0
    assert way.workers_uss <= way.workers_pss
    assert way.master_pss > 0
    assert way.total_pss == way.workers_pss + way.master_pss
    assert way.total_pss <= way.peak_pss
    assert 0 < way.first_task_s <= way.last_first_task_s
    assert len([sample for sample in way.samples if sample.ready == 2]) >= 2
    assert all(process.uss <= process.pss for process in way.processes)


def test_only_the_ways_that_are_asked_for(library: Path, mark: str) -> None:
    """They come in the order of the table; without prealloc nothing is compared with it."""
    found = measured(library, ways=["fork", "whole"])
    assert [way.way for way in found.ways] == ["whole", "fork"]
    assert [way.times_prealloc for way in found.ways] == [None, None]


def test_a_way_that_fails_stops_no_other(library: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says why in its row, and the exit code is 1; nothing of it is left."""
    monkeypatch.setitem(WAYS, "fork", Way("fork", "fork", "no_such_module:main", True))
    found = measured(library, ways=["fork", "prealloc"])
    assert [way.status for way in found.ways] == ["failed", "measured"]
    assert "no_such_module" in (found.ways[0].note or "")
    assert found.exit_code == 1


def test_too_little_memory_for_all_is_scaled_and_for_none_left_out(library: Path, mark: str) -> None:
    """Where two of three fit, two run and the row says so; where not even one copy fits, nothing is started."""
    free = [10**12, 0]  # for the trial, then for the way

    def available() -> int:
        return free.pop(0)

    whole = measured(library, ways=["whole"], available=available).ways[0]
    assert whole.status == "left_out"
    assert "not even one worker" in (whole.note or "")
    none = measured(library, ways=["whole", "fork"], available=lambda: 1000)
    assert [way.status for way in none.ways] == ["left_out"] * 2
    two = bytes_needed(WAYS["prealloc"], 2, copy_bytes=0, file_bytes=library.stat().st_size, share=5 / 40)
    way = measured(library, workers=3, ways=["prealloc"], available=lambda: two).ways[0]
    assert way.status == "scaled"
    assert (way.note or "").startswith("2 of 3 started, scaled")
    assert way.started == len(way.processes) == 2
    assert way.workers_pss == int(sum(each.pss for each in way.processes) * 1.5)


@pytest.mark.parametrize("way", WAYS.values(), ids=lambda way: way.name)
def test_what_fits_is_within_what_is_free(way: Way) -> None:
    """The workers that fit need no more than there is, one more would; and never are there more than asked for."""
    sizes = {"copy_bytes": 130_000_000, "file_bytes": 60_000_000, "share": 0.03}
    for available in (0, 10**8, 10**9, 3 * 10**9, 10**11):
        fit = workers_that_fit(way, 25, available, **sizes)
        assert 0 <= fit <= 25
        if fit:
            assert bytes_needed(way, fit, **sizes) <= available + 1
        if fit < 25:
            assert bytes_needed(way, fit + 1, **sizes) > available - 25


def test_what_json_cannot_read_is_left_out(tmp_path: Path, mark: str, type_: Type) -> None:
    """The ways that load with json say why they cannot, the others are measured."""
    assert type_("library", "sample", "tasks.jsonl.zst", "--tasks", "12", "--workflow-bytes", "2000").code == 0
    found = measured(tmp_path / "tasks.jsonl.zst", ways=["whole", "fork", "prealloc"])
    assert [way.status for way in found.ways] == ["left_out", "left_out", "measured"]
    assert all("zstd" in (way.note or "") for way in found.ways[:2])


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz"])
def test_libraries_load_as_people_load_them(type_: Type, tmp_path: Path, name: str) -> None:
    """json.load for documents, line by line for JSON lines, either unpacked first."""
    assert type_("library", "sample", name, "--tasks", "7", "--workflow-bytes", "2000").code == 0
    form = form_of(str(tmp_path / name))
    assert form.name == (LINES if "jsonl" in name else WHOLE)
    tasks = load_tasks(str(tmp_path / name), form.name)
    assert len(tasks) == 7
    assert all("workflow" in task for task in tasks)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv.bz2", "t.yaml", "t.yml.xz", "t.toml"])
def test_other_texts_load_as_people_load_them(tmp_path: Path, name: str) -> None:
    """Tables, YAML and TOML by the module that reads them, packed or not: the tasks are those of the JSON."""
    text = {
        "c": "id,n\na,1\nb,2\n",
        "t": "id\tn\na\t1\nb\t2\n",
        "y": "tasks:\n- {id: a, n: '1'}\n- {id: b, n: '2'}\n",
        "o": "[[tasks]]\nid = 'a'\nn = '1'\n[[tasks]]\nid = 'b'\nn = '2'\n",
    }["o" if "toml" in name else name[2]]
    packed = {".bz2": bz2.compress, ".xz": lzma.compress}.get(Path(name).suffix, bytes)
    path = tmp_path / name
    path.write_bytes(packed(text.encode()))
    assert load_tasks(str(path), form_of(str(path)).name) == [{"id": "a", "n": "1"}, {"id": "b", "n": "2"}]


def test_the_last_ending_tells_the_format(tmp_path: Path) -> None:
    """An ending in the middle of a name is a part of the name."""
    path = tmp_path / "t.csv.json"
    path.write_text('{"tasks": [{"id": "a"}]}')
    assert form_of(str(path)).name == WHOLE


def test_lines_are_told_by_content_too(tmp_path: Path) -> None:
    """A file of one object a line is JSON lines under any name; a document on one line is none."""
    lines, one = tmp_path / "lines.json", tmp_path / "one.json"
    lines.write_text('{"id": "a"}\n\n{"id": "b"}\n')
    one.write_text('{"tasks": [{"id": "a"}]}\n')
    assert form_of(str(lines)).name == LINES
    assert load_tasks(str(lines), LINES) == [{"id": "a"}, {"id": "b"}]
    assert form_of(str(one)).name == WHOLE
    assert load_tasks(str(one), WHOLE) == [{"id": "a"}]


def test_json_is_all_that_json_prints(type_: Type, library: Path, mark: str) -> None:
    """--json prints one JSON object; the files hold the same figures and a picture."""
    words = ("--workers", "2", "-n", "2", "--seconds", "0.1", "--ways", "fork,prealloc")
    done = type_("memory", "tasks.json", *words, "--json", "--json-file", "m.json", "--svg", "m.svg")
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert [way["way"] for way in printed["ways"]] == ["fork", "prealloc"]
    assert json.loads((library.parent / "m.json").read_text()) == printed
    assert (library.parent / "m.svg").read_text().startswith("<svg")
    again = ("--workers", "1", "-n", "1", "--seconds", "0.1", "--ways", "fork", "--json-file", "m.json", "--svg")
    assert type_("memory", "tasks.json", *again, "m.svg").code == 0
    (library.parent / "mine.svg").write_text("<svg>a drawing of mine</svg>")
    refused = type_("memory", "tasks.json", *again, "mine.svg")
    assert (refused.code, "it exists and holds something else" in refused.err) == (2, True)
    assert "mine" in (library.parent / "mine.svg").read_text()
    (library.parent / "mine.svg").unlink()


def test_every_mistake_is_told(type_: Type, library: Path, mark: str) -> None:
    """Bad options are told together, with the exit code 2, and nothing is started or written."""
    words = ("--workers", "0", "-n", "41", "--ways", "fork,magic", "--seconds", "-1", "--seed", "-1")
    done = type_("memory", "tasks.json", *words, "--svg", "nowhere/m.svg", "--json-file", "tasks.json", "--json")
    assert done.code == 2
    told = json.loads(done.out)["mistakes"]
    assert sorted(each["where"].split()[0] for each in told) == sorted(
        ["--workers", "--num-instances", "--ways", "--seconds", "--seed", "--svg", "--json-file"]
    )
    assert any("give 40 or less" in each["hint"] for each in told)
    assert type_("memory", "nothing.json").code == 2
    assert type_("memory", "t_{difficulty}.json").code == 2


@pytest.mark.parametrize(
    ("way", "number"),
    [
        ("fork", signal.SIGINT),
        ("whole", signal.SIGTERM),
        ("prealloc", signal.SIGKILL),
        in_laws("prealloc", signal.SIGINT),
        *(in_laws(way, signal.SIGKILL) for way in ("whole", "fork", "pool-fork")),
    ],
)
def test_a_signal_leaves_nothing(library: Path, mark: str, way: str, number: signal.Signals) -> None:
    """Stopped in the middle: 128 + signal, no process and (but for SIGKILL, which nobody sees) no file is left."""
    words = ["memory", str(library), "--workers", "2", "-n", "5", "--seconds", "60", "--ways", way]
    with tempfile.TemporaryFile() as errors:
        command = zygote().start(words, Path.cwd(), command_environment({}), errors)
        try:
            wait_until(lambda: holding(mark) >= 2)
            command.send_signal(number)
            command.wait(30)
        finally:
            command.kill()
            command.wait()
            assert command.stdout is not None
            command.stdout.close()
        errors.seek(0)
        assert b"Traceback" not in errors.read()
    if number == signal.SIGKILL:
        wait_until(lambda: not marked(mark))
        for folder in library.parent.glob("prealloc-memory-*"):
            folder.rename(library.parent / f"left-{folder.name}")
    else:
        assert command.returncode == 128 + number


def holding(value: str) -> int:
    """How many workers have their tasks (the trial's one is not enough)."""
    told = [path.read_text().count("ready") for path in Path(value).glob("prealloc-memory-*/marks")]
    return max(told, default=0)


def wait_until(done: object, most_s: float = 60.0) -> None:
    until = time.monotonic() + most_s
    while not done():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_worker_that_dies_fails_its_way(library: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A way that loses a worker has no figures: a sum over those that are left would be wrong."""
    killed = []

    def kill_one(title: str, reached: object) -> None:
        if not killed and holding(mark) >= 2:
            line = next(iter(Path(mark).glob("prealloc-memory-*/marks"))).read_text().split()
            killed.append(int(line[0]))
            os.kill(killed[0], signal.SIGKILL)

    found = compare_memory(library, workers=2, num_instances=5, seconds=5, ways=["fork"], tell=kill_one)
    assert killed
    assert found.ways[0].status == "failed"
    assert "signal 9" in (found.ways[0].note or "")


def figures() -> Comparison:
    """Fixed figures with everything in them: measured, scaled, left out, failed."""

    def way(name: str, status: Status = "measured", note: str | None = None, **more: object) -> WayFigures:
        return WayFigures(way=name, title=WAYS[name].title, status=status, note=note, **more)  # type: ignore[arg-type]

    def memory(workers: int, master: int, each: int, growth: int, times: float) -> dict[str, object]:
        total = workers + master
        found = {"workers_pss": workers, "workers_uss": workers * 9 // 10, "worker_pss": each, "master_pss": master}
        return {**found, "total_pss": total, "peak_pss": total * 2, "growth_pss": growth, "times_prealloc": times}

    scaled = "8 of 25 started, scaled (memory is short); times are of the 8"
    return Comparison(
        library="/data/tasks_easy_with_workflows.json",
        library_bytes=60_664_307,
        library_tasks=630,
        workers=25,
        num_instances=20,
        seconds=3.0,
        seed=0,
        strategy="disjoint",
        machine={"cores": "2", "memory_bytes": "25000000000", "system": "Linux 6.18", "python": "CPython 3.11.7"},
        ways=(
            way(
                "whole",
                "scaled",
                scaled,
                **memory(4_422_000_000, 6_400_000, 177_000_000, 0, 19.2),
                first_task_s=9.4,
                last_first_task_s=21.25,
            ),
            way(
                "fork",
                **memory(259_000_000, 7_400_000, 10_360_000, 52_000_000, 1.2),
                first_task_s=1.2,
                last_first_task_s=1.9,
            ),
            way("pool", "failed", "failed: a worker was killed by signal 9"),
            way("pool-fork", "left_out", "left out: not even one worker fits into the 0.0 GB of memory that are free"),
            way(
                "prealloc",
                **memory(144_000_000, 87_000_000, 5_760_000, 100_000, 1.0),
                first_task_s=0.09,
                last_first_task_s=1.6,
                library_opens=0,
            ),
        ),
    )


@pytest.mark.parametrize("width", [80, 200])
def test_screens(width: int) -> None:
    """The page looks exactly so, and no line but those for copying is wider than the terminal."""
    text = render_memory(figures()).text(width)
    assert max(map(len, text.splitlines())) <= max(width, 90)
    check(f"memory-{width}", text)


def test_a_terminal_without_unicode() -> None:
    """Where the encoding is ASCII, bars are ASCII too, and nothing is raised."""
    raw = io.BytesIO()
    for force in (True, False):
        console = Console(file=io.TextIOWrapper(raw, "ascii"), force_terminal=force, width=100)
        render_memory(figures()).print(console)
        console.file.flush()
        console.file.detach()  # type: ignore[attr-defined]
    assert b"====" in raw.getvalue()


def test_foreign_text_is_made_visible() -> None:
    """A library's path and a worker's last words may hold anything: the terminal gets escapes."""
    way = WayFigures(way="whole", title="whole", status="failed", note="failed: \x1b[31m")
    found = msgspec.structs.replace(figures(), library="/a\x1b[2J\n", ways=(way,))
    assert all(line.isprintable() for line in render_memory(found).text().splitlines())


def test_the_processes_of_a_way_load_the_standard_library_alone() -> None:
    """Whatever else they loaded would count as what their tasks take."""
    code = (
        "before = set(sys.modules); import prealloc.memory.way_fork, prealloc.memory.way_whole\n"
        "print(*{name.partition('.')[0] for name in sys.modules.keys() - before} - sys.stdlib_module_names)"
    )
    assert subprocess.check_output(fresh_interpreter(code), text=True).split() == ["prealloc"]


def check(name: str, text: str) -> None:
    path = SCREENS / f"{name}.txt"
    if os.environ.get("PREALLOC_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_ways_are_named_once() -> None:
    """The table's keys are the names of its ways, and the environment's mark is not another's."""
    assert all(name == way.name for name, way in WAYS.items())
    assert ways_module.PREALLOC.name in WAYS
    assert FOLDER != MARK
