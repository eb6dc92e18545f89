"""Calls in the caller's thread through TLS: whole however they are cut into records, and never waiting in vain."""

import contextlib
import socket
import threading

import pytest

from authority import Authority
from perago.http.connection import Connection
from perago.http.direct import DirectSession, run_now
from perago.http.faults import FaultKind, HttpFault
from perago.http.retry import RetryPolicy
from perago.http.session import Request, encoded

LONG = 30.0
LARGE = bytes(range(256)) * 20_000  # 5 MB: more than all buffers between the two hold


class Server:
    """Answers each request with its body, over TLS, one connection after the other.

    Attributes:
        connections: that were made.
        is_asked: set once a whole request has come.
        first: bytes of an answer that go alone.
        cut: bytes of each further piece; None: all in one.
        length: that an answer announces; None: what it has.
    """

    def __init__(self, context):
        self.connections, self.first, self.cut, self.length = 0, 0, None, None
        self.is_asked = threading.Event()
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._opened = self._listener
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def post(self, body):
        url = encoded(f"https://127.0.0.1:{self._listener.getsockname()[1]}/")
        return Request("POST", url, body=body, idempotent=False)

    def close(self):
        for opened in (self._listener, self._opened):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
        self._thread.join(LONG)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._opened = self._context.wrap_socket(plain, server_side=True)
                self.connections += 1
                with contextlib.suppress(OSError):
                    self._serve(self._opened)

    def _serve(self, opened):
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                if not (more := opened.recv(65536)):
                    return
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            wanted = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            while len(body) < wanted:
                body += opened.recv(65536)
            self.is_asked.set()
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (self.length or len(body), body)
            opened.sendall(answer[: self.first])
            rest = answer[self.first :]
            step = self.cut or len(rest)
            for begin in range(0, len(rest), step):
                opened.sendall(rest[begin : begin + step])
            data = b""


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def server(authority):
    running = Server(authority.server_context())
    yield running
    running.close()


@pytest.fixture
def session(authority):
    opened = DirectSession(ca_file=authority.ca_file, policy=RetryPolicy(tries=1))
    yield opened
    run_now(opened.close())


def call(session, request, timeout=LONG):
    return run_now(session.call(request, timeout=timeout))


def test_what_is_large_is_sent_and_read_whole(server, session):
    assert call(session, server.post(LARGE)).body == LARGE


@pytest.mark.parametrize("cut", [1, 7, 5_000])
def test_an_answer_is_whole_however_it_is_cut_into_records(server, session, cut):
    server.cut = cut
    body = bytes(range(256)) * 4
    assert call(session, server.post(body)).body == body


def test_a_connection_is_kept(server, session):
    bodies = [call(session, server.post(b"%d" % number)).body for number in range(5)]
    assert bodies == [b"0", b"1", b"2", b"3", b"4"]
    assert server.connections == 1


def test_a_deadline_holds_while_an_answer_stays_away(server, session):
    server.length = 100
    with pytest.raises(HttpFault) as caught:
        call(session, server.post(b"short"), timeout=0.3)
    assert caught.value.kind is FaultKind.TIMEOUT


def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(server):
    with pytest.raises(HttpFault) as caught:
        call(DirectSession(policy=RetryPolicy(tries=1)), server.post(b"secret"))
    assert (caught.value.kind, caught.value.was_sent) == (FaultKind.TLS, False)


def test_closing_ends_a_call_under_way(server, session):
    server.length = 100
    faults = []

    def ask():
        with pytest.raises(HttpFault) as caught:
            call(session, server.post(b"short"))
        faults.append(caught.value.kind)

    thread = threading.Thread(target=ask)
    thread.start()
    assert server.is_asked.wait(LONG)
    run_now(session.close())
    thread.join(LONG)
    assert faults == [FaultKind.CUT]


def test_a_call_that_is_cut_takes_nothing_encrypted_for_its_answer(server, session, monkeypatch):
    """It is cut between its wait for the body and its read of it, as another thread may do that at any time."""
    wait, receive, heads = Connection._wait, Connection._received, []

    def receive_and_note(self, deadline):
        heads.append(receive(self, deadline))
        return heads[-1]

    def wait_and_be_cut(self, event, deadline):
        wait(self, event, deadline)
        if heads:
            self.cut()

    monkeypatch.setattr(Connection, "_received", receive_and_note)
    monkeypatch.setattr(Connection, "_wait", wait_and_be_cut)
    body = b"x" * 1_000
    server.first = len(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    try:
        outcome = call(session, server.post(body)).body
    except HttpFault as fault:
        outcome = fault.kind
    assert outcome in (body, FaultKind.CUT)  # what had come before the cut may be all of it
    assert heads[0].endswith(b"\r\n\r\n")


def test_a_server_that_ends_the_connection_while_tls_begins_may_be_asked_again(session):
    """It starts, or ends; its certificate has nothing to do with it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def end():
            opened, _ = listener.accept()
            opened.recv(65536)
            opened.close()

        thread = threading.Thread(target=end)
        thread.start()
        url = encoded(f"https://127.0.0.1:{listener.getsockname()[1]}/")
        with pytest.raises(HttpFault) as caught:
            call(session, Request("GET", url))
        thread.join(LONG)
    assert (caught.value.kind, caught.value.was_sent) == (FaultKind.UNREACHABLE, False)
