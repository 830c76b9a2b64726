"""Lets the unit tests import their support code, and types commands for them."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import pytest
import typer.main
from command_line import Done, Type

from prealloc.cli import main

sys.path.insert(0, str(Path(__file__).parent))

_tree = functools.cache(typer.main.get_command)
"""Built once: to build the tree of all commands takes longer than most of them do."""


@pytest.fixture
def type_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Type:
    """Runs `prealloc WORDS` in an empty folder. Whatever it says, options are spelled as they are typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("typer.main.get_command", _tree)

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["prealloc", *words])
        code = main()
        out, err = capsys.readouterr()
        assert "‹" not in out + err
        return Done(code, out, err)

    return run


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Twelve tasks of two types: `tasks.json` in the folder of the commands."""
    path = tmp_path / "tasks.json"
    tasks = [{"id": f"t{i}", "type": "ab"[i % 2], "workflow": {"optimal_sequence": ["x"]}, "d": i} for i in range(12)]
    path.write_text(json.dumps({"tasks": tasks}))
    return path
