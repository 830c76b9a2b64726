"""The example files for clusters: they parse, and the commands in them are there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from prealloc.cli.app import app_of
from prealloc.engines.hosts.providers.base import PROVIDERS, provider_class

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = sorted((DOCS / "clusters").iterdir())
PAGE = DOCS / "clusters.md"


def test_a_lost_host_is_never_started_again_by_kubernetes() -> None:
    """Its name is closed: another start under it would be sent away. And the keys lie in a Secret, one file a pod."""
    job: Any = yaml.safe_load((DOCS / "clusters/kubernetes.yaml").read_text())
    spec = job["spec"]
    pod = spec["template"]["spec"]
    assert (job["apiVersion"], job["kind"], spec["completionMode"]) == ("batch/v1", "Job", "Indexed")
    assert spec["backoffLimitPerIndex"] == 0
    assert pod["restartPolicy"] == "Never"
    assert spec["completions"] == spec["parallelism"] == spec["maxFailedIndexes"]
    (container,) = pod["containers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    assert volumes["join"]["secret"]["defaultMode"] == 0o400
    (script,) = container["args"]
    variables = {"JOB_COMPLETION_INDEX": "7", "PATH": "/usr/bin:/bin"}
    shown = subprocess.check_output(["sh", "-c", script.replace("exec ", "echo ")], env=variables, text=True)
    assert shown == "prealloc host --join /join/host-8.json\n"


@pytest.mark.parametrize("script", [file for file in EXAMPLES if file.suffix == ".sh"], ids=lambda file: file.name)
def test_each_task_of_a_script_joins_with_a_file_of_its_own(script: Path, tmp_path: Path) -> None:
    """The shell runs it as the scheduler would, with `prealloc` replaced."""
    (tmp_path / "prealloc").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "prealloc").chmod(0o755)
    variables = {"PBS_ARRAY_INDEX": "3", "OMPI_COMM_WORLD_RANK": "2", "PBS_O_WORKDIR": str(tmp_path), "JOIN": "/join"}
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    shown = subprocess.check_output(["sh", str(script), "/join"], env=variables | path, text=True)
    assert shown == "host --with-parent --join /join/host-3.json\n"


def test_every_command_and_option_of_the_page_and_the_examples_is_there() -> None:
    """A renamed option must not stay in a file that nobody runs."""
    commands: Any = typer.main.get_command(app_of()).commands  # type: ignore[attr-defined]
    texts = [file.read_text() for file in (PAGE, *EXAMPLES)]
    lines = "\n".join(texts).replace("\\\n", " ").splitlines()
    seen = 0
    for line in lines:
        for words in re.findall(r"\bprealloc ((?:run|resume|host|doctor) [^`|#]*)", line):
            name, *options = words.split()
            known = {option for each in commands[name].params for option in each.opts}
            used = [word.partition("=")[0] for word in options if word.startswith("--")]
            assert set(used) <= known, line
            seen += len(used)
    assert seen > 20


def test_the_page_names_what_every_provider_has_and_cannot() -> None:
    """Its options, and that it is there at all."""
    text = PAGE.read_text()
    for name in PROVIDERS.keys() - {"process"}:
        assert f"--engine {name}" in text
        missing = [option for option in provider_class(name).options if option not in text and option != "poll"]
        assert not missing, (name, missing)
        assert shlex.split(provider_class(name).cannot.replace("'", ""))[0] in text
