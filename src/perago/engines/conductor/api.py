"""What all calls of the API share: URLs, the token, JSON, errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any
from urllib.parse import quote, urlsplit

from perago.engines.conductor.failure import ConductorError, refused, unanswered
from perago.engines.conductor.token import KeyToken
from perago.errors import EngineError
from perago.http.answer import Answer, HttpFault
from perago.http.connecting import split_server_url
from perago.http.sync import Flight, SyncSession
from perago.values.json_text import parse_json

Query = Mapping[str, str | int | bool | None]

CALL_SECONDS = 30.0
"""Deadline of a call, including its retries. Fetching a token takes extra time, see `token.FETCH_SECONDS`."""

_PREFIX = "/api"
_UNAUTHORIZED = 401
_JSON_HEADERS = {"Content-Type": "application/json"}


def api_root(server_url: str) -> str:
    """The URL of the API of a server. Accepts `http://host:8080` and `http://host:8080/api`.

    Raises:
        RuntimeConfigError: it is not such a URL.
    """
    parts = split_server_url(
        server_url,
        not_a_url="CONDUCTOR_SERVER_URL is not a URL such as http://conductor.example:8080/api; give scheme, host and "
        "path, without a query",
        has_user="CONDUCTOR_SERVER_URL contains a user or password; set CONDUCTOR_AUTH_KEY and CONDUCTOR_AUTH_SECRET "
        "instead",
    )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or _PREFIX}"


def segment(name: str) -> str:
    """A name as one URL path segment."""
    return quote(name, safe="")


class Api:
    """The server's API over one session, for any number of threads.

    Args:
        root: as returned by `api_root`.
        session: the connection pool. The caller closes it.
        token: authorizes each call; None if the server requires none.
    """

    def __init__(self, root: str, session: SyncSession, token: KeyToken | None = None) -> None:
        self.root = root
        self.session = session
        self._path = urlsplit(root).path
        self._token = token

    def get(self, path: str, query: Query | None = None, *, timeout: float = CALL_SECONDS) -> Any:
        """The JSON of a GET.

        Args:
            path: below the API's root, with encoded segments.
            query: parameters that are None are left out.

        Raises:
            ConductorError: the server refused, or did not answer.
        """
        return self._parsed(f"GET {path}", self._call("GET", path, query, idempotent=True, timeout=timeout))

    def take(self, path: str, query: Query, *, timeout: float) -> Any:
        """The JSON of a GET with side effects. It is retried only if nothing was sent."""
        answer = self._call("GET", path, query, idempotent=False, timeout=timeout)
        return self._parsed(f"GET {path}", answer) if answer.body else None

    def post(self, path: str, body: Any, *, idempotent: bool) -> Answer:
        """Send a JSON document.

        Args:
            idempotent: repeating it does no harm. Other calls are retried only if nothing was sent.

        Raises:
            ConductorError: the server refused, or did not answer.
            EngineError: the body is not JSON.
        """
        return self.send(path, json_bytes(body), idempotent=idempotent)

    def put(self, path: str, body: Any) -> Answer:
        """Replace what is at a path by a JSON document; as `post`."""
        return self._call("PUT", path, body=json_bytes(body), idempotent=True, timeout=CALL_SECONDS)

    def delete(self, path: str, query: Query | None = None) -> Answer:
        """Remove or end what is at a path; as `post`."""
        return self._call("DELETE", path, query, idempotent=True, timeout=CALL_SECONDS)

    def send(
        self, path: str, body: bytes, *, idempotent: bool, timeout: float = CALL_SECONDS, flight: Flight = nullcontext
    ) -> Answer:
        """As `post`, with the document as bytes; `flight` as in `SyncSession.call`."""
        return self._call("POST", path, body=body, idempotent=idempotent, timeout=timeout, flight=flight)

    def _call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: bytes | None = None,
        idempotent: bool,
        timeout: float,
        flight: Flight = nullcontext,
    ) -> Answer:
        """Make a call. If the server rejects the token, repeat it once with a new one.

        The repetition is safe for any call, because the rejected call was not carried out.
        """

        def once(token: str | None) -> Answer:
            headers = {} if body is None else dict(_JSON_HEADERS)
            if token is not None:
                headers["X-Authorization"] = token
            return self.session.call(
                method,
                f"{self._path}{path}{_query_text(query)}",
                headers=headers,
                body=body,
                idempotent=idempotent,
                timeout=timeout,
                flight=flight,
            )

        call = f"{method} {path}"
        try:
            used = None if self._token is None else self._token.value(self)
            answer = once(used)
            if answer.status == _UNAUTHORIZED and self._token is not None and used is not None:
                answer = once(self._token.value(self, refused=used))
        except HttpFault as fault:
            raise unanswered(call, self.root, fault) from fault
        if answer.status >= 300:
            raise refused(call, self.root, answer.status, answer.body)
        return answer

    def _parsed(self, call: str, answer: Answer) -> Any:
        try:
            return parse_json(answer.body)
        except (ValueError, RecursionError) as exc:
            raise ConductorError(call, self.root, status=answer.status, message="an answer that is not JSON") from exc


def json_bytes(value: Any) -> bytes:
    """A document as it is sent.

    Raises:
        EngineError: it is not JSON.
    """
    try:
        return _ENCODER.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise EngineError(f"the document for Conductor cannot be written as JSON: {exc}") from exc


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is not JSON")


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)


def _query_text(query: Query | None) -> str:
    given = [f"{key}={quote(_text(value), safe='')}" for key, value in (query or {}).items() if value is not None]
    return f"?{'&'.join(given)}" if given else ""


def _text(value: str | int | bool | None) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
