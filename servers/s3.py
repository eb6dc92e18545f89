"""An S3 server on loopback (moto), which keeps its objects in memory."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from servers.process import ServerProcess, free_port, wait_until

BUCKET = "perago"
ANSWERING_SECONDS = 60.0


class S3Server:
    """A server with one bucket that accepts any credentials. A context manager.

    Attributes:
        url: such as http://127.0.0.1:41234.
        storage: prefix of storage namespaces of a lakeFS that keeps its objects here.
    """

    storage = f"s3://{BUCKET}/"

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="perago-s3-"))
        port = free_port()
        self._address = ("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self._process = ServerProcess(command, self._directory / "s3.log", remove=self._directory)
        try:
            wait_until(self._has_bucket, self._process, seconds=ANSWERING_SECONDS, what=f"S3 server at {self.url}")
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
            "blockstore.s3.credentials.access_key_id": "any",
            "blockstore.s3.credentials.secret_access_key": "any",
        }

    def close(self) -> None:
        """End the server and delete its data."""
        try:
            self._process.kill()
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def _has_bucket(self) -> bool:
        """Create the bucket, unless it exists."""
        connection = http.client.HTTPConnection(*self._address, timeout=10)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("PUT", f"/{BUCKET}")
            return connection.getresponse().status == 200
        return False
