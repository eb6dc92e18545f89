"""The same pages on a real lakeFS server."""

from __future__ import annotations

import pytest

from lakefs_project import LakeFSProject
from tests.ui.conftest import MODULE
from ui_pages import HOSTILE, opened, text_of


@pytest.fixture
def project(tmp_path, lakefs_server, lakefs_repository, monkeypatch):
    """Two publications of a task, and an import."""
    path = tmp_path / "project"
    path.mkdir()
    found = LakeFSProject(path, lakefs_server, lakefs_repository)
    found.write({"raw/a.csv": "x,y\n1,2\n"})
    (path / "shown.py").write_text(MODULE.format(hostile=HOSTILE))
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    assert found.run("import", "source", *found.on_main).code == 0
    for alpha in (0.5, 0.25):
        said = found.run("run", "shown:train", "--params", f'{{"alpha": {alpha}}}', *found.on_main)
        assert said.code == 0, said.err
    return found


def test_every_page_has_its_content(project):
    head = project.head()
    with opened(project.address) as browser:
        assert browser.get("/runs.json").json()["total"] == 2
        cards = browser.get("/branch.json", params={"task": "train"}).json()["cards"]
        assert [commit["result"]["score"] for card in cards for commit in card["commits"]] == [0.8, 1 / 1.5]
        page = browser.get(f"/commit/{head}.json").json()
        assert {file["path"] for file in page["changes"]} == {"out/table.csv", "out/data.json"}
        table = browser.get(f"/commit/{head}/file.json", params={"path": "out/table.csv"}).json()
        assert table["preview"]["rows"] == [["<img src=x onerror=alert(2)>", "0.25"]]
        lineage = browser.get(f"/commit/{head}/lineage.json").json()
        assert "train" in {one["name"] for one in lineage["sources"]}
        compared = browser.get("/compare.json", params={"of": f"{page['commit']['input_ref']} {head}"}).json()
        assert "params.alpha" in {fact["name"] for fact in compared["facts"] if fact["differs"]}
        assert len(browser.get("/results.json", params={"task": "train"}).json()["points"]) == 2
        for path in ("/runs", "/branch", f"/commit/{head}", f"/commit/{head}/lineage", "/results?task=train"):
            answer = browser.get(path)
            assert answer.status_code == 200
            assert "<script>alert" not in answer.text


def test_what_is_not_there_is_said(project):
    with opened(project.address) as browser:
        assert browser.get("/branch", params={"name": "none"}).status_code == 404
        assert "no branch 'none'" in text_of(browser.get("/branch", params={"name": "none"}).text)
        assert browser.get(f"/commit/{'f' * 40}").status_code == 404
