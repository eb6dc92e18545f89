"""The lakeFS server's API, typed: the calls that the store makes, over one connection pool.

`calls.Api` has the parts that all calls share. `ObjectCalls` and `RefCalls` have one method per call, and
`LakeFSClient` combines them. `each` and `both` make calls in parallel.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from perago._version import __version__
from perago.errors import RuntimeConfigError
from perago.files.credentials import Credentials
from perago.http.parallel import in_parallel, together
from perago.http.session import HttpSession
from perago.stores.lakefs.api.calls import T, api_root
from perago.stores.lakefs.api.objects import ObjectCalls
from perago.stores.lakefs.api.refs import RefCalls
from perago.values.credentials import LAKEFS_KEY_ID, LAKEFS_SECRET, LAKEFS_TOKEN


class Login:
    """The Authorization header for credentials that may change. A session token is used instead of an access key.

    Args:
        credentials: values by the names in `perago.values.credentials`.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._values: Mapping[str, str] = {}
        self._header = ""

    def header(self) -> str:
        return self._header_of(self._credentials())

    def renew(self) -> str:
        return self._header_of(self._credentials.renew())

    def sources(self) -> str:
        """Names and sources of the credentials, for a message; "" if they are not from settings."""
        return self._credentials.sources()

    def _header_of(self, values: Mapping[str, str]) -> str:
        if values is not self._values:
            self._values, self._header = values, authorization(values)
        return self._header


def authorization(values: Mapping[str, str]) -> str:
    """The value of the Authorization header for a session token or an access key."""
    if LAKEFS_TOKEN in values:
        return f"Bearer {values[LAKEFS_TOKEN]}"
    return "Basic " + base64.b64encode(f"{values[LAKEFS_KEY_ID]}:{values[LAKEFS_SECRET]}".encode()).decode()


class LakeFSClient(RefCalls, ObjectCalls):
    """All API calls of the store. Use a client within one event loop (`perago.http.loop`).

    Every call has a deadline. Calls are retried if that is safe and can help. Commits and merges are never retried
    after an unclear answer (`LakeFSError.is_unclear`).
    """

    @classmethod
    def connect(
        cls,
        endpoint_url: str,
        access_key_id: str = "",
        secret_access_key: str = "",
        *,
        credentials: Credentials | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 256,
    ) -> LakeFSClient:
        """A client for an endpoint. Sends nothing yet.

        Args:
            credentials: instead of an access key.
            ca_file: certificates to trust, in addition to the system's.
            connections: maximum at the same time.

        Raises:
            RuntimeConfigError: the endpoint is not a server's URL, or the file contains no certificates.
        """
        if credentials is None:
            credentials = Credentials({LAKEFS_KEY_ID: access_key_id, LAKEFS_SECRET: secret_access_key}, {})
        login = Login(credentials)
        try:
            session = HttpSession(
                authorization=login,
                ca_file=ca_file,
                connections=connections,
                user_agent=f"perago/{__version__}",
            )
        except OSError as exc:  # ssl.SSLError is one
            raise RuntimeConfigError(
                f"the CA file {os.fspath(ca_file or '')!a} cannot be used: {exc.strerror or exc}; "
                f"give a file of certificates in PEM format"
            ) from exc
        return cls(api_root(endpoint_url), session, login.sources)

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()


R = TypeVar("R")

AT_ONCE = 16
"""Parallel calls of one kind. 8 to 16 calls saturate a server on two cores."""


async def each(items: Iterable[T], call: Callable[[T], Awaitable[R]], at_once: int = AT_ONCE) -> list[R]:
    """Call for every item in parallel. Returns the answers in the items' order. The first error ends all calls."""
    pending = list(items)
    answers: dict[int, R] = {}

    async def answer(numbered: tuple[int, T]) -> None:
        number, item = numbered
        answers[number] = await call(item)

    await in_parallel(enumerate(pending), answer, min(at_once, len(pending)))
    return [answers[number] for number in range(len(pending))]


async def both(first: Awaitable[T], second: Awaitable[R]) -> tuple[T, R]:
    """Wait for two awaitables in parallel. The first error ends both."""
    answers: tuple[list[T], list[R]] = [], []

    async def wait_first() -> None:
        answers[0].append(await first)

    async def wait_second() -> None:
        answers[1].append(await second)

    await together(wait_first(), wait_second())
    return answers[0][0], answers[1][0]
