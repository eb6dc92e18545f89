"""Doing again what moves content and broke off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from perago.http.faults import HttpFault
from perago.http.retry import RetryPolicy, retry_delay
from perago.stores.lakefs.failure import DamagedObjectError, LakeFSError

T = TypeVar("T")

POLICY = RetryPolicy()


async def retried(
    operation: Callable[[int], Awaitable[T]],
    on: tuple[type[LakeFSError | DamagedObjectError], ...],
    policy: RetryPolicy = POLICY,
) -> T:
    """Do what may be done twice, until it succeeds or another try cannot help.

    Args:
        operation: is given the number of tries before this one.
        on: the errors after which it may be tried again.
    """
    tries = 0
    while True:
        try:
            return await operation(tries)
        except on as exc:
            tries += 1
            delay = _delay(exc, tries, policy)
            if delay is None:
                raise
        await asyncio.sleep(delay)


def _delay(error: LakeFSError | DamagedObjectError, tries: int, policy: RetryPolicy) -> float | None:
    outcome: HttpFault | int
    if isinstance(error, DamagedObjectError):
        outcome, retry_after = 503, None  # it may have been damaged on the way
    elif error.status is not None:
        outcome, retry_after = error.status, error.retry_after
    else:
        assert error.fault is not None
        outcome, retry_after = HttpFault(error.fault, error.message), None
    return retry_delay(
        policy,
        tries=tries,
        idempotent=True,
        outcome=outcome,
        retry_after=retry_after,
        jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
    )
