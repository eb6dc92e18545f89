"""An OpenLineage receiver on loopback: takes events over HTTP, and keeps them for a test."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LineageReceiver:
    """A context manager.

    Args:
        status: of its answers.
        hangs: takes requests, and answers none until the end.
        seconds: that each answer takes.

    Attributes:
        events: those that it has accepted, in their order.
        requests: number of requests.
        headers: of the last request.
    """

    def __init__(self, *, status: int = 201, hangs: bool = False, seconds: float = 0.0) -> None:
        self.events: list[dict[str, Any]] = []
        self.requests = 0
        self.headers: dict[str, str] = {}
        self.status = status
        self._hangs = hangs
        self._seconds = seconds
        self._ends = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> LineageReceiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def of(self, job: str) -> list[dict[str, Any]]:
        """The events of a job."""
        return [event for event in self.events if event["job"]["name"] == job]

    def last(self, job: str) -> dict[str, Any]:
        return self.of(job)[-1]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests += 1
                receiver.headers = {"path": self.path, **dict(self.headers)}
                if receiver._hangs:
                    receiver._ends.wait()
                    return
                receiver._ends.wait(receiver._seconds)
                if receiver.status < 300:
                    is_zipped = self.headers.get("Content-Encoding") == "gzip"
                    receiver.events.append(json.loads(gzip.decompress(body) if is_zipped else body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        return Handler
