"""The link: bytes arrive unchanged, in order and a round trip later, and it knows which calls followed one another."""

import contextlib
import hashlib
import http.client
import http.server
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from servers.link import Call, Link, in_sequence

ROUND_TRIP = 0.05


class Digest(http.server.BaseHTTPRequestHandler):
    """Answers with what it got, twice."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])) * 2
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def link():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Digest) as server:
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            with Link(f"http://127.0.0.1:{server.server_port}", ROUND_TRIP) as link:
                yield link
        finally:
            server.shutdown()
            serving.join()


def connected(link):
    return contextlib.closing(http.client.HTTPConnection(urlsplit(link.url).netloc, timeout=30))


def ask(connection, body):
    connection.request("POST", f"/{len(body)}", body)
    return connection.getresponse().read()


def test_each_call_takes_a_round_trip_and_a_new_connection_one_more(link):
    seconds = []
    with connected(link) as connection:
        for _ in range(3):
            began = time.monotonic()
            assert ask(connection, b"abc") == b"abcabc"
            seconds.append(time.monotonic() - began)

    assert seconds[0] >= 2 * ROUND_TRIP
    assert min(seconds[1:]) >= ROUND_TRIP
    assert [call.opened for call in link.calls()] == [True, False, False]
    assert link.calls() == []


def test_large_bodies_arrive_unchanged_both_ways(link):
    body = b"".join(number.to_bytes(4, "big") for number in range(6_000_000))
    with connected(link) as connection:
        answer = ask(connection, body)

    assert hashlib.sha256(answer).digest() == hashlib.sha256(body * 2).digest()


def test_calls_side_by_side_are_one_in_sequence(link):
    def call(_):
        with connected(link) as connection:
            ask(connection, b"x")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(call, range(4)))

    calls = link.calls()
    assert [call.line for call in calls] == ["POST /1 HTTP/1.1"] * 4
    assert len(in_sequence(calls)) == 1


def test_the_longest_chain_of_calls():
    one, two, three = Call("a", 0, 4, False), Call("b", 1, 2, False), Call("c", 2, 3, False)
    assert in_sequence([one, two, three]) == [two, three]
