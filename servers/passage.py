"""A request's way through the fault proxy to the server, and the way back of its answer, with faults."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus

from servers.faults import (
    Corrupt,
    CutBefore,
    CutRequest,
    CutResponse,
    Delay,
    Refuse,
    Repeat,
    Rule,
    Stall,
    Swallow,
    Truncate,
)
from servers.http_messages import LINE_LIMIT, ConnectionEndedError, Message, nothing, pass_over, whole


@dataclass
class Exchange:
    """A request, its rule and the status of its answer."""

    method: str
    target: str
    request: Message
    rule: Rule | None
    status: int | None = None


class HangUpError(Exception):
    """The client's connection must be closed now."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


class Upstream:
    """The connection to the server for one client's connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: Message, *, at_most: int | None = None) -> None:
        """Send a request; with `at_most`, only that many bytes of its body."""
        if self._connection is None or self._connection[0].at_eof():
            self.close()
            self._connection = await asyncio.open_connection(*self._address, limit=LINE_LIMIT)
        writer = self._connection[1]
        writer.write(request.head())
        await _write_body(writer, request, at_most)

    async def answer(self, method: str) -> Message:
        """The answer to the request, without 1xx answers."""
        if self._connection is None:
            raise ConnectionEndedError("the server cannot be reached")
        while True:
            answer = await Message.read(self._connection[0], answer_to=method)
            if answer is None:
                raise ConnectionEndedError("the server hung up")
            if not answer.start.split()[1].startswith("1"):
                return answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection[1].transport.abort()
            self._connection = None


class Passage:
    """Passes a request to the server and the answer back, and applies the fault."""

    def __init__(
        self,
        exchange: Exchange,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: Upstream,
        record: Callable[[Exchange], None],
    ) -> None:
        self._exchange = exchange
        self._request = exchange.request
        self._reader = reader
        self._writer = writer
        self._upstream = upstream
        self._record = record

    async def run(self) -> bool:
        """Returns whether the client's connection may serve another request."""
        match self._exchange.rule.fault if self._exchange.rule is not None else None:
            case CutBefore(reset):
                raise HangUpError(reset=reset)
            case CutRequest(after_bytes):
                await self._upstream.send(self._request, at_most=after_bytes)
                raise HangUpError
            case Refuse() as refusal:
                await pass_over(self._request.body)
                await self._give(_refused(refusal))
                return True
            case Delay(seconds, answer=False):
                await asyncio.sleep(seconds)
                answer = await self._ask()
            case Delay(seconds):
                answer = await self._ask()
                await asyncio.sleep(seconds)
            case Swallow(reset):
                await pass_over((await self._ask()).body)
                raise HangUpError(reset=reset)
            case CutResponse(after_bytes, reset):
                await self._give(await self._ask(), at_most=after_bytes)
                raise HangUpError(reset=reset)
            case Stall(after_bytes):
                await self._give(await self._ask(), at_most=after_bytes)
                await self._reader.read(1)  # the client hangs up, or this proxy is closed
                raise HangUpError
            case Repeat(times, last):
                answer = await self._ask_again_and_again(times, last=last)
            case Truncate() | Corrupt() as fault:
                answer = await self._spoilt(await self._ask(), fault)
            case _:
                answer = await self._ask()
        await self._give(answer)
        return not (answer.ends_connection or self._request.ends_connection)

    async def _ask(self) -> Message:
        with contextlib.suppress(ConnectionError):  # a server may answer and close before it has read everything
            await self._upstream.send(self._request)
        return await self._upstream.answer(self._exchange.method)

    async def _ask_again_and_again(self, times: int, *, last: bool) -> Message:
        body, answers = await whole(self._request.body), []
        for _ in range(times):
            self._request.with_whole_body(body)
            answer = await self._ask()
            answer.with_whole_body(await whole(answer.body))
            answers.append(answer)
        return answers[-1 if last else 0]

    async def _spoilt(self, answer: Message, fault: Truncate | Corrupt) -> Message:
        body = await whole(answer.body)
        spoilt = _spoil(body, fault)
        if spoilt == body and self._exchange.rule is not None:
            self._exchange.rule.had_no_effect()
            self._exchange.rule = None
        if not answer.bodiless:
            answer.with_whole_body(spoilt)
        return answer

    async def _give(self, answer: Message, *, at_most: int | None = None) -> None:
        """Send an answer to the client; with `at_most`, only that many bytes of its body."""
        self._exchange.status = int(answer.start.split()[1])
        self._record(self._exchange)  # before sending, so that a test that has the answer finds it here
        self._writer.write(answer.head())
        await _write_body(self._writer, answer, at_most)


async def _write_body(writer: asyncio.StreamWriter, message: Message, at_most: int | None) -> None:
    """Write the body, or only the first bytes of it without an end."""
    async for piece in _first(message.body, at_most):
        writer.write(message.framed(piece))
        await writer.drain()
    if at_most is None:
        writer.write(message.end)
    await writer.drain()


async def _first(body: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
    """The body's pieces, up to a total number of bytes."""
    left = limit
    async for piece in body:
        part = piece if left is None else piece[:left]
        if part:
            yield part
        if left is not None:
            left -= len(part)
            if left <= 0:
                return


def _spoil(body: bytes, fault: Truncate | Corrupt) -> bytes:
    if isinstance(fault, Truncate) or not body:
        return body[: fault.keep_bytes] if isinstance(fault, Truncate) else body
    offset = min(fault.offset, len(body) - 1)
    return body[:offset] + bytes([body[offset] ^ 0xFF]) + body[offset + 1 :]


def _refused(refusal: Refuse) -> Message:
    answer = Message(f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}", [], nothing())
    answer.headers = [("Content-Type", "application/json"), *refusal.headers.items()]
    answer.with_whole_body(refusal.body)
    return answer
