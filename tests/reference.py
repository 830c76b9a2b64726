"""`python tests/reference.py`: writes docs/reference.md from the declared options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from prealloc.cli.options import in_flags
from prealloc.model.options import Bytes, Flag, Option, Seconds, spelled
from prealloc.settings import SECTIONS, options_in

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
_HEAD = """# Options

Every option by its three names: in Python (`prealloc.plan`, `prealloc.run`), on the command line, and in a config file.
This page is made from the declarations (`make reference`). Times are seconds, or texts with a unit: 90s, 10m, 2h.
Sizes are
bytes, or texts: 512MB is 512 * 1000**2 bytes, 512MiB 512 * 1024**2. `none` is no limit, where there may be none.
`prealloc COMMAND -h` has the options of one command alone.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for section, (about, _) in SECTIONS.items():
        brackets = f"[[{section}]]" if section == "lanes" else f"[{section}]"
        parts.append(f"## {brackets}\n\n{about}\n\n" + "\n".join(_table(section)) + "\n")
    return "\n".join(parts)


def _table(section: str) -> list[str]:
    rows = ["| Python | command line | config | default | |", "| --- | --- | --- | --- | --- |"]
    on_command_line = section in ("library", "sampling", "run")
    for name, (field, option, default) in options_in(section).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(option.reader, Flag):
            flag += f", --no-{name.replace('_', '-')}"
        if option.short:
            flag = f"-{option.short}, {flag}"
        if option.reader.metavar:
            flag += f" {option.reader.metavar}"
        shown = option.unset or ("" if default in (None, (), {}) else _default(option, default))
        typed = f"`{flag}`" if on_command_line and field != "path" else ""
        cells = (f"`{field}`", typed, f"`{name}`", shown, _plain(option.help))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def _default(option: Option, default: Any) -> str:
    """As one would write it in a config."""
    if isinstance(option.reader, Seconds | Bytes):
        return option.reader.write(default)
    return msgspec.json.encode(default).decode()


def _plain(text: str) -> str:
    return spelled(in_flags(text), lambda field: field)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE}: {sum(len(options_in(section)) for section in SECTIONS)} options")
