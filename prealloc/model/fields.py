"""Where a task library has the id, the type and the workflow of its tasks: as the user says, or by the common names."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, Unpack

from prealloc.errors import Mistake, refuse
from prealloc.model.document import Document
from prealloc.model.keywords import FieldOptions
from prealloc.model.options import OneOf, Option, Text, read_keywords

IdFrom = Literal["content", "position"]

_library = partial(Option, group="Library")
NAME = r'[^"\\\x00-\x1f]+'
"""What an option can name: other keys have several spellings in JSON."""
_NAME = Text("FIELD", NAME, "the name of a field; a.b is b in the object a")


class Fields(Document, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the tasks of a library are, and what names them. None: found among the common names.

    Fields(id_field="task_id", type_field="metadata.category")
    Fields(tasks_field="data.test")
    Fields(id_from="content")
    """

    id_field: Annotated[
        str | None, _library(_NAME, "The field with a task's id; a.b is b in the object a.", unset="the common names")
    ] = None
    type_field: Annotated[str | None, _library(_NAME, "The field with a task's type.", unset="the common names")] = None
    workflow_field: Annotated[str | None, _library(_NAME, "The field with a task's workflow.", unset="workflow")] = None
    tasks_field: Annotated[
        str | None,
        _library(
            Text("FIELD", NAME, "the name of a list; a.b is b in the object a, * any name"),
            "The list of tasks in a document, or an object of tasks by their ids; a.* are all in the object a.",
            unset="tasks, or the only list",
        ),
    ] = None
    id_from: Annotated[
        IdFrom | None,
        _library(
            OneOf(("content", "position")),
            "What names tasks without an id: a digest of the task, or its place in the library.",
        ),
    ] = None

    @classmethod
    def checked(cls, **options: Unpack[FieldOptions]) -> Fields:
        """Raises OptionsError with every mistake."""
        found: list[Mistake] = []
        fields = read_keywords(cls, options, found)
        if options.get("id_field") is not None and options.get("id_from") is not None:
            found.append(Mistake("‹id_field› and ‹id_from›", "both say what a task's id is", "keep one of them"))
        refuse(found)
        return fields


COMMON = Fields()
"""Nothing is said: the common names."""
