"""One server for all processes of a test session: started on the first request, ended with the session."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

ADDRESS_VARIABLE = "PERAGO_TEST_CONDUCTOR_DESK"
END = b""


class Served(Protocol):
    """A server that can be shared."""

    @property
    def api_url(self) -> str: ...
    def close(self) -> None: ...


class DeskError(RuntimeError):
    """The server could not be started, with the reason."""


class Desk:
    """Starts a server on the first request and answers with its URL, in a thread of its own. A context manager.

    Args:
        start: starts the server.

    Attributes:
        address: for `ask`; a socket that only its owner can reach.
    """

    def __init__(self, start: Callable[[], Served]) -> None:
        self._start = start
        self._directory = Path(tempfile.mkdtemp(prefix="perago-desk-"))
        self.address = str(self._directory / "desk")
        self._listener = Listener(self.address, "AF_UNIX")
        self._server: Served | None = None
        self._fault = ""
        self._thread = threading.Thread(target=self._serve, name="perago-desk", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and the server if there is one."""
        if self._thread.is_alive():
            with Client(self.address, "AF_UNIX") as line:
                line.send_bytes(END)
            self._thread.join()
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def _serve(self) -> None:
        is_open = True
        while is_open:
            with self._listener.accept() as line, contextlib.suppress(EOFError, OSError):
                is_open = self._answer(line)

    def _answer(self, line: Connection) -> bool:
        """Answer one request; returns False for the last one."""
        if line.recv_bytes() == END:
            return False
        if self._server is None and not self._fault:
            try:
                self._server = self._start()
            except Exception as exc:  # noqa: BLE001 - reported to every caller
                self._fault = str(exc) or type(exc).__name__
        url = "" if self._server is None else self._server.api_url
        line.send_bytes(json.dumps({"url": url, "fault": self._fault}).encode())
        return True


def ask(address: str) -> str:
    """The URL of the session's server, which is started if needed.

    Raises:
        DeskError: it could not be started.
    """
    with Client(address, "AF_UNIX") as line:
        line.send_bytes(b"url")
        answer = json.loads(line.recv_bytes())
    if answer["fault"]:
        raise DeskError(answer["fault"])
    return str(answer["url"])
