"""In the place of a Conductor server: a few lines of HTTP that answer every question alike."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class StubConductor(ThreadingHTTPServer):
    """A context manager; a server while it is entered.

    Attributes:
        requests: the first line of each request, of any method.
    """

    daemon_threads = True

    def __init__(self, status: int, answer: object) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.status, self.content = status, json.dumps(answer).encode()
        self.requests: list[str] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StubConductor

    def parse_request(self) -> bool:
        is_valid = super().parse_request()
        self.server.requests.append(self.requestline)
        return is_valid

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_: Any) -> None:
        pass


def recorded_task(name: str, input_data: dict[str, Any]) -> dict[str, Any]:
    """A task that failed, as Conductor tells of it."""
    return {
        "taskId": "recorded",
        "status": "FAILED",
        "workflowInstanceId": "flow",
        "retryCount": 0,
        "referenceTaskName": "only",
        "taskDefName": name,
        "scheduledTime": 1,
        "pollCount": 1,
        "seq": 1,
        "iteration": 0,
        "inputData": input_data,
    }
