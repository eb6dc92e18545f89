"""HTTP endpoint for operators: a worker's health and metrics, served from memory."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from perago.errors import RuntimeConfigError
from perago.values.json_text import printable_json
from perago.values.redaction import mask_json

MAX_CONNECTIONS = 32
"""Limit for connections. A further one closes the oldest. Probes take milliseconds, so only slow clients, which take
seconds, are affected."""

REQUEST_SECONDS = 5.0
"""Limit for a client to send its request and receive the answer. Then the connection is closed."""

LOOK_SECONDS = 0.1
"""Interval between checks for expired connections, and for the end of the server."""


@dataclass(frozen=True)
class Page:
    """The content of a path."""

    body: bytes
    content_type: str = "application/json"
    status: int = HTTPStatus.OK


Pages = Mapping[str, Callable[[], Page]]
"""Path -> function that makes the page at once, from known state."""


def json_page(value: Mapping[str, Any], *, ok: bool) -> Page:
    """A JSON object, with status 200, or 503 if it reports a problem."""
    text = printable_json(json.dumps(mask_json(value), indent=1)) + "\n"
    return Page(text.encode(), status=HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE)


class Endpoint:
    """Serves pages within its context. Owns its threads.

    Args:
        address: `host:port`; port 0 chooses a free one.

    Raises:
        RuntimeConfigError: the server cannot listen on the address.
    """

    def __init__(self, address: str, pages: Pages) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), pages)
        except OSError as exc:
            raise RuntimeConfigError(
                f"the server cannot listen on PERAGO_HEALTH_ADDRESS {address}: {exc.strerror}; give another address"
            ) from exc
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(LOOK_SECONDS,), name="perago-endpoint", daemon=True
        )

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """The standard library's server, with one thread per connection, and limits."""

    daemon_threads = False  # so that `server_close` waits for them
    request_queue_size = 128  # a client beyond it retries after a second, which is too long for a probe

    def __init__(self, address: tuple[str, int], pages: Pages) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.pages = pages
        self._due: dict[socket.socket, float] = {}  # deadline of each open connection, oldest first
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """As the base class, without looking up the host's full name, which may need a name server."""
        super(HTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            while len(self._due) >= MAX_CONNECTIONS:
                self._cut_off(next(iter(self._due)))
            self._due[request] = time.monotonic() + REQUEST_SECONDS
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Close expired connections. A socket timeout would start again with each byte."""
        now = time.monotonic()
        self._cut_off_all(lambda due: due <= now)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:  # a closed socket must not be shut down: its number may belong to another one
            self._due.pop(request, None)
            super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and end the requests in progress."""
        self._cut_off_all(lambda due: True)  # noqa: ARG005 - all of them
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close their connection."""

    def _cut_off_all(self, is_over: Callable[[float], bool]) -> None:
        with self._lock:
            for connection in [connection for connection, due in self._due.items() if is_over(due)]:
                self._cut_off(connection)

    def _cut_off(self, connection: socket.socket) -> None:
        """Shut down a connection, so that its thread closes it. Call with the lock held."""
        del self._due[connection]
        with suppress(OSError):  # already closed by the client
            connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "perago"
    sys_version = ""

    def do_GET(self) -> None:
        make = self.server.pages.get(self.path.partition("?")[0])
        self._send(Page(b"not found\n", "text/plain", HTTPStatus.NOT_FOUND) if make is None else make())

    do_HEAD = do_GET  # noqa: N815 - name required by the base class

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Do not log requests: probes come every few seconds."""

    def _send(self, page: Page) -> None:
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)
