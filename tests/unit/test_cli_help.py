"""What commands say of themselves: help that fits, examples that can be pasted, what is missing, completion."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer.main
from command_line import Type

from prealloc.cli.app import ALONE, app_of
from prealloc.report.page import wrapped


def _commands(command: object, *path: str) -> Iterator[tuple[tuple[str, ...], object]]:
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from _commands(each, *path, name)


COMMANDS = dict(_commands(typer.main.get_command(app_of())))
LEAVES = [path for path, command in COMMANDS.items() if not hasattr(command, "commands")]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_fits_80_columns(type_: Type, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]) -> None:
    """-h and --help show the same, no line of it too long or cut, with no name of a Python type for what to give."""
    monkeypatch.setenv("COLUMNS", "80")
    short, long = type_(*path, "-h"), type_(*path, "--help")
    assert short.code == 0
    assert short.out == long.out
    assert max(map(len, short.out.splitlines())) <= 80
    assert not re.search(r"<\w+>|\{\w+\} \[|\[\[|`", re.sub(r"`prealloc \w+`", "", short.out))
    assert not re.search(r"[a-z,]\.\.\.$", short.out, re.MULTILINE), "a line that is cut"
    if path in LEAVES:
        assert "Exit codes: 0 " in short.out


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_examples_can_be_pasted(type_: Type, path: tuple[str, ...]) -> None:
    """Each example of a command is a line of a shell: the command, with options that it has and all that it needs."""
    command = COMMANDS[path]
    options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}  # type: ignore[attr-defined]
    shown = type_(*path, "-h").out
    written = [line for line in inspect.cleandoc(command.help).splitlines() if line.startswith("  ")]  # type: ignore[attr-defined]
    assert {f"  {line}" for line in written} <= set(shown.splitlines())
    lines = re.findall(r"^    (?:zcat \S+ \| )?prealloc (.*)$", shown.replace("\\\n", ""), re.MULTILINE)
    assert len(lines) >= 1
    for line in lines:
        words = shlex.split(re.split(r" [|>] ", line)[0])
        assert tuple(words[: len(path)]) == path
        given = [word for word in words if word.startswith("-") and word != "-"]
        assert set(given) <= options, line
        assert {param.opts[0] for param in command.params if param.required and param.opts[0][0] == "-"} <= set(given)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_a_command_in_a_sentence_is_never_broken(path: tuple[str, ...]) -> None:
    """Whichever it is, it stays on one line, however narrow the screen: it can be copied from there."""
    command = f"prealloc {' '.join(path)} RUN --option value"
    assert command in wrapped(f"the run has not ended: {command}", 30)


def test_the_first_steps_are_commands_that_there_are(type_: Type) -> None:
    """What a newcomer pastes from the help of all commands has commands and options that exist."""
    lines = re.findall(r"^    prealloc (.*)$", type_("-h").out, re.MULTILINE)
    assert len(lines) >= 3
    for line in lines:
        words = shlex.split(line)
        path = max((each for each in LEAVES if tuple(words[: len(each)]) == each), key=len)
        options = {name for param in COMMANDS[path].params for name in param.opts}  # type: ignore[attr-defined]
        assert {word for word in words if word.startswith("-")} <= options, line


def test_what_is_missing_is_told_first_and_all_of_it(type_: Type) -> None:
    """A command without what it needs names each thing and what it is, before anything else; exit code 2."""
    done = type_("run")
    assert done.code == 2
    assert done.err.startswith("error  3 mistakes\n\n       PLAN: it is missing\nhint   A plan folder.")
    assert "--out: it is missing" in done.err
    assert "--worker: no worker is named" in done.err
    assert "prealloc run -h" in done.err
    planned = type_("plan")
    assert planned.code == 2
    assert planned.err.startswith("error  LIBRARY: no task library is named")
    shown = type_("show")
    assert shown.code == 2
    assert shown.err.startswith("error  PLAN|RUN: it is missing")


def test_what_is_wrong_is_told_with_what_is_missing(type_: Type) -> None:
    """Values that cannot be read stand in the same message, each once; nothing else is done."""
    done = type_("run", "--timeout", "soon", "--retries", "many", "--engine", "foo")
    assert done.code == 2
    for part in ("PLAN: it", "--out: it", "--worker: no", "--timeout: 'soon'", "--retries: 'many'", "--engine: there"):
        assert done.err.count(part) == 1, done.err
    planned = type_("plan", "--strategy", "odd")
    assert planned.err.count("LIBRARY: no") == planned.err.count("--strategy: 'odd'") == 1


def test_defaults_are_written_as_one_would_type_them(type_: Type) -> None:
    """Times and sizes have units, and no default in brackets is lost."""
    text = " ".join(type_("run", "-h").out.split())
    for told in ("[default: 10m]", "[default: 16MiB]", "[default: no limit]", "[default: local]", "[default: 3]"):
        assert told in text


def test_help_loads_no_rich() -> None:
    """Who asks for help, or completes a word in bash, does not wait for what draws tables."""
    code = "import sys; from prealloc.cli import main; main(); sys.exit('rich' in sys.modules)"
    asked = subprocess.run([sys.executable, "-c", code, "run", "-h"], capture_output=True, check=False)
    assert asked.returncode == 0, asked.stderr
    environment = {**os.environ, "_PREALLOC_COMPLETE": "complete_bash", "COMP_WORDS": "prealloc res", "COMP_CWORD": "1"}
    code = "import sys; sys.argv[0] = 'prealloc'; from prealloc.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False, text=True)
    assert done.stdout.split() == ["resume", "results", "rescore"]


def test_a_run_is_asked_for_without_pydantic() -> None:
    """To load it, as typer does to read a value, would take longer than to read all of the command line."""
    code = "import sys; from prealloc.cli import main; main(); sys.exit('pydantic' in sys.modules)"
    words = ("run", "no plan", "--worker", "m:f", "--workers", "2", "--only", "a=b", "--history", "h", "--out", "run")
    asked = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=False, text=True)
    assert asked.returncode == 0
    assert "no plan" in asked.stderr


@pytest.mark.parametrize("name", ALONE)
def test_a_command_that_is_loaded_alone_is_the_one_among_all(name: str) -> None:
    """Law: what is loaded for a command makes no other command of it."""
    alone, among = (typer.main.get_command(app_of(module)).commands[name] for module in (ALONE[name], None))  # type: ignore[attr-defined]
    assert [(param.name, param.opts) for param in alone.params] == [(param.name, param.opts) for param in among.params]
