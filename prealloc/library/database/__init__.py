"""Libraries in SQLite."""
