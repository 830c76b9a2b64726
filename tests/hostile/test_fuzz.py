"""Row 26: the first mutants of the fuzz, the same in every run. `make fuzz` runs all 10,000, and new ones each time."""

from __future__ import annotations

from pathlib import Path

from fuzz import SLICE, Fuzz


def test_mutated_files_are_taken_for_what_they_say_or_refused(tmp_path: Path) -> None:
    """Law: a value that the file really has, or a typed error; within 1 s and 64 MB, and nothing else touched."""
    tally = Fuzz(tmp_path / "here", seed=0).run(range(SLICE))
    assert not tally.broken, "\n".join(tally.broken)
    endings = {ending for _, ending in tally.counts}
    assert endings == {"refused", "taken"}  # the fuzz has teeth, and leaves something whole
