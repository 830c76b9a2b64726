"""How task libraries and slices spell a task's fields."""

ID_SPELLINGS = ("id", "instance_id")
"""Of two that are there, the first that holds a name counts."""
TYPE_SPELLINGS = ("task_type", "type")
OTHER_IDS = (
    *("ID", "instanceId", "task_id", "question_id", "problem_id", "sample_id", "example_id", "qid", "uid", "uuid"),
    *("_id", "unique_id", "idx", "key", "name", "task_name"),
)
"""Fields that may be the id in a library with neither of ours, the likeliest first: so, or as `TaskId`, `task-id`."""
OTHER_TYPES = (
    *("taskType", "Type", "category", "domain", "subject", "task_category", "repo"),
    *("question_type", "web_name", "sites", "site", "subset", "level", "difficulty", "language"),
)
ONE_TYPE = "task"
"""The type of all tasks of a library that says none."""
IN_EVERY_SLICE = frozenset({"id", "task_type", "workflow"})
"""A task in a slice has these, however its library spells them. The other spellings are there if they are kept."""
EVERY_FIELD = "all"
"""Named among the fields to keep, it stands for all that a task has. (A field that is called so is one of them.)"""
