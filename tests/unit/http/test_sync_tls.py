"""Calls in the caller's thread through TLS: whole however they are cut into records, and never waiting in vain."""

import contextlib
import socket
import threading

import pytest

from authority import Authority
from forward_proxy import ForwardProxy
from perago.http.answer import FaultKind, HttpFault
from perago.http.retry import RetryPolicy
from perago.http.sync import SyncSession

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

    @property
    def address(self):
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

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
def opened():
    """Opens sessions."""
    with contextlib.ExitStack() as stack:

        def open_session(address, **options):
            session = SyncSession(f"https://{address}", policy=RetryPolicy(tries=1), **options)
            stack.callback(session.close)
            return session

        yield open_session


@pytest.fixture
def session(server, authority, opened):
    return opened(server.address, ca_file=authority.ca_file)


def call(session, body, timeout=LONG):
    return session.call("POST", "/", body=body, timeout=timeout, idempotent=False)


def test_what_is_large_is_sent_and_read_whole(server, session):
    assert call(session, LARGE).body == LARGE


@pytest.mark.parametrize("cut", [1, 7, 5_000])
def test_an_answer_is_whole_however_it_is_cut_into_records(server, session, cut):
    server.cut = cut
    body = bytes(range(256)) * 4
    assert call(session, body).body == body


def test_a_connection_is_kept(server, session):
    bodies = [call(session, b"%d" % number).body for number in range(5)]
    assert bodies == [b"0", b"1", b"2", b"3", b"4"]
    assert server.connections == 1


def test_a_deadline_holds_while_an_answer_stays_away(server, session):
    server.length = 100
    with pytest.raises(HttpFault) as caught:
        call(session, b"short", timeout=0.3)
    assert caught.value.kind is FaultKind.TIMEOUT


def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(server, opened):
    with pytest.raises(HttpFault, match="unable to get local issuer certificate") as caught:
        call(opened(server.address), b"secret")
    assert (caught.value.kind, caught.value.was_sent) == (FaultKind.TLS, False)
    assert not server.is_asked.is_set()


def test_a_certificate_for_another_host_is_refused(server, authority, opened):
    with pytest.raises(HttpFault, match="no TLS connection: Hostname mismatch") as caught:
        call(opened(server.address.replace("127.0.0.1", "localhost"), ca_file=authority.ca_file), b"secret")
    assert caught.value.kind is FaultKind.TLS


def test_certificates_of_the_environment_are_trusted(server, authority, opened, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    assert call(opened(server.address), b"1").body == b"1"


def test_tls_goes_through_a_proxy(server, authority, opened, monkeypatch):
    with ForwardProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        session = opened(server.address, ca_file=authority.ca_file)
        bodies = [call(session, b"%d" % number).body for number in range(2)]
        session.close()
        assert (bodies, proxy.seen) == ([b"0", b"1"], [("CONNECT", server.address)])


def test_closing_ends_a_call_under_way(server, session):
    server.length = 100
    faults = []

    def ask():
        with pytest.raises(HttpFault) as caught:
            call(session, b"short")
        faults.append(caught.value.kind)

    thread = threading.Thread(target=ask)
    thread.start()
    assert server.is_asked.wait(LONG)
    session.close()
    thread.join(LONG)
    assert faults == [FaultKind.CUT]


def test_a_server_that_ends_the_connection_while_tls_begins_may_be_asked_again(opened):
    """It starts, or ends; its certificate has nothing to do with it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def end():
            accepted, _ = listener.accept()
            accepted.recv(65536)
            accepted.close()

        thread = threading.Thread(target=end)
        thread.start()
        with pytest.raises(HttpFault) as caught:
            call(opened(f"127.0.0.1:{listener.getsockname()[1]}"), b"")
        thread.join(LONG)
    assert (caught.value.kind, caught.value.was_sent) == (FaultKind.UNREACHABLE, False)
