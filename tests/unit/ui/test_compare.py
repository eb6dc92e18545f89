"""The page that compares commits and runs."""

from __future__ import annotations

import pytest

from perago.running.repos.address import parse_address
from ui_pages import HOSTILE, opened, record_run, repository, text_of


@pytest.fixture
def browser(tmp_path):
    address = repository(tmp_path)
    (tmp_path / "source" / "raw" / "a.csv").write_text("x,y\n1,2\n3,4\n")
    with parse_address(address).open() as there:
        there.import_directory(tmp_path / "source", "main", f"more {HOSTILE}")
    with opened(address) as found:
        yield found


def test_two_commits_have_their_facts_and_files(browser):
    page = browser.get("/compare.json", params={"of": "main~1 main"}).json()
    assert [fact["name"] for fact in page["facts"] if fact["differs"]] == ["subject"]
    [file] = page["files"]
    assert (file["path"], file["kind"], file["rows"]["added"]) == ("raw/a.csv", "modified", 1)
    shown = browser.get("/compare", params={"of": ["main~1", "main"]}).text
    assert "rows: 1 added" in text_of(shown)
    assert "<script>alert" not in shown


def test_more_than_two_have_no_files(browser):
    page = browser.get("/compare.json", params={"of": "main main main~1"}).json()
    assert (len(page["of"]), page["files"]) == (3, [])


@pytest.mark.parametrize("of", ["", "main"])
def test_fewer_than_two_are_asked_for(browser, of):
    assert "Name two or more" in text_of(browser.get("/compare", params={"of": of}).text)


def test_runs_are_compared_whether_or_not_they_published_something(tmp_path):
    address = repository(tmp_path)
    failed = record_run(address, "train", {"depth": 1}, reason="too flat")
    done = record_run(address, "train", {"depth": 2}, {"score": 0.5})
    with opened(address) as browser:
        page = browser.get("/compare.json", params={"of": f"{failed} {done}"}).json()
        shown = text_of(browser.get("/compare", params={"of": [failed, done]}).text)
    facts = {fact["name"]: fact["values"] for fact in page["facts"] if fact["differs"]}
    assert facts["params.depth"] == [1, 2]
    assert facts["status"] == ["failed", "completed"]
    assert facts["reason"] == ["too flat", None]
    assert facts["result.score"] == [None, 0.5]
    assert [one["commit"] for one in page["of"]] == [None, None]
    assert "has no files to compare" in shown


def test_what_cannot_be_compared_is_said(browser):
    assert browser.get("/compare", params={"of": "main none"}).status_code == 400
    many = browser.get("/compare", params={"of": " ".join(["main"] * 201)})
    assert (many.status_code, "at most 200" in text_of(many.text)) == (400, True)
    assert "<script>alert" not in browser.get("/compare", params={"of": f"main {HOSTILE}"}).text
