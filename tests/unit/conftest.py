"""Lets the unit tests import their support code, and types commands for them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from prealloc.cli import main

sys.path.insert(0, str(Path(__file__).parent))

from command_line import Done, Type  # found only by the line above


@pytest.fixture
def type_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Type:
    """Runs `prealloc WORDS` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["prealloc", *words])
        code = main()
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run
