"""What moving content takes, for the modules that move it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from perago.http.loop import LoopThread
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.values import ObjectStats, ServerFacts
from perago.workspace.cache import ObjectCache, cache_key

SMALL_BYTES = 512 * 1024
"""Content up to this size is moved in one piece, in memory; what is larger is streamed."""

LOCAL = "local"
"""A block store on the server's own disk."""

ChecksumRule = Literal["md5", "opaque"]
"""Whether a checksum of 32 hexadecimal digits is taken for an MD5, or for something that only the block store knows."""


@dataclass(frozen=True)
class Transfer:
    """One repository's content on its way.

    Attributes:
        loop: on which the client is used.
        server: what it says of itself.
        cache: of the host; None: there is none.
        checksums: how checksums are taken.
        presign: whether URLs of the block store are used where the server gives them.
    """

    client: LakeFSClient
    loop: LoopThread
    repository: str
    server: ServerFacts
    cache: ObjectCache | None = None
    checksums: ChecksumRule = "md5"
    presign: bool = True

    @property
    def presigned(self) -> bool:
        return self.presign and self.server.presigned

    def key(self, stats: ObjectStats) -> str:
        """What the cache knows an object's content by: an address that is new for every upload."""
        return cache_key(self.client.root, stats.physical_address, stats.checksum, stats.size)
