"""`--repo lakefs://NAME`: a repository on the configured lakeFS server."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from perago.errors import RepositoryNotFoundError, RuntimeConfigError
from perago.ports import BranchQueue, Observer, Repository, ignore
from perago.running.repos.address import state_directory
from perago.settings import LakeFSConfig, RuntimeConfig, check_cache, load_run_config
from perago.settings.user_directories import find_state_directory
from perago.settings.values import is_lakefs_name
from perago.workspace.queue import host_queue

if TYPE_CHECKING:
    from perago.stores.lakefs.publication.fence import FenceMode
    from perago.stores.lakefs.repository import LakeFSRepository

_HASH_DIGITS = 10
_READABLE_CHARACTERS = 60


@dataclass(frozen=True)
class LakeFSAddress:
    """See `address.RepositoryAddress`."""

    name: str

    @classmethod
    def parse(cls, rest: str) -> LakeFSAddress:
        """Parse the text after `lakefs://`.

        Raises:
            RuntimeConfigError: it is not a repository name.
        """
        name, slash, branch = rest.partition("/")
        if slash and branch:
            raise RuntimeConfigError(
                f"--repo takes the repository only: --repo lakefs://{name}. Give the branch with --branch, or the "
                f"commit with --ref"
            )
        if not is_lakefs_name(name):
            raise RuntimeConfigError(
                f"--repo {'lakefs://' + rest!r} is not a lakeFS repository: a name has 3 to 63 lower case letters, "
                f"digits and hyphens, and begins with a letter or digit"
            )
        return cls(name)

    @property
    def argument(self) -> str:
        return f"lakefs://{self.name}"

    @property
    def runs_directory(self) -> Path:
        server = _server(_config(), self.argument)
        return state_directory() / "lakefs" / directory_name(server.endpoint_url, self.name) / "runs"

    @property
    def queue(self) -> BranchQueue:
        return host_queue(find_state_directory(), _server(_config(), self.argument).endpoint_url, is_server=True)

    @contextmanager
    def open(self, observer: Observer = ignore, *, merge_seconds: float | None = None) -> Iterator[Repository]:
        with self.connect(observer, merge_seconds=merge_seconds) as repository:
            repository.check()
            yield repository

    @contextmanager
    def create(self, branch: str, observer: Observer, *, storage_namespace: str | None) -> Iterator[Repository]:
        with self.connect(observer) as repository:
            if self._is_missing(repository, storage_namespace):
                repository.create(storage_namespace or "", branch)
            yield repository

    def is_to_be_made(self, branch: str, *, storage_namespace: str | None) -> bool:  # noqa: ARG002 - any will do
        with self.connect() as repository:
            return self._is_missing(repository, storage_namespace)

    def _is_missing(self, repository: LakeFSRepository, storage_namespace: str | None) -> bool:
        """Whether the repository does not exist and can be created."""
        try:
            repository.check()
        except RepositoryNotFoundError as exc:
            if storage_namespace is None:
                raise RepositoryNotFoundError(
                    f"the lakeFS server has no repository {self.name!r}. To create it, say where the server keeps its "
                    f"objects: --storage-namespace s3://BUCKET/{self.name}"
                ) from exc
            return True
        return False

    def check_source(self, directory: Path) -> None:
        """Accept any directory: the repository is on the server."""

    def check_names(self, names: Iterable[str], *, prefix: str) -> None:
        from perago.values.names import FOR_IMPORT, check_object_name

        for name in names:
            check_object_name(name, FOR_IMPORT, prefix=prefix)

    def branch_from_commit(self, branch: str, commit: str = "COMMIT") -> str:
        made = f"{self.argument}/{branch}"
        return shlex.join(["lakectl", "branch", "create", made, "--source", f"{self.argument}/{commit}"])

    @contextmanager
    def connect(
        self, observer: Observer = ignore, *, merge_seconds: float | None = None, fence: FenceMode | None = None
    ) -> Iterator[LakeFSRepository]:
        """The repository, without a check that it exists.

        Args:
            fence: default: as configured.
        """
        from perago.stores.lakefs.publication.publish import MERGE_SECONDS
        from perago.stores.lakefs.store import LakeFSStore
        from perago.workspace.cache import ObjectCache

        config = _config()
        server = _server(config, self.argument)
        check_cache(config)
        with (
            ObjectCache(config.cache_dir, config.cache_max_size) as cache,
            LakeFSStore(
                endpoint_url=server.endpoint_url,
                credentials=config.lakefs_credentials(),
                fence=fence or config.fence,
                checksums=config.checksums,
                merge_timeout_seconds=merge_seconds or MERGE_SECONDS,
                cache=cache if cache.max_bytes else None,
                observer=observer,
            ) as store,
        ):
            yield store.repository(self.name)


def directory_name(endpoint_url: str, repository: str) -> str:
    """Readable directory name for the run records, unique for server and repository."""
    parts = urlsplit(endpoint_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    server = f"{parts.hostname or ''}:{port}{parts.path.rstrip('/').removesuffix('/api/v1')}"
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", server).strip("-.")[:_READABLE_CHARACTERS]
    digest = hashlib.sha256(f"{server}\0{repository}".encode()).hexdigest()[:_HASH_DIGITS]
    return f"{repository}-{readable}-{digest}"


def _config() -> RuntimeConfig:
    return load_run_config("perago", probe_workspace_root=False)


def _server(config: RuntimeConfig, argument: str) -> LakeFSConfig:
    if config.lakefs is None:
        raise RuntimeConfigError(
            f"--repo {argument} needs a lakeFS server: set LAKECTL_SERVER_ENDPOINT_URL, "
            f"LAKECTL_CREDENTIALS_ACCESS_KEY_ID and LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY in the environment or .env, "
            f"or run `lakectl config`"
        )
    return config.lakefs
