"""Text of unknown origin on its way to a page: keys are masked, and what does not print is an escape.

Escaping for HTML is not done here: the template does it, `svg` does it, and the script sets text, never markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prealloc.model.secret import masker
from prealloc.report import visible

WINDOW = 64
"""So many times the text that is kept is looked at for keys: one that is cut in half is not known for a key."""


class Say:
    """`variables`: environment variables that hold keys, beside those whose name says it."""

    def __init__(self, variables: Iterable[str] = ()) -> None:
        self._mask: Callable[[str], str] = masker(variables)
        self._known: dict[str, str] = {}

    def text(self, text: str, most: int | None = None) -> str:
        """On one line; of a longer one than `most` its beginning."""
        if most is None and text in self._known:
            return self._known[text]
        said = visible.visible(self._masked(text, most))
        if most is None:
            self._known[text] = said
        return said if most is None or len(said) <= most else f"{said[: most - 1]}…"

    def value(self, thing: Any) -> str:
        """A JSON value: strings bare, anything else as JSON."""
        return self.text(thing if isinstance(thing, str) else visible.value(thing))

    def block(self, text: str, most: int, *, end: bool = False) -> str:
        """Several lines, at most so many characters: the beginning, or the end."""
        said = "\n".join(visible.lines(self._masked(text, most, end=end)))
        if len(said) <= most:
            return said
        return f"…{said[len(said) - most + 1 :]}" if end else f"{said[: most - 1]}…"

    def _masked(self, text: str, most: int | None, *, end: bool = False) -> str:
        if most is None or len(text) <= most * WINDOW:
            return self._mask(text)
        part = text[-most * WINDOW :] if end else text[: most * WINDOW]
        masked = self._mask(part)
        # Half a key may stand where it was cut. There it is only seen if nearly all else was masked.
        if len(masked) > 2 * most:
            return masked
        return masked.partition(" ")[2] if end else masked.rpartition(" ")[0]
