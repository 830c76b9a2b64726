"""The worst phrases stay out: words that a reader has to read twice. Each has the plain one beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
READ = ("README.md", "CONTRIBUTING.md", "docs", "examples", "config", "prealloc")


class Phrase(NamedTuple):
    """A phrase to avoid."""

    pattern: str
    bad: str
    plain: str


PHRASES = [
    Phrase(
        r"(?<!there )\b(is|are|was|were|be) no (?!longer\b|more\b|less\b|better\b|worse\b)",
        "it is no run folder",
        "it is not a run folder; there is no such folder; it is no longer there",
    ),
    Phrase(r"\b(leave|leaves|leaving|left) ((\S+|--\S+ \S+) )?away\b", "leave --by away", "omit --by"),
    Phrase(r"\bwho(ever)? (has|have) none\b", "who has none never loads it", "optional"),
    Phrase(r"(^|[.;:] )Who (has|needs|plans|can|wants|runs)\b", "x. Who needs it pays", "x. If you need it, you pay"),
    Phrase(r"\b(tell|tells|telling|told) of\b", "what it tells of", "what it reports"),
    Phrase(r"(?<![.\w])(mend|mends|mended|mending)\b(?!:)", "the key is mended", "the key is fixed"),
    Phrase(r"\b(bear|bears|borne)\b", "the server bears ten", "the server allows ten"),
    Phrase(r"\b(which|that|what) (is|are|was) none\b", "an answer that is none", "what is not an answer"),
    Phrase(r"\b(is|are|was|were) had\b", "how fast tasks are had", "how fast tasks are read"),
    Phrase(r"\bto be seen in\b", "what is to be seen in them", "what they show"),
    Phrase(r"\bmore seldom\b", "it is sampled more seldom", "it is sampled less often"),
    Phrase(r"\bchooses nothing\b", "difficulty 'x' chooses nothing", "no library has difficulty 'x'"),
    Phrase(r"\bcan have no\b", "standard input can have no index", "standard input cannot be indexed"),
    Phrase(r"\bsome task's\b|\ba task's\.\B", "a program of some task's", "a program that a task started"),
    Phrase(r"\bit is told\b|\bis told by\b", "a type is told by plan", "plan names the type"),
    Phrase(r"\bfor so many\b", "the shares for so many shards", "the shares for this many shards"),
]


def files() -> list[Path]:
    """The texts that are read."""
    found = [path for name in READ for path in (ROOT / name, *(ROOT / name).rglob("*")) if path.is_file()]
    return [path for path in found if path.suffix in {".md", ".py", ".toml"}]


def phrases_in(text: str) -> list[str]:
    """Each phrase that the text has, with what is around it. Line breaks and comment signs do not hide one."""
    flat = " ".join(line.strip().lstrip("#").strip() for line in text.splitlines())
    return [
        f"…{flat[max(0, found.start() - 30) : found.end() + 30]}… — rather: {phrase.plain}"
        for phrase in PHRASES
        for found in re.finditer(phrase.pattern, flat)
    ]


def test_no_text_has_the_worst_phrases() -> None:
    """Short sentences, subject first, in words that engineers use."""
    found = {str(path.relative_to(ROOT)): phrases_in(path.read_text()) for path in files()}
    assert {name: phrases for name, phrases in found.items() if phrases} == {}


def test_each_phrase_is_found_and_its_plain_one_is_not() -> None:
    """The list does what it says, also where a line ends within the phrase."""
    for phrase in PHRASES:
        assert phrases_in(phrase.bad.replace(" ", "\n# ")), phrase
        assert phrases_in(phrase.plain) == []
