"""Addresses for an event loop's connections: looked up as for all others, so that no loop's end waits for a lookup."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Future
from contextlib import suppress

from aiohttp.abc import AbstractResolver, ResolveResult

from perago.http.lookup import LOOKUPS, Address

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Resolver(AbstractResolver):
    """By the lookups of this process; aiohttp's own has threads of the loop do it, which its end waits for."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """A host's addresses. Who waits bounds the time.

        Raises:
            OSError: it has none.
        """
        found = await _outcome(LOOKUPS.begin(host, port))
        return [_result(host, each) for each in found if family in (socket.AF_UNSPEC, each.family)]

    async def close(self) -> None:
        """There is nothing of its own."""


def _result(host: str, found: Address) -> ResolveResult:
    # The system's way to write an address down, with the zone of one that has one; no name is looked up.
    numeric, port = socket.getnameinfo(found.address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    return ResolveResult(
        hostname=host, host=numeric, port=int(port), family=found.family, proto=found.protocol, flags=_NUMERIC
    )


async def _outcome(answer: Future[list[Address]]) -> list[Address]:
    """What a future of threads comes to. To be cancelled leaves it to the others that wait for it."""
    loop = asyncio.get_running_loop()
    waiting = asyncio.Event()

    def wake(_: Future[list[Address]]) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(waiting.set)

    answer.add_done_callback(wake)
    await waiting.wait()
    return answer.result(0)
