"""The docs' examples run and print what the page shows: the commands in order, Python blocks as programs of their own.

A block whose fence names a file (```python my_agent.py) is saved under that name; other Python blocks are run. A `text`
block behind a command or a Python block is what that prints: each of its lines, in order, with `...` for what differs
from run to run. The pages below docs/howto go on from the folder that docs/tutorial.md leaves.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest
from zygote import PROGRAM, command_environment, run_command, zygote

from examples import in_laws

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIAL = ROOT / "docs" / "tutorial.md"
HOWTO = ROOT / "docs" / "howto"
PREALLOC = [sys.executable, "-m", "prealloc"]
PYTHON = [sys.executable, PROGRAM]
MEASURED = ("memory", "doctor")
"""Commands that look at their own process or machine: fresh interpreters on every page."""
BEGINNER = "tutorial"
"""The folder where every command is a fresh interpreter."""


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    name: str
    """The file that the reader saves it as; empty if the block is to be run."""
    text: str
    shown: str
    """What the page says that it prints; empty if it does not."""


def blocks(page: Path) -> Iterator[Block]:
    """The blocks to save or to run, in order."""
    found = re.findall(r"```([a-z]+)(?: (\S+))?\n(.*?)```", page.read_text(), re.S)
    for at, (language, name, text) in enumerate(found):
        if name or language in ("console", "python"):
            follows = found[at + 1] if at + 1 < len(found) else ("", "", "")
            yield Block(language, name, text, follows[2] if follows[0] == "text" else "")


def run_page(page: Path, folder: Path) -> None:
    """Does what the page tells its reader to do, from top to bottom."""
    exported: dict[str, str] = {}
    for block in blocks(page):
        if block.name:
            (folder / block.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.name).write_text(block.text)
        elif block.language == "python":
            printed = _run([*PYTHON, block.text], folder, exported)
            assert ".rate" not in block.text or _telling(map(float, re.findall(r"\b[01]\.\d+", printed))), printed
            _shows(block.shown, printed)
        else:
            lines = block.text.replace("\\\n", " ").splitlines()
            for line in lines:
                assert line.startswith(("$ prealloc ", "$ export ")), line
                words = shlex.split(line)[1:]
                if words[0] == "export":
                    exported |= dict(word.split("=") for word in words[1:])
                    continue
                shown = block.shown if line == lines[-1] else ""
                printed = _run([*PREALLOC, *words[1:]], folder, exported, code=_code(words[1:], shown))
                _looks_right(words[1:], printed, shown)
                _shows(shown, printed)


def _code(words: list[str], shown: str) -> int:
    """The exit code of a command, by what the page shows of its output."""
    found = re.search(r"^exit code +(\d+)", shown, re.M)
    if words[0] == "diff":
        return int("that differ" in shown)
    if words[0] == "debug":
        return int("status  ok" not in shown)
    return int(found[1]) if found else 2 if shown.startswith("error") else 0


def _shows(shown: str, printed: str) -> None:
    """Each line that the page shows is printed, in this order; spaces do not count, and ... stands for anything."""
    lines = iter(" ".join(line.split()) for line in printed.splitlines())
    for line in filter(None, (" ".join(line.split()) for line in shown.splitlines())):
        pattern = ".*".join(map(re.escape, line.split("...")))
        assert line == "..." or any(re.fullmatch(pattern, each) for each in lines), (
            f"{line}\n-- is not in --\n{printed}"
        )


@pytest.fixture(autouse=True, scope="session")
def libraries() -> None:
    """Many commands of the pages import them."""
    zygote().load("scipy.special", "pyarrow.parquet")


@pytest.fixture(scope="session")
def after_the_tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has done the tutorial."""
    folder = tmp_path_factory.mktemp("after-the-tutorial")
    run_page(TUTORIAL, folder)
    return folder


@pytest.mark.parametrize("fresh", [False, in_laws(True)])
def test_every_example_of_the_tutorial_runs(fresh: bool, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What a beginner types works, and leaves a plan and a run to look at; each command in a fresh interpreter, too."""
    if fresh:
        folder = tmp_path / BEGINNER
        folder.mkdir()
        run_page(TUTORIAL, folder)
    else:
        folder = request.getfixturevalue("after_the_tutorial")
    assert {"plan", "run"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "page",
    [in_laws(page) if page.parent == HOWTO else page for page in PAGES if page != TUTORIAL and any(blocks(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_example_of_a_page_runs(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What a reader types works, from top to bottom, and prints what the page says."""
    if page.parent == HOWTO:
        shutil.copytree(request.getfixturevalue("after_the_tutorial"), tmp_path, dirs_exist_ok=True)
    run_page(page, tmp_path)


def _looks_right(words: list[str], printed: str, shown: str) -> None:
    """A run is whole, a resume after it has nothing to do, and rates are not all 0% or 100%."""
    if shown:
        return
    if words[0] == "run":
        assert "library opens by workers: " in printed
        assert "exit code  0: all planned units are ok" in printed
    elif words[0] == "status":
        (done, units) = re.findall(r"done: (\d+) of (\d+) units", printed)[0]
        assert done == units
    elif words[0] == "resume":
        assert "nothing is left to run" in printed
    elif words[0] == "results" and {"--units", "csv"} <= {*words}:
        assert {row["success"] for row in csv.DictReader(io.StringIO(printed))} == {"true", "false"}
    elif words[0] == "results" and "--units" in words:
        rows = [json.loads(line) for line in printed.splitlines()]
        assert {row["attempt"]["result"]["success"] for row in rows} == {True, False}
    elif words[0] == "results" and "csv" in words:
        assert _telling(float(row["rate"]) for row in csv.DictReader(io.StringIO(printed)))
    elif words[0] == "results":
        titles, *rows = printed.splitlines()
        end = titles.index("success") + len("success")  # the column's right edge
        cells = [row[:end].split()[-1] for row in rows]
        assert _telling(float(cell[:-1]) / 100 for cell in cells if cell.endswith("%")), printed


def _telling(rates: Iterable[float]) -> bool:
    """Whether they tell anything: all are rates, and some agent succeeded now and then."""
    found = list(rates)
    return all(0 <= rate <= 1 for rate in found) and any(0 < rate < 1 for rate in found)


def test_the_outside_runner_takes_one_manifest(after_the_tutorial: Path) -> None:
    """examples/outside_runner.py: one file in, tasks by type out; a missing one is exit code 2."""
    runner = [sys.executable, str(ROOT / "examples" / "outside_runner.py")]
    assert "data_pipeline: " in _run([*runner, "plan/shards/shard-00.json"], after_the_tutorial)
    _run([*runner, "nothing.json"], after_the_tutorial, code=2)


def test_the_example_agent_runs(after_the_tutorial: Path, tmp_path: Path) -> None:
    """examples/my_agent.py is what its docstring says."""
    (tmp_path / "my_agent.py").write_text((ROOT / "examples" / "my_agent.py").read_text())
    plan = str(after_the_tutorial / "plan")
    _run([*PREALLOC, "run", plan, "--worker", "my_agent:solve", "--out", "run"], tmp_path)
    _looks_right(["results"], _run([*PREALLOC, "results", "run"], tmp_path), "")


def test_the_manifest_runner_runs(after_the_tutorial: Path, tmp_path: Path) -> None:
    """examples/manifest_runner.py works behind --command."""
    command = f"python {ROOT / 'examples' / 'manifest_runner.py'} --manifest {{manifest}}"
    _run([*PREALLOC, "run", str(after_the_tutorial / "plan"), "--command", command, "--out", "run"], tmp_path)
    _looks_right(["results"], _run([*PREALLOC, "results", "run"], tmp_path), "")


def test_the_ultra_runner_runs(tmp_path: Path) -> None:
    """examples/ultra_parallel_runner.py runs and compares over the ready lanes; --dry-run runs nothing."""
    for difficulty in ("easy", "hard"):
        sample = ["library", "sample", f"tasks_{difficulty}.json", "--tasks", "63", "--workflow-bytes", "1000"]
        _run([*PREALLOC, *sample], tmp_path)
    ultra = ["plan", "tasks_{difficulty}.json", "--config", str(ROOT / "config" / "ultra.toml"), "--json"]
    matrix = json.loads(_run([*PREALLOC, *ultra], tmp_path))["matrix"]
    assert f"has {len(matrix['cells'])} cells on" in (ROOT / "README.md").read_text()
    assert matrix["paired"]  # "all of them hold the same 20 tasks"
    words = ["tasks_{difficulty}.json", "--model", "gpt-4o-mini,o3", "--difficulty", "easy,hard", "--silent"]
    runner = [sys.executable, str(ROOT / "examples" / "ultra_parallel_runner.py"), *words, "--num-instances", "4"]
    keys = dict.fromkeys(re.findall(r'key_env = "(\w+)"', (ROOT / "config" / "ultra.toml").read_text()), "any")
    shown = _run([*runner, "--result-suffix", "_1"], tmp_path, keys)
    assert "by tool_success_rate" in shown
    assert _telling(float(rate) / 100 for rate in re.findall(r"(\d+\.\d)%", shown))
    dry = _run([*runner, "--result-suffix", "_2", "--dry-run"], tmp_path)
    assert "gpt-4o-mini" in dry
    assert not (tmp_path / "run_2").exists()


def test_links_between_pages_lead_somewhere() -> None:
    """A relative link names a file that is there, and a heading of it where it names one."""
    for page in (*PAGES, ROOT / "CONTRIBUTING.md"):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)", text):
            leads_to = (page.parent / target).resolve() if target else page
            assert leads_to.exists(), f"{page.name} -> {target}"
            assert not anchor or anchor in _anchors(leads_to), f"{page.name} -> {target}#{anchor}"


def test_every_page_is_in_the_index() -> None:
    """docs/README.md names each page of the docs."""
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", index.read_text())}
    assert {page for page in PAGES if page.is_relative_to(index.parent)} - {index} <= listed


def _anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _run(command: list[str], folder: Path, exported: Mapping[str, str] = MappingProxyType({}), *, code: int = 0) -> str:
    # As in an activated environment: `python` is this one.
    more = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]), **exported}
    if command[:3] == PREALLOC and command[3] not in MEASURED and folder.name != BEGINNER:
        done = run_command(command[3:], folder, more)
    elif command[:2] == PYTHON:
        done = run_command(command[1:], folder, more)
    else:
        environment = command_environment(more)
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stderr if code == 2 else done.stdout
