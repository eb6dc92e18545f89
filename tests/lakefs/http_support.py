"""A certificate authority of our own, and a forward proxy, on loopback."""

import base64
import datetime as dt
import http.client
import ipaddress
import select
import socket
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A CA; its certificate is in `ca_file`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign("Test CA", self._key.public_key(), self._key, ca=True)
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server_context(self, *, host: str = "127.0.0.1") -> ssl.SSLContext:
        """What a server with a certificate for this address needs."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign("server", key.public_key(), self._key, host=host)
        pem = self._directory / f"server-{host}.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        return context

    def _sign(self, name, public_key, key, *, ca=False, host=None):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        if host is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(key, hashes.SHA256())


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
