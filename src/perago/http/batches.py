"""Running many small functions in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from perago.http.parallel import in_thread


class Batches:
    """Runs functions in one thread: all that are waiting, one after the other, in one go.

    A small file costs about as much as the way to a thread and back. While one batch runs, the next one gathers.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], object], asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def run(self, function: Callable[[], object]) -> None:
        """Run a function and wait for its end.

        Raises:
            what the function raises.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((function, done))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        await done

    async def end(self) -> None:
        """Drop waiting functions, and wait for running ones. All callers of `run` have been cancelled, or are done."""
        self._waiting.clear()
        if self._running is not None:
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                errors = await in_thread(_run_all, [function for function, _ in batch])
                for (_, done), error in zip(batch, errors, strict=True):
                    if done.done():  # cancelled
                        continue
                    if error is None:
                        done.set_result(None)
                    else:
                        done.set_exception(error)
        finally:
            self._running = None


def _run_all(functions: Sequence[Callable[[], object]]) -> list[Exception | None]:
    errors: list[Exception | None] = []
    for function in functions:
        try:
            function()
        except Exception as exc:  # noqa: BLE001 - raised where it is waited for
            errors.append(exc)
        else:
            errors.append(None)
    return errors
