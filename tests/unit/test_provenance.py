"""A run notes what its code was: the commit of the worker's repository, packages, Python, host."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from command_line import Type

import prealloc
from prealloc.api import provenance
from prealloc.api.provenance import other_code, provenance_of
from prealloc.store.run_folder import OpenRun


def git(folder: Path, *words: str) -> str:
    who = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(folder), "-c", "commit.gpgsign=false", *words]
    return subprocess.run(command, env={**os.environ, **who}, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "committed_agent.py").write_text("def solve(task, ctx):\n    return {'success': True}\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def of(folder: Path, worker: str = "committed_agent:solve") -> tuple[str | None, bool | None]:
    found = provenance_of(worker, [str(folder)], is_command=False)
    return found.commit, found.dirty


def test_the_commit_and_whether_the_code_is_in_it(repository: Path) -> None:
    """A tracked file that was changed, or a worker that git does not know, is not in the commit; other files may be."""
    head = git(repository, "rev-parse", "HEAD")
    (repository / "results.csv").write_text("not tracked")
    assert of(repository) == (head, False)
    (repository / "new_agent.py").write_text("")
    assert of(repository, "new_agent:solve") == (head, True)
    (repository / "committed_agent.py").write_text("def solve(task, ctx): ...")
    assert of(repository) == (head, True)
    assert provenance_of("./run.sh {manifest}", [str(repository)], is_command=True).commit == head


def test_without_git_nothing_is_known(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a repository, without the program, and where it takes too long: no commit, and the run goes on."""
    (tmp_path / "agent.py").write_text("")
    assert of(tmp_path, "agent:solve") == (None, None)
    assert of(tmp_path, "no_such_module:solve") == (None, None)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", "")
        assert of(repository) == (None, None)
    with monkeypatch.context() as patched:
        patched.setattr(provenance, "GIT_S", 0.0)
        assert of(repository) == (None, None)


def test_packages_are_those_that_importlib_finds() -> None:
    """By the names of their metadata, each once."""
    found = provenance_of("json:dumps", [], is_command=False)
    packages = found.packages.split(", ")
    assert f"msgspec {version('msgspec')}" in packages
    assert len(packages) == len(set(packages))
    assert (found.host, found.python) == (socket.gethostname(), sys.version.split()[0])


def test_a_run_shows_its_code_and_a_resume_says_that_it_has_changed(
    repository: Path, tmp_path: Path, type_: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In run.json, in `show` and its JSON, and in the report; the journal has the code of the session that differs."""
    monkeypatch.syspath_prepend(repository)
    monkeypatch.chdir(repository)
    run = tmp_path / "run"
    plan = prealloc.plan([{"id": "t", "type": "x", "workflow": {}}], whole=True)
    assert prealloc.run(plan, "committed_agent:solve", run, engine="inline").exit_code == 0
    head = git(repository, "rev-parse", "HEAD")
    noted = OpenRun(run).file.made_with
    assert noted is not None
    assert (noted.commit, noted.dirty) == (head, False)
    shown = type_("show", str(run)).out
    assert f"code      commit {head}\n" in shown
    assert json.loads(type_("show", str(run), "--json").out)["run"]["made_with"]["commit"] == head
    prealloc.write_report(run, out=tmp_path / "r.html")
    assert head in (tmp_path / "r.html").read_text()

    git(repository, "commit", "-qm", "second", "--allow-empty")
    assert type_("resume", str(run), "--failed").code == 0
    (line,) = [
        json.loads(raw)
        for path in (run / "journal").glob("supervisor.0002*")
        for raw in path.read_text().splitlines()
        if '"kind":"session",' in raw
    ]
    assert line["made_with"]["commit"] == git(repository, "rev-parse", "HEAD")
    now = provenance_of("committed_agent:solve", [str(repository)], is_command=False)
    assert [text.partition(":")[0] for text in other_code(noted, now)] == [
        "the worker's code has changed since the run began"
    ]
