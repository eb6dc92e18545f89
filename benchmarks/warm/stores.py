"""The files of a case in a store, for programs and for commands."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.git.repositories import make_perago_repository
from benchmarks.inputs import Input, environment, written
from benchmarks.measure import run
from perago.values.credentials import LAKEFS_KEY_ID, LAKEFS_SECRET, LAKEFS_URL
from servers.lakefs import LakeFSServer

SIDES = {"off": "laid out each time", "on": "files stay"}
"""What is compared, in turn, by the value of PERAGO_WARM."""


@dataclass(frozen=True)
class Stored:
    """A repository whose branch `main` has the files.

    Attributes:
        place: names it for the programs of this part: the path of a git repository, or URL#REPOSITORY.
        address: the same, as on the command line.
        login: variables with the address and login of the server.
    """

    place: str
    address: str
    login: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Of programs that use it."""
        return {**environment(), **self.login}


@contextmanager
def stored(store: str, content: Input, here: Path) -> Iterator[Stored]:
    """A repository in a directory, until the end; "git" or "lakeFS"."""
    if store == "git":
        path = str(make_perago_repository(content, here))
        yield Stored(path, path)
        return
    with LakeFSServer(parent=here) as server, written(content, here) as source:
        name = f"warm-{uuid.uuid4().hex[:8]}"
        login = {
            LAKEFS_KEY_ID: server.access_key_id,
            LAKEFS_SECRET: server.secret_access_key,
            LAKEFS_URL: server.url,
        }
        made = Stored(f"{server.url}#{name}", f"lakefs://{name}", login)
        where = ["--repo", made.address, "--branch", "main", "--storage-namespace", f"{server.storage}{name}"]
        run([sys.executable, "-m", "perago", "import", source, *where], environment=made.environment, directory=here)
        yield made
