"""How task libraries spell a task's fields."""

ID_SPELLINGS = ("id", "instance_id")
"""Of two that are there, the first counts."""
TYPE_SPELLINGS = ("task_type", "type")
