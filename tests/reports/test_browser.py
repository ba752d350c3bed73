"""Both pages in a real browser: they sort, filter, change their theme, fit, ask no network, and shut nobody out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import zsbench
from zsbench.reports.board_page import INDEX

pytestmark = pytest.mark.slow
LEADERBOARDS = Path(__file__).resolve().parents[2] / "leaderboards"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (360, 800, 1400)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
    )
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no browser: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=program, args=["--no-sandbox"])


@pytest.fixture(params=["report", "leaderboards"])
def address(request, run, tmp_path):
    if request.param == "leaderboards":
        return (LEADERBOARDS / INDEX).as_uri()
    right = np.random.default_rng(0).integers(30, 90, (12, 2))
    ids = [f"an-image-with-a-name-that-is-longer-than-any-telephone-is-wide-{number}" for number in range(12)]
    folders = [run(name * 40, right + number, ids=ids) for number, name in enumerate("ab")]
    return zsbench.report(*folders, out=tmp_path / "page.html", replicates=20).as_uri()


@pytest.fixture
def opened(browser, address):
    """The page, whose context is closed afterwards; fails where it said something on the console or asked for anything."""
    context = browser.new_context(color_scheme="light")
    page, faults = context.new_page(), []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: faults.append(request.url) if request.url.startswith(("http", "ws")) else None)
    page.goto(address)
    yield page
    assert not faults
    context.close()


def column(page, table, number):
    rows = page.locator("table").nth(table).locator("tbody tr:visible")
    return rows.evaluate_all("(rows, n) => rows.map((row) => row.cells[n].textContent.trim())", number)


def test_it_fits_at_every_width(opened):
    for width in WIDTHS:
        opened.set_viewport_size({"width": width, "height": 800})
        assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_the_theme_changes_and_is_kept(opened):
    def ground():
        return opened.evaluate("getComputedStyle(document.body).backgroundColor")

    light = ground()
    opened.emulate_media(color_scheme="dark")
    dark = ground()
    assert dark != light
    button = opened.get_by_role("button", name="Theme")
    button.focus()
    opened.keyboard.press("Enter")
    assert ground() == light and "light" in button.text_content()
    opened.reload()
    assert ground() == light
    button.click()
    assert ground() == dark


def test_a_heading_sorts_its_table_by_keyboard_and_says_so(opened):
    heads = opened.locator("th[aria-sort]:visible")
    numeric = heads.locator("button").filter(has_text="hIoU" if "Leaderboards" in opened.title() else "mean IoU").first
    head = numeric.locator("xpath=..")
    place = head.evaluate(
        "(th) => [[...document.querySelectorAll('table')].indexOf(th.closest('table')), th.cellIndex]"
    )
    for _ in range(2):
        numeric.focus()
        opened.keyboard.press("Enter")
        values = [float(text.split()[0]) for text in column(opened, *place)]
        down = head.get_attribute("aria-sort") == "descending"
        assert len(values) > 5 and values == sorted(values, reverse=down)


def test_filters_keep_what_was_asked_for(opened):
    if "Leaderboards" not in opened.title():
        assert opened.locator(".filters").count() == 0
        return
    opened.get_by_label("Family").select_option("two-stage")
    opened.get_by_label("Dataset").select_option("miniworld")
    assert set(column(opened, 0, 3)) == {"two-stage"} and set(column(opened, 0, 1)) == {"miniworld"}
    assert f"{len(column(opened, 0, 0))} of" in opened.locator("#n-measured").text_content()
    opened.get_by_label("Dataset").select_option("pascal-voc")
    assert not column(opened, 0, 0) and set(column(opened, 1, 0)) == {"pascal-voc"}
    assert not opened.get_by_text("miniworld: seen and unseen").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install -e '.[browser]'")
    opened.emulate_media(color_scheme=scheme)
    opened.evaluate(
        "document.querySelectorAll('tbody').forEach((body) => [...body.rows].slice(40).forEach((row) => row.remove()))"
    )
    found = axe.Axe().run(opened).response["violations"]
    assert not [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
