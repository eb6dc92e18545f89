"""The pages of a commit, of its lineage and of its files."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from perago.asking.past import open_past
from perago.asking.revert import revert
from perago.running.repos.address import parse_address
from perago.ui import commit
from perago.values.spec import WorkspaceSpec
from ui_pages import HOSTILE, opened, repository, text_of

FILES = {
    "raw/a.csv": "x,y\n1,2\n3,4\n",
    "page.html": "<script>alert(1)</script>",
    "odd/<img src=x onerror=alert(1)>.svg": "<svg onload='alert(1)'/>",
    "data.json": '{"<script>alert(1)</script>": "<img src=x onerror=alert(2)>"}',
    "table.csv": "<script>alert(1)</script>,b\n<img src=x onerror=alert(2)>,2\n",
    "deep/blob.bin": b"\x00\xff" * 10,
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return repository(tmp_path_factory.mktemp("commit"), FILES)


@pytest.fixture
def browser(address):
    with opened(address) as found:
        yield found


@pytest.fixture
def head(browser):
    return browser.get("/branch.json").json()["cards"][0]["commits"][0]["commit"]


def test_a_commit_lists_what_it_changed(browser, head):
    page = browser.get(f"/commit/{head}.json").json()
    assert {file["path"]: file["change"] for file in page["changes"]} == dict.fromkeys(FILES, "added")
    assert "Imported raw data" in text_of(browser.get(f"/commit/{head[:10]}").text)


def test_many_changes_are_counted(browser, head, monkeypatch):
    monkeypatch.setattr(commit, "MAX_CHANGES", 2)
    page = browser.get(f"/commit/{head}.json").json()
    assert (len(page["changes"]), page["more_changes"]) == (2, len(FILES) - 2)


def test_its_lineage(browser, head):
    page = text_of(browser.get(f"/commit/{head}/lineage").text)
    assert "It read no file that a commit of this history has made." in page
    assert "Nothing was made from it yet." in page


@pytest.mark.parametrize("path", FILES)
def test_a_file_is_shown_and_nothing_of_it_runs(browser, head, path):
    answer = browser.get(f"/commit/{head}/file", params={"path": path})
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "<img src=x" not in answer.text
    assert "<svg onload" not in answer.text


def test_a_table_has_its_cells(browser, head):
    page = browser.get(f"/commit/{head}/file.json", params={"path": "raw/a.csv"}).json()
    assert page["preview"]["rows"] == [["1", "2"], ["3", "4"]]
    assert page["changed_by"]["commit"] == head


def test_only_the_newest_commits_are_searched_for_the_one_that_made_a_file(tmp_path, monkeypatch):
    argument = repository(tmp_path / "first")
    new = tmp_path / "new"
    new.mkdir()
    (new / "b.csv").write_text("z\n")
    with parse_address(argument).open() as there:
        there.import_directory(new, "main", "More", spec=WorkspaceSpec(prefix="more"))
    with opened(argument) as browser:
        head = browser.get("/branch.json").json()["cards"][0]["commits"][0]["commit"]
        found = browser.get(f"/commit/{head}/file.json", params={"path": "raw/a.csv"}).json()
        assert found["changed_by"]["subject"] == "Imported raw data"
        monkeypatch.setattr(commit, "MAX_LOOKED_AT", 1)
        asked = {"path": "raw/a.csv"}
        assert browser.get(f"/commit/{head}/file.json", params=asked).json()["changed_by"] is None
        assert "none of the 1 commits up to this one" in text_of(browser.get(f"/commit/{head}/file", params=asked).text)
        newest = browser.get(f"/commit/{head}/file.json", params={"path": "more/b.csv"}).json()
        assert newest["changed_by"]["commit"] == head


def test_the_page_of_a_commit_that_was_reverted_says_so(tmp_path):
    argument = repository(tmp_path / "first")
    new = tmp_path / "new"
    new.mkdir()
    (new / "b.csv").write_text("z\n")
    with parse_address(argument).open() as there:
        wrong = there.import_directory(new, "main", "More")
    with opened(argument) as browser:
        assert browser.get(f"/commit/{wrong}.json").json()["standing"] == "effective"
        with open_past(parse_address(argument)) as past:
            by = revert(past, "main", wrong, "wrong").commit
        assert "A later commit reverts this one." in text_of(browser.get(f"/commit/{wrong}").text)
        assert "A later commit" not in text_of(browser.get(f"/commit/{by}").text)
        assert "It read no file" in text_of(browser.get(f"/commit/{by}/lineage").text)


def test_a_large_file_is_read_by_nobody(browser, head, monkeypatch):
    monkeypatch.setattr(commit, "MAX_BYTES", 5)
    monkeypatch.setattr(commit, "MAX_DOWNLOAD", 5)
    page = browser.get(f"/commit/{head}/file", params={"path": "raw/a.csv"})
    assert "too large to be read for a preview" in text_of(page.text)
    assert "Download" not in text_of(page.text)
    assert browser.get(f"/commit/{head}/download", params={"path": "raw/a.csv"}).status_code == 404
    assert browser.get(f"/commit/{head}/thumbnail", params={"path": "raw/a.csv"}).status_code == 404


@pytest.mark.parametrize("path", FILES)
def test_a_download_is_never_shown(browser, head, path):
    answer = browser.get(f"/commit/{head}/download", params={"path": path})
    content = FILES[path]
    assert answer.content == (content.encode() if isinstance(content, str) else content)
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("page.html", "text/html; charset=utf-8"), ("odd/<img src=x onerror=alert(1)>.svg", "image/svg+xml")],
)
def test_a_page_or_drawing_is_sealed(browser, head, path, media_type):
    answer = browser.get(f"/sealed/{head}", params={"path": path})
    assert (answer.text, answer.headers["content-type"]) == (FILES[path], media_type)
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"sandbox", "default-src 'none'", "form-action 'none'", "frame-ancestors 'self'"} <= set(policy)
    assert not any(rule.startswith(("script-src", "connect-src", "frame-src")) for rule in policy)
    assert browser.get(f"/commit/{head}/shown.json", params={"path": path}).json()["path"] == path
    alone = browser.get(f"/sealed/{head}", params={"path": path}, headers={"sec-fetch-dest": "document"})
    assert (alone.status_code, FILES[path] in alone.text) == (404, False)


@pytest.mark.parametrize("path", ["raw/a.csv", "data.json", "deep/blob.bin", "none", "html", "../page.html"])
def test_no_other_file_is_shown_as_it_is(browser, head, path):
    assert browser.get(f"/sealed/{head}", params={"path": path}).status_code == 404
    assert browser.get(f"/commit/{head}/shown", params={"path": path}).status_code == 404


def test_reports_are_listed(browser, head):
    page = browser.get(f"/commit/{head}.json").json()
    assert page["reports"] == ["odd/<img src=x onerror=alert(1)>.svg", "page.html"]


@pytest.mark.parametrize("what", ["file", "file.json", "download", "thumbnail"])
@pytest.mark.parametrize("path", ["", "none", "../../etc/passwd", "/etc/passwd", "raw", HOSTILE, "a\0b"])
def test_a_file_that_is_none_is_said(browser, head, what, path):
    answer = browser.get(f"/commit/{head}/{what}", params={"path": path})
    assert answer.status_code in (400, 404)
    assert "<script>alert" not in answer.text or "json" in answer.headers["content-type"]


@pytest.mark.parametrize("ref", ["none", "f" * 40, "0", "--help", quote(HOSTILE.replace("/", ""))])
def test_a_commit_that_is_none_is_said(browser, ref):
    for path in ("", "/lineage"):
        assert browser.get(f"/commit/{ref}{path}").status_code == 404
