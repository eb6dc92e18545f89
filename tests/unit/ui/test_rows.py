"""The page of one file in two commits."""

from __future__ import annotations

import pytest

from perago.running.repos.address import parse_address
from perago.ui import rows
from ui_pages import HOSTILE, opened, repository, text_of

CELL = HOSTILE.replace('"', "").replace(",", "")
BEFORE = {"a.csv": "id,name\n1,x\n2,y\n3,z\n", "plot.png": b"no image", "b.txt": "1"}
AFTER = {"a.csv": f"id,name\n3,z\n2,{CELL}\n4,w\n", "plot.png": b"no image either", "b.txt": "2", "new.csv": "id\n1\n"}


@pytest.fixture
def browser(tmp_path):
    address = repository(tmp_path, BEFORE)
    for name, content in AFTER.items():
        (tmp_path / "source" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with parse_address(address).open() as there:
        there.import_directory(tmp_path / "source", "main", "more")
    with opened(address) as found:
        yield found


def asked(path, **options):
    return {"params": {"before": "main~1", "after": "main", "path": path, **options}}


def test_rows_that_differ_are_side_by_side(browser):
    page = browser.get("/compare/file.json", **asked("a.csv", key="id")).json()
    assert [(row["kind"], row["name"]) for row in page["rows"]["rows"]] == [
        ("changed", "2"),
        ("added", "4"),
        ("removed", "1"),
    ]
    shown = browser.get("/compare/file", **asked("a.csv", key="id")).text
    assert "1 row added, 1 removed, 1 changed" in text_of(shown)
    assert "<script>alert" not in shown
    assert "<img src=x" not in shown


def test_without_a_key_they_are_matched_by_position(browser):
    page = browser.get("/compare/file.json", **asked("a.csv")).json()
    assert (page["rows"]["key"], page["rows"]["changed"]) == (None, 3)
    assert "no column none in common" in text_of(browser.get("/compare/file", **asked("a.csv", key="none")).text)


def test_images_are_side_by_side(browser):
    shown = browser.get("/compare/file", **asked("plot.png")).text
    assert shown.count('<img class="thumbnail"') == 2


def test_a_file_of_one_commit_is_said(browser):
    assert "This commit does not have it" in text_of(browser.get("/compare/file", **asked("new.csv")).text)


def test_what_is_too_large_is_read_by_nobody(browser, monkeypatch):
    monkeypatch.setattr(rows, "MAX_BYTES", 3)
    assert "too large to be read" in text_of(browser.get("/compare/file", **asked("a.csv")).text)


def test_the_comparison_leads_to_it(browser):
    shown = browser.get("/compare", params={"of": "main~1 main"}).text
    assert "/compare/file?before=" in shown


@pytest.mark.parametrize("path", ["none", "", "../../etc/passwd", HOSTILE, "a\0b"])
def test_what_is_not_there_is_said(browser, path):
    assert browser.get("/compare/file", **asked(path)).status_code in (400, 404)
    assert browser.get("/compare/file").status_code in (400, 404)
