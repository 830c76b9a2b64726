"""The docs' examples run and show what the page says: console commands in order, Python blocks in fresh processes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```(console|python|toml)\n(.*?)```", re.S)
SHIPPED: dict[str, list[str | None]] = {
    "README.md": ["my_agent.py"],
    "experiments.md": ["experiment.toml"],
    "generating.md": ["my_generator.py"],
    "runner.md": [None, "my_runner.py"],
}
"""Blocks that a page tells the reader to save under a name, in their order; None: one to run."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of each fenced block, in order."""
    return BLOCK.findall(page.read_text())


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_every_example_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """What a reader types works, from top to bottom, and what it prints is worth looking at."""
    to_save = list(SHIPPED.get(page.name, []))
    exported: dict[str, str] = {}
    for language, text in blocks(page):
        if language != "console" and to_save and (name := to_save.pop(0)) is not None:
            (tmp_path / name).write_text(text)
            continue
        if language == "python":
            printed = _run([sys.executable, "-c", text], tmp_path)
            assert ".rate" not in text or _telling(map(float, re.findall(r"\b[01]\.\d+", printed))), printed
            continue
        for line in text.splitlines():
            words = shlex.split(line)[1:]
            if words[0] == "export":
                exported |= dict(word.split("=") for word in words[1:])
                continue
            assert line.startswith("$ prealloc "), line
            _looks_right(words[1:], _run([sys.executable, "-m", "prealloc", *words[1:]], tmp_path, exported))


def _looks_right(words: list[str], printed: str) -> None:
    """A run is whole, a resume after it has nothing to do, and rates are no 0% or 100% all over."""
    if words[0] == "run":
        assert "library opens by workers: " in printed
        assert "exit code  0: all planned units are ok" in printed
    elif words[0] == "status":
        (done, units) = re.findall(r"done: (\d+) of (\d+) units", printed)[0]
        assert done == units
    elif words[0] == "resume":
        assert "nothing is left to run" in printed
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


def test_the_outside_runner_takes_one_manifest(tmp_path: Path) -> None:
    """examples/outside_runner.py: one file in, tasks by type out; a missing one is exit code 2."""
    sample = ["library", "sample", "tasks.json", "--tasks", "63", "--workflow-bytes", "1000"]
    _run([sys.executable, "-m", "prealloc", *sample], tmp_path)
    _run([sys.executable, "-m", "prealloc", "plan", "tasks.json", "--stratify", "--out", "plan"], tmp_path)
    runner = str(ROOT / "examples" / "outside_runner.py")
    assert "data_pipeline: " in _run([sys.executable, runner, "plan/shards/shard-00.json"], tmp_path)
    refused = subprocess.run([sys.executable, runner, "nothing.json"], cwd=tmp_path, capture_output=True, check=False)
    assert refused.returncode == 2


def test_the_example_agent_runs(tmp_path: Path) -> None:
    """examples/my_agent.py is what its docstring says."""
    prealloc = [sys.executable, "-m", "prealloc"]
    _run([*prealloc, "library", "sample", "tasks.json", "--tasks", "21", "--workflow-bytes", "30000"], tmp_path)
    _run([*prealloc, "plan", "tasks.json", "-n", "20", "--out", "plan"], tmp_path)
    (tmp_path / "my_agent.py").write_text((ROOT / "examples" / "my_agent.py").read_text())
    _run([*prealloc, "run", "plan", "--worker", "my_agent:solve", "--out", "run"], tmp_path)
    _looks_right(["results"], _run([*prealloc, "results", "run"], tmp_path))


def test_the_example_runners_run(tmp_path: Path) -> None:
    """examples/manifest_runner.py behind --command, and examples/ultra_parallel_runner.py over the ready lanes."""
    prealloc = [sys.executable, "-m", "prealloc"]
    for difficulty in ("easy", "hard"):
        sample = ["library", "sample", f"tasks_{difficulty}.json", "--tasks", "63", "--workflow-bytes", "1000"]
        _run([*prealloc, *sample], tmp_path)
    _run([*prealloc, "plan", "tasks_easy.json", "--shards", "2", "-n", "15", "--out", "plan"], tmp_path)
    command = f"python {ROOT / 'examples' / 'manifest_runner.py'} --manifest {{manifest}}"
    _run([*prealloc, "run", "plan", "--command", command, "--out", "run"], tmp_path)
    _looks_right(["results"], _run([*prealloc, "results", "run"], tmp_path))
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
    """A relative link names a file that is there."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"


def _run(command: list[str], folder: Path, exported: Mapping[str, str] = MappingProxyType({})) -> str:
    # As in an activated environment: `python` is this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **exported}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_reference_is_made_from_the_declarations() -> None:
    """An option that is declared stands in docs/reference.md, as it is declared: `make reference` writes it."""
    assert reference.PAGE.read_text() == reference.page()
