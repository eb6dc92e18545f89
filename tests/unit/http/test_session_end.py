"""A peer that does not read the rest of a request cannot keep a connection open for ever."""

from __future__ import annotations

import gc
import socket
import sys
import warnings

import psutil
import pytest

from perago.http import session as sessions
from perago.http.answer import FaultKind, HttpFault
from perago.http.loop import LoopThread
from perago.http.session import HttpSession, Request, encoded
from waiting import wait_for

MORE_THAN_BUFFERS_HOLD = b"x" * 8 * 1024 * 1024


@pytest.fixture
def deaf():
    """Accepts connections, and reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def give_up(loop, session, deaf):
    """A call that runs out of time with most of its body unsent."""
    url = encoded(f"http://127.0.0.1:{deaf.getsockname()[1]}/")
    with pytest.raises(HttpFault) as caught:
        loop.run(session.call(Request("POST", url, body=MORE_THAN_BUFFERS_HOLD), timeout=0.3))
    assert caught.value.kind is FaultKind.TIMEOUT


@pytest.mark.parametrize("owner_closes", ["the session, then the loop", "the loop, which closes the session"])
def test_what_is_not_sent_yet_keeps_no_socket_open(deaf, owner_closes):
    session = HttpSession(authorization=None)
    first = owner_closes.startswith("the session")
    loop = LoopThread("deaf", None if first else session.close)
    give_up(loop, session, deaf)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if first:
            loop.run(session.close())
        loop.close()
        gc.collect()
    unclosed = [str(warning.message) for warning in told if "unclosed <socket" in str(warning.message)]
    assert [message for message in unclosed if str(deaf.getsockname()[1]) in message] == []
    assert connections_to(deaf) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose TCP has such a limit")
def test_a_server_that_stands_still_keeps_no_socket_of_a_call_that_was_given_up(deaf, monkeypatch):
    monkeypatch.setattr(sessions, "UNSENT_SECONDS", 3.0)  # longer than the call takes
    session = HttpSession(authorization=None)
    loop = LoopThread("deaf", session.close)
    give_up(loop, session, deaf)
    assert len(connections_to(deaf)) == 1
    wait_for(lambda: not connections_to(deaf))
    loop.close()


def connections_to(server):
    """Of this process, which has let go of none whose socket is open."""
    port = server.getsockname()[1]
    return [each for each in psutil.Process().net_connections("tcp") if each.raddr and each.raddr.port == port]
