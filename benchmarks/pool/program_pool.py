"""Reads and writes objects with one HTTP client; prints the times as JSON.

usage: program_pool.py CLIENT URL REPOSITORY REF BRANCH COUNT SIZE, with the access key in PERAGO_BENCH_AUTHORIZATION
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

READERS, WRITERS = 16, 40
"""Requests at a time. The server syncs concurrent writes together, so that more of them cost it no more."""


@dataclass(frozen=True)
class Job:
    """The work of a client.

    Attributes:
        url: the server's; `get_paths` and `put_paths` are below it.
        content: the content of each write.
    """

    url: str
    headers: dict[str, str]
    get_paths: list[str]
    put_paths: list[str]
    content: bytes


Client = Callable[[Job], tuple[Callable[[], None], Callable[[], None]]]
"""Returns a function that reads all objects and one that writes all."""


def in_threads(paths: list[str], width: int, worker: Callable[[Iterator[str]], None]) -> None:
    """Share the paths among threads."""
    source, lock = iter(paths), threading.Lock()

    def take() -> Iterator[str]:
        while True:
            with lock:
                path = next(source, None)
            if path is None:
                return
            yield path

    threads = [threading.Thread(target=worker, args=(take(),)) for _ in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def one_connection(job: Job) -> tuple[Callable[[], None], Callable[[], None]]:
    """The standard library over one connection, without a pool."""
    return _standard_library(job, 1, 1)


def standard_library(job: Job) -> tuple[Callable[[], None], Callable[[], None]]:
    """`http.client` in threads, each with its own connection."""
    return _standard_library(job, READERS, WRITERS)


def _standard_library(job: Job, readers: int, writers: int) -> tuple[Callable[[], None], Callable[[], None]]:
    address = urlsplit(job.url)
    assert address.hostname is not None
    host, port = address.hostname, address.port

    def work(method: str, body: bytes | None, paths: Iterator[str]) -> None:
        connection = http.client.HTTPConnection(host, port, timeout=60)
        for path in paths:
            connection.request(method, path, body, job.headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (200, 201), answer.status
        connection.close()

    return (
        lambda: in_threads(job.get_paths, readers, lambda paths: work("GET", None, paths)),
        lambda: in_threads(job.put_paths, writers, lambda paths: work("POST", job.content, paths)),
    )


def urllib3_pool(job: Job) -> tuple[Callable[[], None], Callable[[], None]]:
    """urllib3's pool, used by threads."""
    import urllib3

    pool = urllib3.PoolManager(maxsize=WRITERS, headers=job.headers)

    def work(method: str, body: bytes | None, paths: Iterator[str]) -> None:
        for path in paths:
            answer = pool.request(method, job.url + path, body=body)
            assert answer.status in (200, 201), answer.status

    return (
        lambda: in_threads(job.get_paths, READERS, lambda paths: work("GET", None, paths)),
        lambda: in_threads(job.put_paths, WRITERS, lambda paths: work("POST", job.content, paths)),
    )


def aiohttp_bare(job: Job) -> tuple[Callable[[], None], Callable[[], None]]:
    """aiohttp's plain session."""
    import aiohttp

    async def run(method: str, body: bytes | None, paths: list[str], width: int) -> None:
        source = iter(paths)
        connector = aiohttp.TCPConnector(limit=width)

        async def worker() -> None:
            for path in source:
                async with session.request(method, job.url + path, data=body) as answer:
                    await answer.read()
                    assert answer.status in (200, 201), answer.status

        async with aiohttp.ClientSession(connector=connector, headers=job.headers) as session:
            await asyncio.gather(*(worker() for _ in range(width)))

    return (
        lambda: asyncio.run(run("GET", None, job.get_paths, READERS)),
        lambda: asyncio.run(run("POST", job.content, job.put_paths, WRITERS)),
    )


def perago_session(job: Job) -> tuple[Callable[[], None], Callable[[], None]]:
    """Perago's session over aiohttp, with retries, deadlines, and errors without secrets."""
    from perago.http.parallel import in_parallel
    from perago.http.session import HttpSession, Request, encoded

    async def run(method: str, body: bytes | None, paths: list[str], width: int) -> None:
        headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
        session = HttpSession(authorization=job.headers["Authorization"], connections=width)

        async def work(path: str) -> None:
            answer = await session.call(Request(method, encoded(job.url + path), headers, body), timeout=60)
            assert answer.status in (200, 201), answer.status

        await in_parallel(paths, work, width)
        await session.close()

    return (
        lambda: asyncio.run(run("GET", None, job.get_paths, READERS)),
        lambda: asyncio.run(run("POST", job.content, job.put_paths, WRITERS)),
    )


CLIENTS: dict[str, Client] = {
    "one connection": one_connection,
    "http.client in threads": standard_library,
    "urllib3 in threads": urllib3_pool,
    "aiohttp": aiohttp_bare,
    "Perago's session": perago_session,
}


def main(arguments: list[str]) -> None:
    client, url, repository, ref, branch, count, size = arguments
    root = f"/api/v1/repositories/{repository}"
    job = Job(
        url=url,
        headers={"Authorization": os.environ["PERAGO_BENCH_AUTHORIZATION"], "Content-Type": "application/octet-stream"},
        get_paths=[f"{root}/refs/{ref}/objects?path={number:06}" for number in range(int(count))],
        put_paths=[f"{root}/branches/{branch}/objects?path={number:06}" for number in range(int(count))],
        content=os.urandom(int(size)),
    )
    began = _times()
    read, write = CLIENTS[client](job)
    marks = [began, _times()]
    for step in (read, write):
        step()
        marks.append(_times())
    taken = [
        {"seconds": after[0] - before[0], "cpu": after[1] - before[1]} for before, after in itertools.pairwise(marks)
    ]
    print(json.dumps(dict(zip(("start", "read", "write"), taken, strict=True))))


def _times() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    main(sys.argv[1:])
