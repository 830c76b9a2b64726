"""Finds the user's function or class from `module:function`, and says at once if it cannot be run on a task."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from prealloc.errors import LibraryOpened, WorkerFunctionError
from prealloc.worker.result import describe

EXAMPLE = "prealloc.agents.simulate:run"
OF_A_TASK = "(task, ctx)"
"""The parameters of a worker."""


class WorkerFunction(NamedTuple):
    """A function that runs tasks; or a class, whose objects do."""

    name: str
    call: Callable[..., Any]
    is_async: bool
    is_class: bool = False
    """`call` gives the object to call, once for a process: see instance.py."""


def check_name(name: str) -> tuple[str, str]:
    """Splits `module:function`. Raises WorkerFunctionError; imports nothing."""
    module, colon, function = name.partition(":")
    if not colon or not module or not function or not all(part.isidentifier() for part in module.split(".")):
        raise _refused(name, "it does not name a function", f"write module:function, such as {EXAMPLE}")
    if module == "__main__":
        problem = "workers do not import the caller's __main__ (each of them would run the program again)"
        raise _refused(name, problem, "move the function into a module of its own, and name it module:function")
    return module, function


def _refused(name: str, problem: str, hint: str) -> WorkerFunctionError:
    return WorkerFunctionError(problem, where=repr(name), hint=hint)


def load_function(name: str, import_path: Sequence[str] = (), parameters: str = OF_A_TASK) -> WorkerFunction:
    """The function that `name` stands for. Raises WorkerFunctionError, saying how to fix it.

    `parameters` are the two that it is called with. What runs tasks may be a class.
    """
    return checked_function(name, find_function(name, import_path), parameters)


def checked_function(name: str, target: Callable[..., Any], parameters: str = OF_A_TASK) -> WorkerFunction:
    """The same for a function that is found."""
    if isinstance(target, type) and parameters == OF_A_TASK:
        return _checked_class(name, target)
    _check_signature(name, target, parameters, f"{name.partition(':')[2].rpartition('.')[2]}{parameters}")
    return WorkerFunction(name, target, _is_async(target))


def defines(cls: type, method: str) -> bool:
    """Whether the class or one of its bases does, not its metaclass."""
    return any(method in vars(base) for base in cls.__mro__)


def _checked_class(name: str, cls: type) -> WorkerFunction:
    if not defines(cls, "__call__"):
        hint = "a worker class is made once and called for each task: give it def __call__(self, task, ctx)"
        raise _refused(name, "it is a class without __call__", hint)
    try:
        inspect.signature(cls).bind()
    except ValueError:
        pass  # as in _check_signature
    except TypeError as error:
        hint = "give the parameters of its __init__ defaults; each task brings its settings, as ctx.settings"
        raise _refused(name, f"it cannot be made as {cls.__name__}(): {error}", hint) from None
    call: Any = cls.__call__
    if inspect.isfunction(inspect.getattr_static(cls, "__call__")):
        call = call.__get__(object(), cls)  # as it is called: without self
    _check_signature(f"{name}.__call__", call, OF_A_TASK, "__call__(self, task, ctx)")
    is_async = _is_async(call)
    closes = next((each for each in ("__enter__", "close", "__aenter__", "aclose") if defines(cls, each)), "")
    if not is_async and (closes in ("__aenter__", "aclose") or inspect.iscoroutinefunction(getattr(cls, closes, None))):
        hint = "write async def __call__(self, task, ctx); or give it __enter__ and __exit__, or close, that are not"
        raise _refused(name, f"its {closes} is async, but its __call__ is not", hint)
    return WorkerFunction(name, cls, is_async, is_class=True)


def _is_async(target: Callable[..., Any]) -> bool:
    call = getattr(target, "__call__", target)  # noqa: B004  # an instance may have an async __call__
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(call)


def find_function(name: str, import_path: Sequence[str] = ()) -> Callable[..., Any]:
    """Imports what `name` stands for; of what it takes nothing is known yet. Raises WorkerFunctionError."""
    module_name, function_name = check_name(name)
    for folder in reversed(import_path):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except LibraryOpened:
        raise
    except BaseException as error:
        # A user's module may do anything at import, sys.exit() included.
        hint = "run prealloc from the folder that holds the module, or install the module"
        raise _refused(name, _import_problem(module_name, error), hint) from None
    target: Any = module
    for part in function_name.split("."):
        target = getattr(target, part, None)
        if target is None:
            raise _refused(name, f"module {module_name} has no {function_name}", _near(module, part))
    if not callable(target):
        kind = type(target).__name__
        article = "an" if kind[0].lower() in "aeiou" else "a"
        raise _refused(name, f"it is not a function but {article} {kind}", "name a function")
    return cast("Callable[..., Any]", target)


def unset(variables: Sequence[str]) -> tuple[str, ...]:
    """Those of these environment variables that are not set in this process, or empty.

    Ask after the function is loaded: its module may set some (from a file of keys, say).
    """
    return tuple(name for name in variables if not os.environ.get(name))


def _check_signature(name: str, target: Callable[..., Any], parameters: str, definition: str) -> None:
    try:
        signature = inspect.signature(target)
    except (ValueError, TypeError):
        return  # built-in functions may have none to look at
    try:
        signature.bind(object(), object())
    except TypeError as error:
        problem = f"it cannot be called as {name.partition(':')[2]}{parameters}: {error}"
        hint = f"give it two positional parameters: def {definition}"
        raise WorkerFunctionError(problem, where=f"{name}{signature}", hint=hint) from None
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise _refused(name, "it is a generator", "return one JSON value instead of yielding")


def _import_problem(module: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and module.startswith(error.name):
        return f"there is no module {error.name}"
    return f"module {module} does not import: {brief_error(error)}"


def brief_error(error: BaseException) -> str:
    """Type, text and last place of an exception, as one sentence."""
    info = describe(error)
    last = (info.traceback or "").strip().splitlines()
    place = next((line.strip() for line in reversed(last) if line.lstrip().startswith("File ")), "")
    return f"{info.type}: {info.message}" + (f" ({place})" if place else "")


def _near(module: Any, wanted: str) -> str:
    import difflib

    names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
    close = difflib.get_close_matches(wanted, names, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"it has {', '.join(sorted(names)[:8])}" if names else "define it there: def solve(task, ctx)"
