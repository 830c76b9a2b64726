"""Runs a small experiment and saves a picture of its report: docs/report.png is made by this.

    python tests/report_picture.py docs/report.png

It needs what `make browser` needs.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from reported import planted_run

import prealloc

SIZE = (1000, 1180)


def main(target: str) -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        run = planted_run(Path(folder) / "run")
        page_file = Path(folder) / "report.html"
        prealloc.write_report(run, out=page_file, title="Three models on the same 40 tasks")
        with sync_playwright() as driver:
            path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
            page.goto(page_file.as_uri())
            page.screenshot(path=target)
            browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
