"""A repository on a lakeFS server, as `--repo lakefs://NAME` names it. The settings say which server."""

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

from perago.cli.repos.address import state_directory
from perago.errors import RepositoryNotFoundError, RuntimeConfigError
from perago.ports import Observer, Repository, ignore
from perago.settings import LakeFSConfig, RuntimeConfig, check_cache, load_run_config

if TYPE_CHECKING:
    from perago.stores.lakefs.publication.fence import FenceMode
    from perago.stores.lakefs.repository import LakeFSRepository

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{2,62}")
"""lakeFS's own rule for repositories."""

_HASH_DIGITS = 10
_READABLE_CHARACTERS = 60


@dataclass(frozen=True)
class LakeFSAddress:
    """See `address.RepositoryAddress`."""

    name: str

    @classmethod
    def parse(cls, rest: str) -> LakeFSAddress:
        """Read what stands behind `lakefs://`.

        Raises:
            RuntimeConfigError: it is no name of a repository.
        """
        name, slash, branch = rest.partition("/")
        if slash and branch:
            raise RuntimeConfigError(
                f"--repo takes the repository alone: --repo lakefs://{name}, and the branch or commit by --branch or "
                f"--ref"
            )
        if not _NAME.fullmatch(name):
            raise RuntimeConfigError(
                f"--repo {'lakefs://' + rest!r} names no lakeFS repository: those have 3 to 63 lower case letters, "
                f"digits and hyphens, and begin with a letter or digit"
            )
        return cls(name)

    @property
    def argument(self) -> str:
        return f"lakefs://{self.name}"

    @property
    def runs_directory(self) -> Path:
        server = _server(_config(), self.argument)
        return state_directory() / "lakefs" / directory_name(server.endpoint_url, self.name) / "runs"

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
        """Whether there is no such repository, and it can be made."""
        try:
            repository.check()
        except RepositoryNotFoundError as exc:
            if storage_namespace is None:
                raise RepositoryNotFoundError(
                    f"the lakeFS server has no repository {self.name!r}, and makes one only where it is told where to "
                    f"keep its objects: give --storage-namespace, such as s3://BUCKET/{self.name}"
                ) from exc
            return True
        return False

    def check_source(self, directory: Path) -> None:
        """Any directory will do: the server is elsewhere."""

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
        """The repository, of which nobody has seen yet that it is there.

        Args:
            fence: None: as the settings say.
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
                access_key_id=server.access_key_id,
                secret_access_key=server.secret_access_key.get_secret_value(),
                fence=fence or config.fence,
                checksums=config.checksums,
                merge_timeout_seconds=merge_seconds or MERGE_SECONDS,
                cache=cache if cache.max_bytes else None,
                observer=observer,
            ) as store,
        ):
            yield store.repository(self.name)


def directory_name(endpoint_url: str, repository: str) -> str:
    """What the records of a repository's runs are kept under: told apart by server and repository, and readable."""
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
            f"--repo {argument} needs to know the server: set LAKECTL_SERVER_ENDPOINT_URL, "
            f"LAKECTL_CREDENTIALS_ACCESS_KEY_ID and LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY, in the environment or .env"
        )
    return config.lakefs
