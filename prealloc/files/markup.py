"""YAML and TOML as JSON."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from prealloc.errors import LibraryError
from prealloc.model.json_value import NoJson, check_json
from prealloc.model.words import brief

ENDINGS = (".yaml", ".yml", ".toml")

_MOST = 64 << 20


def json_of(pieces: Iterable[bytes], ending: str, where: str) -> bytes:
    """A text as JSON; the documents of a YAML file that has several as a list. Raises LibraryError."""
    content, name = b"".join(pieces), "TOML" if ending == ".toml" else "YAML"
    try:
        value = _toml(content) if name == "TOML" else _yaml(content, where)
        check_json(value, "task")
    except (ValueError, NoJson, RecursionError) as error:
        problem = f"it is not {name} that JSON can hold: {brief(error)}"
        raise LibraryError(" ".join(problem.split()), where=where, hint="fix the file, or move it away") from None
    return msgspec.json.encode(value)


def _toml(content: bytes) -> Any:
    return json.loads(json.dumps(tomllib.loads(content.decode("utf-8-sig")), default=lambda date: date.isoformat()))


def _yaml(content: bytes, where: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise LibraryError(f"YAML needs PyYAML ({error})", where=where, hint="pip install 'prealloc[yaml]'") from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # it has no types
        """Plain values: a date stays the text that it is, and no key is there twice, but in place of a merged one."""

        yaml_implicit_resolvers: ClassVar = {
            first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(keys)) < len(keys):
                raise yaml.constructor.ConstructorError(None, None, "a key is there twice", node.start_mark)
            return node

    try:
        found = [value for value in yaml.load_all(content, Loader) if value is not None]
    except yaml.YAMLError as error:
        raise ValueError(error) from None
    except (LookupError, AttributeError, ArithmeticError) as error:  # what PyYAML's own calls raise
        raise ValueError(f"a value is not of the type that its tag says ({error!r})") from None
    if _size(found, {}) > max(_MOST, 16 * len(content)):
        raise ValueError("its anchors make far more of it than it is")
    return found[0] if len(found) == 1 else found


def _size(value: Any, known: dict[int, int]) -> int:
    """About how long a value is as JSON, where what an alias names is written again."""
    if id(value) not in known:
        parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        text = len(value) if isinstance(value, str) else 1
        known[id(value)] = text + sum(_size(part, known) for part in parts)
    return known[id(value)]
