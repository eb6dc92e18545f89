"""Serves the page on loopback until it is interrupted."""

from __future__ import annotations

import contextlib
import html
import os
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from perago.errors import RuntimeConfigError
from perago.ui.app import build
from perago.ui.guard import Keys
from perago.ui.source import Source

HOST = "127.0.0.1"
"""The page is for this machine alone. No option changes that."""

MAX_CONNECTIONS = 64
GRACE_SECONDS = 1
"""For answers that are under way at the end."""


def serve(source: Source, *, port: int, tell: Callable[[str], None], opens: bool) -> None:
    """Serve the page. Returns when the process is interrupted.

    Args:
        port: 0 for any free one.
        tell: gets the address, with the token that opens the page once.
        opens: open it in the browser.

    Raises:
        RuntimeConfigError: the port is in use, or not this user's to take.
    """
    with listening(port) as listener, contextlib.ExitStack() as stack:
        keys = Keys(listener.getsockname()[1])
        address = f"http://{keys.hosts[0]}/?token={keys.token}"
        server = uvicorn.Server(
            uvicorn.Config(
                build(source, keys),
                lifespan="off",
                ws="none",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        with contextlib.suppress(KeyboardInterrupt):  # the way to end it
            tell(address)
            if opens:
                open_in_browser(stack.enter_context(leading_to(address)))
            server.run(sockets=[listener])


@contextlib.contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """A socket on loopback that takes connections: the browser may be faster than the server.

    Raises:
        RuntimeConfigError: it cannot be had.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except (OSError, OverflowError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise RuntimeConfigError(f"port {port} of {HOST} cannot be used: {why}. Give another --port") from exc
        listener.listen(MAX_CONNECTIONS)
        yield listener


@contextlib.contextmanager
def leading_to(address: str) -> Iterator[Path]:
    """A file of this user alone that leads to an address. Other users see the command line of a browser."""
    with tempfile.TemporaryDirectory(prefix="perago-ui-") as directory:
        path = Path(directory) / "open.html"
        target = html.escape(address)
        text = f'<!doctype html>\n<meta charset="utf-8">\n<meta http-equiv="refresh" content="0;url={target}">\n'
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - with a mode
            file.write(f'{text}<title>Perago</title>\n<p><a href="{target}">Open the page</a></p>\n')
        yield path


def open_in_browser(path: Path) -> None:
    """Without waiting for it. A machine without a browser still has the printed address."""
    threading.Thread(target=webbrowser.open, args=(path.as_uri(),), daemon=True).start()
