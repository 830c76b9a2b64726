"""A browser for the tests of the report. Without one they are skipped, unless PREALLOC_BROWSER says `required`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def _missing(what: str) -> None:
    if os.environ.get("PREALLOC_BROWSER") == "required":
        pytest.fail(f"{what}: `make browser` needs it")
    pytest.skip(f"{what}: see CONTRIBUTING, `make browser`")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, as the system has it: nothing is downloaded."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        _missing(f"there is no browser ({', '.join(BROWSERS)})")
    try:
        from axe_playwright_python import sync_playwright as _axe  # noqa: F401
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        _missing(f"the extra `browser` is not installed ({error.name})")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def reports(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a planted run, and that of a hostile one."""
    from reported import HOSTILE, hostile_run, planted_run

    import prealloc

    folder = tmp_path_factory.mktemp("reports")
    runs = {"planted": planted_run(folder / "run", tasks=24), "hostile": hostile_run(folder)}
    made = {name: folder / f"{name}.html" for name in runs}
    prealloc.write_report(runs["planted"], out=made["planted"])
    prealloc.write_report(runs["hostile"], out=made["hostile"], details="all", title=HOSTILE[1])
    return made
