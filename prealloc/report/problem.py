"""How an error is shown: what is wrong, where, how to fix it. No traceback: those are for bugs."""

from __future__ import annotations

from rich.text import Text

from prealloc.errors import OptionsError, PreallocError
from prealloc.report.page import Page, beside, wrapped
from prealloc.report.visible import lines as visible_lines

_LABEL = 7


def render_error(error: PreallocError) -> Page:
    """The error as a page. `print(Console(stderr=True))` shows it in colours on a terminal, else as text."""
    if isinstance(error, OptionsError):
        return Page(lambda width: _mistakes(error, width))
    return Page(lambda width: _one(error, width))


def _one(error: PreallocError, width: int | None) -> list[Text]:
    lines = _labelled("error", "bold red", error.problem, width)
    if error.where:
        lines += _labelled("where", "dim", error.where, width)
    if error.hint:
        lines += _labelled("hint", "green", error.hint, width)
    return lines


def _mistakes(error: OptionsError, width: int | None) -> list[Text]:
    if len(error.mistakes) == 1:
        (mistake,) = error.mistakes
        return [
            *_labelled("error", "bold red", f"{mistake.where}: {mistake.problem}", width),
            *_labelled("hint", "green", mistake.hint, width),
        ]
    lines = _labelled("error", "bold red", f"{len(error.mistakes)} mistakes", width)
    for mistake in error.mistakes:
        lines.append(Text())
        lines += _labelled("", "", f"{mistake.where}: {mistake.problem}", width)
        lines += _labelled("hint", "green", mistake.hint, width)
    return lines


def _labelled(label: str, style: str, text: str, width: int | None) -> list[Text]:
    """The text beside its label, wrapped to the width under its own start."""
    told = [
        piece
        for line in visible_lines(text)
        for piece in (wrapped(line, width - _LABEL) if width is not None and width > 3 * _LABEL else [line])
    ]
    return beside(Text(f"{label:<{_LABEL}}", style), told)
