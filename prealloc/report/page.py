"""A page: lines of text made for a width, shown with colours on a terminal and bare off it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

_ASCII = str.maketrans("…●◐↻·✓━─≤", "~*o^.+=-<")
_TO_PASTE = re.compile(
    r"(?<!\S)(?:python3 -[cm] |iconv -f |(?:z|bz|xz|zstd)cat |cat |tail |mv |mkdir |7z x |find \S+ -).*|"
    r"`[^`]+`|pip install '[^']+'|(?<!\S)prealloc (?:plan|show|verify|diff|run|resume|status|results|debug|doctor|ctl|"
    r"memory|size|compare|report|export|rescore|host|experiment|library|config)(?= )(?! cannot)(?:(?!, )[^;`])*"
)
_BLANK = "\ue000"
"""Stands for a space at which no line may end."""


def svg_of(page: Page, width: int, title: str, id: str) -> str:
    """The page as an SVG picture, so many characters wide."""
    # It records what it prints, so it has to print somewhere.
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(page)
    return console.export_svg(title=title, unique_id=id)


class Page:
    """`build(width)` makes the lines; a width of None is all the place there is (a file, a pipe)."""

    def __init__(self, build: Callable[[int | None], Sequence[Text]]) -> None:
        self._build = build

    def lines(self, width: int | None) -> list[Text]:
        """The lines, none wider than `width` but those that must stay `whole`."""
        return [each for line in self._build(width) for each in _within(line, width)]

    def text(self, width: int | None = None) -> str:
        """The page without colours. Ends with a newline unless it is empty."""
        return "".join(line.plain.rstrip() + "\n" for line in self.lines(width))

    def print(self, console: Console | None = None) -> None:
        """Shows it, by default on stdout: in colours and fitted on a terminal, as plain text of any width elsewhere."""
        console = console if console is not None else Console()
        if console.is_terminal:
            # Soft: what is whole is broken by the terminal, which knows to copy it in one piece.
            console.print(self, soft_wrap=True)
        else:
            text = self.text()
            # Not console.print: it would wrap the lines to a width that a file does not have.
            console.file.write(plain_for(console, text))
            console.file.flush()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines(options.max_width):
            yield to_ascii(line) if options.ascii_only else line


def plain_for(console: Console, text: str) -> str:
    """The text in what the console's encoding can say."""
    try:
        text.encode(console.encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(console.encoding, "replace").decode(console.encoding)
    return text


def to_ascii(line: Text) -> Text:
    """The same line, character by character, for terminals that know no others."""
    plain = line.copy()
    plain.plain = line.plain.translate(_ASCII).encode("ascii", "replace").decode()
    return plain


def whole(line: Text) -> Text:
    """The same line, never cut: commands, paths and ids are for copying."""
    line.overflow = "ignore"
    return line


def prose(text: str, style: str = "") -> Text:
    """A sentence: broken between words where it does not fit."""
    return Text(text, style, overflow="fold")


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most so many columns, broken between words; at least one line.

    Paths and commands are for copying: they are never broken, so one that is too long makes a longer line.
    """
    kept = _TO_PASTE.sub(lambda found: found[0].replace(" ", _BLANK), text)
    lines = [""]
    for word in re.findall(r"\s*\S+", kept):
        if lines[-1] and cell_len(lines[-1] + word) > width:
            lines.append(word.lstrip())
        else:
            lines[-1] += word
    return [line.replace(_BLANK, " ") for line in lines]


def beside(label: Text, pieces: Sequence[str], style: str | Style = "") -> list[Text]:
    """The pieces below each other, the first one beside its label."""
    blank = Text(" " * label.cell_len)
    return [whole(Text.assemble(blank if n else label, (piece, style))) for n, piece in enumerate(pieces)]


class Fact(Text):
    """A line of what is known: its name, and behind it what is to be said. Where that is long, it goes on below."""

    def __init__(self, name: str, said: Text, width: int) -> None:
        super().__init__()
        self.append(f"{name:<{width}}", "dim").append_text(said)
        self.said = said
        self.indent = width

    def broken(self, width: int) -> list[Text]:
        """In lines of at most so many columns."""
        pieces = wrapped(self.said.plain, max(1, width - self.indent))
        return beside(Text(self.plain[: self.indent], "dim"), pieces, self.said.style)


def fact(name: str, text: Text | str, width: int) -> Text:
    """A line of what is known: its name in `width` characters, and behind it what is to be said."""
    return Fact(name, text if isinstance(text, Text) else Text(text), width)


def heading(text: str) -> Text:
    """A line that names what follows."""
    return Text(text, style="bold")


def _within(line: Text, width: int | None) -> list[Text]:
    line.no_wrap = True
    if line.overflow == "ignore" or width is None or cell_len(line.plain) <= width:
        return [line]
    if isinstance(line, Fact):
        return line.broken(width)
    if line.overflow == "fold":
        return [Text(piece, line.style, no_wrap=True) for piece in wrapped(line.plain, width)]
    line.overflow = "ellipsis"
    line.truncate(width, overflow="ellipsis")
    return [line]
