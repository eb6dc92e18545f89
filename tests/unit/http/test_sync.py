"""Calls in the caller's thread, on a server of a few lines: connections are kept, bounded, none is trusted for long."""

import contextlib
import socket
import threading
import time
import traceback

import pytest

from forks import exit_code_in_fork
from forward_proxy import ForwardProxy
from perago.http import sync
from perago.http.answer import FaultKind, HttpFault
from perago.http.retry import RetryPolicy
from perago.http.sync import SyncSession
from servers.machine import slowness
from waiting import wait_for

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LONG = 30.0


class Server:
    """Answers what it is told to, one answer a request, each connection in a thread of its own.

    Attributes:
        answers: taken from the front; `OK` where there are none. None: the connection is closed instead. A list is sent
            piece by piece, with a pause after each.
        requests: that came, their bodies included.
        connections: that were made.
    """

    def __init__(self):
        self.answers, self.requests, self.connections, self.pause = [], [], 0, 0
        self.wait, self._opened = threading.Event(), []
        self.wait.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self):
        return self._listener.getsockname()[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def close(self):
        self.wait.set()
        with_shutdown(self._listener)
        self._threads[0].join()  # from here on nothing is opened
        self.drop_all()
        for thread in self._threads:
            thread.join()

    def drop_all(self):
        """Close the connections, as a server does with those that nobody uses."""
        for opened in self._opened:
            with_shutdown(opened)

    def _accept(self):
        while True:
            try:
                opened, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._opened.append(opened)
            self._threads.append(threading.Thread(target=self._serve, args=(opened,)))
            self._threads[-1].start()

    def _serve(self, opened):
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                try:
                    more = opened.recv(65536)
                except OSError:
                    return
                if not more:
                    return
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            while len(body) < length_of(head):
                body += opened.recv(65536)
            self.requests.append(head + b"\r\n\r\n" + body)
            data = b""
            self.wait.wait()
            answer = self.answers.pop(0) if self.answers else OK
            if answer is None:
                with_shutdown(opened)
                return
            try:
                for piece in answer if isinstance(answer, list) else [answer]:
                    opened.sendall(piece)
                    time.sleep(self.pause)
            except OSError:
                return


def length_of(head):
    named = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(named[0].partition(b":")[2]) if named else 0


def with_shutdown(opened):
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
    opened.close()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


@pytest.fixture
def opened():
    """Opens sessions."""
    with contextlib.ExitStack() as stack:

        def open_session(url, connections=2):
            session = SyncSession(url, connections=connections, policy=RetryPolicy(tries=3, base_seconds=0.01))
            stack.callback(session.close)
            return session

        yield open_session


@pytest.fixture
def session(server, opened):
    return opened(server.url)


def call(session, target="/", method="GET", timeout=LONG, idempotent=True, **options):
    return session.call(method, target, timeout=timeout, idempotent=idempotent, **options)


def fault_of(session, target="/", method="GET", **options):
    with pytest.raises(HttpFault) as caught:
        call(session, target, method, **options)
    return caught.value


def kind_of_fault(session, target="/", method="GET", **options):
    return fault_of(session, target, method, **options).kind


def test_calls_go_over_one_connection_and_say_what_they_are_to(server, session):
    assert call(session, "/a?b=%2F", headers={"X-Own": "1"}).body == b"ok"
    assert call(session, "/c", "POST", body=b"{}").status == 200
    assert server.connections == 1
    first, second = server.requests
    assert first.startswith(b"GET /a?b=%2F HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-Own: 1\r\n" in first
    assert b"\r\nContent-Length: 2\r\n" in second
    assert second.endswith(b"\r\n\r\n{}")


def test_a_connection_that_the_server_has_closed_is_not_used_again(server, session):
    call(session)
    server.drop_all()
    assert call(session, "/", "POST", idempotent=False).body == b"ok"
    assert server.connections == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again(server, session, monkeypatch):
    call(session)
    monkeypatch.setattr(sync, "KEPT_SECONDS", 0.0)
    call(session)
    assert server.connections == 2


def test_what_comes_after_an_answer_is_not_taken_for_the_next_one(server, session):
    server.answers = [OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"]
    assert [call(session).body for _ in range(2)] == [b"ok", b"ok"]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_an_answer_is_whole_however_it_is_framed_and_its_connection_is_kept(server, session, answer, body):
    server.answers = [answer] * 2
    assert [call(session).body for _ in range(2)] == [body, body]
    assert server.connections == 1


def test_what_was_cut_is_asked_again_only_where_that_is_safe(server, session):
    server.answers = [None]
    assert call(session).body == b"ok"
    for method in ("POST", "GET"):  # of which urllib3 by itself would repeat the second
        server.answers = [None]
        assert kind_of_fault(session, "/", method, idempotent=False) is FaultKind.CUT
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
    ],
)
def test_half_an_answer_is_none(server, session, start):
    server.answers = [start, None]
    asked = threading.Thread(target=lambda: (wait_for(lambda: server.requests), server.drop_all()))
    asked.start()
    assert kind_of_fault(session, idempotent=False) is FaultKind.CUT
    asked.join(LONG)


def test_a_status_that_passes_is_asked_again(server, session):
    server.answers = [b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n"]
    assert call(session).status == 200


def test_a_redirect_is_an_answer_like_others(server, session):
    server.answers = [b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"]
    assert call(session, "/a").status == 302
    assert len(server.requests) == 1


@pytest.mark.parametrize("rest", [[b"Content-Length: 3\r\n\r\nok"], [b"X: ", *[b"x"] * 200]])
def test_a_deadline_is_for_the_whole_answer_however_slowly_it_comes(server, session, rest):
    """Each wait by itself would be short enough."""
    server.answers, server.pause = [[b"HTTP/1.1 200 OK\r\n", *rest]], 0.05
    began = time.monotonic()
    assert kind_of_fault(session, idempotent=False, timeout=0.3) is FaultKind.TIMEOUT
    assert time.monotonic() - began < 2 * slowness()


def test_a_deadline_holds_while_a_server_takes_nothing(opened):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        session = opened(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        body = b"x" * 8 * 1024 * 1024  # more than all buffers between the two hold
        seconds = 0.5 * slowness()
        began = time.monotonic()
        assert kind_of_fault(session, "/", "POST", idempotent=False, timeout=seconds, body=body) is FaultKind.TIMEOUT
        assert time.monotonic() - began < 10 * seconds


def test_a_request_is_not_sent_whose_deadline_is_over(server, session, monkeypatch):
    look_up = socket.getaddrinfo

    def answer_late(*arguments, **options):
        threading.Event().wait(0.3)
        return look_up(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer_late)
    fault = fault_of(session, "/", "POST", idempotent=False, timeout=0.2)
    assert (fault.kind, fault.was_sent) == (FaultKind.UNREACHABLE, False)
    session.close()
    server.close()
    assert server.requests == []


def test_an_address_that_swallows_everything_leaves_the_next_one_its_time(server, opened, monkeypatch):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        addresses = [silent.getsockname(), ("127.0.0.1", server.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert call(opened("http://two.example"), timeout=2.0 * slowness()).status == 200


@pytest.mark.parametrize("host", [f"{'x' * 70}.example", "nobody.invalid"])
def test_a_host_that_nobody_has_is_said(opened, host):
    with pytest.raises(HttpFault, match="no connection: unknown host name") as caught:
        call(opened(f"http://{host}"), idempotent=False)
    assert caught.value.kind is FaultKind.UNREACHABLE


def test_an_answer_without_a_length_that_is_cut_is_none(server, session):
    server.answers = [b"HTTP/1.1 200 OK\r\n\r\n[1,2,3"]
    faults = []
    thread = threading.Thread(target=lambda: faults.append(kind_of_fault(session, idempotent=False)))
    thread.start()
    wait_for(lambda: server.requests)
    session.close()
    thread.join(LONG)
    assert faults == [FaultKind.CUT]


def test_an_answer_that_is_none_or_too_long_is_refused(server, session, monkeypatch):
    server.answers = [b"SSH-2.0-OpenSSH\r\n\r\n"]
    assert kind_of_fault(session) is FaultKind.MALFORMED
    monkeypatch.setattr(sync, "MAX_ANSWER_BYTES", 1)
    fault = fault_of(session)
    assert (fault.kind, "limit of 1 bytes" in fault.detail) == (FaultKind.MALFORMED, True)


def test_a_header_that_would_be_two_is_not_sent_and_not_shown(server, session):
    fault = fault_of(session, headers={"X": "secret\r\nY: b"})
    assert fault.kind is FaultKind.MALFORMED
    assert "secret" not in "".join(traceback.format_exception(fault))
    assert server.requests == []


def test_a_server_that_is_not_there_got_nothing(opened):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(HttpFault, match="no connection: Connection refused") as caught:
        call(opened(url))
    assert (caught.value.kind, caught.value.was_sent) == (FaultKind.UNREACHABLE, False)


def test_a_server_without_tls_has_none(server, opened):
    server.answers = [b"HTTP/1.1 400 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
    session = opened(server.url.replace("http", "https"))
    assert kind_of_fault(session, timeout=5.0) in (FaultKind.TLS, FaultKind.UNREACHABLE)


def test_there_are_no_more_connections_than_said(server, session):
    server.wait.clear()
    threads = [threading.Thread(target=call, args=(session,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(server.requests) == 2)
    assert server.connections == 2
    server.wait.set()
    for thread in threads:
        thread.join()
    assert (len(server.requests), server.connections) == (6, 2)


def test_closing_ends_calls_under_way_and_begins_no_others(server, session):
    server.wait.clear()
    faults = []
    thread = threading.Thread(target=lambda: faults.append(kind_of_fault(session, idempotent=False)))
    thread.start()
    wait_for(lambda: server.requests)
    session.close()
    thread.join(LONG)
    assert faults == [FaultKind.CUT]
    with pytest.raises(RuntimeError, match="closed"):
        call(session)


def test_a_fork_uses_connections_of_its_own_and_leaves_its_parents_open(server, session):
    call(session)

    def ask():
        assert call(session).body == b"ok"
        session.close()

    assert exit_code_in_fork(ask) == 0
    call(session)
    assert server.connections == 2


# ---- proxies


@pytest.fixture
def environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("user", [None, "u@ser"])
def test_a_proxy_of_the_environment_is_used(environment, server, opened, user):
    with ForwardProxy(user, "pass:word") as proxy:
        login = "" if user is None else "u%40ser:pass%3Aword@"
        environment.setenv("HTTP_PROXY", proxy.url.replace("//", f"//{login}"))
        session = opened(server.url)
        assert call(session, "/a?b=%2F", "POST", body=b"{}").body == b"ok"
        session.close()
        assert proxy.seen == [("POST", f"{server.url}/a?b=%2F")]
    assert b"proxy-auth" not in server.requests[0].lower()


def test_no_proxy_leads_past_it(environment, server, opened):
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    environment.setenv("NO_PROXY", "127.0.0.1")
    assert call(opened(server.url)).status == 200


def test_a_proxy_that_asks_for_a_login_is_said_without_it(environment, server, opened):
    server.answers = [b"HTTP/1.1 407 who are you\r\nContent-Length: 0\r\n\r\n"] * 4
    environment.setenv("ALL_PROXY", server.url.replace("//", "//user:wr0ng-password@"))
    assert call(opened("http://server.example")).status == 407
    fault = fault_of(opened("https://server.example"), idempotent=False)
    assert (fault.kind, fault.detail) == (FaultKind.UNREACHABLE, "the proxy answered 407")
    assert "wr0ng" not in "".join(traceback.format_exception(fault))


def test_a_proxy_that_is_not_there_is_said(environment, opened):
    environment.setenv("ALL_PROXY", "http://127.0.0.1:9")
    for scheme in ("http", "https"):
        fault = fault_of(opened(f"{scheme}://server.example"), idempotent=False)
        assert (fault.kind, fault.was_sent) == (FaultKind.UNREACHABLE, False)
        assert fault.detail == "the proxy cannot be reached: Connection refused"
