"""An event loop's connections do not wait for lookups of names for longer than they may, and nor does its end."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time

import pytest
from yarl import URL

from perago.http.faults import FaultKind, HttpFault
from perago.http.loop import CANCEL_SECONDS, LoopThread
from perago.http.resolver import Resolver
from perago.http.session import HttpSession, Request

LONG = 30.0


@pytest.fixture
def no_names(monkeypatch):
    """A system that answers no question for a host's address."""
    end = threading.Event()

    def answer_never(*_, **__):
        end.wait(LONG)
        raise socket.gaierror(socket.EAI_AGAIN, "no name server")

    monkeypatch.setattr(socket, "getaddrinfo", answer_never)
    yield
    end.set()
    for thread in threading.enumerate():
        if thread.name == "perago-lookup":
            thread.join(LONG)


def test_a_call_and_the_end_of_its_loop_do_not_wait_for_a_lookup(no_names):
    session = HttpSession(authorization=None)
    loop = LoopThread("lookups", session.close)
    began = time.monotonic()
    with pytest.raises(HttpFault) as caught:
        loop.run(session.call(Request("POST", URL("http://slow.example/"), idempotent=False), timeout=0.3))
    loop.close()
    assert caught.value.kind in (FaultKind.TIMEOUT, FaultKind.UNREACHABLE)
    assert time.monotonic() - began < CANCEL_SECONDS


def test_who_no_longer_waits_leaves_a_lookup_to_the_others(monkeypatch):
    may_answer, look_up = threading.Event(), socket.getaddrinfo

    def answer_late(_host, port, **options):
        may_answer.wait(LONG)
        return look_up("127.0.0.1", port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer_late)

    async def ask():
        first, second = (asyncio.ensure_future(Resolver().resolve("late.example", 80)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        may_answer.set()
        return await second, first.cancelled()

    (found,), is_cancelled = asyncio.run(ask())
    assert (found["hostname"], found["host"], found["port"]) == ("late.example", "127.0.0.1", 80)
    assert is_cancelled


def test_a_name_that_nobody_has_is_an_error(monkeypatch):
    def refuse(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "nobody has it")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(socket.gaierror, match="nobody has it"):
        asyncio.run(Resolver().resolve("nobody.example"))


@pytest.mark.skipif(sys.platform != "linux", reason="the loopback has another name elsewhere: needs Linux")
@pytest.mark.parametrize(("family", "hosts"), [(socket.AF_INET, ["127.0.0.1"]), (socket.AF_INET6, ["fe80::1%lo"])])
def test_addresses_are_of_the_family_that_is_asked_for_and_have_their_zone(monkeypatch, family, hosts):
    addresses = [
        (socket.AF_INET, ("127.0.0.1", 80)),
        (socket.AF_INET6, ("fe80::1", 80, 0, socket.if_nametoindex("lo"))),
    ]
    found = [(kind, socket.SOCK_STREAM, 6, "", address) for kind, address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert [each["host"] for each in asyncio.run(Resolver().resolve("both.example", 80, family))] == hosts
