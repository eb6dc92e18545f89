"""A small HTTP server for those who look after a worker: its health, and its metrics. It answers from memory."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import Any, Self

from perago.errors import RuntimeConfigError
from perago.json_text import printable_json
from perago.redaction import mask_json

MAX_AT_ONCE = 8
"""Requests that are served at a time; who comes beyond that is turned away."""

REQUEST_SECONDS = 5.0
"""For a client to send its request and to take the answer; then it is cut off."""

CLOSE_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Page:
    """What is served under a path."""

    body: bytes
    content_type: str = "application/json"
    status: int = HTTPStatus.OK


def json_page(value: Mapping[str, Any], *, ok: bool) -> Page:
    """A JSON object: 200, or 503 where what it tells of is not as it should be."""
    text = printable_json(json.dumps(mask_json(value), indent=1)) + "\n"
    return Page(text.encode(), status=HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE)


class Endpoint:
    """Serves pages until it is left. A context manager that owns its threads.

    Args:
        address: `host:port`; port 0 takes a free one.
        pages: path -> what makes its page: at once, from what is known.

    Raises:
        RuntimeConfigError: the address cannot be had.
    """

    def __init__(self, address: str, pages: Mapping[str, Callable[[], Page]]) -> None:
        host, _, port = address.rpartition(":")
        self._pages = pages
        try:
            self._server = _Server((host.strip("[]"), int(port)), _handler(pages))
        except OSError as exc:
            raise RuntimeConfigError(
                f"PERAGO_HEALTH_ADDRESS {address} cannot be listened on: {exc.strerror}; give another address"
            ) from exc
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(CLOSE_LOOK_SECONDS,), name="perago-endpoint", daemon=True
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
        self._server.end()


class _Server(HTTPServer):
    """One thread for each request, as many as `MAX_AT_ONCE`."""

    allow_reuse_address = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._free = threading.BoundedSemaphore(MAX_AT_ONCE)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """As the base class, without its look for the host's full name, which may ask a name server."""
        super(HTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        serving = threading.Thread(
            target=self._serve, args=(request, client_address), name="perago-request", daemon=True
        )
        try:
            serving.start()
        except RuntimeError:  # there is no room for a thread now
            self._free.release()
            raise

    def end(self) -> None:
        """Stop listening, and wait for the requests under way, but no longer than for one."""
        self.server_close()
        deadline = time.monotonic() + REQUEST_SECONDS
        for _ in range(MAX_AT_ONCE):
            self._free.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's business."""

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            with _cut_off_late(request):
                self.finish_request(request, client_address)
        except Exception:  # noqa: BLE001 - as `socketserver` does
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)
            self._free.release()


@contextmanager
def _cut_off_late(request: socket.socket) -> Iterator[None]:
    """A timeout of the socket begins anew with each byte that a client sends, and would hold its place without end."""
    timer = threading.Timer(REQUEST_SECONDS, _cut_off, (request,))
    timer.name = "perago-request-end"
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # the socket is closed next, and another may get its number


def _cut_off(request: socket.socket) -> None:
    with suppress(OSError):  # the client has gone
        request.shutdown(socket.SHUT_RDWR)


def _handler(pages: Mapping[str, Callable[[], Page]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "perago"
        sys_version = ""

        def do_GET(self) -> None:
            make = pages.get(self.path.partition("?")[0])
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

    return Handler
