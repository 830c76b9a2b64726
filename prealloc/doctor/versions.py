"""What is installed here: Python, prealloc, what it builds on, the platform."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Callable, Sequence

from prealloc._version import __version__
from prealloc.doctor.finding import Finding, ok, problem, warning

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)")
_NUMBER = re.compile(r"\d+")


def check_versions(system: str = sys.platform) -> list[Finding]:
    """The interpreter, the platform, and each dependency against what prealloc asks for."""
    python = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    found = [ok("python", python), ok("prealloc", f"{__version__} on {platform.platform()}")]
    if system != "linux":
        found.append(
            warning(
                "platform",
                f"{system}: only Linux is fully supported",
                "run under Linux; here only planning and the inline engine work",
            )
        )
    found += check_dependencies(_requirements(), importlib.metadata.version)
    return found


def check_dependencies(requirements: Sequence[tuple[str, str]], version_of: Callable[[str], str]) -> list[Finding]:
    """`requirements` are (name, least version); `version_of` raises PackageNotFoundError."""
    installed: list[str] = []
    found: list[Finding] = []
    for name, least in requirements:
        try:
            version = version_of(name)
        except importlib.metadata.PackageNotFoundError:
            found.append(problem("dependencies", f"{name} is not installed", f"pip install '{name}>={least}'"))
            continue
        installed.append(f"{name} {version}")
        if _numbers(version) < _numbers(least):
            seen = f"{name} is {version}, prealloc needs {least}"
            found.append(problem("dependencies", seen, f"pip install --upgrade '{name}>={least}'"))
    return found or [ok("dependencies", ", ".join(installed) or "unknown: prealloc runs from a checkout")]


def _requirements() -> list[tuple[str, str]]:
    """What the installed prealloc asks for, extras left out; nothing if it is not installed."""
    try:
        texts = importlib.metadata.requires("prealloc") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    matches = (_REQUIREMENT.match(text) for text in texts if "extra ==" not in text)
    return [(match[1], match[2]) for match in matches if match]


def _numbers(version: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(version)][:3]
