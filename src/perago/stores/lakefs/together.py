"""Many calls at once, within bounds, and their answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from perago.http.parallel import in_parallel, together

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 16
"""Calls of one kind that are under way together; more gain little: 8 to 16 of them fill a server of two cores."""


async def each(items: Iterable[T], call: Callable[[T], Awaitable[R]], at_once: int = AT_ONCE) -> list[R]:
    """Call for every item, and give the answers in the items' order. The first error ends all, and is raised."""
    pending = list(items)
    answers: dict[int, R] = {}

    async def answer(numbered: tuple[int, T]) -> None:
        number, item = numbered
        answers[number] = await call(item)

    await in_parallel(enumerate(pending), answer, min(at_once, len(pending)))
    return [answers[number] for number in range(len(pending))]


async def both(first: Awaitable[T], second: Awaitable[R]) -> tuple[T, R]:
    """Wait for two things at once. The first error ends both, and is raised."""
    answers: tuple[list[T], list[R]] = [], []

    async def wait_first() -> None:
        answers[0].append(await first)

    async def wait_second() -> None:
        answers[1].append(await second)

    await together(wait_first(), wait_second())
    return answers[0][0], answers[1][0]
