"""Reports and drawings of a hostile repository, shown as what they are: nothing of them runs, or leads away."""

from __future__ import annotations

import pytest

from tests.ui.conftest import Watched

ELSEWHERE = "http://127.0.0.2/"


@pytest.fixture
def opened(chromium, shown):
    """A tab on a page, and the requests that left the browser for elsewhere: not those that a policy stopped."""
    context = chromium.new_context(storage_state=shown.state)
    asked: list[str] = []

    def note(route):
        asked.append(route.request.url)
        route.abort()

    context.route(f"{ELSEWHERE}**", note)

    def open_tab(path):
        watched = Watched(context.new_page())
        watched.page.goto(shown.base + path)
        watched.page.wait_for_load_state("networkidle")
        return watched, asked

    yield open_tab
    context.close()


def dialogs(watched):
    return [fault for fault in watched.faults if fault.startswith("dialog")]


def test_a_request_that_leaves_would_be_noted(opened):
    watched, asked = opened("/runs")
    with pytest.raises(Exception, match="ERR_FAILED"):
        watched.page.goto(ELSEWHERE)
    assert asked == [ELSEWHERE]


def test_a_report_is_a_click_away_and_runs_nothing(opened):
    watched, asked = opened("/commit/main~1")
    page = watched.page
    page.get_by_role("link", name="out/report.html", exact=True).first.click()
    frame = page.frame_locator("iframe.sealed")
    assert frame.locator("h1").inner_text() == "A report"
    inner = page.frames[1]
    assert inner.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(1, 2, 3)"
    assert inner.evaluate("window.origin") == "null"
    assert inner.evaluate("document.title") == ""
    with pytest.raises(Exception, match=r"cross-origin|Blocked a frame"):
        inner.evaluate("window.parent.document.title")
    page.wait_for_load_state("networkidle")
    assert dialogs(watched) == []
    assert asked == []


@pytest.mark.parametrize("link", ["#away", "#top", "#ours"])
def test_no_link_of_it_leads_away(opened, shown, link):
    watched, _ = opened("/commit/main/shown?path=out/report.html")
    page = watched.page
    address = page.url
    page.frame_locator("iframe.sealed").locator(link).click()
    page.frame_locator("iframe.sealed").locator(":root").wait_for()
    assert page.url == address
    assert "Runs" not in page.frames[1].content()
    assert ELSEWHERE not in page.frames[1].evaluate("document.URL")


def test_its_form_is_not_sent(opened):
    watched, asked = opened("/commit/main/shown?path=out/report.html")
    watched.page.frame_locator("iframe.sealed").get_by_role("button", name="send").click()
    watched.page.wait_for_load_state("networkidle")
    assert asked == []


def test_a_drawing_is_shown_and_runs_nothing(opened):
    watched, asked = opened("/commit/main/shown?path=out/plot.svg")
    assert watched.page.locator("img.thumbnail").evaluate("image => image.naturalWidth") == 40
    assert watched.faults == []
    assert asked == []


@pytest.mark.parametrize("path", ["out/report.html", "out/plot.svg"])
def test_it_cannot_be_opened_by_itself(opened, shown, path):
    watched, _ = opened(f"/sealed/main?path={path}")
    assert "There is no such page" in watched.page.inner_text("body")
