"""What a generator's source shows, without importing it: a generator may load hundreds of megabytes.

So mistakes are reported before the library is read, and a plan whose workflows are all there starts no process. What
the source leaves open (a function that is imported or decorated, say) the process checks after the import.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import os
import symtable
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, NamedTuple

from prealloc.errors import Mistake, OptionsError, WorkerFunctionError
from prealloc.files.paths import current_folder
from prealloc.worker.function import check_name

OPTION = "‹generate_workflows›"
SHAPE = "def generate(task)"
_VERSIONS = ("version", "__version__")
_MOST_VERSION = 200
_PLAIN = str | int | float
"""What a version may be. Anything else of that name (importlib.metadata.version, say) is not one."""


class Generator(NamedTuple):
    """The user's function, not imported."""

    name: str
    """`module:function`"""
    version: str
    """What it says of itself, or `sha256:` and the digest of its module's source file."""
    import_path: tuple[str, ...]


def find_generator(name: str) -> Generator:
    """Looks `module:function` up, from the current folder first. Imports nothing. Raises OptionsError."""
    where = f"{OPTION} {name!r:.200}"
    import_path = current_folder()
    try:
        if not isinstance(name, str) or name.partition(":")[0] == "__main__":
            raise _Refusal("the process that generates cannot import that", "name a module's function: module:function")
        try:
            module, function = check_name(name)
        except WorkerFunctionError as error:
            raise _Refusal(error.problem, "write module:function, such as my_generator:make") from None
        file = _source_file(module, import_path)
        source = file.read_bytes()
        # Of a compiled module only the digest can be told.
        version = _read(source, module, function) if file.suffix == ".py" else None
        return Generator(name, version or digest_version(source), import_path)
    except _Refusal as refusal:
        raise OptionsError([Mistake(where, *refusal.args)]) from None
    except OSError as error:
        hint = "make it readable"
        raise OptionsError([Mistake(where, f"its module cannot be read: {error.strerror}", hint)]) from None


def version_of(function: Callable[..., Any], module: Any) -> str:
    """The version of a generator that has been imported: the same that find_generator has read."""
    for owner in (function, module):
        for name in _VERSIONS:
            said = getattr(owner, name, None)
            if isinstance(said, _PLAIN) and not isinstance(said, bool):
                return str(said)
    return digest_version(Path(module.__spec__.origin).read_bytes())


def digest_version(source: bytes) -> str:
    """The version of a module that says none."""
    return f"sha256:{hashlib.sha256(source).hexdigest()}"


def signature_problem(signature: inspect.Signature) -> str | None:
    """Why a function of this signature cannot be called with a task; None if it can."""
    try:
        signature.bind(object())
    except TypeError as error:
        return f"it cannot be called with a task: {error}"
    return None


class _Refusal(Exception):
    """(problem, hint)"""


def _source_file(module: str, import_path: Sequence[str]) -> Path:
    spec = _spec(module, import_path)
    origin = spec.origin if spec is not None and spec.has_location else None
    if origin is None or not os.path.isfile(origin):
        problem = f"there is no module {module}" if spec is None else f"module {module} has no file"
        raise _Refusal(problem, "plan from the folder that holds the module, or install it")
    return Path(origin)


def _spec(module: str, import_path: Sequence[str]) -> ModuleSpec | None:
    """Where a module lies. importlib.util.find_spec would import the packages that it lies in."""
    path: Sequence[str] = [*import_path, *sys.path]
    found = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        found = next((spec for finder in sys.meta_path if (spec := finder.find_spec(name, path))), None)
        if found is None:
            return None
        path = list(found.submodule_search_locations or ())
    return found


def _read(source: bytes, module: str, function: str) -> str | None:
    """The version that the source says; None if it says none. Raises _Refusal for what surely cannot work."""
    try:
        tree = ast.parse(source)
        table = symtable.symtable(source, module, "exec")  # type: ignore[arg-type]  # takes bytes as well
    except (SyntaxError, ValueError, RecursionError) as error:
        raise _Refusal(f"module {module} does not parse: {error}", "fix it, and check that it imports") from None
    bound = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    bound |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_namespace()}
    first = function.partition(".")[0]
    if first not in bound and not _may_bind_more(tree, bound):
        close = difflib.get_close_matches(first, bound, n=3)
        raise _Refusal(
            f"module {module} has no {first}", f"did you mean {', '.join(close)}?" if close else f"define {SHAPE} there"
        )
    if first == function:
        _check_definition(tree, function)
    for owner in (f"{function}.", ""):
        for name in _VERSIONS:
            version = _version(tree, f"{owner}{name}", bound)
            if version is not None:
                return version
    return None


def _may_bind_more(tree: ast.Module, bound: set[str]) -> bool:
    """Whether names may be there that the source does not show."""
    stars = (alias.name == "*" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names)
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = {call.id for call in calls if isinstance(call, ast.Name)}
    return "__getattr__" in bound or any(stars) or bool(names & {"globals", "vars", "exec", "setattr"})


def _check_definition(tree: ast.Module, function: str) -> None:
    """Raises _Refusal if the one definition of the function shows that it cannot be called."""
    found = [node for node in tree.body for name in _names_bound(node) if name == function]
    if len(found) != 1:
        return
    (node,) = found
    value = getattr(node, "value", None)
    if isinstance(value, ast.Constant | ast.List | ast.Dict | ast.Tuple | ast.Set | ast.JoinedStr):
        raise _Refusal("it is not a function but a value", f"name a function: {SHAPE}")
    arguments = value.args if isinstance(value, ast.Lambda) else getattr(node, "args", None)
    if isinstance(arguments, ast.arguments) and not getattr(node, "decorator_list", None):
        problem = signature_problem(_signature(arguments))
        if problem:
            raise _Refusal(problem, f"give it one positional parameter: {SHAPE}")


def _names_bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    names = [name for target in targets if target is not None for name in ast.walk(target)]
    # In `make.version = 3` the name that is bound is "make.version", and make itself is only used.
    owned = [f"{n.value.id}.{n.attr}" for n in names if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    return owned + [n.id for n in names if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def _signature(arguments: ast.arguments) -> inspect.Signature:
    """The signature of a definition; defaults are there or not, their values do not matter."""
    nothing = ast.Constant(None)
    names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    for each in filter(None, names):
        each.annotation = None
    arguments.defaults = [nothing] * len(arguments.defaults)
    arguments.kw_defaults = [default and nothing for default in arguments.kw_defaults]
    # Nothing of the module is left in it: evaluating it runs none of the module's code.
    expression = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, nothing)))
    return inspect.signature(eval(compile(expression, "", "eval")))


def _version(tree: ast.Module, name: str, bound: set[str]) -> str | None:
    """The version that is bound to a name; None if it is bound to none. Raises _Refusal if only running it tells."""
    found = [node for node in tree.body if name in _names_bound(node)]
    if not found and name not in bound:
        return None
    node = found[0] if len(found) == 1 else None
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
        said = node.value.value
        if isinstance(said, _PLAIN) and not isinstance(said, bool):
            return _checked(name, str(said))
    if node is not None and not _may_be_plain(node):
        return None
    raise _Refusal(f"its {name} is computed when it runs", f'write it out in the module: {name} = "1"')


def _may_be_plain(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import):
        return False
    return not (isinstance(node, ast.ImportFrom) and node.module == "importlib.metadata")


def _checked(name: str, version: str) -> str:
    if not version or len(version) > _MOST_VERSION or not version.isprintable():
        raise _Refusal(f"its {name} is not a version: {version[:40]!r}", f'write a short text: {name} = "1"')
    return version
