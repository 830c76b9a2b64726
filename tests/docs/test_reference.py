"""docs/reference is made from the declarations, and an option is declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import reference
import typer
from typer.testing import CliRunner

from prealloc import settings
from prealloc.cli.command import Command
from prealloc.cli.options import takes
from prealloc.model import policy
from prealloc.model.options import Option, Seconds
from prealloc.model.policy import RunPolicy


class Added(RunPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An option that was added in one place: here."""

    paint_s: Annotated[float, Option(Seconds(), "Time for the paint to dry.", "paint", group="Time")] = 5400.0


def test_the_reference_is_what_the_declarations_say() -> None:
    """Commands, options and public names stand in docs/reference and in Python's signatures as they are declared."""
    for path, text in reference.pages().items():
        assert path.read_text() == text, f"{path.name} is not what `make reference` writes"


def test_every_public_name_and_command_is_in_the_reference() -> None:
    """No command and no public name is forgotten."""
    import prealloc
    from prealloc import testing

    pages = {path.name: text for path, text in reference.pages().items()}
    for name in (*prealloc.__all__, *testing.__all__):
        assert f"## {name}\n" in pages["python.md"] or f"| `{name}` |" in pages["python.md"], name
    for name in ("plan", "run", "doctor", "library convert", "config schema"):
        assert f"## prealloc {name}\n" in pages["commands.md"]


def test_an_added_option_is_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One field is all: the command line, Python, the config, its schema and the reference follow."""
    about, structs = settings.SECTIONS["run"]
    monkeypatch.setitem(
        settings.SECTIONS, "run", (about, tuple(Added if each is RunPolicy else each for each in structs))
    )
    monkeypatch.setitem(reference.TYPED, "RunOptions", reference.TYPED["RunOptions"]._replace(struct=Added))
    monkeypatch.setattr(policy, "RunPolicy", Added)
    pages = {path.name: text for path, text in reference.pages().items()}
    assert "| `paint_s` | `--paint DURATION` | `paint` | 90m | Time for the paint to dry. |" in pages["config.md"]
    assert "    paint_s: float | str\n" in pages["keywords.py"]
    assert policy.read_run_options({"paint_s": "2h"}) == {"paint_s": 7200.0}
    assert settings.config_schema()["properties"]["run"]["properties"]["paint"]["default"] == 5400.0
    (tmp_path / "a.toml").write_text('[run]\npaint = "3m"\n')
    assert settings.load_config(tmp_path / "a.toml").run == {"paint_s": 180.0}

    @takes(Added)
    def paint(*, given: dict[str, Any]) -> None:
        print(given)

    app = typer.Typer(rich_markup_mode=None)
    app.command(cls=Command)(paint)
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "--paint DURATION Time for the paint to dry. [default: 90m]" in " ".join(shown.split())
    assert "{'paint_s': '2h'}" in CliRunner().invoke(app, ["--paint", "2h"]).output
