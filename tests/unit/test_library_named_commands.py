"""The command line on libraries as people have them: flags, configs, notes, and commands that work as they are told."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from command_line import Type

from prealloc.library import read_library

PLAIN = [{"question": f"q{n}", "answer": n} for n in range(4)]
NAMED = [{"ref": f"r{n}", "about": {"kind": "ab"[n % 2]}, "steps": [n]} for n in range(4)]
FLAGS = ["--id-field", "ref", "--type-field", "about.kind", "--workflow-field", "steps"]


@pytest.fixture(autouse=True)
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, tasks in (("plain", PLAIN), ("named", NAMED)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))


def test_a_library_without_ids_is_refused_with_a_command_that_works(type_: Type) -> None:
    """Law: the command that the refusal ends with is the one that was typed, and what it lacked."""
    refused = type_("plan", "plain.jsonl", "-n", "2", "--keep", "question")
    assert refused.code == 2
    (command,) = [" ".join(refused.err.split()).partition("such as: ")[2]]
    assert shlex.split(command)[1:] == ["plan", "plain.jsonl", "-n", "2", "--keep", "question", "--id-from", "content"]
    assert type_(*shlex.split(command)[1:]).code == 0


def test_ids_that_are_there_twice_are_refused_with_a_command_that_works(type_: Type, tmp_path: Path) -> None:
    """Law: it works whatever the tasks are; another, whose ids do not depend on their order, where they differ."""
    for text, found in (('{"id": "a", "q": 1}\n{"id": "a", "q": 2}\n', 0), ('{"id": "a"}\n{"id": "a"}\n', 2)):
        (tmp_path / "t.jsonl").write_text(text)
        told = " ".join(type_("plan", "t.jsonl", "-n", "2").err.split())
        command = shlex.split(told.partition("such as: ")[2])[1:]
        assert command[-2:] == ["--id-from", "position"]
        assert "or --id-from content if the tasks differ" in told
        assert [type_(*command).code, type_(*command[:-1], "content", "--force").code] == [0, found]


@pytest.mark.parametrize(
    ("first", "second", "offered"),
    [
        ({"n": 1, "identifier": "a"}, {"n": 2, "identifier": "b"}, ", such as --id-field identifier"),
        ({"row number": 7, "kind": "a"}, {"row number": 8, "kind": "a"}, ", such as --id-field 'row number'"),
        ({"n": 1, "kind": "a"}, {"n": 1, "kind": "b c"}, ", such as --id-field kind"),
        ({"text": "one two", "n": [1]}, {"text": "three", "n": [2]}, ""),
        ({"n": 1, "kind": "a"}, {"n": 1}, ""),
    ],
)
def test_a_field_that_may_be_the_id_is_told(type_: Type, first: Any, second: Any, offered: str) -> None:
    """Law: it is short in the first task and differs in every one, text before numbers; as an id it is taken."""
    Path("t.jsonl").write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    told = " ".join(type_("plan", "t.jsonl", "-n", "2").err.split())
    assert f"name the field of the id with --id-field{offered}; or give --id-from" in told
    if offered:
        assert type_("plan", "t.jsonl", "-n", "2", *shlex.split(offered)[3:]).code == 0


def test_either_command_for_lists_in_files_works_as_it_is_printed(type_: Type, tmp_path: Path) -> None:
    """Law: each has a line of its own, with nothing behind it."""
    for name in ("a", "b"):
        (tmp_path / "lists" / f"{name}.json").parent.mkdir(exist_ok=True)
        (tmp_path / "lists" / f"{name}.json").write_text(json.dumps({"canary": name, "examples": PLAIN}))
    refused = type_("plan", "lists", "-n", "2").err
    items, files = (
        shlex.split(line.partition("such as: ")[2])[1:] for line in refused.splitlines() if "such as" in line
    )
    assert files == ["plan", "lists", "-n", "2", "--id-from", "content"]
    assert items == ["plan", "lists", "-n", "2", "--tasks-field", "examples"]
    assert type_(*files).code == 0
    assert type_(*items, "--id-from", "position", "--type-field", "file").code == 0


@pytest.mark.parametrize("name", ["a/b", "it's", "contents", "-x", "a,b", "a b", "$(a)", "é+"])
def test_the_command_for_a_list_names_it(type_: Type, tmp_path: Path, name: str) -> None:
    """Law: whatever the list is called, the command takes that one."""
    tasks = [{"id": str(n), "type": "t"} for n in range(2)]
    (tmp_path / "t.json").write_text(json.dumps({name: tasks, "b": [{"n": 1}]}))
    (command,) = [" ".join(type_("plan", "t.json", "-n", "2").err.split()).partition("such as: ")[2]]
    assert shlex.split(command)[-2:] == ["--tasks-field", name]
    assert type_(*shlex.split(command)[1:]).code == 0


def test_no_command_is_offered_for_a_list_that_cannot_be_named(type_: Type, tmp_path: Path) -> None:
    """Law: as where a key is empty or has a quote."""
    tasks = [{"id": str(n), "type": "t"} for n in range(2)]
    (tmp_path / "t.json").write_text(json.dumps({"": tasks, 'a"b': tasks, "b": [{"n": 1}]}))
    told = " ".join(type_("plan", "t.json", "-n", "2").err.split())
    assert told.endswith("such as: prealloc plan t.json -n 2 --tasks-field b")


def test_a_pattern_that_the_shell_replaced_is_told(type_: Type) -> None:
    """Law: where a library is what a command takes, and only there."""
    assert "put a pattern in quotes" in type_("plan", "named.jsonl", "plain.jsonl").err
    assert "put a pattern in quotes" not in type_("verify", "plan/", "plain.jsonl").err


def test_no_command_is_offered_that_is_refused_for_something_else(type_: Type, tmp_path: Path) -> None:
    """Law: where types are missing too, as behind a line of other things, no command ends the refusal."""
    (tmp_path / "head.jsonl").write_text('{"version": 1}\n{"id": "a", "type": "x"}\n')
    refused = type_("plan", "head.jsonl", "-n", "1").err
    assert "--id-from" in refused
    assert "--type-field" in refused
    assert "such as" not in refused


def test_every_command_on_libraries_takes_the_fields(type_: Type, tmp_path: Path) -> None:
    """Law: plan, verify, stats, convert, index and memory name the fields alike, and mean the same tasks."""
    wanted = json.loads(type_("plan", "named.jsonl", "-n", "4", *FLAGS, "--out", "plan", "--json").out)["plan"]
    assert wanted["libraries"][0]["fields"] == {
        "id_field": "ref",
        "type_field": "about.kind",
        "workflow_field": "steps",
    }
    assert type_("verify", "plan", "--library", "named.jsonl", *FLAGS).code == 0
    found = json.loads(type_("library", "stats", "named.jsonl", *FLAGS, "--json").out)
    assert [(each["type"], each["tasks"]) for each in found["types"]] == [("a", 2), ("b", 2)]
    assert found["without_workflow"] == 0
    assert type_("library", "convert", "named.jsonl", "t.db", *FLAGS).code == 0
    assert json.loads(type_("plan", "t.db", "-n", "4", "--json").out)["plan"]["id"] == wanted["id"]
    assert type_("library", "index", "named.jsonl", *FLAGS).code == 0
    assert json.loads(type_("plan", "named.jsonl", "-n", "4", "--json").out)["plan"]["id"] == wanted["id"]
    few = ("--workers", "1", "-n", "2", "--seconds", "0", "--ways", "fork,prealloc", "--json")
    measured = type_("memory", "named.jsonl", *FLAGS, *few)
    assert measured.code == 0, measured.err


def test_a_config_names_fields_and_lists_from_its_folder_and_from_home(
    type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: [library] has what the command line has; ~ is the home folder, other paths count from the file's folder."""
    home = tmp_path / "home"
    (home / "lists").mkdir(parents=True)
    (tmp_path / "named.jsonl").rename(home / "named.jsonl")
    monkeypatch.setenv("HOME", str(home))
    config = home / "x.toml"
    (home / "lists" / "ids.txt").write_text("r1\nr2\n")
    lines = ['path = "~/named.jsonl"', 'id_field = "ref"', 'type_field = "about.kind"', 'ids = "lists/ids.txt"']
    config.write_bytes(
        b"\xef\xbb\xbf" + "\n".join(["[library]", *lines, "[sampling]", 'num_instances = "100%"']).encode()
    )
    made = json.loads(type_("plan", "--config", "home/x.toml", "--json").out)["plan"]
    assert made["libraries"][0]["path"] == str(home / "named.jsonl")
    assert made["spec"]["num_instances"] == 2
    assert list(made["libraries"][0]["listed"]) == ["ids"]
    assert type_("config", "check", "home/x.toml").code == 0
    config.write_text("[library]\npath = 'named.jsonl'\nid_field = 'ref'\n")
    assert type_("plan", "--config", "home/x.toml", "--id-from", "content", "-n", "1").code == 0
    config.write_text("[library]\npath = '*.jsonl'\nid_field = 'ref'\n")
    home.rename(tmp_path / "home [1]")
    made = json.loads(type_("plan", "--config", "home [1]/x.toml", "-n", "1", "--json").out)["plan"]
    assert made["libraries"][0]["tasks"] == len(NAMED)
    (tmp_path / "home [1]").rename(home)
    wrong = type_("plan", "named.jsonl", "-n", "0", "--id-from", "name", "--ids", "none")
    assert [text in wrong.err for text in ("--num-instances", "--id-from", "--ids none")] == [True] * 3
    config.write_text("[library]\nid_from = 'name'\n")
    refused = type_("plan", "--config", "home/x.toml")
    assert refused.code == 2
    assert "id_from" in refused.err


def test_types_and_shares_on_the_command_line(type_: Type, tmp_path: Path) -> None:
    """Law: --type takes a name with commas as it is, and -n a share."""
    kinds = ["Sockets, Threads, and Locks", "a", "b"]
    tasks = [{"id": f"{kind}{n}", "type": kind} for kind in kinds for n in range(2)]
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    for words, types in (
        (["--type", kinds[0]], {kinds[0]: 2}),
        (["--type", "a,b"], {"a": 2, "b": 2}),
        (["--type", "a", "--type", kinds[0]], {"a": 2, kinds[0]: 2}),
    ):
        made = json.loads(type_("plan", "t.json", "-n", "100%", *words, "--json").out)["plan"]
        assert made["shards"][0]["types"] == types


def test_usage_errors_are_json_where_json_is_asked_for(type_: Type) -> None:
    """Law: an option that there is not, and a value that is none, are told as every other error is."""
    for words in (["plan", "plain.jsonl", "--nope"], ["memory", "plain.jsonl", "--workers", "x"]):
        done = type_(*words, "--json")
        assert done.code == 2
        (told,) = [json.loads(line) for line in done.out.splitlines()]
        assert (told["event"], told["exit_code"]) == ("error", 2)
        assert told["mistakes"][0]["problem"] in " ".join(done.err.split())
        assert type_(*words).out == ""


def test_show_reads_what_it_prints(type_: Type, tmp_path: Path) -> None:
    """Law: of a plan with many shards the first are shown, and no slice is read for it."""
    tasks = [{"id": f"t{n}", "type": "ab"[n % 2], "workflow": n} for n in range(60)]
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    assert type_("plan", "t.json", "--all", "--shards", "60", "--out", "plan").code == 0
    for file in (tmp_path / "plan" / "slices").iterdir():
        file.unlink()
    shown = type_("show", "plan")
    assert shown.code == 0
    assert "… 10 more" in shown.out
    assert "shard-49" in shown.out
    assert json.loads(type_("show", "plan", "--json").out)["spec"]["shards"] == 60
    assert type_("verify", "plan").code == 2


def test_convert_writes_our_names(type_: Type, tmp_path: Path) -> None:
    """Law: what is converted is named as ours, whatever else its tasks have, and says what it took."""
    told = type_("library", "convert", "named.jsonl", "out.json", "--id-field", "ref")
    assert "all tasks have type 'task'" in told.err
    library = read_library(tmp_path / "out.json")
    assert (library.ids, library.types) == ([f"r{n}" for n in range(4)], ["task"] * 4)
    first = json.loads(next(library.texts([0])))
    assert first == {"id": "r0", "task_type": "task", **NAMED[0]}


def test_convert_takes_the_lists_of_a_folder(type_: Type, tmp_path: Path) -> None:
    """Law: what is a library by --tasks-field is one for every command."""
    for name in "ab":
        (tmp_path / "lists").mkdir(exist_ok=True)
        (tmp_path / "lists" / f"{name}.json").write_text(json.dumps({"tasks": [{"id": name}]}))
    type_("library", "convert", "lists", "out.json", "--tasks-field", "tasks")
    assert read_library(tmp_path / "out.json").ids == ["a", "b"]


@pytest.mark.parametrize("keep", ["level,about", "all"])
def test_results_are_grouped_by_kept_fields(type_: Type, tmp_path: Path, keep: str) -> None:
    """Law: a field that the plan ships is a key, as a setting is; one that it does not is unknown."""
    tasks = [{"id": f"t{n}", "type": "x", "level": n % 2, "about": {"a": 1}, "workflow": {}} for n in range(4)]
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    assert type_("plan", "t.json", "-n", "4", "--repeats", "2", "--keep", keep, "--out", "plan").code == 0
    ran = type_("run", "plan", "--worker", "builtins:print", "--engine", "inline", "--out", "run")
    assert "exit code" in ran.out
    rows = json.loads(type_("results", "run", "--by", "level,about", "--json").out)
    rows = rows if isinstance(rows, list) else rows["rows"]
    assert [(row["group"], row["units"]) for row in rows] == [({"level": n, "about": {"a": 1}}, 4) for n in (0, 1)]
    assert type_("results", "run", "--by", "nope").code == 2
