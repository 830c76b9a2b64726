"""What the code was that has run a session."""

from __future__ import annotations

import msgspec


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The worker's repository, the packages that were installed, and where."""

    commit: str | None = None
    """Of the git repository that the worker is in; None: it is in none, or git could not be asked."""
    dirty: bool | None = None
    """Whether tracked files differ from the commit, or the worker's file is not in it; None: not known."""
    packages: str = ""
    """All that were installed, as `name version, name version`."""
    python: str = ""
    host: str = ""

    @property
    def code(self) -> str:
        """The commit in words."""
        if self.commit is None:
            return "in no git repository"
        changed = {True: ", with changes that are not in it", False: "", None: ", perhaps with changes"}
        return f"commit {self.commit}{changed[self.dirty]}"
