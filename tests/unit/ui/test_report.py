"""The report: pages as one file that leads nowhere else."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from perago.errors import RefNotFoundError, RunNotFoundError
from perago.running.repos.address import parse_address
from perago.ui import report as reporting
from perago.ui.preview.make import png_of
from perago.ui.report import report_html, report_of
from perago.ui.source import Source
from perago.values.redaction import learn
from ui_pages import HOSTILE, record_run, repository, text_of

FILES = {
    "a.csv": f"x,y\n1,{HOSTILE.replace(',', '')}\n",
    "page.html": "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>.json": f'{{"a": "{"<script>alert(2)</script>"}"}}',
    "plot.png": png_of(2, 2, b"\xff\0\0" * 4),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return repository(tmp_path_factory.mktemp("report"), FILES)


@pytest.fixture
def source(address):
    return Source(parse_address(address), "main")


class Elements(HTMLParser):
    """The elements of a document with their attributes, as a browser reads them."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


LEADING = ("href", "src", "action", "srcset", "data", "poster", "xlink:href", "formaction", "style")
RUNNING = ("script", "iframe", "object", "embed", "link", "base", "form")


def expect_closed(html):
    """Nothing runs in it, and nothing of it leads elsewhere."""
    elements = Elements(html).found
    addresses = [each[name] for _, each in elements for name in LEADING if name in each]
    assert [one for one in addresses if not one.startswith(("#", "data:image/png;base64,"))] == []
    ids = {each["id"] for _, each in elements if "id" in each}
    assert {one[1:] for one in addresses if one.startswith("#")} <= ids
    assert [tag for tag, each in elements if tag in RUNNING or any(name.startswith("on") for name in each)] == []
    assert "url(" not in html.partition("</style>")[0]


def test_a_commit_has_its_files_with_previews(source):
    html = report_html(report_of(source, "main"))
    expect_closed(html)
    shown = text_of(html)
    assert "Imported raw data" in shown
    assert "<script>alert(1)</script>" in shown
    assert "Content-Security-Policy" in html


def test_a_run_has_its_params_and_its_result(address, source):
    run = record_run(address, "train", {"alpha": 0.5, "note": HOSTILE}, {"score": 0.25})
    html = report_html(report_of(source, run))
    expect_closed(html)
    assert "alpha 0.5" in text_of(html)
    assert "score 0.25" in text_of(html)


def test_without_a_name_it_is_the_newest_run_of_the_branch(address, source):
    run = record_run(address, "train", {"alpha": 0.75}, {"score": 0.5})
    assert report_of(source).run.run.run_id == run


def test_a_branch_without_a_run_is_said(source):
    with source.past() as past, pytest.raises(RunNotFoundError, match="no run has published"):
        reporting.newest_on(past, "main")


def test_a_run_without_a_repository():
    run = record_run(None, "free", {"n": 3}, {"m": 4})
    report = report_of(Source(None, "main"), None)
    assert (report.run.run.run_id, report.commits, report.results) == (run, [], [])
    expect_closed(report_html(report))
    with pytest.raises(RunNotFoundError, match="name --repo"):
        report_of(Source(None, "main"), "none")


def test_a_name_that_is_none_is_said(source):
    with pytest.raises(RefNotFoundError):
        report_of(source, "none")


def test_secrets_are_masked(address, source):
    learn(["hunter2-hunter2"])
    run = record_run(address, "train", {"note": "hunter2-hunter2"}, reason="failed with hunter2-hunter2")
    assert "hunter2" not in report_html(report_of(source, run))


@pytest.mark.parametrize(("bound", "value", "shown"), [("MAX_PREVIEWS", 2, 2), ("MAX_PREVIEW_BYTES", 0, 0)])
def test_previews_are_bounded_and_the_others_counted(source, monkeypatch, bound, value, shown):
    monkeypatch.setattr(reporting, bound, value)
    report = report_of(source, "main")
    assert (len(report.files), report.more_files) == (shown, len(FILES) - shown)
    assert f"{len(FILES) - shown} changed files without a preview" in text_of(report_html(report))
