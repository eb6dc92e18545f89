"""The limit: the same bytes over the standard library's connections, without checks, guards or a cache.

usage: program_bare.py URL REPOSITORY DIRECTORY TASK COUNT WORD, with the access key and the head in the environment.
It prints the seconds of each step as JSON.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.changing import CHANGES

THREADS = 16
PIECE = 1 << 20


class Server:
    """A server, with one connection per thread."""

    def __init__(self, url: str, repository: str) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        self._host, self._port = address.hostname, address.port
        self._root = f"/api/v1/repositories/{repository}"
        pair = f"{os.environ['PERAGO_BENCH_KEY_ID']}:{os.environ['PERAGO_BENCH_SECRET']}"
        self._headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        self._local = threading.local()

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> http.client.HTTPResponse:
        """Make a call; the caller reads the answer's body."""
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(self._host, self._port, timeout=600)
        connection: http.client.HTTPConnection = self._local.connection
        connection.request(method, self._root + path, body, {**self._headers, "Content-Type": kind})
        answer = connection.getresponse()
        assert answer.status < 300, (method, path, answer.status)
        return answer

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """Make a call; returns its JSON."""
        return json.loads(self.ask(method, path, None if body is None else json.dumps(body)).read())


def download(server: Server, head: str, work: Path) -> None:
    """List the objects and read all of them into files."""
    names: list[str] = []
    after = ""
    while True:
        page = server.json("GET", f"/refs/{head}/objects/ls?amount=1000&after={quote(after, safe='')}")
        names += [found["path"] for found in page["results"]]
        if not page["pagination"]["has_more"]:
            break
        after = page["pagination"]["next_offset"]
    for directory in {os.path.dirname(name) for name in names}:  # noqa: PTH120 - half the time of Path
        (work / directory).mkdir(parents=True, exist_ok=True)

    def read(name: str) -> None:
        answer = server.ask("GET", f"/refs/{head}/objects?path={quote(name, safe='')}")
        with open(f"{work}/{name}", "wb") as file:  # noqa: PTH123 - as above
            shutil.copyfileobj(answer, file, PIECE)

    in_threads([name for name in names if not name.startswith("_lakefs_actions/")], read)


def in_threads(names: list[str], do: Any) -> None:
    """Call `do` for each name, in several threads."""
    source, lock = iter(names), threading.Lock()

    def take() -> Iterator[str]:
        while True:
            with lock:
                name = next(source, None)
            if name is None:
                return
            yield name

    def work() -> None:
        for name in take():
            do(name)

    threads = [threading.Thread(target=work) for _ in range(min(THREADS, len(names)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def upload(server: Server, work: Path, changed: list[str], head: str) -> None:
    """Upload the changes to a branch, commit and merge it."""
    branch = f"bare-{uuid.uuid4().hex}"
    server.ask("POST", "/branches", json.dumps({"name": branch, "source": head})).read()

    def send(name: str) -> None:
        path = quote(os.path.relpath(name, work), safe="")
        with open(name, "rb") as file:  # noqa: PTH123 - as above
            size = os.fstat(file.fileno()).st_size
            body = file.read() if size <= PIECE else file
            server.ask("POST", f"/branches/{branch}/objects?path={path}", body, "application/octet-stream").read()

    in_threads(changed, send)
    staged = server.json("POST", f"/branches/{branch}/commits", {"message": "bare"})["id"]
    server.json("POST", f"/refs/{staged}/merge/main", {"message": "bare"})
    server.ask("DELETE", f"/branches/{branch}").read()


def main() -> None:
    """Run the steps and print the result."""
    url, repository, directory, task, count, word = sys.argv[1:]
    server, work, head = Server(url, repository), Path(directory) / "work", os.environ["PERAGO_BENCH_HEAD"]
    work.mkdir()
    marks = [time.perf_counter()]
    download(server, head, work)
    marks.append(time.perf_counter())
    changed = CHANGES[task](work, int(count), word)
    marks.append(time.perf_counter())
    upload(server, work, changed, head)
    marks.append(time.perf_counter())
    shutil.rmtree(work)
    marks.append(time.perf_counter())
    steps = ("materialize", "body", "publish", "clean")
    print(json.dumps({step: marks[index + 1] - marks[index] for index, step in enumerate(steps)}))


if __name__ == "__main__":
    main()
