"""The token that an access key is exchanged for: fetched when it is needed, renewed before it is too old."""

from __future__ import annotations

import json
import threading
import time
from typing import Protocol
from urllib.parse import urlsplit

from perago.engines.conductor.failure import ConductorAccessError, ConductorError, refused, unanswered
from perago.http.faults import HttpFault
from perago.http.sync import SyncSession

TOKEN_SECONDS = 45 * 60.0
"""Age at which a token is renewed: servers that ask for one let it live for an hour or more."""

FETCH_SECONDS = 10.0
"""For a token to be fetched, which a call waits for besides its own deadline: a call that had only what is left of that
would be cut, and what is cut may still arrive."""

_PATH = "/token"
_NO_SUCH_CALL = 404


class Issuer(Protocol):
    """The API that gives tokens, as far as that takes."""

    @property
    def root(self) -> str: ...

    @property
    def session(self) -> SyncSession: ...


class KeyToken:
    """The token for an access key. Many calls at once fetch one, or fail with the one that cannot fetch it.

    A server without `/token` (404) asks for no authorization: calls then go without.

    Args:
        key_id, key_secret: the access key; they are sent to `/token` only.
    """

    def __init__(self, key_id: str, key_secret: str) -> None:
        self._key_id = key_id
        self._key_secret = key_secret
        self._lock = threading.Lock()
        self._token: str | None = None
        self._fetched_at: float | None = None
        self._failure: ConductorError | None = None  # of the last fetch

    def value(self, api: Issuer, refused: str | None = None) -> str | None:
        """The token; None: calls go without one.

        Args:
            refused: the one that the server does not take any more.

        Raises:
            ConductorError: there is none to be had.
        """
        before = self._failure
        with self._lock:
            if self._is_stale(refused):
                now = self._failure
                if now is not None and now is not before:  # that of the fetch that was waited for
                    raise type(now)(now.call, api.root, status=now.status, message=now.message, fault=now.fault)
                self._renew(api)
            return self._token

    def _renew(self, api: Issuer) -> None:
        try:
            self._token = self._fetch(api)
        except ConductorError as exc:
            self._failure = exc
            raise
        self._fetched_at, self._failure = time.monotonic(), None

    def _is_stale(self, refused: str | None) -> bool:
        if self._fetched_at is None or time.monotonic() - self._fetched_at > TOKEN_SECONDS:
            return True
        return refused is not None and refused == self._token  # else another call has renewed it meanwhile

    def _fetch(self, api: Issuer) -> str | None:
        body = json.dumps({"keyId": self._key_id, "keySecret": self._key_secret}).encode()
        headers = {"Content-Type": "application/json"}
        target = f"{urlsplit(api.root).path}{_PATH}"
        call = f"POST {_PATH}"
        try:
            answer = api.session.call(
                "POST", target, headers=headers, body=body, idempotent=True, timeout=FETCH_SECONDS
            )
        except HttpFault as fault:
            raise unanswered(call, api.root, fault) from fault
        if answer.status == _NO_SUCH_CALL:
            return None
        if answer.status in (400, 401, 403):
            raise ConductorAccessError(call, api.root, status=401, message="the access key is not known there")
        if answer.status >= 300:
            raise refused_without_words(call, api.root, answer.status)
        try:
            token = json.loads(answer.body)["token"]
        except (ValueError, KeyError, TypeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token:
            raise ConductorError(call, api.root, status=answer.status, message="an answer without a token")
        return token


def refused_without_words(call: str, where: str, status: int) -> ConductorError:
    """The answer may repeat what was sent, which is a secret."""
    return refused(call, where, status, b"")
