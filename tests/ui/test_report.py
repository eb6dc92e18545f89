"""`perago report`: the file, and what a browser makes of it."""

from __future__ import annotations

import pytest

from tests.ui.conftest import Watched, made
from tests.ui.test_pages import AXE, WIDTHS

REPO = ("--repo", "data.git")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two publications of a task, and a failed run after them."""
    return made(tmp_path_factory.mktemp("report") / "project")


def written(project, *arguments):
    """The report that a command has written."""
    said = project.run("report", *arguments, *REPO, "-o", "report.html")
    assert said.code == 0, said.err
    return project.path / "report.html"


def test_it_says_what_it_is_about(project):
    newest = project.run("runs", *REPO, "--json").json[0]["run_id"]
    said = project.run("report", *REPO, "-o", "report.html", "--json")
    assert said.json == {"output": "report.html", "run": newest, "commits": []}
    text = written(project, "main").read_text()
    assert "out/table.csv" in text
    assert str(project.path) not in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("none", "-o", "report.html"), "none"),
        (("-o", "none/report.html"), "cannot be written"),
        (("-o", "report.txt"), "must end in .html"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(project, arguments, told):
    before = sorted(project.path.iterdir())
    said = project.run("report", *REPO, *arguments)
    assert (said.code, told in said.err) == (2, True)
    assert sorted(project.path.iterdir()) == before


@pytest.mark.parametrize("name", ["main", None])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_of_a_hostile_repository_runs_in_it(chromium, project, name, scheme):
    context = chromium.new_context(color_scheme=scheme)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    watched = Watched(context.new_page())
    page = watched.page
    page.goto(written(project, *filter(None, [name])).as_uri())
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "train" in page.locator("h1").first.inner_text()
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert watched.faults == []
    context.close()


def test_its_policy_would_stop_a_script(chromium, project):
    path = written(project, "main")
    attacked = path.with_name("attacked.html")
    attacked.write_text(path.read_text().replace("</main>", "<script>document.title = 'ran'</script></main>"))
    page = chromium.new_page()
    page.goto(attacked.as_uri())
    assert "ran" not in page.title()
    page.close()


def test_its_style_is_applied(chromium, project):
    page = chromium.new_page()
    page.goto(written(project, "main").as_uri())
    assert page.evaluate("getComputedStyle(document.querySelector('.card, .facts')).display") != "inline"
    assert page.evaluate("getComputedStyle(document.querySelector('.top')).display") == "flex"
    page.close()
