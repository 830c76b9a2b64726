"""How task libraries and slices spell a task's fields."""

ID_SPELLINGS = ("id", "instance_id")
"""Of two that are there, the first counts."""
TYPE_SPELLINGS = ("task_type", "type")
IN_EVERY_SLICE = frozenset({"id", "task_type", "workflow"})
"""A task in a slice has these, however its library spells them. The other spellings are there if they are kept."""
EVERY_FIELD = "all"
"""Named among the fields to keep, it stands for all that a task has. (A field that is called so is one of them.)"""
