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
from perago.telemetry.endpoint import MAX_CONNECTIONS, Endpoint, Page, json_page
from servers.machine import slowness

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
        with urllib.request.urlopen(request, timeout=10 * slowness()) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
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
def test_every_probe_is_answered_while_slow_clients_hold_all_connections(monkeypatch, sent):
    """No client is cut off for its slowness, and there is still room for the probe."""
    monkeypatch.setattr(endpoint_module, "REQUEST_SECONDS", 600.0)
    with Slow() as slow, Endpoint("127.0.0.1:0", PAGES) as endpoint:
        for _ in range(3):
            slow.connect(endpoint, 2 * MAX_CONNECTIONS)
            slow.send(sent)
            assert [ask(endpoint, "/text") for _ in range(5)] == [(200, b"text")] * 5
            assert MAX_CONNECTIONS // 2 < slow.still_open < MAX_CONNECTIONS


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(monkeypatch):
    """The whole request has to come within that time, not the next byte of it."""
    monkeypatch.setattr(endpoint_module, "REQUEST_SECONDS", 1.0)
    with Slow() as slow, Endpoint("127.0.0.1:0", PAGES) as endpoint:
        slow.connect(endpoint, 1)
        deadline = time.monotonic() + 30 * slowness()
        while slow.still_open:
            assert time.monotonic() < deadline
            slow.send(b"G")
            time.sleep(0.05)


def test_the_end_waits_for_no_slow_client_and_leaves_no_thread(monkeypatch):
    monkeypatch.setattr(endpoint_module, "REQUEST_SECONDS", 600.0)
    before = set(threading.enumerate())
    with Slow() as slow:
        with Endpoint("127.0.0.1:0", PAGES) as endpoint:
            slow.connect(endpoint, MAX_CONNECTIONS)
            assert ask(endpoint, "/text")[0] == 200
        assert set(threading.enumerate()) == before
        assert slow.still_open == 0


class Slow(ExitStack):
    """Clients that do not send all of their request."""

    def __init__(self):
        super().__init__()
        self.connections = []

    def connect(self, endpoint, count):
        host, port = endpoint.url.removeprefix("http://").split(":")
        for _ in range(count):
            self.connections.append(self.enter_context(socket.create_connection((host, int(port)))))

    def send(self, data):
        for connection in self.connections:
            with suppress(OSError):  # it was cut off
                connection.send(data)

    @property
    def still_open(self):
        return sum(map(_is_open, self.connections))


def _is_open(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_an_address_that_is_taken_is_told(endpoint):
    address = endpoint.url.removeprefix("http://")
    with pytest.raises(RuntimeConfigError, match=f"cannot listen on PERAGO_HEALTH_ADDRESS {address}"):
        Endpoint(address, PAGES)
