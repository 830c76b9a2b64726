"""YAML as plain values. It imports PyYAML, which is optional: import it late."""

from __future__ import annotations

from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

TOO_MUCH = "its anchors make far more of it than it is"

_MOST_MERGED = 1 << 20
_LONGEST_INTEGER = 4300
"""As in `int()`: past it the time grows by the square, also for the integers of YAML in base 60."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # it has no types
    """Plain values: keys, dates and text with an own tag (`!f x`) stay as written; no key is twice, unless merged."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._flat = set[Any]()
        self._may_merge = max(_MOST_MERGED, 4 * len(text))

    def flatten_mapping(self, node: Any) -> None:
        if node in self._flat:
            return
        self._flat.add(node)
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        if len(set(keys)) < len(keys):
            raise ConstructorError(None, None, "a key is there twice", node.start_mark)
        for merged in (value for key, value in node.value if key.tag.endswith(":merge")):
            for mapping in merged.value if isinstance(merged, yaml.SequenceNode) else [merged]:
                if isinstance(mapping, yaml.MappingNode):
                    self.flatten_mapping(mapping)
                    self._may_merge -= len(mapping.value)
                if self._may_merge < 0:  # before any of it is copied
                    raise ConstructorError(None, None, TOO_MUCH, node.start_mark)
        super().flatten_mapping(node)
        for place, (key, value) in enumerate(node.value):
            if isinstance(key.value, str):  # a new node, as the value of another key may be an alias of this one
                node.value[place] = (yaml.ScalarNode("tag:yaml.org,2002:str", key.value), value)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag.startswith("!"):
            return f"{node.tag} {node.value}".rstrip()
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        if tag == "int" and len(node.value) > _LONGEST_INTEGER:
            raise ConstructorError(None, None, "an integer past 64 bits; make it a string", node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError) as error:  # as `!!bool x` gives
            problem = f"this value is not what its tag {tag!r} says"
            raise ConstructorError(None, None, problem, node.start_mark) from error


def documents(text: str) -> list[Any]:
    """The values of the documents that are not empty. Raises ValueError."""
    try:
        return [value for value in yaml.load_all(text, _Loader) if value is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{error.problem or error.context}{place}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"it holds the character U+{error.character:04X}, line {line}") from None
