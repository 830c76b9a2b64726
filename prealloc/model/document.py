"""The root of everything that is written to JSON files."""

from __future__ import annotations

import msgspec


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value that is written to JSON files as it stands, and read back strictly."""
