"""A gate in front of a Conductor without accounts: it gives a token for a key, and lets nobody pass without one."""

from __future__ import annotations

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TOKEN_PATH = "/api/token"
PASSED_ON = ("Content-Type", "Accept")


class TokenGate(ThreadingHTTPServer):
    """A context manager; runs in threads of its own.

    Args:
        server_url: where requests go that have a token.

    Attributes:
        url: of the API, for clients.
        issued: all tokens so far; valid: those that are taken.
        refused: requests without a valid one, as (path, token).
    """

    daemon_threads = True

    def __init__(self, server_url: str, key: str, secret: str) -> None:
        super().__init__(("127.0.0.1", 0), _Gate)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/api"
        self.server = urlsplit(server_url).netloc
        self.account = {"keyId": key, "keySecret": secret}
        self.lock = threading.Lock()
        self.issued: list[str] = []
        self.valid: set[str] = set()
        self.refused: list[tuple[str, str | None]] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> TokenGate:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def issue(self) -> str:
        with self.lock:
            token = f"a-token-of-the-gate-{len(self.issued)}"
            self.issued.append(token)
            self.valid.add(token)
            return token

    def lets_in(self, path: str, token: str | None) -> bool:
        with self.lock:
            if token not in self.valid:
                self.refused.append((path, token))
            return token in self.valid

    def revoke(self) -> None:
        """No token that was issued is valid any more."""
        with self.lock:
            self.valid.clear()


class _Gate(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: TokenGate

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == TOKEN_PATH:
            known = json.loads(body) == self.server.account
            self._answer(200, json.dumps({"token": self.server.issue()})) if known else self._answer(401, "{}")
        elif self.server.lets_in(self.path, self.headers.get("X-Authorization")):
            self._pass_on(body)
        else:
            self._answer(401, '{"message": "a token, please"}')

    def _pass_on(self, body: bytes) -> None:
        headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        connection = http.client.HTTPConnection(self.server.server, timeout=30)
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            self._answer(answer.status, answer.read().decode())
        finally:
            connection.close()

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests say enough."""
