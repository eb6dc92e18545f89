"""Follows a run for a page that shows it live: server-sent events, which a script of the page swaps in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.concurrency import run_in_threadpool

from perago.errors import PeragoError

LOOK_SECONDS = 0.3
"""Between two looks at whether the record has changed."""

ANEW_SECONDS = 2.0
"""After this time, a page is sent again even if no record has changed: its times advance, and a killed run writes no
record."""

ENDED = "ended"
"""The last event. The script closes the connection then, and does not open another."""


async def followed(
    look: Callable[[], tuple[str, bool]],
    version: Callable[[], object],
    is_gone: Callable[[], Awaitable[bool]],
) -> AsyncIterator[bytes]:
    """The events for one page.

    Args:
        look: HTML of the changing part, and whether the run may still change.
        version: changes with the record.
        is_gone: whether nobody listens any more.
    """
    sent: tuple[object, float] | None = None
    while not await is_gone():
        now, current = time.monotonic(), version()
        if sent is None or sent[0] != current or now - sent[1] > ANEW_SECONDS:
            try:
                html, is_live = await run_in_threadpool(look)
            except PeragoError:  # its record was removed; the page says so when it is loaded again
                html, is_live = "", False
            if html:
                yield event(html)
            if not is_live:
                yield event("", name=ENDED)
                return
            sent = (current, now)
        await asyncio.sleep(LOOK_SECONDS)


def event(data: str, *, name: str | None = None) -> bytes:
    """A server-sent event. Each line of its data is a field of its own."""
    lines = [] if name is None else [f"event: {name}"]
    lines += [f"data: {line}" for line in data.splitlines() or [""]]
    return ("\n".join(lines) + "\n\n").encode()
