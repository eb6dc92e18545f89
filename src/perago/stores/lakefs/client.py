"""The lakeFS server's API, typed: the calls that the store makes, over one pool of connections."""

from __future__ import annotations

import os

from perago._version import __version__
from perago.errors import RuntimeConfigError
from perago.http.session import HttpSession
from perago.stores.lakefs.api import api_root, authorization
from perago.stores.lakefs.calls_objects import ObjectCalls
from perago.stores.lakefs.calls_refs import RefCalls


class LakeFSClient(RefCalls, ObjectCalls):
    """Every call of the API that the store makes. Use one client within one event loop (`perago.http.loop`).

    All calls have a deadline. What may be repeated is repeated where that may help; commits and merges never are
    where the answer is unclear (`LakeFSError.is_unclear`).
    """

    @classmethod
    def connect(
        cls,
        endpoint_url: str,
        access_key_id: str,
        secret_access_key: str,
        *,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 32,
    ) -> LakeFSClient:
        """A client for an endpoint. Nothing is sent yet.

        Args:
            ca_file: certificates that the server's may be signed with, besides those that the system knows.
            connections: at most at once.

        Raises:
            RuntimeConfigError: the endpoint is no URL of a server, or the file holds no certificates.
        """
        try:
            session = HttpSession(
                authorization=authorization(access_key_id, secret_access_key),
                ca_file=ca_file,
                connections=connections,
                user_agent=f"perago/{__version__}",
            )
        except OSError as exc:  # ssl.SSLError is one
            raise RuntimeConfigError(
                f"the CA file {os.fspath(ca_file or '')!a} cannot be used: {exc.strerror or exc}; "
                f"give a file of certificates in PEM format"
            ) from exc
        return cls(api_root(endpoint_url), session)

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()
