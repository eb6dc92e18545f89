"""The small server: what it serves, to how many, and what it does with those who are slow."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress

import pytest

from perago.errors import RuntimeConfigError
from perago.telemetry import endpoint as endpoint_module
from perago.telemetry.endpoint import MAX_AT_ONCE, Endpoint, Page, json_page

PAGES = {
    "/well": lambda: json_page({"ready": True, "note": "password=hunter2"}, ok=True),
    "/ill": lambda: json_page({"ready": False}, ok=False),
    "/text": lambda: Page(b"text", "text/plain"),
    "/broken": lambda: 1 / 0,
}


@pytest.fixture
def endpoint():
    with Endpoint("127.0.0.1:0", PAGES) as endpoint:
        yield endpoint


def ask(endpoint, path, method="GET"):
    request = urllib.request.Request(endpoint.url + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read()


def test_pages_have_their_status_and_hold_no_secret(endpoint):
    code, body = ask(endpoint, "/well?verbose=1")
    assert (code, json.loads(body)["ready"]) == (200, True)
    assert b"hunter2" not in body
    assert ask(endpoint, "/ill")[0] == 503
    assert ask(endpoint, "/text") == (200, b"text")
    assert ask(endpoint, "/text", "HEAD") == (200, b"")
    assert ask(endpoint, "/nothing")[0] == 404
    assert ask(endpoint, "/text", "POST")[0] == 501


def test_a_page_that_fails_costs_its_own_request_only(endpoint):
    with pytest.raises(OSError):
        ask(endpoint, "/broken")
    assert ask(endpoint, "/text")[0] == 200


@pytest.mark.parametrize("sent", [b"", b"G"], ids=["nothing", "a byte now and then"])
def test_those_who_hold_all_connections_shut_nobody_out_for_long(monkeypatch, sent):
    monkeypatch.setattr(endpoint_module, "REQUEST_SECONDS", 1.0)
    with ExitStack() as stack:
        endpoint = stack.enter_context(Endpoint("127.0.0.1:0", PAGES))
        host, port = endpoint.url.removeprefix("http://").split(":")
        slow = []
        deadline = time.monotonic() + 30
        while not _is_turned_away(endpoint):  # those that came a second ago have been cut off
            assert time.monotonic() < deadline
            slow += [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(MAX_AT_ONCE)]
        while _is_turned_away(endpoint):
            assert time.monotonic() < deadline
            _send(slow, sent)
            time.sleep(0.05)
    deadline = time.monotonic() + 30
    while any(thread.name.startswith("perago-request") for thread in threading.enumerate()):
        assert time.monotonic() < deadline


def _send(connections, sent):
    for connection in connections:
        with suppress(OSError):  # it was cut off
            connection.send(sent)


def test_an_address_that_is_taken_is_told(endpoint):
    address = endpoint.url.removeprefix("http://")
    with pytest.raises(RuntimeConfigError, match=f"PERAGO_HEALTH_ADDRESS {address} cannot be listened on"):
        Endpoint(address, PAGES)


def _is_turned_away(endpoint) -> bool:
    try:
        return ask(endpoint, "/text")[0] != 200
    except OSError:
        return True
