"""HTTP endpoint for those who look after a worker: its health and its metrics, served from memory."""

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
"""Connections at a time. A further one closes the oldest: a probe needs milliseconds, and so only slow clients, who
hold theirs for seconds, ever lose one."""

REQUEST_SECONDS = 5.0
"""For a client to send its whole request and to take the whole answer. Then its connection is closed."""

LOOK_SECONDS = 0.1
"""Between two looks for connections whose time is over, and for the end of the server."""


@dataclass(frozen=True)
class Page:
    """What is served under a path."""

    body: bytes
    content_type: str = "application/json"
    status: int = HTTPStatus.OK


Pages = Mapping[str, Callable[[], Page]]
"""Path -> makes its page at once, from what is known."""


def json_page(value: Mapping[str, Any], *, ok: bool) -> Page:
    """A JSON object: 200, or 503 where what it tells of is not as it should be."""
    text = printable_json(json.dumps(mask_json(value), indent=1)) + "\n"
    return Page(text.encode(), status=HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE)


class Endpoint:
    """Serves pages until it is left. A context manager that owns its threads.

    Args:
        address: `host:port`; port 0 takes a free one.

    Raises:
        RuntimeConfigError: the address cannot be had.
    """

    def __init__(self, address: str, pages: Pages) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), pages)
        except OSError as exc:
            raise RuntimeConfigError(
                f"PERAGO_HEALTH_ADDRESS {address} cannot be listened on: {exc.strerror}; give another address"
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
    """The standard library's server, a thread for each connection, with bounds."""

    daemon_threads = False  # so that `server_close` waits for them
    request_queue_size = 128  # a client beyond it tries again after a second, and a probe has no longer

    def __init__(self, address: tuple[str, int], pages: Pages) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.pages = pages
        self._due: dict[socket.socket, float] = {}  # when each open connection is cut off, oldest first
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """As the base class, without its look for the host's full name, which may ask a name server."""
        super(HTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            while len(self._due) >= MAX_CONNECTIONS:
                self._cut_off(next(iter(self._due)))
            self._due[request] = time.monotonic() + REQUEST_SECONDS
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Cut off who takes too long. A timeout of the socket would begin anew with each byte."""
        now = time.monotonic()
        self._cut_off_all(lambda due: due <= now)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:  # none is cut off after it is closed: another one may have its number by then
            self._due.pop(request, None)
            super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and end the requests under way."""
        self._cut_off_all(lambda due: True)  # noqa: ARG005 - every one
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's business."""

    def _cut_off_all(self, is_over: Callable[[float], bool]) -> None:
        with self._lock:
            for connection in [connection for connection, due in self._due.items() if is_over(due)]:
                self._cut_off(connection)

    def _cut_off(self, connection: socket.socket) -> None:
        """Have its thread, which closes it, meet the end of the connection; to be called with the lock."""
        del self._due[connection]
        with suppress(OSError):  # the client has gone
            connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "perago"
    sys_version = ""

    def do_GET(self) -> None:
        make = self.server.pages.get(self.path.partition("?")[0])
        self._send(Page(b"not found\n", "text/plain", HTTPStatus.NOT_FOUND) if make is None else make())

    do_HEAD = do_GET  # noqa: N815 - the base class looks for this name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Probes come every few seconds: nobody wants them in a log."""

    def _send(self, page: Page) -> None:
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)
