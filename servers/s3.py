"""An S3 server on loopback (versitygw), which keeps its objects as files."""

from __future__ import annotations

import contextlib
import os
import secrets
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from servers.go_build import VERSITYGW
from servers.kept_server import KeptServer

BUCKET = "perago"


class S3Server(KeptServer):
    """A server with one bucket. A context manager.

    Args:
        parent: parent of its temporary directory. Default: the system's.

    Attributes:
        storage: prefix of storage namespaces of a lakeFS that keeps its objects here.
        objects: directory of the bucket. An upload in parts that has not ended is in its `.sgwtmp/multipart`.
    """

    name = "S3"
    healthy_seconds = 60.0  # it is up in a tenth of a second
    storage = f"s3://{BUCKET}/"

    def __init__(self, parent: Path | None = None) -> None:
        super().__init__(parent)
        self._key, self._secret = secrets.token_hex(10), secrets.token_hex(20)
        self._health = f"/health-{secrets.token_hex(8)}"  # no other program on the port has it
        self.objects = self.directory / "buckets" / BUCKET
        try:
            self.objects.mkdir(parents=True)
            # As extended attributes, the record of an upload of 1,000 parts and more is too long for ext4.
            (self.directory / "attributes").mkdir()
            self._program = VERSITYGW.made() / "versitygw"
            self.start_on_a_free_port()
        except BaseException:
            self.close()
            raise

    @property
    def lakefs_config(self) -> dict[str, Any]:
        """Settings of a lakeFS that keeps its objects here, by dotted name."""
        return {
            "blockstore.type": "s3",
            "blockstore.s3.endpoint": self.url,
            "blockstore.s3.force_path_style": True,
            "blockstore.s3.discover_bucket_region": False,
            "blockstore.s3.region": "us-east-1",
            "blockstore.s3.credentials.access_key_id": self._key,
            "blockstore.s3.credentials.secret_access_key": self._secret,
        }

    def command(self) -> Sequence[str | Path]:
        options = ["--port", self._address, "--health", self._health, "--keep-alive", "--quiet"]
        kept = ["--sidecar", str(self.directory / "attributes"), str(self.objects.parent)]
        return [self._program, *options, "posix", *kept]

    def environment(self) -> Mapping[str, str]:
        """Without the settings of the caller's shell."""
        ours = {"ROOT_ACCESS_KEY_ID": self._key, "ROOT_SECRET_ACCESS_KEY": self._secret}
        return {name: value for name, value in os.environ.items() if not name.startswith(("VGW_", "ROOT_"))} | ours

    def use_port(self, port: int) -> None:
        self._address = f"127.0.0.1:{port}"

    def is_healthy(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url + self._health, timeout=10):
            return True
        return False
