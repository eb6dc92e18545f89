"""`perago ui` as a program, and a client with its cookie that takes times."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SECONDS = 300.0
"""For one answer."""

WHOLE_SECONDS = 900.0
"""For a page to have all that it can have."""

_LOOK_SECONDS = 0.5


class WrongAnswerError(RuntimeError):
    """A page was not what it should be."""


@dataclass(frozen=True)
class Page:
    """A page that runs.

    Attributes:
        first: seconds from the start of the program to the last byte of its first page.
    """

    process: subprocess.Popen[str]
    port: int
    place: str
    cookie: str
    first: float

    def get(self, path: str) -> tuple[float, int]:
        """Seconds to the first byte of a page's content, and the number of its bytes.

        Raises:
            WrongAnswerError: it has another status than 200.
        """
        seconds, content = self._timed(path)
        return seconds, len(content)

    def _timed(self, path: str) -> tuple[float, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        began = time.perf_counter()
        connection.request("GET", self.place + path, headers={"Cookie": self.cookie})
        answer = connection.getresponse()
        content = answer.read(1)
        seconds = time.perf_counter() - began
        content += answer.read()
        connection.close()
        if answer.status != 200:
            raise WrongAnswerError(f"{path}: {answer.status}: {content[:500]!r}")
        return seconds, content

    def wait_until_whole(self, path: str) -> None:
        """Wait until what a page shows is not being read any more.

        Raises:
            TimeoutError: it is for too long.
        """
        page, mark, query = path.partition("?")
        deadline = time.monotonic() + WHOLE_SECONDS
        while time.monotonic() < deadline:
            if not json.loads(self._timed(f"{page}.json{mark}{query}")[1]).get("is_reading"):
                return
            time.sleep(_LOOK_SECONDS)
        raise TimeoutError(f"{path} was not whole within {WHOLE_SECONDS:g} s")

    @property
    def peak_bytes(self) -> int:
        """Peak memory so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@contextmanager
def started(repository: str, environment: Mapping[str, str]) -> Iterator[Page]:
    """Start it, and open its first page."""
    command = [sys.executable, "-m", "perago", "ui", "--repo", repository, "--no-open", "--json"]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        address = urlsplit(json.loads(process.stdout.readline())["address"])
        port = int(address.port or 0)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        connection.request("GET", f"/?{address.query}")
        opened = connection.getresponse()
        opened.read()
        cookie = (opened.getheader("set-cookie") or "").partition(";")[0]
        place = (opened.getheader("location") or "").removesuffix("/runs")
        page = Page(process, port, place, cookie, 0.0)
        page.get("/runs")
        yield Page(process, port, place, cookie, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait()
