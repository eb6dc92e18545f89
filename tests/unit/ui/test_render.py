"""What every page has in common: escaped, masked, and as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perago.ui import render
from perago.ui.render import plain, url
from perago.values.redaction import learn
from ui_pages import HOST, opened, record_run, repository

TEMPLATES = sorted((Path(render.__file__).parent / "templates").rglob("*.html"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: "-".join(path.parts[-2:]))
def test_no_template_trusts_a_value_or_runs_a_script_of_its_own(template):
    text = template.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe|autoescape|Markup|\son[a-z]+=|style=|javascript:|<style|hx-on", text)
    assert re.findall(r"<script(?! nonce=\"\{\{ nonce \}\}\" src=\"\{\{ url\('/static/)[^>]*>", text) == []


@dataclass(frozen=True)
class Page:
    at: datetime
    parts: tuple
    value: object


def test_data_are_plain():
    page = Page(datetime(2026, 1, 2, tzinfo=UTC), ({"a": 1}, "\ud800"), float("nan"))
    assert plain(page) == {"at": "2026-01-02T00:00:00+00:00", "parts": [{"a": 1}, "?"], "value": None}
    with pytest.raises(TypeError):
        plain(object())


def test_an_address_is_quoted():
    assert url("/at", "/run/a b", path="x&y/<z>", none=None, empty="") == "/at/run/a%20b?path=x%26y%2F%3Cz%3E"


def test_secrets_are_masked_in_html_and_json(tmp_path):
    address = repository(tmp_path)
    run = record_run(address, "train", {"note": "swordfish-4711", "password": "x"}, reason="token=abcdef123")
    learn(["swordfish-4711"])
    with opened(address) as browser:
        for path in ("/runs", "/runs.json", f"/run/{run}", f"/run/{run}.json"):
            text = browser.get(path).text
            assert "swordfish" not in text
            assert "abcdef123" not in text


def test_each_page_links_its_json(tmp_path):
    with opened(repository(tmp_path)) as browser:
        for path in ("/runs?status=FAILED", "/branch?task=a", "/compare", "/results", "/worker"):
            link = re.search(r'href="([^"]*\.json[^"]*)"', browser.get(path).text)[1].replace("&amp;", "&")
            answer = browser.get(f"http://{HOST}{link}")
            assert answer.headers["content-type"] == "application/json"
            assert isinstance(json.loads(answer.text), dict)


def test_each_page_has_landmarks_and_a_way_past_them(tmp_path):
    with opened(repository(tmp_path)) as browser:
        for path in ("/runs", "/branch", "/compare", "/results", "/worker", "/none"):
            text = browser.get(path).text
            assert text.count("<main") == text.count("<h1") == text.count("<header class") == 1
            assert '<a class="skip" href="#main">' in text
            assert '<html lang="en">' in text
