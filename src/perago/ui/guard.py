"""Who is answered: only the browser that has opened the printed address, on this machine.

A page on loopback is open to every program and every web page of the machine. A token stands for the person: it comes
with the printed address, is taken once, and becomes a cookie that only this address gets back.
"""

from __future__ import annotations

import hmac
import html
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NONCE = "perago.nonce"
"""Key of a request's scope: the nonce of the scripts of its answer."""

_TOKEN_BYTES = 32
_NONCE_BYTES = 16
_PLACE_BYTES = 16
_METHODS = ("GET", "HEAD")
_SAME = ("same-origin", "none")
"""Values of Sec-Fetch-Site for requests of this page, and of a person."""


SEALED = "/sealed/"
"""Path prefix, after the place, of repository files that the browser renders."""


def security_headers(nonce: str, *, sealed: bool = False) -> dict[str, str]:
    """Headers of every answer.

    A script runs only with the nonce of its answer. Nothing is loaded from elsewhere, framed, or sent elsewhere.

    Args:
        sealed: the answer is a content of the repository. It has an origin of its own, so that it cannot reach the
            page; no script of it runs, it loads nothing, sends no form, and leads nowhere but within its frame, in
            which the page allows only answers of ours. Only the page may frame it.
    """
    sealing = {
        "sandbox": "",
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "font-src": "data:",
        "form-action": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'self'",
    }
    policy = {
        "default-src": "'none'",
        "script-src": f"'nonce-{nonce}'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "frame-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "htmx",
    }
    return {
        "content-security-policy": "; ".join(
            f"{name} {value}".strip() for name, value in (sealing if sealed else policy).items()
        ),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "SAMEORIGIN" if sealed else "DENY",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
    }


@dataclass(frozen=True)
class Refusal:
    """Why a request gets no page, and what to do."""

    status: HTTPStatus
    why: str


@dataclass(frozen=True)
class Asked:
    """What decides on a request.

    Attributes:
        headers: the first one of each name, in lower case; repeated: names that were sent more than once.
        token: of the address.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    repeated: frozenset[str] = frozenset()
    token: str | None = None

    @property
    def comes_from_elsewhere(self) -> bool:
        """Whether the page of another site asks, or has led here."""
        return self.headers.get("sec-fetch-site", "none") not in _SAME


@dataclass
class Keys:
    """The token of the printed address, and the cookie that it becomes.

    Attributes:
        port: of the page; part of the cookie's name, for browsers share cookies between the ports of a host.
        place: what the path of every address begins with. The cookie is sent there only, so that no server on another
            port gets it: none knows this path.
        token: None once it was taken.
    """

    port: int
    place: str = field(default_factory=lambda: f"/{secrets.token_urlsafe(_PLACE_BYTES)}")
    token: str | None = field(default_factory=lambda: secrets.token_urlsafe(_TOKEN_BYTES))
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(_TOKEN_BYTES))

    @property
    def cookie_name(self) -> str:
        return f"perago-{self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        return (f"127.0.0.1:{self.port}", f"localhost:{self.port}")

    def take(self, token: str) -> bool:
        """Exchange the token. Returns whether it was the right one; then it is used up."""
        if self.token is None or not _same(token, self.token):
            return False
        self.token = None
        return True

    def has_cookie(self, header: str) -> bool:
        try:
            found = SimpleCookie(header).get(self.cookie_name)
        except CookieError:
            return False
        return found is not None and _same(found.value, self.cookie)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def refusal_of(asked: Asked, keys: Keys) -> Refusal | None:
    """Whether a request is refused by what it says of itself, whoever sends it; None if it is not."""
    host = asked.headers.get("host", "")
    if host not in keys.hosts or "host" in asked.repeated:
        return Refusal(HTTPStatus.MISDIRECTED_REQUEST, f"This page is at http://{keys.hosts[0]}, and at no other name.")
    origin = asked.headers.get("origin")
    if (origin is not None and origin != f"http://{host}") or "origin" in asked.repeated:
        return Refusal(HTTPStatus.FORBIDDEN, "Another site asked for this page.")
    if asked.method not in _METHODS:
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "This page only shows. It takes GET and HEAD.")
    return None


class Guard:
    """Answers itself what must not reach a page, and adds the headers to every answer."""

    def __init__(self, app: App, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"this page takes HTTP, not {scope['type']}")
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        scope[NONCE] = nonce
        headers = security_headers(nonce, sealed=str(scope["path"]).startswith(self._keys.place + SEALED))
        added = [(name.encode(), value.encode()) for name, value in headers.items()]
        names = {name for name, _ in added}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [pair for pair in message.get("headers", ()) if bytes(pair[0]).lower() not in names]
                message["headers"] = [*own, *added]
            await send(message)

        asked = _asked(scope)
        refusal = refusal_of(asked, self._keys)
        if refusal is not None:
            await _say(with_headers, asked, refusal)
        elif asked.token is not None:
            await self._exchange(asked, with_headers)
        elif not asked.path.startswith(f"{self._keys.place}/") or not self._keys.has_cookie(
            asked.headers.get("cookie", "")
        ):
            await _say(with_headers, asked, Refusal(HTTPStatus.FORBIDDEN, _NOT_OPENED))
        elif asked.comes_from_elsewhere:
            await _say(with_headers, asked, Refusal(HTTPStatus.FORBIDDEN, _FROM_ELSEWHERE))
        else:
            await self._app({**scope, "root_path": self._keys.place}, receive, with_headers)

    async def _exchange(self, asked: Asked, send: Send) -> None:
        """Take the token for the cookie, and lead to the address without it.

        A browser keeps a strict cookie back from a redirect to which another site, or a file, has led. Then a page of
        our own leads on.
        """
        has_cookie = self._keys.has_cookie(asked.headers.get("cookie", ""))
        if not has_cookie and not self._keys.take(asked.token or ""):
            await _say(send, asked, Refusal(HTTPStatus.FORBIDDEN, _USED))
            return
        cookie = f"{self._keys.cookie_name}={self._keys.cookie}; Path={self._keys.place}/; HttpOnly; SameSite=Strict"
        headers = [] if has_cookie else [(b"set-cookie", cookie.encode())]
        first = f"{self._keys.place}/runs"
        if asked.comes_from_elsewhere:
            leading_on = f'<meta http-equiv="refresh" content="0;url={first}">'
            text = _document("Opening the page", f'<p><a href="{first}">Go on</a></p>', leading_on)
            await _answer(send, asked, HTTPStatus.OK, text, headers)
        else:
            await _answer(send, asked, HTTPStatus.SEE_OTHER, "", [*headers, (b"location", first.encode())])


_NOT_OPENED = (
    "Open this page by the address that `perago ui` has printed. That address works once, in one browser; for another "
    "one start `perago ui` again."
)
_FROM_ELSEWHERE = "Another page led here. Open this address by hand."
_USED = "This address was used before. It works once, in one browser; for another one start `perago ui` again."


def _asked(scope: Scope) -> Asked:
    headers: dict[str, str] = {}
    repeated = set()
    for name, value in scope["headers"]:
        key = bytes(name).decode("latin-1").lower()
        if key in headers:
            repeated.add(key)
        headers.setdefault(key, bytes(value).decode("latin-1"))
    query = bytes(scope["query_string"]).decode("latin-1")
    token = parse_qs(query, keep_blank_values=True).get("token", [None])[0] if scope["path"] == "/" else None
    return Asked(scope["method"], scope["path"], headers, frozenset(repeated), token)


async def _say(send: Send, asked: Asked, refusal: Refusal) -> None:
    allow = [(b"allow", b"GET, HEAD")] if refusal.status is HTTPStatus.METHOD_NOT_ALLOWED else []
    body = f"<p>{html.escape(refusal.why)}</p>"
    await _answer(send, asked, refusal.status, _document(refusal.status.phrase, body), allow)


def _document(title: str, body: str, head: str = "") -> str:
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)} · Perago</title>\n'
        f"{head}\n<h1>{html.escape(title)}</h1>\n{body}\n</html>\n"
    )


async def _answer(send: Send, asked: Asked, status: HTTPStatus, text: str, headers: list[tuple[bytes, bytes]]) -> None:
    content = text.encode()
    length = (b"content-length", str(len(content)).encode())
    common = [(b"content-type", b"text/html; charset=utf-8"), length]
    await send({"type": "http.response.start", "status": status.value, "headers": [*common, *headers]})
    await send({"type": "http.response.body", "body": b"" if asked.method == "HEAD" else content})
