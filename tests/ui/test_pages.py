"""Each page in a real browser: nothing of a hostile repository runs, at each width, light and dark."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
SCREENSHOTS = os.environ.get("PERAGO_TEST_SCREENSHOTS")
"""A directory for screenshots of every page; none are made without it."""

WIDTHS = (360, 800, 1400)


SERIES = "series.loss%20note%3D%3Cscript%3Ealert(5)%3C%2Fscript%3E"
"""What the task of the project records."""


def address_of(shown, name):
    head = shown.project.git("log", "--format=%H", "-1", "main")
    files = "/commit/{}/file?path=out/{}"
    return {
        "runs": "/runs",
        "runs-of-a-task": "/runs?task=train&sort=params.alpha",
        "runs-none": "/runs?where=alpha+%3E+100",
        "branch": "/branch",
        "branch-path": "/branch?path=out/**",
        "run": "/run/{}".format(shown.project.run("runs", "--repo", "data.git", "--json").json[-1]["run_id"]),
        "run-failed": "/run/{}".format(shown.project.run("runs", "--repo", "data.git", "--json").json[0]["run_id"]),
        "commit": f"/commit/{head}",
        "lineage": f"/commit/{head}/lineage",
        "file-html": files.format(head, "page.html"),
        "file-table": files.format(head, "table.csv"),
        "file-json": files.format(head, "data.json"),
        "file-svg": files.format(head, "%3Cimg%20src%3Dx%20onerror%3Dalert(3)%3E.svg"),
        "file-image": f"/commit/{head}/file?path=raw/plot.png",
        "compare-none": "/compare",
        "compare": f"/compare?of={head}&of=main~1",
        "shown-plot": f"/commit/{head}/shown?path=out/plot.svg",
        "compare-rows": "/compare/file?before=main~1&after=main&path=out/table.csv",
        "results": "/results?task=train",
        "results-series": f"/results?task=train&y={SERIES}",
        "run-series": "/run/{}/series".format(
            shown.project.run("runs", "--repo", "data.git", "--json").json[-1]["run_id"]
        ),
        "worker": "/worker",
    }[name]


PAGES = (
    *("runs", "runs-of-a-task", "runs-none", "branch", "branch-path", "run", "run-failed", "commit", "lineage"),
    *("file-html", "file-table", "file-json", "file-svg", "file-image", "compare", "compare-none", "results", "worker"),
    *("results-series", "run-series", "compare-rows", "shown-plot"),
)


@pytest.mark.parametrize("name", PAGES)
def test_a_page(shown, tab, name):
    address = address_of(shown, name)
    for scheme in ("light", "dark"):
        watched = tab(address, color_scheme=scheme)
        page = watched.page
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} scrolls at {width}"
            if SCREENSHOTS:
                page.screenshot(path=f"{SCREENSHOTS}/{name}-{width}-{scheme}.png", full_page=True)
        page.evaluate(AXE)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        told = [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in serious]
        assert told == []
        assert watched.faults == []


def test_what_a_page_may_not_do_would_be_noted(tab):
    watched = tab()
    watched.page.evaluate(
        "document.body.append(Object.assign(document.createElement('img'), {src: 'http://127.0.0.2/'}))"
    )
    watched.page.wait_for_function("true")
    watched.page.evaluate("() => new Promise(done => setTimeout(done, 0))")
    assert any("broken: img-src" in fault for fault in watched.faults)


def test_a_line_of_a_series_leads_to_its_publication(tab):
    page = tab(f"/results?task=train&y={SERIES}").page
    assert page.locator("polyline.curve").count() == 2
    page.locator(".plot svg a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/commit/*")
    page.get_by_role("link", name="Numbers that its run recorded").click()
    assert page.locator(".plot tbody td").nth(1).inner_text() == "300"


def test_what_others_wrote_is_read_as_text(tab):
    assert "<script>alert(1)</script>" in tab("/branch").page.inner_text("main")
