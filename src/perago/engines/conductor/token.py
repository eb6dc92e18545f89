"""The token for an access key: fetched when needed, renewed before it expires."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from perago.engines.conductor.failure import ConductorAccessError, ConductorError, refused, unanswered
from perago.files.credentials import Credentials
from perago.http.answer import HttpFault
from perago.http.sync import SyncSession
from perago.values.credentials import CONDUCTOR_KEY, CONDUCTOR_SECRET

TOKEN_SECONDS = 45 * 60.0
"""Age at which a token is renewed. Servers that require one accept it for an hour or more."""

FETCH_SECONDS = 10.0
"""Deadline for fetching a token, in addition to the deadline of the call that waits for it. With only the call's
remaining time, the call could be aborted while it may still arrive."""

_PATH = "/token"
_NO_SUCH_CALL = 404


class Issuer(Protocol):
    """The part of the API that fetching a token needs."""

    @property
    def root(self) -> str: ...

    @property
    def session(self) -> SyncSession: ...


class KeyToken:
    """The token for an access key. Concurrent calls share one fetch, and its error.

    A server without `/token` (404) requires no authorization: calls are then made without a token.

    Args:
        key: the access key, which is sent only to `/token`. A key that the server refuses is read again.
    """

    def __init__(self, key: Credentials) -> None:
        self._key = key
        self._lock = threading.Lock()
        self._token: str | None = None
        self._fetched_at: float | None = None
        self._failure: ConductorError | None = None  # error of the last fetch

    def value(self, api: Issuer, refused: str | None = None) -> str | None:
        """The token; None if calls need none.

        Args:
            refused: a token that the server no longer accepts.

        Raises:
            ConductorError: no token could be fetched.
        """
        before = self._failure
        with self._lock:
            if self._is_stale(refused):
                now = self._failure
                if now is not None and now is not before:  # the fetch that this call waited for has failed
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
        return refused is not None and refused == self._token  # otherwise another call has already renewed it

    def _fetch(self, api: Issuer) -> str | None:
        key = self._key()
        try:
            return self._fetch_with(key, api)
        except ConductorAccessError:
            newer = self._key.renew()
            if newer == key:
                raise
        return self._fetch_with(newer, api)

    def _fetch_with(self, key: Mapping[str, str], api: Issuer) -> str | None:
        body = json.dumps({"keyId": key[CONDUCTOR_KEY], "keySecret": key[CONDUCTOR_SECRET]}).encode()
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
            sources = self._key.sources()
            known = f"the server does not know the access key{f', which is {sources}' if sources else ''}"
            raise ConductorAccessError(call, api.root, status=401, message=known)
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
    """An error without the server's message, which could repeat the secret that was sent."""
    return refused(call, where, status, b"")
