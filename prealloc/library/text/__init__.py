"""JSON libraries: `{"tasks": [...]}`, `[...]`, JSON lines and what becomes lines, all read in one pass (`library`)."""
