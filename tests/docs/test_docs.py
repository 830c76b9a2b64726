"""The docs' examples run: console commands in order, Python blocks in fresh processes, one folder per page."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

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
    """What a reader types works, from top to bottom; the last resume and results included."""
    to_save = list(SHIPPED.get(page.name, []))
    exported: dict[str, str] = {}
    for language, text in blocks(page):
        if language != "console" and to_save and (name := to_save.pop(0)) is not None:
            (tmp_path / name).write_text(text)
            continue
        if language == "python":
            _run([sys.executable, "-c", text], tmp_path)
            continue
        for line in text.splitlines():
            words = shlex.split(line)[1:]
            if words[0] == "export":
                exported |= dict(word.split("=") for word in words[1:])
                continue
            assert line.startswith("$ prealloc "), line
            _run([sys.executable, "-m", "prealloc", *words[1:]], tmp_path, exported)


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
    sample = ["library", "sample", "tasks.json", "--tasks", "21", "--workflow-bytes", "1000"]
    _run([sys.executable, "-m", "prealloc", *sample], tmp_path)
    _run([sys.executable, "-m", "prealloc", "plan", "tasks.json", "-n", "5", "--out", "plan"], tmp_path)
    (tmp_path / "my_agent.py").write_text((ROOT / "examples" / "my_agent.py").read_text())
    _run([sys.executable, "-m", "prealloc", "run", "plan", "--worker", "my_agent:solve", "--out", "run"], tmp_path)


def test_the_example_runners_run(tmp_path: Path) -> None:
    """examples/manifest_runner.py behind --command, and examples/ultra_parallel_runner.py over the ready lanes."""
    prealloc = [sys.executable, "-m", "prealloc"]
    for difficulty in ("easy", "hard"):
        sample = ["library", "sample", f"tasks_{difficulty}.json", "--tasks", "63", "--workflow-bytes", "1000"]
        _run([*prealloc, *sample], tmp_path)
    _run([*prealloc, "plan", "tasks_easy.json", "--shards", "2", "-n", "5", "--out", "plan"], tmp_path)
    command = f"python {ROOT / 'examples' / 'manifest_runner.py'} --manifest {{manifest}}"
    _run([*prealloc, "run", "plan", "--command", command, "--out", "run"], tmp_path)
    words = ["tasks_{difficulty}.json", "--model", "gpt-4o-mini,o3", "--difficulty", "easy,hard", "--silent"]
    runner = [sys.executable, str(ROOT / "examples" / "ultra_parallel_runner.py"), *words, "--num-instances", "4"]
    keys = dict.fromkeys(re.findall(r'key_env = "(\w+)"', (ROOT / "config" / "ultra.toml").read_text()), "any")
    assert "by tool_success_rate" in _run([*runner, "--result-suffix", "_1"], tmp_path, keys)
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
