"""Running jobs in parallel on one event loop, and functions in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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
