"""The page as people use it: opened, filtered, followed, by keyboard, without JavaScript."""

from __future__ import annotations

import json
import re
import signal

import pytest

from perago.ui.serve import leading_to
from tests.ui.test_pages import AXE, WIDTHS
from waiting import wait_for


def test_the_printed_address_opens_the_page_in_one_browser(chromium, shown, tab):
    assert tab().page.title() == "Runs · Perago"
    context = chromium.new_context()
    page = context.new_page()
    answer = page.goto(shown.address)
    assert answer.status == 403
    assert "was used before" in page.inner_text("body")
    context.close()


def test_a_file_leads_a_browser_to_the_page(chromium, another):
    context = chromium.new_context()
    page = context.new_page()
    with leading_to(another.address) as path:
        assert path.stat().st_mode & 0o077 == 0
        page.goto(path.as_uri())
        page.wait_for_url(f"{another.base}/*/runs")
    assert page.title() == "Runs · Perago"
    assert "token" not in page.url
    context.close()


def test_ctrl_c_ends_it(another):
    another.process.send_signal(signal.SIGINT)
    assert another.process.wait(timeout=60) == 0


def test_runs_are_filtered_and_sorted(tab):
    watched = tab()
    page = watched.page
    page.get_by_label("Params and results").fill("alpha < 0.4")
    page.get_by_role("button", name="Filter").click()
    wait_for(lambda: page.locator("tbody tr").count() == 1, "the only run that fits")
    page.get_by_role("link", name="Clear").click()
    page.get_by_label("Task or workflow").select_option("train")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="alpha").click()
    shown = [text.strip() for text in page.locator("td[data-label=alpha]").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    assert watched.faults == []


def test_by_keyboard_alone(tab):
    page = tab().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "task"


def test_without_javascript(shown, tab):
    watched = tab("/runs?task=train", java_script_enabled=False)
    page = watched.page
    page.get_by_role("link", name="train", exact=True).first.click()
    assert "Tries" in page.inner_text("main")
    page.get_by_role("link", name="History").click()
    page.get_by_label("Task").fill("train")
    page.get_by_role("button", name="Filter").click()
    wait_for(lambda: page.locator(".commit").count() == 2, "the commits that fit")
    page.locator(".commit a.id").first.click()
    page.get_by_role("link", name="out/table.csv", exact=True).click()
    assert "<img src=x onerror=alert(2)>" in page.inner_text("table")


@pytest.fixture
def running(shown):
    """A workflow with a map of 40, which waits for the file `go`."""
    (shown.project.path / "go").unlink(missing_ok=True)
    params = json.dumps({"items": [f"item-{n}" for n in range(40)]})
    arguments = ("run", "shown:pipeline", "--params", params, "--repo", "data.git", "--branch", "main", "-j", "4")
    process = shown.project.start(*arguments)
    first = process.stderr.readline()
    yield re.search(r"Run (\S+):", first)[1], shown.project.path / "go"
    (shown.project.path / "go").touch()
    process.communicate(timeout=300)


def test_a_run_is_followed_to_its_end(tab, running):
    run, go = running
    watched = tab(f"/run/{run}")
    plain = tab(f"/run/{run}", java_script_enabled=False)
    assert "Load the page again" in plain.page.inner_text("main")
    page = watched.page
    wait_for(lambda: "4 running" in page.inner_text("details.map"), "four tasks running", 120)
    assert "of 40 done" in page.inner_text("details.map")
    page.locator("details.map summary").click()
    wait_for(lambda: page.locator(".items .lines", has_text="waiting with item-").count() == 4, "their lines", 120)
    wait_for(lambda: page.locator(".items .doing", has_text="body").count() == 4, "their phases", 120)
    assert page.locator(".items svg.phases").count() == 4
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    go.touch()
    wait_for(lambda: "40 of 40 done" in page.inner_text("details.map"), "the end of the map", 240)
    assert page.locator("details.map").get_attribute("open") is not None
    wait_for(lambda: "completed" in page.inner_text(".facts .status"), "the end of the run", 120)
    assert page.locator(".items li").count() == 40
    numbers = tab(f"/run/{run}/series").page.locator(".plot tbody tr").first.inner_text()
    assert "train, try 1" in numbers
    assert "300" in numbers
    assert watched.faults == []
