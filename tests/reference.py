"""`python tests/reference.py`: writes what follows from the declarations of options, and from docstrings.

That is docs/reference/ commands, config and python, and prealloc/model/keywords.py.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import typer

import prealloc
from prealloc import testing
from prealloc.cli.app import app_of
from prealloc.cli.options import in_flags
from prealloc.errors import CannotGoOn, InputError
from prealloc.model.fields import Fields
from prealloc.model.options import (
    Bytes,
    Cells,
    Dollars,
    Flag,
    Names,
    Option,
    Seconds,
    Share,
    Sizes,
    options_of,
    spelled,
)
from prealloc.model.part import Part
from prealloc.model.plan_spec import PlanSpec
from prealloc.model.policy import EngineOptions, RunPolicy
from prealloc.model.questions import CompareOptions, ReportOptions, ResultsOptions
from prealloc.model.size import SizeOptions
from prealloc.model.steer import Change
from prealloc.model.where import Where
from prealloc.settings import SECTIONS, TABLES, options_in

_ROOT = Path(__file__).parents[1]
FOLDER = _ROOT / "docs" / "reference"
KEYWORDS = _ROOT / "prealloc" / "model" / "keywords.py"
_WIDTH = 78
"""As wide as help screens are on a terminal of 80 columns."""
_SHOWN_DUNDERS = ("__getitem__", "__len__", "__iter__", "__contains__")

_COMMANDS = """# Commands

Made from the declarations (`make reference`). `prealloc COMMAND -h` prints the same. Durations are seconds, or texts
with a unit: 90s, 10m, 2h. Sizes are bytes, or texts: 512MB is 512 * 1000**2 bytes, 512MiB 512 * 1024**2. `none` means
no limit, where that is allowed. After `prealloc --install-completion` your shell completes commands and options.

With `--json` only JSON is on stdout. Off a terminal the output is plain lines. Notes and errors go to stderr.

"""
_CONFIG = """# Options and config files

Made from the declarations (`make reference`). Every option by its three names: in Python (`prealloc.plan` and
`prealloc.run`), on the command line, and in a config file, which is TOML ([an example](../howto/compare-models.md)).
Times are seconds, or texts with a unit: 90s, 10m, 2h. Sizes are bytes, or texts: 512MB is 512 * 1000**2 bytes, 512MiB
512 * 1024**2. `none` means no limit, where that is allowed.

If an option is given in several places, the first of these counts: the command line, the config, the environment
(`PREALLOC_WORKERS` and `PREALLOC_ENGINE`), what the plan remembers, the default.
"""
_PYTHON = """# Python

Made from signatures and docstrings (`make reference`). These names are public; everything else may change.
[How to use them](../howto/use-from-python.md). Of an option, `= ...` is the default that [options](config.md) names.
"""


def pages() -> dict[Path, str]:
    """Each file that is made, by its path."""
    found = {FOLDER / "commands.md": _commands(), FOLDER / "config.md": _config(), FOLDER / "python.md": _python()}
    return {**found, KEYWORDS: _keywords()}


# -- commands -----------------------------------------------------------------------------------------------


def _commands() -> str:
    root = typer.main.get_command(app_of())
    found = list(_leaves(root, root.context_class(root, info_name="prealloc", terminal_width=_WIDTH)))
    rows = [f"| [`{path}`](#{path.replace(' ', '-')}) | {about.splitlines()[0]} |" for path, about, _ in found]
    parts = [_COMMANDS + "\n".join(["| command | |", "| --- | --- |", *rows]) + "\n"]
    parts += [f"## {path}\n\n```\n{screen.rstrip()}\n```\n" for path, _, screen in found]
    return "\n".join(parts)


def _leaves(command: Any, context: Any) -> Iterator[tuple[str, str, str]]:
    """(path, help, help screen) of each command below a group, in order."""
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        inner = child.context_class(
            child, info_name=name, parent=context, terminal_width=_WIDTH, **child.context_settings
        )
        inner.help_option_names = ["-h", "--help"]
        if hasattr(child, "list_commands"):
            yield from _leaves(child, inner)
        else:
            yield inner.command_path, inspect.cleandoc(child.help), child.get_help(inner)


# -- options and config -------------------------------------------------------------------------------------


def _config() -> str:
    parts = [_CONFIG]
    for section, (about, _) in SECTIONS.items():
        brackets = f"[[{section}]]" if section == "lanes" else f"[{section}]"
        parts.append(f"## {brackets}\n\n{about}\n\n" + "\n".join(_table(section)) + "\n")
    for section, about in TABLES.items():
        brackets = f"[[{section}]]" if section == "exclude" else f"[{section}]"
        parts.append(f"## {brackets}\n\n{about}\n")
    return "\n".join(parts)


def _table(section: str) -> list[str]:
    rows = ["| Python | command line | config | default | |", "| --- | --- | --- | --- | --- |"]
    on_command_line = section in ("library", "sampling", "run")
    for name, (field, option, default) in options_in(section).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(option.reader, Flag):
            flag += f", --no-{name.replace('_', '-')}"
        if option.short:
            flag = f"-{option.short}, {flag}"
        if option.reader.metavar:
            flag += f" {option.reader.metavar}"
        shown = option.unset or ("" if default in (None, (), {}) else _default(option, default))
        typed = f"`{flag}`" if on_command_line and field != "path" else ""
        cells = (f"`{field}`", typed, f"`{name}`", shown, _plain(option.help))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def _default(option: Option, default: Any) -> str:
    """As one would write it in a config."""
    if isinstance(option.reader, Seconds | Bytes):
        return option.reader.write(default)
    return msgspec.json.encode(default).decode()


def _plain(text: str) -> str:
    return spelled(in_flags(text), lambda field: field)


# -- keywords -----------------------------------------------------------------------------------------------

_HEAD = '''"""The keywords of public functions, for editors and type checkers.

`make reference` writes this file from the declarations of the options, as it writes docs/reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from msgspec import UnsetType

    from prealloc.model.lane import Lane
'''


class Keywords(NamedTuple):
    """The keywords of some functions: the fields of a struct."""

    struct: type
    of: str
    but: Sequence[str] = ()
    """Fields that are not among them."""
    only: Sequence[str] = ()
    """If there are any: those that are."""
    none: Sequence[str] = ()
    """Fields that are None in Python when they are not given, beside those whose type says so."""
    base: str = "TypedDict"


_NOTED = ("generator", "generator_version")
"""What plan() notes by itself."""

TYPED = {
    "PlanOptions": Keywords(PlanSpec, "plan()", but=_NOTED, none=("timeout_field", "shard_sizes")),
    "SpecOptions": Keywords(PlanSpec, "PlanSpec.checked", only=_NOTED, base="PlanOptions"),
    "RunOptions": Keywords(RunPolicy, "run() and RunPolicy.checked"),
    "EngineKeywords": Keywords(EngineOptions, "run() and resume()"),
    "PartOptions": Keywords(Part, "run(), resume() and Part.checked"),
    "ChangeOptions": Keywords(Change, "Change.checked"),
    "FieldOptions": Keywords(Fields, "Fields.checked and of what reads a library"),
    "SizeKeywords": Keywords(SizeOptions, "size()"),
    "CompareKeywords": Keywords(CompareOptions, "compare()"),
    "ResultsKeywords": Keywords(ResultsOptions, "results()"),
    "ReportKeywords": Keywords(ReportOptions, "write_report()"),
}


def _keywords() -> str:
    return "\n\n".join([_HEAD, *(_typed_dict(name, each) for name, each in TYPED.items())])


def _typed_dict(name: str, keywords: Keywords) -> str:
    struct, of, but, only, none, base = keywords
    hints, options = typing.get_type_hints(struct), options_of(struct)
    fields = [each for each in struct.__struct_fields__ if each not in but and (not only or each in only)]
    types_of = {field: _python_type(hints[field], options.get(field)) for field in fields}
    lines = [f"    {field}: {kind}{' | None' if field in none else ''}\n" for field, kind in types_of.items()]
    about = f"The keywords of {of}: the fields of {struct.__name__}, which explain them."
    return f'class {name}({base}, total=False):\n    """{about}"""\n\n{"".join(lines)}'


def _python_type(hint: Any, option: Option | None) -> str:
    """What Python code may give for a field of this type: any sequence, and texts that its reader understands."""
    kinds, reader = _kinds(hint), option.reader if option is not None else None
    found = [_name_of(each) for each in kinds if each not in _NOT_GIVEN]
    if isinstance(reader, Cells):
        found = ["str", "Mapping[str, Any]", "Sequence[str | Mapping[str, Any]]"]
    elif isinstance(reader, Where):
        found = ["Sequence[str | Mapping[str, Any]]"]
    elif isinstance(reader, Bytes | Dollars | Seconds | Share | Sizes) or _takes_text(reader):
        found.append("str")
    elif isinstance(reader, Names) and reader.every:
        found.append(f'Literal["{reader.every}"]')
    return " | ".join(dict.fromkeys([*found, *(_NOT_GIVEN[each] for each in kinds if each in _NOT_GIVEN)]))


_NOT_GIVEN = {msgspec.UnsetType: "UnsetType", types.NoneType: "None"}


def _takes_text(reader: Any) -> bool:
    return getattr(reader, "alone", False) or getattr(reader, "share", False)


def _kinds(hint: Any) -> Sequence[Any]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else [hint]


def _name_of(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if len(kinds := _kinds(kind)) > 1:
        return " | ".join(map(_name_of, kinds))
    if origin is typing.Literal:
        return f"Literal[{', '.join(msgspec.json.encode(each).decode() for each in inner)}]"
    if origin in (tuple, list):
        return f"Sequence[{_name_of(inner[0])}]"
    if origin is dict:
        return f"Mapping[{', '.join(map(_name_of, inner))}]"
    return "Any" if kind is Any else str(kind.__name__)


# -- Python -------------------------------------------------------------------------------------------------


def _python() -> str:
    public = {name: getattr(prealloc, name) for name in prealloc.__all__}
    functions = {name: value for name, value in public.items() if inspect.isfunction(value)}
    errors = {name: value for name, value in public.items() if isinstance(value, type) and _is_error(value)}
    classes = {name: value for name, value in public.items() if name not in {**functions, **errors}}
    for_tests = {name: getattr(testing, name) for name in testing.__all__}
    parts = [_PYTHON, "# Functions\n", *(_function(f"prealloc.{name}", each) for name, each in functions.items())]
    parts += ["# Classes\n", *(_class(name, each) for name, each in classes.items())]
    answers = {name: value for each in functions.values() for name, value in _answers(each) if name not in public}
    parts += ["# What functions return\n", *(_class(name, each) for name, each in answers.items())]
    parts += ["# Errors\n", "| error | is a | |\n| --- | --- | --- |\n" + "".join(map(_error, errors.values()))]
    parts += ["# prealloc.testing\n"]
    for name, value in for_tests.items():
        parts.append((_class if isinstance(value, type) else _function)(name, value))
    return "\n".join(parts)


def _answers(function: Any) -> Iterator[tuple[str, type]]:
    """The classes of prealloc that a function's return annotation names."""
    for name in re.findall(r"\w+", str(inspect.signature(function).return_annotation)):
        value = function.__globals__.get(name)
        if isinstance(value, type) and value.__module__.startswith("prealloc."):
            yield name, value


def _is_error(value: type) -> bool:
    return issubclass(value, BaseException)


def _function(name: str, function: Any) -> str:
    short = name.rpartition(".")[2]
    return f"## {short}\n\n```py\n{_signature(name, function)}\n```\n\n{inspect.cleandoc(function.__doc__)}\n"


def _signature(name: str, function: Any) -> str:
    """As one would write it: a parameter a line, and the options of an Unpack one by one."""
    signature = inspect.signature(function)
    lines: list[str] = []
    for each in signature.parameters.values():
        if each.name == "self":
            continue
        if each.kind is each.KEYWORD_ONLY and "*" not in lines and not any(line.startswith("*") for line in lines):
            lines.append("*")
        if each.kind is each.VAR_KEYWORD and str(each.annotation).startswith("Unpack["):
            options = function.__globals__[str(each.annotation)[len("Unpack[") : -1]]
            lines += [f"{option}: {_text(hint)} = ..." for option, hint in options.__annotations__.items()]
        else:
            default = "" if each.default is each.empty else f" = {_shown(each.default)}"
            stars = {each.VAR_KEYWORD: "**", each.VAR_POSITIONAL: "*"}.get(each.kind, "")
            annotated = "" if each.annotation is each.empty else f": {_text(each.annotation)}"
            lines.append(f"{stars}{each.name}{annotated}{default}")
    gives = "" if signature.return_annotation is signature.empty else f" -> {_text(signature.return_annotation)}"
    flat = f"{name}({', '.join(lines)}){gives}"
    if len(flat) <= 100:
        return flat
    return f"{name}(\n" + "".join(f"    {line},\n" for line in lines) + f"){gives}"


def _text(annotation: Any) -> str:
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _shown(default: Any) -> str:
    """A default; `...` for an object that has no short spelling."""
    return repr(default) if type(default) in (str, int, float, bool, type(None), tuple) else "..."


def _class(name: str, value: Any) -> str:
    about = inspect.cleandoc(value.__doc__ or "")
    rows = [f"| `{field}` | {f'`{kind}`' if kind else ''} | {text} |\n" for field, kind, text in _fields(value)]
    table = ["| field | type | |\n| --- | --- | --- |\n" + "".join(rows)] if rows else []
    methods = [
        f"```py\n{_signature(f'{name}.{each}', function)}\n```\n\n{inspect.cleandoc(function.__doc__)}\n"
        for each, function in _methods(value)
    ]
    return "\n".join([f"## {name}\n\n{about}\n", *table, *methods])


def _fields(value: type) -> Iterator[tuple[str, str, str]]:
    """(name, type, meaning) of the public fields, documented attributes and properties of a class.

    The fields that a struct has from another struct come first.
    """
    for base in value.__bases__:
        if getattr(base, "__struct_fields__", ()):
            yield from _fields(base)
    declared = any(value in structs for _, structs in SECTIONS.values())
    helps = {name: _plain(option.help) for name, option in options_of(value).items()} if declared else {}
    (source,) = ast.parse(textwrap.dedent(inspect.getsource(value))).body
    assert isinstance(source, ast.ClassDef)
    for name, statement, said in _assigned(source.body):
        kind = _kind(statement.annotation) if isinstance(statement, ast.AnnAssign) else ""
        yield name, kind, helps.get(name) or said
    made = next((each for each in source.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)
    for name, _, said in _assigned(made.body if made else []):
        if said:
            yield name, "", said
    for name, each in list(vars(value).items()):
        getter = getattr(each, "fget", None) or getattr(each, "func", None)
        if getter is not None and not name.startswith("_") and getter.__doc__:
            yield name, _cell(_text(getter.__annotations__.get("return", ""))), _cell(getter.__doc__)


def _assigned(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.stmt, str]]:
    """(name, statement, what is said of it) of each public field (`name: type`) or attribute (`self.name = value`)."""
    for at, statement in enumerate(body):
        if isinstance(statement, ast.AnnAssign | ast.Assign):
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            name = target.id if isinstance(target, ast.Name) else getattr(target, "attr", "_")
            if not name.startswith("_"):
                yield name, statement, _cell(_string(body[at + 1 : at + 2]) or "")


def _kind(annotation: ast.expr) -> str:
    """A type as one line of a table, without what Annotated adds."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
        assert isinstance(annotation.slice, ast.Tuple)
        annotation = annotation.slice.elts[0]
    return _cell(ast.unparse(annotation))


def _string(statements: Sequence[ast.stmt]) -> str | None:
    for each in statements:
        if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) and isinstance(each.value.value, str):
            return each.value.value
    return None


def _methods(value: type) -> Iterator[tuple[str, Any]]:
    for name, each in vars(value).items():
        function = each.__func__ if isinstance(each, classmethod | staticmethod) else each
        shown = not name.startswith("_") or name in _SHOWN_DUNDERS
        if inspect.isfunction(function) and function.__doc__ and shown:
            yield name, getattr(value, name) if isinstance(each, classmethod) else function


def _error(error: type[BaseException]) -> str:
    code = f" Exit code {error.exit_code}." if issubclass(error, InputError | CannotGoOn) else ""
    return f"| `{error.__name__}` | `{error.__base__.__name__}` | {_cell(error.__doc__ or '')}{code} |\n"


def _cell(text: str) -> str:
    """The text as one line of a table."""
    return " ".join(inspect.cleandoc(text).split()).replace("|", "\\|")


if __name__ == "__main__":
    if KEYWORDS.read_text() != (found := _keywords()):
        KEYWORDS.write_text(found)
        os.execv(sys.executable, [sys.executable, *sys.argv])  # the signatures in here are of the old ones
    for path, text in pages().items():
        path.write_text(text)
        print(path)
