"""Only the browser that has opened the printed address gets a page, and every answer says what it may do."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from perago.ui.app import build
from perago.ui.guard import Keys
from perago.ui.source import Source
from ui_pages import HOST, PORT

OPENING = f"http://{HOST}/"
"""The printed address, without its token."""


@pytest.fixture
def keys():
    return Keys(PORT)


@pytest.fixture
def stranger(keys):
    """Somebody on this machine who has no cookie."""
    return TestClient(build(Source(None, "main"), keys), base_url=f"http://{HOST}{keys.place}", follow_redirects=False)


@pytest.fixture
def browser(stranger, keys):
    stranger.cookies.set(keys.cookie_name, keys.cookie)
    return stranger


def test_the_printed_address_becomes_a_strict_cookie_and_leaves_the_address(stranger, keys):
    answer = stranger.get(OPENING, params={"token": keys.token})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{keys.place}/runs")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"perago-{PORT}=")
    assert {"HttpOnly", "SameSite=Strict", f"Path={keys.place}/"} <= set(cookie.split("; "))
    assert stranger.get("/runs").status_code == 200


def test_the_token_works_once(stranger, keys):
    token = keys.token
    stranger.get(OPENING, params={"token": token})
    stranger.cookies.clear()
    again = stranger.get(OPENING, params={"token": token})
    assert again.status_code == 403
    assert "set-cookie" not in again.headers
    assert "was used before" in again.text


def test_a_browser_that_has_the_cookie_may_open_the_printed_address_again(browser, keys):
    keys.take(keys.token)
    answer = browser.get(OPENING, params={"token": "used"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{keys.place}/runs")


@pytest.mark.parametrize("token", ["", "x", "ü", "\x00", "a" * 10_000])
def test_another_token_is_none(stranger, keys, token):
    assert stranger.get(OPENING, params={"token": token}).status_code == 403
    assert keys.token is not None


def test_a_page_that_leads_here_by_the_printed_address_is_left_by_a_page_of_ours(stranger, keys):
    # a browser would keep the strict cookie back from a redirect
    answer = stranger.get(OPENING, params={"token": keys.token}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert f'http-equiv="refresh" content="0;url={keys.place}/runs"' in answer.text
    assert "set-cookie" in answer.headers


@pytest.mark.parametrize("path", ["/", "/runs", "/runs.json", "/static/style.css", "/none"])
def test_without_the_cookie_there_is_no_page(stranger, path):
    answer = stranger.get(path)
    assert answer.status_code == 403
    assert "perago ui" in answer.text


@pytest.mark.parametrize("path", ["/", "/runs", "/static/style.css", "/other/runs"])
def test_the_cookie_counts_at_its_own_place_only(browser, keys, path):
    cookie = {"Cookie": f"{keys.cookie_name}={keys.cookie}"}
    assert browser.get(f"http://{HOST}{path}", headers=cookie).status_code == 403


@pytest.mark.parametrize("cookie", ["", "x", 'perago-4321="', "perago-4321=é", "perago-4320=y"])
def test_another_cookie_is_none(stranger, cookie):
    assert stranger.get("/runs", headers={"Cookie": cookie.encode()}).status_code == 403


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:1", "evil.example", f"evil.example:{PORT}", f"localhost.evil.example:{PORT}", ""]
)
def test_another_name_for_this_address_is_refused(browser, host):
    assert browser.get("/runs", headers={"Host": host}).status_code == 421


def test_both_names_of_this_machine_are_taken(browser):
    assert browser.get("/runs", headers={"Host": f"localhost:{PORT}"}).status_code == 200


@pytest.mark.parametrize("origin", ["null", "https://evil.example", f"https://{HOST}", "http://127.0.0.1:1", ""])
def test_another_origin_is_refused(browser, origin):
    assert browser.get("/runs", headers={"Origin": origin}).status_code == 403


def test_its_own_origin_is_taken(browser):
    assert browser.get("/runs", headers={"Origin": f"http://{HOST}"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_that_another_page_has_caused_is_refused(browser, site):
    assert browser.get("/runs", headers={"Sec-Fetch-Site": site}).status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_only_reading_is_there(browser, method):
    answer = browser.request(method, "/runs")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_and_no_content(browser):
    answer = browser.head("/runs")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/runs", {}),
        ("/runs.json", {}),
        ("/none", {}),
        ("/static/style.css", {}),
        ("/runs?where=1", {}),
        ("/runs", {"Host": "x"}),
        ("/runs", {"Origin": "null"}),
        ("/runs", {"Cookie": "perago-4321=x"}),
        (f"{OPENING}?token=x", {"Cookie": "perago-4321=x"}),
    ],
)
def test_every_answer_has_the_headers(browser, path, headers):
    answer = browser.get(path, headers=headers)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"].startswith("'nonce-")
    assert [policy[name] for name in ("style-src", "img-src", "connect-src", "form-action")] == ["'self'"] * 4
    assert [policy[name] for name in ("base-uri", "frame-ancestors")] == ["'none'"] * 2
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"


def test_a_nonce_is_for_one_answer(browser):
    first, second = (browser.get("/runs").headers["content-security-policy"] for _ in range(2))
    assert first != second
