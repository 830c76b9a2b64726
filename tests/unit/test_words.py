"""Words of others in our messages: short, on one line, printable."""

from __future__ import annotations

import subprocess
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from prealloc.model.words import brief, quoted, shown

ANY_TEXT = st.text(st.characters())  # with surrogates, which names of files have
LONG = ANY_TEXT.map(lambda text: text * 200)


@examples(100)
@given(said=st.one_of(ANY_TEXT, LONG, st.recursive(ANY_TEXT, st.lists)))
def test_what_others_say_prints_on_one_short_line(said: Any) -> None:
    """Law: whatever a parser says or a value is, its words in a message print, and are few."""
    for words in (brief(said), shown(said)):
        assert words == "" or words.isprintable()
        assert len(words) <= 4_000


def test_a_character_that_does_not_print_is_told_by_its_number() -> None:
    """Law: a name of a field that differs from ours by a control character is not shown as ours."""
    assert brief("unknown field `\x7fasks`") == r"unknown field `\x7fasks`"
    assert brief("é and\n  \udc80") == r"é and \udc80"


@examples(40)
@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_quoted_name_is_one_word_of_a_shell(name: str) -> None:
    """Law: a shell makes of it the name, and no option."""
    said = subprocess.run(["bash", "-c", f"printf %s {quoted(name)}"], check=True, capture_output=True).stdout.decode()
    assert said == (f"./{name}" if name.startswith("-") else name)
    assert quoted(name).isprintable()
