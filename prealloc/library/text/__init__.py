"""JSON libraries: `{"tasks": [...]}`, `[...]` and JSON lines, read whole (`read`) or in one pass (`stream`)."""
