"""The fault proxy: what it passes on arrives unchanged, what it spoils is spoilt as said, and it counts rightly."""

import contextlib
import http.client
import http.server
import threading
import time
from urllib.parse import urlsplit

import pytest

from servers.faults import (
    Corrupt,
    CutBefore,
    CutRequest,
    CutResponse,
    Delay,
    Refuse,
    Repeat,
    Rule,
    Stall,
    Swallow,
    Truncate,
)
from servers.proxy import FaultProxy
from waiting import wait_for

BIG = bytes(range(256)) * 8_192
LOST = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it got; /big with 2 MiB, /chunked in pieces, /until-close without a length."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.got.append((self.command, self.path, b""))
        if self.path == "/chunked":
            self._head({"Transfer-Encoding": "chunked"})
            self.wfile.write(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
        elif self.path == "/until-close":
            self._head({"Connection": "close"})
            self.wfile.write(b"abcdefg")
            self.close_connection = True
        elif self.path == "/none":
            self._head({}, status=204)
        else:
            self._answer(BIG if self.path == "/big" else f"{self.command} {self.path}".encode())

    do_HEAD = do_DELETE = do_GET

    def do_POST(self):
        try:
            body = self._body()
        except (ValueError, ConnectionError):
            self.close_connection = True
            self.server.broken.append(self.path)
            return
        self.server.got.append((self.command, self.path, body))
        self._answer(f"{len(self.server.got)} ".encode() + body)

    do_PUT = do_POST

    def _body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline() or b"bad", 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError
        return body

    def _answer(self, body):
        self._head({"Content-Length": str(len(body)), "X-Odd": "1"})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, headers, status=200):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError):
            super().handle()


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    made.got, made.broken = [], []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def proxy(server):
    with FaultProxy(f"http://127.0.0.1:{server.server_address[1]}") as made:
        yield made


@pytest.fixture
def client(proxy):
    connection = http.client.HTTPConnection(*_address(proxy), timeout=20)
    yield connection
    connection.close()


def _address(proxy):
    split = urlsplit(proxy.url)
    return split.hostname, split.port


def ask(client, method="GET", path="/a", body=None, **arguments):
    """(status, body); http.client connects again by itself after a hang-up."""
    try:
        client.request(method, path, body=body, **arguments)
        with client.getresponse() as response:
            return response.status, response.read()
    except BaseException:
        client.close()
        raise


# ---- without a fault


def test_requests_pass_on_one_connection(client, proxy, server):
    assert ask(client) == (200, b"GET /a")
    sock = client.sock
    assert ask(client, "POST", "/b?q=%2F", b"body") == (200, b"2 body")
    assert ask(client, "GET", "/big") == (200, BIG)
    assert ask(client, "GET", "/chunked") == (200, b"abcdefg")
    assert ask(client, "HEAD", "/c") == (200, b"")
    assert ask(client, "GET", "/none") == (204, b"")
    assert client.sock is sock
    assert server.got[1] == ("POST", "/b?q=%2F", b"body")
    assert [(seen.method, seen.target, seen.status) for seen in proxy.seen()][:2] == [
        ("GET", "/a", 200),
        ("POST", "/b?q=%2F", 200),
    ]
    assert not proxy.fired()


def test_answers_that_end_with_the_connection_pass(client):
    assert ask(client, path="/until-close") == (200, b"abcdefg")
    assert ask(client) == (200, b"GET /a")


@pytest.mark.parametrize("chunked", [False, True])
def test_large_uploads_pass(client, server, chunked):
    pieces = iter([BIG[: 1 << 20], BIG[1 << 20 :]])
    body = pieces if chunked else BIG
    status, answer = ask(client, "PUT", "/up", body, encode_chunked=chunked)
    assert (status, answer) == (200, b"1 " + BIG)


def test_a_client_that_waits_to_be_told_to_go_on_is_told(client):
    assert ask(client, "PUT", "/up", b"body", headers={"Expect": "100-continue"}) == (200, b"1 body")


def test_a_server_that_is_gone_is_a_hang_up(client, proxy, server):
    assert ask(client) == (200, b"GET /a")
    server.shutdown()
    server.server_close()
    with FaultProxy("http://127.0.0.1:1") as nowhere:
        lost = http.client.HTTPConnection(*_address(nowhere), timeout=10)
        with pytest.raises(LOST):
            ask(lost)
        assert [seen.status for seen in nowhere.seen()] == [None]


# ---- faults


@pytest.mark.parametrize("reset", [False, True])
def test_cut_before_the_server_hears_of_it(client, proxy, server, reset):
    rule = proxy.add(Rule(CutBefore(reset=reset), method="POST"))
    with pytest.raises(ConnectionResetError if reset else http.client.RemoteDisconnected):
        ask(client, "POST", body=b"body")
    assert server.got == []
    assert rule.fired == 1
    assert ask(client, "POST", body=b"body") == (200, b"1 body")


@pytest.mark.parametrize("reset", [False, True])
def test_swallowed_the_server_has_done_it(client, proxy, server, reset):
    proxy.add(Rule(Swallow(reset=reset), method="POST"))
    with pytest.raises(ConnectionResetError if reset else http.client.RemoteDisconnected):
        ask(client, "POST", body=b"body")
    assert server.got == [("POST", "/a", b"body")]
    assert [seen.status for seen in proxy.seen()] == [None]


def test_an_upload_that_breaks_off(client, proxy, server):
    proxy.add(Rule(CutRequest(after_bytes=10)))
    with pytest.raises(LOST):
        ask(client, "PUT", body=b"x" * 1_000)
    wait_for(lambda: server.broken == ["/a"], "the server sees a body that breaks off")
    assert server.got == []


@pytest.mark.parametrize("path", ["/big", "/chunked"])
def test_an_answer_that_breaks_off(client, proxy, path):
    proxy.add(Rule(CutResponse(after_bytes=5)))
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(client, path=path)
    assert caught.value.partial == (BIG if path == "/big" else b"abcdefg")[:5]


@pytest.mark.parametrize("path", ["/big", "/chunked", "/until-close"])
def test_a_truncated_body_looks_whole(client, proxy, path):
    rule = proxy.add(Rule(Truncate(keep_bytes=5)))
    assert ask(client, path=path) == (200, (BIG if path == "/big" else b"abcdefg")[:5])
    assert rule.fired == 1


@pytest.mark.parametrize(("offset", "expected"), [(0, b"\x9ebcdefg"), (3, b"abc\x9befg"), (99, b"abcdef\x98")])
def test_a_corrupt_byte(client, proxy, offset, expected):
    proxy.add(Rule(Corrupt(offset)))
    assert ask(client, path="/chunked") == (200, expected)
    assert proxy.fired() == {"Corrupt": 1}


@pytest.mark.parametrize("fault", [Corrupt(), Truncate()])
def test_what_has_no_body_cannot_be_spoilt_and_does_not_count(client, proxy, fault):
    rule = proxy.add(Rule(fault))
    assert ask(client, path="/none") == (204, b"")
    assert ask(client, "HEAD") == (200, b"")
    assert rule.fired == 0
    assert not proxy.fired()
    assert ask(client) != (200, b"GET /a")
    assert rule.fired == 1


def test_refused_in_the_servers_place(client, proxy, server):
    proxy.add(Rule(Refuse(429, {"Retry-After": "7"}, b"slowly")))
    client.request("POST", "/a", body=BIG)
    with client.getresponse() as response:
        assert (response.status, response.reason, response.headers["Retry-After"]) == (429, "Too Many Requests", "7")
        assert response.read() == b"slowly"
    assert server.got == []
    assert ask(client) == (200, b"GET /a")


@pytest.mark.parametrize(("last", "answer"), [(True, b"3 body"), (False, b"1 body")])
def test_repeated(client, proxy, server, last, answer):
    proxy.add(Rule(Repeat(times=3, last=last)))
    assert ask(client, "POST", body=b"body") == (200, answer)
    assert server.got == [("POST", "/a", b"body")] * 3
    assert ask(client, "POST", body=b"body") == (200, b"4 body")


def test_delayed(client, proxy):
    proxy.add(Rule(Delay(0.3)))
    start = time.monotonic()
    assert ask(client) == (200, b"GET /a")
    assert time.monotonic() - start >= 0.3


def test_delayed_past_the_clients_patience_it_is_done_all_the_same(proxy, server):
    proxy.add(Rule(Delay(0.3)))
    client = http.client.HTTPConnection(*_address(proxy), timeout=0.1)
    with contextlib.closing(client), pytest.raises(TimeoutError):
        ask(client, "POST", body=b"late")
    assert server.got == []
    wait_for(lambda: server.got == [("POST", "/a", b"late")], "the request arrives late")


def test_a_delayed_answer_the_server_has_done_it(proxy, server):
    proxy.add(Rule(Delay(600, answer=True)))
    client = http.client.HTTPConnection(*_address(proxy), timeout=0.3)
    with contextlib.closing(client), pytest.raises(TimeoutError):
        ask(client, "POST", body=b"body")
    assert server.got == [("POST", "/a", b"body")]


def test_stalled_in_the_middle_of_the_body(proxy, server):
    proxy.add(Rule(Stall(after_bytes=5)))
    client = http.client.HTTPConnection(*_address(proxy), timeout=0.5)
    client.request("GET", "/big")
    with contextlib.closing(client), client.getresponse() as response:
        assert response.read(5) == BIG[:5]
        with pytest.raises(TimeoutError):
            response.read(1)
    assert server.got == [("GET", "/big", b"")]


def test_closing_ends_what_is_delayed_or_stalled(server):
    with FaultProxy(f"http://127.0.0.1:{server.server_address[1]}") as proxy:
        proxy.add(Rule(Delay(600), path="/slow"))
        client = http.client.HTTPConnection(*_address(proxy), timeout=20)
        client.request("GET", "/slow")
        wait_for(lambda: proxy.clients, "the request is there")
    with contextlib.closing(client), pytest.raises(LOST):
        client.getresponse()


# ---- rules


def test_the_nth_match_and_so_many_times(client, proxy):
    rule = proxy.add(Rule(Refuse(500), method="GET", path=r"^/a\?n=", skip=2, times=2))
    statuses = [ask(client, path=f"/a?n={number}")[0] for number in range(6)]
    ask(client, path="/other")
    ask(client, "POST", "/a?n=7", b"")
    assert statuses == [200, 200, 500, 500, 200, 200]
    assert (rule.matched, rule.fired) == (6, 2)
    assert proxy.fired() == {"Refuse": 2}


def test_a_rule_without_an_end_until_it_is_dropped(client, proxy):
    proxy.add(Rule(Refuse(503), times=None))
    assert [ask(client)[0] for _ in range(3)] == [503] * 3
    proxy.clear()
    assert ask(client)[0] == 200


def test_one_rule_is_dropped_and_the_others_stay(client, proxy):
    first, _second = proxy.add(Rule(Refuse(503), times=None)), proxy.add(Rule(Refuse(500), path="/a", times=None))
    proxy.remove(first)
    assert [ask(client, path=path)[0] for path in ("/a", "/b")] == [500, 200]


def test_by_the_requests_body(client, proxy, server):
    rule = proxy.add(Rule(Refuse(500), body=b'"status": *"COMPLETED"', times=None))
    assert ask(client, "POST", body=b'{"status": "IN_PROGRESS"}')[0] == 200
    assert ask(client, "POST", body=b'{"status": "COMPLETED"}')[0] == 500
    assert server.got == [("POST", "/a", b'{"status": "IN_PROGRESS"}')]
    assert rule.fired == 1


def test_the_first_rule_that_takes_a_request_has_it(client, proxy):
    first, second = proxy.add(Rule(Refuse(500))), proxy.add(Rule(Refuse(503)))
    assert [ask(client)[0] for _ in range(3)] == [500, 503, 200]
    assert (first.matched, first.fired, second.matched, second.fired) == (3, 1, 3, 1)


def test_many_connections_at_once(proxy):
    rule = proxy.add(Rule(CutBefore(), skip=5, times=7))
    outcomes = []

    def work():
        connection = http.client.HTTPConnection(*_address(proxy), timeout=20)
        for _ in range(20):
            try:
                outcomes.append(ask(connection, path="/big") == (200, BIG))
            except LOST:
                outcomes.append("lost")
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count("lost"), outcomes.count(True), len(outcomes)) == (7, 153, 160)
    assert (rule.matched, rule.fired) == (160, 7)
