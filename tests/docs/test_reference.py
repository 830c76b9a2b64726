"""docs/reference is made from the declarations, and an option is declared once."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
import reference
import typer
from typer.testing import CliRunner

from prealloc import settings
from prealloc.cli.command import command
from prealloc.cli.options import takes
from prealloc.model.options import Option, Seconds


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """An option that was added in one place: here."""

    paint_s: Annotated[float, Option(Seconds(), "Time for the paint to dry.", "paint", group="Time")] = 5400.0


def test_the_reference_is_what_the_declarations_say() -> None:
    """Commands, options and public names stand in docs/reference as they are declared: `make reference` writes it."""
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


def test_an_added_option_is_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that is declared once is on the command line, in the config's schema, and in the reference."""
    about, structs = settings.SECTIONS["run"]
    monkeypatch.setitem(settings.SECTIONS, "run", (about, (*structs, Added)))
    (page,) = (text for path, text in reference.pages().items() if path.name == "config.md")
    assert "| `paint_s` | `--paint DURATION` | `paint` | 90m | Time for the paint to dry. |" in page
    assert settings.config_schema()["properties"]["run"]["properties"]["paint"]["default"] == 5400.0

    @takes(Added)
    def paint(*, given: dict[str, Any]) -> None:
        print(given)

    app = typer.Typer(rich_markup_mode=None)
    command(app)(paint)
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "--paint DURATION Time for the paint to dry. [default: 90m]" in " ".join(shown.split())
    assert "{'paint_s': '2h'}" in CliRunner().invoke(app, ["--paint", "2h"]).output
