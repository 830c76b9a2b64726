"""Plan an LLM-agent benchmark once, ship every worker only its own tasks, never lose a result.

`__init__.pyi` lists the public names, once for editors, type checkers and this module. They are imported at first use,
so that `import prealloc` costs nothing.
"""

from functools import cache
from importlib import import_module
from typing import Any


@cache
def _homes() -> dict[str, str]:
    """The module of each public name."""
    import re
    from pkgutil import get_data

    stub = (get_data(__name__, "__init__.pyi") or b"").decode()
    return {name: module for module, name in re.findall(r"^from ([\w.]+) import (\w+) as \2$", stub, re.MULTILINE)}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    home = None if name.startswith("_") else _homes().get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_homes())
