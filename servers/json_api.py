"""JSON over plain HTTP, for tests that inspect a server without the client under test."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

TIMEOUT_SECONDS = 60.0

KEPT_SECONDS = 10.0
"""Maximum idle time of a reused connection: servers close idle ones, some after 20 s."""

Json = dict[str, Any]


class ApiError(AssertionError):
    """A call failed that was expected to succeed."""

    def __init__(self, call: str, answer: Answer) -> None:
        super().__init__(f"{call}: {answer.status} {answer.body[:2_000]!r}")
        self.status = answer.status


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The message of an error."""
        return str(self.json()["message"])


class JsonApi:
    """One connection to one server; for one thread. A context manager.

    Args:
        url: such as http://127.0.0.1:8000, of the server or of a proxy in front of it.
        prefix: prefix of all paths, such as /api.
        headers: headers of every call.
    """

    def __init__(self, url: str, prefix: str, headers: Mapping[str, str] | None = None) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        connection = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        self._connection = connection(address.hostname, address.port, timeout=TIMEOUT_SECONDS)
        self._prefix = prefix
        self._headers = dict(headers or {})
        self._used = time.monotonic()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | Iterator[bytes] | None = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make a call; returns the answer, even an error.

        Args:
            path: after the prefix, with quoted parts.
            query: names and values; bytes are sent unchanged, lists as repeated names, None is left out.
            data: to send as JSON.
        """
        sent = {**self._headers, **(headers or {})}
        if data is not None:
            body = json.dumps(data).encode()
            sent["Content-Type"] = "application/json"
        target = f"{self._prefix}{path}{_query(query or {})}"
        if time.monotonic() - self._used > KEPT_SECONDS:
            self.close()
        try:
            self._connection.request(method, target, body=body, headers=sent)
            response = self._connection.getresponse()
            answer = Answer(response.status, response.read(), dict(response.headers.items()))
        except BaseException:
            self.close()
            raise
        self._used = time.monotonic()
        return answer

    def expect(self, method: str, path: str, **arguments: Any) -> Any:
        """Make a call that must succeed; returns its JSON, or None for another content type.

        Raises:
            ApiError: its status is not 2xx.
        """
        answer = self.call(method, path, **arguments)
        if answer.status // 100 != 2:
            raise ApiError(f"{method} {path}", answer)
        return answer.json() if "json" in answer.headers.get("Content-Type", "") and answer.body else None

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()


def _query(values: Mapping[str, Any]) -> str:
    pairs = []
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                spelled = str(one).lower() if isinstance(one, bool) else one
                pairs.append(f"{name}={quote(spelled if isinstance(spelled, bytes) else str(spelled), safe='')}")
    return "?" + "&".join(pairs) if pairs else ""
