"""A process that reads the heads of branches throughout, as everybody may, and holds what they show against invariant
10. It writes a line of JSON for each commit that it has read.

usage: reader.py URL REPOSITORY BRANCHES FILE, with the login in the variables of lakectl
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from nemesis.runs import PARTS, halves
from servers.json_api import ApiError
from servers.lakefs_api import LakeFSApi, LakeFSRepository

PAUSE_SECONDS = 0.02
"""Between two heads: each of 20 branches is read twice a second."""

END_SECONDS = 30.0
LOGIN = ("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY")


class Reader:
    """The process, as a context manager that ends it.

    Args:
        server: a lakeFS, reached directly.
        path: of the file that it writes.
    """

    def __init__(self, server: Any, repository: str, branches: Collection[str], path: Path) -> None:
        self._path = path
        self._command = [sys.executable, __file__, server.url, repository, ",".join(branches), str(path)]
        login = dict(zip(LOGIN, (server.access_key_id, server.secret_access_key), strict=True))
        self._environment = {**os.environ, **login, "PYTHONPATH": os.pathsep.join(sys.path)}

    def __enter__(self) -> Reader:
        self._process = subprocess.Popen(self._command, env=self._environment)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(END_SECONDS)

    @property
    def works(self) -> bool:
        return self._process.poll() is None

    def seen(self) -> Iterator[dict[str, Any]]:
        """What it has written: `branch`, `commit`, and the workflows of which it saw a part, as `halves`."""
        for line in self._path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def main() -> None:
    url, name, branches, path = sys.argv[1:]
    heads: dict[str, str] = {}
    with LakeFSApi(url, *(os.environ[variable] for variable in LOGIN)) as api, Path(path).open("a") as file:
        repository = LakeFSRepository(api, name)
        while True:
            for branch in branches.split(","):
                time.sleep(PAUSE_SECONDS)
                with contextlib.suppress(OSError, HTTPException, ApiError):  # the server is being started again
                    _read(repository, branch, heads, file)


def _read(repository: LakeFSRepository, branch: str, heads: dict[str, str], file: Any) -> None:
    head = repository.head(branch)
    if heads.get(branch) == head:
        return
    there = {found["path"] for found in repository.objects(head, "part-")}
    files = {path: repository.get(head, path) for path in PARTS.values() if path in there}
    heads[branch] = head
    print(json.dumps({"branch": branch, "commit": head, "halves": halves(files)}), file=file, flush=True)


if __name__ == "__main__":
    main()
