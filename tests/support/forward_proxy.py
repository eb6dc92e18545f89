"""A forward proxy, on loopback."""

import base64
import http.client
import select
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit


class ForwardProxy:
    """Forwards http requests, and tunnels https. A context manager.

    Args:
        user, password: that it asks for; None: nothing.

    Attributes:
        url: without user and password.
        seen: (method, target) of each request that was let through.
    """

    def __init__(self, user=None, password=None):
        self.seen = []
        self.expected = None
        if user is not None:
            self.expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Forward)
        self._server.daemon_threads = True
        self._server.owner = self
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        owner = self.server.owner
        if owner.expected is not None and self.headers.get("Proxy-Authorization") != owner.expected:
            self._answer(407, [], b"who are you")
            return
        owner.seen.append((self.command, self.path))
        target = urlsplit(self.path)
        upstream = http.client.HTTPConnection(target.hostname, target.port)
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        upstream.request(self.command, self.path[self.path.index("/", 8) :], body or None, headers)
        answer = upstream.getresponse()
        content = answer.read()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() != "transfer-encoding"]
        self._answer(answer.status, [pair for pair in kept if pair[0].lower() != "content-length"], content)
        upstream.close()

    do_GET = do_PUT = do_POST = do_DELETE = _any

    def do_CONNECT(self):
        owner = self.server.owner
        owner.seen.append((self.command, self.path))
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(200)
            self.end_headers()
            ends = [self.connection, upstream]
            while True:
                ready, _, _ = select.select(ends, [], [], 10)
                data = [end.recv(65536) for end in ready]
                if not ready or not all(data):
                    break
                for end, piece in zip(ready, data, strict=True):
                    (upstream if end is self.connection else self.connection).sendall(piece)
        self.close_connection = True

    def _answer(self, status, headers, content):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass
