"""Calls in the caller's thread, on a server of a few lines: connections are kept, bounded, none is trusted for long."""

import contextlib
import os
import socket
import threading
import time

import pytest
from yarl import URL

from forks import exit_code_in_fork
from perago.http import connection, direct
from perago.http.direct import DirectSession, run_now
from perago.http.faults import FaultKind, HttpFault
from perago.http.retry import RetryPolicy
from perago.http.session import Request, encoded

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LONG = 30.0


class Server:
    """Answers what it is told to, one answer a request, each connection in a thread of its own.

    Attributes:
        answers: taken from the front; `OK` where there are none. None: the connection is closed instead.
        requests: that came, their bodies included.
        connections: that were made.
    """

    def __init__(self):
        self.answers, self.requests, self.connections = [], [], 0
        self.wait, self._opened = threading.Event(), []
        self.wait.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def request(self, path="/", method="GET", **options):
        return Request(method, encoded(f"http://127.0.0.1:{self._listener.getsockname()[1]}{path}"), **options)

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
            self.requests.append(data)
            data = b""
            self.wait.wait()
            answer = self.answers.pop(0) if self.answers else OK
            if answer is None:
                with_shutdown(opened)
                return
            try:
                opened.sendall(answer)
            except OSError:
                return


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
def session():
    opened = DirectSession(connections=2, policy=RetryPolicy(tries=3, base_seconds=0.01))
    yield opened
    run_now(opened.close())


def call(session, request, timeout=LONG):
    return run_now(session.call(request, timeout=timeout))


def kind_of_fault(session, request, timeout=LONG):
    with pytest.raises(HttpFault) as caught:
        call(session, request, timeout)
    return caught.value.kind


def test_calls_go_over_one_connection_and_say_what_they_are_to(server, session):
    assert call(session, server.request("/a?b=%2F", headers={"X-Own": "1"})).body == b"ok"
    assert call(session, server.request("/c", "POST", body=b"{}")).status == 200
    assert server.connections == 1
    first, second = server.requests
    assert first.startswith(b"GET /a?b=%2F HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-Own: 1\r\n" in first
    assert second.endswith(b"\r\nContent-Length: 2\r\n\r\n{}")


def test_a_connection_that_the_server_has_closed_is_not_used_again(server, session):
    call(session, server.request())
    server.drop_all()
    assert call(session, server.request("/", "POST", idempotent=False)).body == b"ok"
    assert server.connections == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again(server, session, monkeypatch):
    call(session, server.request())
    monkeypatch.setattr(direct, "KEPT_SECONDS", 0.0)
    call(session, server.request())
    assert server.connections == 2


def test_a_connection_with_more_than_the_answer_is_not_used_again(server, session):
    server.answers = [OK + b"more"]
    call(session, server.request())
    call(session, server.request())
    assert server.connections == 2


def test_what_was_cut_is_asked_again_only_where_that_is_safe(server, session):
    server.answers = [None]
    assert call(session, server.request()).body == b"ok"
    server.answers = [None]
    assert kind_of_fault(session, server.request("/", "POST", idempotent=False)) is FaultKind.CUT
    assert len(server.requests) == 3


def test_a_status_that_passes_is_asked_again(server, session):
    server.answers = [b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n"]
    assert call(session, server.request()).status == 200


def test_a_deadline_is_for_the_whole_answer_however_slowly_it_comes(server, session):
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"]
    assert kind_of_fault(session, server.request(idempotent=False), 0.2) is FaultKind.TIMEOUT


def test_a_request_is_not_sent_whose_deadline_is_over(server, session, monkeypatch):
    reach = connection._reached

    def reach_late(host, port, deadline):
        reached = reach(host, port, deadline)
        threading.Event().wait(0.1)
        return reached

    monkeypatch.setattr(connection, "_reached", reach_late)
    with pytest.raises(HttpFault) as caught:
        call(session, server.request("/", "POST", idempotent=False), 0.05)
    assert (caught.value.kind, caught.value.was_sent) == (FaultKind.UNREACHABLE, False)
    run_now(session.close())
    server.close()
    assert server.requests == []


def test_all_addresses_of_a_host_have_one_deadline_together(session, monkeypatch):
    """None of them answers: their queues are full."""
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0)) for _ in range(3)]
        addresses = [listener.getsockname() for listener in silent]
        for address in addresses * 4:
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        began = time.monotonic()
        assert kind_of_fault(session, Request("GET", URL("http://three.example/")), 1.0) is FaultKind.UNREACHABLE
        assert time.monotonic() - began < 2.5  # each by itself would take 1 s


def test_an_address_that_swallows_everything_leaves_the_next_one_its_time(server, session, monkeypatch):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        request = server.request()
        addresses = [silent.getsockname(), ("127.0.0.1", request.url.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert call(session, Request("GET", request.url.with_host("two.example")), 2.0).status == 200


@pytest.fixture
def slow_names(monkeypatch):
    """A system that answers no question for a host's address until it is told to; the questions."""
    asked, may_answer, look_up = [], threading.Event(), socket.getaddrinfo

    def answer_late(host, port, **options):
        asked.append(host)
        may_answer.wait(LONG)
        return look_up("127.0.0.1", port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer_late)
    yield asked, may_answer
    may_answer.set()
    for thread in threading.enumerate():
        if thread.name == "perago-lookup":
            thread.join(LONG)


def test_a_name_is_looked_up_within_the_time_of_the_call_and_once_for_all_that_wait(server, session, slow_names):
    asked, may_answer = slow_names
    url = server.request().url.with_host("slow.example")
    with pytest.raises(HttpFault, match="no connection: none in time") as caught:
        call(session, Request("GET", url), 0.2)
    assert (caught.value.kind, caught.value.was_sent) == (FaultKind.UNREACHABLE, False)
    assert server.requests == []
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(call(session, Request("GET", url), LONG)))
    waiting.start()
    may_answer.set()
    waiting.join(LONG)
    assert [answer.status for answer in answers] == [200]
    assert call(DirectSession(), Request("GET", url), LONG).status == 200
    assert asked == ["slow.example"] * 2  # the first two calls shared one


def test_a_lookup_that_cannot_begin_fails_its_call_and_no_later_one(server, session, monkeypatch):
    request = Request("GET", server.request().url.with_host("localhost"), idempotent=False)

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(HttpFault, match="no connection") as caught:
            call(session, request)
    assert caught.value.kind is FaultKind.UNREACHABLE
    assert call(session, request).status == 200


def test_a_fork_looks_a_name_up_itself(server, slow_names):
    """The thread in which its parent does so has not come along."""
    _, may_answer = slow_names
    request = Request("GET", server.request().url.with_host("slow.example"))
    with pytest.raises(HttpFault):
        call(DirectSession(), request, 0.05)

    def ask_again():
        may_answer.set()  # its own copy
        assert call(DirectSession(), request, 5.0).status == 200

    assert exit_code_in_fork(ask_again) == 0


def test_a_host_that_cannot_be_one_is_not_there(session):
    assert kind_of_fault(session, Request("GET", encoded(f"http://{'x' * 70}.example/"))) is FaultKind.UNREACHABLE


def test_an_answer_without_a_length_that_is_cut_is_none(server, session):
    server.answers = [b"HTTP/1.1 200 OK\r\n\r\n[1,2,3"]
    faults = []
    thread = threading.Thread(target=lambda: faults.append(kind_of_fault(session, server.request(idempotent=False))))
    thread.start()
    while not server.requests:
        thread.join(0.01)
    run_now(session.close())
    thread.join(LONG)
    assert faults == [FaultKind.CUT]


def test_an_answer_that_is_none_or_too_long_is_refused(server, session, monkeypatch):
    server.answers = [b"SSH-2.0-OpenSSH\r\n\r\n"]
    assert kind_of_fault(session, server.request()) is FaultKind.MALFORMED
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 1)
    assert kind_of_fault(session, server.request()) is FaultKind.MALFORMED


def test_a_header_that_would_be_two_is_not_sent(server, session):
    assert kind_of_fault(session, server.request(headers={"X": "a\r\nY: b"})) is FaultKind.MALFORMED
    assert server.requests == []


def test_a_server_that_is_not_there_got_nothing(session):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = URL(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    with pytest.raises(HttpFault, match="no connection") as caught:
        call(session, Request("GET", url))
    assert (caught.value.kind, caught.value.was_sent) == (FaultKind.UNREACHABLE, False)


def test_a_server_without_tls_has_none(server, session):
    server.answers = [b"HTTP/1.1 400 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
    url = server.request().url.with_scheme("https")
    assert kind_of_fault(session, Request("GET", url), 5.0) in (FaultKind.TLS, FaultKind.UNREACHABLE)


def test_there_are_no_more_connections_than_said(server, session):
    server.wait.clear()
    threads = [threading.Thread(target=call, args=(session, server.request())) for _ in range(6)]
    for thread in threads:
        thread.start()
    while len(server.requests) < 2:
        threads[-1].join(0.01)
    assert server.connections == 2
    server.wait.set()
    for thread in threads:
        thread.join()
    assert (len(server.requests), server.connections) == (6, 2)


def test_closing_ends_calls_under_way_and_begins_no_others(server, session):
    server.wait.clear()
    faults = []
    thread = threading.Thread(target=lambda: faults.append(kind_of_fault(session, server.request(idempotent=False))))
    thread.start()
    while not server.requests:
        thread.join(0.01)
    run_now(session.close())
    thread.join(LONG)
    assert faults == [FaultKind.CUT]
    with pytest.raises(RuntimeError, match="closed"):
        call(session, server.request())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from 3.12 on, it warns of forks beside threads
def test_a_fork_uses_connections_of_its_own(server, session):
    call(session, server.request())
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if call(session, server.request()).body == b"ok" else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    call(session, server.request())
    assert server.connections == 2


def test_a_coroutine_that_waits_for_a_loop_is_refused():
    class Wait:
        def __await__(self):
            yield

    async def wait():
        await Wait()

    with pytest.raises(RuntimeError, match="event loop"):
        run_now(wait())
