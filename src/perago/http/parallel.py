"""Running jobs in parallel on one event loop, and functions in threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar

from perago.http.pace import Pace, setting

P = ParamSpec("P")
T = TypeVar("T")


async def nothing() -> None:
    """Nothing to wait for."""


async def together(*running: Coroutine[Any, Any, None]) -> None:
    """Run all coroutines to their ends.

    Raises:
        the first exception; the other coroutines are cancelled and have ended.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in running]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_parallel(jobs: Iterable[T], work: Callable[[T], Awaitable[None]], width: int) -> None:
    """Do all jobs in order, `width` at a time. A job is taken from the iterable when a worker is free.

    Raises:
        as `together`.
    """
    source = iter(jobs)

    async def worker() -> None:
        for job in source:
            await work(job)

    await together(*(worker() for _ in range(width)))


IN_FLIGHT_BYTES = 32 * 1024 * 1024
"""Limit for content in memory, in bytes. At the limit no further job begins, whatever the pace allows."""


async def at_pace(
    jobs: Sequence[T], work: Callable[[T], Awaitable[None]], pace: Pace, size_of: Callable[[T], int]
) -> None:
    """Do all jobs in order, as many at a time as the pace allows. Their calls tell the pace how it goes.

    Args:
        size_of: bytes that a job holds in memory.

    Raises:
        as `together`.
    """
    source = iter(jobs)
    gate = _Gate(pace)

    async def worker() -> None:
        with setting(pace):
            for job in source:
                size = size_of(job)
                await gate.enter(size)
                try:
                    await work(job)
                finally:
                    gate.leave(size)

    await together(*(worker() for _ in range(min(pace.at_most, len(jobs)))))


class _Gate:
    """Lets jobs begin while the pace allows it, in the order in which they came."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._inside = 0
        self._held = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    async def enter(self, size: int) -> None:
        if self._waiting or not self._has_room():
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((turn, size))
            await turn
        else:
            self._admit(size)

    def leave(self, size: int) -> None:
        self._inside -= 1
        self._held -= size
        while self._waiting and self._has_room():
            turn, waiting = self._waiting.popleft()
            if not turn.done():  # it was not cancelled
                self._admit(waiting)
                turn.set_result(None)

    def _admit(self, size: int) -> None:
        self._inside += 1
        self._held += size

    def _has_room(self) -> bool:
        return self._inside < self._pace.limit and (self._held < IN_FLIGHT_BYTES or not self._inside)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread. Waits for its end even if cancelled, because the caller may then close its files."""
    future = asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        future.exception()
        raise
