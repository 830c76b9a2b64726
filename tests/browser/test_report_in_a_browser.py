"""The report in a real browser: what a run wrote does nothing, everything is reached by keyboard, axe finds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from reported import HOSTILE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@contextmanager
def opened(browser: Any, file: Path, fragment: str = "", **context: Any) -> Iterator[Any]:
    """A page that has asked for nothing but itself and has said nothing on the console, from start to end."""
    place = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, "reduced_motion": "reduce", **context})
    page = place.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(file.as_uri() + fragment)
    if context.get("java_script_enabled", True):
        page.wait_for_selector("html[data-ready]", state="attached")
    try:
        yield page
        assert said == []
        assert [url.partition("#")[0] for url in asked] == [file.as_uri()]
    finally:
        place.close()


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def expect_text(page: Any, selector: str, text: str, *, not_: bool = False) -> None:
    """Waits until an element has the text, or has another."""
    from playwright.sync_api import expect

    expected = expect(page.locator(selector))
    (expected.not_to_have_text if not_ else expected.to_have_text)(text, timeout=60_000)


def test_what_a_run_wrote_does_nothing(browser: Any, reports: dict[str, Path]) -> None:
    """Hostile ids, types, factors, errors, results and logs are read as text, in every part of the page."""
    with opened(browser, reports["hostile"]) as page:
        assert page.title().startswith("\"'><img src=x")
        units = page.locator("#rows button.open").count()
        assert units == 60
        for place in (0, 1, 7, 28):
            page.locator("#rows button.open").nth(place).focus()
            press(page, "Enter")
            page.wait_for_selector("dialog[open]")
            assert page.locator("#unit-body img, #unit-body script, #unit-body a").count() == 0
            press(page, "Escape")
        page.get_by_role("searchbox", name="text").fill(HOSTILE[0])
        expect_text(page, "#count", "60 of 60 units", not_=True)
        assert page.title().startswith("\"'><img src=x")
        assert page.locator("img, iframe, object, embed, a[href^=javascript]").count() == 0
        assert page.evaluate("document.scripts.length") == 1 + page.locator("script[type]").count()


def test_filter_sort_and_look_by_keyboard(browser: Any, reports: dict[str, Path]) -> None:
    """Nothing needs a mouse: filters, headers that sort, a unit's history, and the way back."""
    with opened(browser, reports["planted"]) as page:
        count = page.locator("#count")
        assert count.inner_text() == "288 of 288 units"
        page.get_by_role("combobox", name="status", exact=True).focus()
        press(page, "f")  # chooses `failed`
        assert count.inner_text() == "48 of 288 units"
        page.get_by_role("searchbox", name="text").focus()
        page.keyboard.type("c.long t04")
        expect_text(page, "#count", "2 of 288 units")
        page.get_by_role("button", name="reset").focus()
        press(page, "Enter")
        assert count.inner_text() == "288 of 288 units"

        head = page.get_by_role("columnheader", name="worked")
        head.get_by_role("button").focus()
        press(page, "Enter")
        assert head.get_attribute("aria-sort") == "descending"
        press(page, "Space")
        assert head.get_attribute("aria-sort") == "ascending"
        page.get_by_role("columnheader", name="unit").get_by_role("button").focus()
        press(page, "Enter")
        assert head.get_attribute("aria-sort") is None
        first = page.locator("#rows button.open").first
        assert first.inner_text() == "a.long.00/t00#0"

        page.get_by_role("combobox", name="status", exact=True).focus()
        press(page, "f")
        first.focus()
        name = first.inner_text()
        press(page, "Enter")
        page.wait_for_selector("dialog[open]")
        body = page.locator("#unit-body").inner_text()
        assert "KeyError" in body
        assert "Traceback" in body
        assert f"prealloc show {reports['planted'].parent / 'run'} {name}" in body
        assert page.evaluate("decodeURIComponent(location.hash)") == f"#u={name}"
        press(page, "Escape")
        assert page.locator("dialog[open]").count() == 0
        assert page.evaluate("document.activeElement.textContent") == name
        page.get_by_role("button", name="next").focus()
        assert page.locator("#page").inner_text() == "page 1 of 1"


def test_pages_and_clusters(browser: Any, reports: dict[str, Path]) -> None:
    """A hundred units a page; a cluster lists its units; an address opens the unit that it names."""
    with opened(browser, reports["planted"]) as page:
        page.get_by_role("button", name="next").focus()
        press(page, "Enter")
        assert page.locator("#page").inner_text() == "page 2 of 3"
        assert page.locator("#rows tr").count() == 100
        page.locator("button.list").first.focus()
        press(page, "Enter")
        assert page.locator("#count").inner_text() == "48 of 288 units"
        page.locator(".example button").first.focus()
        press(page, "Enter")
        page.wait_for_selector("dialog[open]")
    with opened(browser, reports["planted"], "#u=c.short.00%2Ft04%231") as page:
        page.wait_for_selector("dialog[open]")
        assert page.locator("#unit-title").inner_text() == "c.short.00/t04#1"


@pytest.mark.parametrize(("name", "scheme"), [("planted", "light"), ("planted", "dark"), ("hostile", "light")])
def test_axe_finds_nothing(browser: Any, reports: dict[str, Path], name: str, scheme: str) -> None:
    """Names, roles, contrast: no rule of axe is broken, in both schemes, with a unit open and closed."""
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, reports[name], color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        for step in ("closed", "open"):
            if step == "open":
                page.locator("#rows button.open").first.focus()
                press(page, "Enter")
                page.wait_for_selector("dialog[open]")
            found = Axe().run(page).response["violations"]
            assert [(rule["id"], [node["html"][:200] for node in rule["nodes"][:3]]) for rule in found] == []


def test_without_javascript_the_pictures_are_there(browser: Any, reports: dict[str, Path]) -> None:
    """All but the table of units is shown, and where that would be, a command that lists units."""
    with opened(browser, reports["planted"], java_script_enabled=False) as page:
        assert page.locator("svg[role=img]").count() > 10
        for name in ("strip", "forest-0", "tasks", "timeline"):
            box = page.locator(f"svg[aria-labelledby={name}-title]").bounding_box()
            assert box is not None
            assert box["width"] > 200
        assert "model c: 48 of 48" in page.locator("table.clusters").inner_text()
        assert not page.locator("#table").is_visible()
        assert page.get_by_text("Without JavaScript").is_visible()


def test_a_narrow_window_scrolls_within_its_boxes(browser: Any, reports: dict[str, Path]) -> None:
    """At 400 pixels the page itself does not scroll sideways."""
    for name in reports:
        with opened(browser, reports[name], viewport={"width": 400, "height": 800}) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= 400
