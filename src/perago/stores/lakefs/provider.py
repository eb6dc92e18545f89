"""The door of the lakeFS store. See `stores.provider`."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from perago.errors import RepositoryNotFoundError, RuntimeConfigError
from perago.files.credentials import Credentials, Origin
from perago.ports import Event, Observer, Repository, ignore
from perago.stores.provider import Host
from perago.values.credentials import LAKEFS_KEY_ID, LAKEFS_SECRET, LAKEFS_URL
from perago.values.history import Stamp
from perago.values.joins import input_repository
from perago.values.models import Attempt
from perago.values.redaction import mask_urls
from perago.values.stores import DatasetSource, StoreSettings
from perago.workspace.owner import Liveness

if TYPE_CHECKING:
    from perago.stores.lakefs.repository import LakeFSRepository
    from perago.stores.lakefs.store import LakeFSStore
    from perago.workspace.cache import ObjectCache

KIND = "lakefs"
PROBE_SECONDS = 5.0
"""Timeout of a probe of the server."""

NAME = re.compile(r"[a-z0-9][a-z0-9-]{2,62}")
"""lakeFS's rule for repository names: 3 to 63 lower case letters, digits and hyphens."""

_HASH_DIGITS = 10
_READABLE_CHARACTERS = 60


def lakefs_settings(
    credentials: Credentials,
    *,
    fence: Literal["exact", "cooperative"] = "exact",
    checksums: Literal["md5", "opaque"] = "md5",
    cache_dir: Path | None = None,
    cache_max_size: int = 0,
) -> StoreSettings:
    """A server, with the host's cache of its objects.

    Args:
        credentials: with the server's URL.
        cache_max_size: bytes; 0 for no cache.
    """
    secrets = {name: SecretStr(value) for name, value in credentials.values.items() if name != LAKEFS_URL}
    values = {
        "endpoint_url": credentials.values[LAKEFS_URL],
        "origins": {name: asdict(origin) for name, origin in credentials.origins.items()},
        "fence": fence,
        "checksums": checksums,
        "cache_dir": None if cache_dir is None else str(cache_dir),
        "cache_max_size": cache_max_size,
    }
    return StoreSettings(kind=KIND, values=values, secrets=secrets)


class OpenedLakeFS:
    """See `provider.OpenedStore`. Any repository of a server."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._observer: Observer = ignore
        self._stores: dict[float, LakeFSStore] = {}  # by timeout of merges, which depends on the task
        self._cache: ObjectCache | None = None

    def for_attempt(self, observer: Observer = ignore, merge_seconds: float | None = None) -> LakeFSStore:
        from perago.stores.lakefs.publication.publish import MERGE_SECONDS
        from perago.stores.lakefs.store import LakeFSStore

        self._observer = observer
        seconds = merge_seconds or MERGE_SECONDS
        if seconds not in self._stores:
            values = self._settings.values
            self._stores[seconds] = LakeFSStore(
                endpoint_url=values["endpoint_url"],
                credentials=_login(self._settings),
                fence=values["fence"],
                checksums=values["checksums"],
                merge_timeout_seconds=seconds,
                cache=self._opened_cache(),
                observer=self._observe,
            )
        return self._stores[seconds]

    def discard(self, attempt: Attempt, execution_id: str, older_than_seconds: float) -> None:
        repository = input_repository(getattr(attempt, "input_data", None))
        if repository is not None:
            swept = self.for_attempt().repository(repository)
            swept.sweep(older_than_seconds, _Killed(execution_id), runs_older_than_seconds=math.inf)

    def sweep(self, repository: str, older_than_seconds: float, runs_older_than_seconds: float) -> None:
        swept = self.for_attempt().repository(repository)
        swept.sweep(older_than_seconds, runs_older_than_seconds=runs_older_than_seconds)

    def close(self) -> None:
        for store in self._stores.values():
            store.close()
        if self._cache is not None:
            self._cache.close()

    def _observe(self, event: Event) -> None:
        self._observer(event)

    def _opened_cache(self) -> ObjectCache | None:
        if self._cache is None:
            self._cache = _cache_of(self._settings)
        return self._cache


@dataclass(frozen=True)
class _Killed:
    """`Liveness` in which one execution is known to be dead."""

    execution_id: str

    def __call__(self, stamp: Stamp) -> Liveness:
        return "dead" if stamp.execution_id == self.execution_id else "unknown"


@dataclass(frozen=True)
class LakeFSAddress:
    """See `provider.RepositoryAddress`."""

    name: str
    host: Host = field(repr=False, compare=False)

    @property
    def argument(self) -> str:
        return f"{KIND}://{self.name}"

    @property
    def settings(self) -> StoreSettings:
        found = self.host.settings_of(KIND)
        if found is None:
            raise RuntimeConfigError(
                f"--repo {self.argument} needs a lakeFS server: set {LAKEFS_URL}, {LAKEFS_KEY_ID} and {LAKEFS_SECRET} "
                f"in the environment or .env, or run `lakectl config`"
            )
        return found

    def for_worker(self) -> StoreSettings:
        raise RuntimeConfigError(
            f"a worker takes no lakeFS address, such as {self.argument!r}. To use the configured lakeFS server, leave "
            f"--repo out: each task's input names its repository"
        )

    @property
    def runs_place(self) -> Path:
        return Path(KIND) / directory_name(self.settings.values["endpoint_url"], self.name) / "runs"

    @contextmanager
    def open(self, observer: Observer = ignore, *, merge_seconds: float | None = None) -> Iterator[Repository]:
        with self._connect(observer, merge_seconds=merge_seconds) as repository:
            repository.check()
            yield repository

    @contextmanager
    def open_fenced(self) -> Iterator[LakeFSRepository]:
        with self._connect(fence="exact") as repository:
            yield repository

    @contextmanager
    def create(self, branch: str, observer: Observer, *, storage_namespace: str | None) -> Iterator[Repository]:
        with self._connect(observer) as repository:
            if self._is_missing(repository, storage_namespace):
                repository.create(storage_namespace or "", branch)
            yield repository

    def is_to_be_made(self, branch: str, *, storage_namespace: str | None) -> bool:  # noqa: ARG002 - any will do
        with self._connect() as repository:
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

    @contextmanager
    def _connect(
        self, observer: Observer = ignore, *, merge_seconds: float | None = None, **changed: Any
    ) -> Iterator[LakeFSRepository]:
        """The repository, without a check that it exists.

        Args:
            changed: values of the settings, for this connection.
        """
        found = self.settings
        PROVIDER.prepare(found, self.host)
        settings = found.model_copy(update={"values": {**found.values, **changed}})
        with closing(PROVIDER.open(settings)) as opened:
            yield opened.for_attempt(observer, merge_seconds).repository(self.name)


class LakeFSProvider:
    """See `provider.StoreProvider`."""

    address = f"{KIND}://NAME"

    def parse(self, text: str, host: Host) -> LakeFSAddress:
        name, slash, branch = text.partition("/")
        if slash and branch:
            raise RuntimeConfigError(
                f"--repo takes the repository only: --repo {KIND}://{name}. Give the branch with --branch, or the "
                f"commit with --ref"
            )
        if NAME.fullmatch(name) is None:
            raise RuntimeConfigError(
                f"--repo {f'{KIND}://{text}'!r} is not a lakeFS repository: a name has 3 to 63 lower case letters, "
                f"digits and hyphens, and begins with a letter or digit"
            )
        return LakeFSAddress(name, host)

    def open(self, settings: StoreSettings) -> OpenedLakeFS:
        return OpenedLakeFS(settings)

    def prepare(self, settings: StoreSettings, host: Host) -> None:  # noqa: ARG002 - the cache is the host's
        host.check_cache()

    def queue_key(self, settings: StoreSettings) -> tuple[str, bool]:
        return settings.values["endpoint_url"], True

    def may_have(self, settings: StoreSettings, repository: str) -> bool:  # noqa: ARG002 - of any server
        return NAME.fullmatch(repository) is not None

    def dataset_source(self, settings: StoreSettings, repository: str) -> DatasetSource:
        return DatasetSource(f"{KIND}://{repository}", mask_urls(settings.values["endpoint_url"]))

    @contextmanager
    def probe(self, settings: StoreSettings) -> Iterator[Callable[[], str]]:
        """Asks for the user of the credentials: the server must answer and know them."""
        from perago.http.loop import LoopThread
        from perago.stores.lakefs.api.client import LakeFSClient

        client = LakeFSClient.connect(settings.values["endpoint_url"], credentials=_login(settings), connections=1)

        async def ask() -> str:
            await client.get("getCurrentUser", client.url("/user"), dict)
            return "answers"

        with closing(LoopThread("perago-store-probe", client.close)) as loop:
            yield lambda: loop.run(ask(), PROBE_SECONDS)

    def tidy(self, settings: StoreSettings) -> None:
        """Remove unfinished files of the cache."""
        with suppress(OSError):
            cache = _cache_of(settings)
            if cache is not None:
                with closing(cache):
                    cache.sweep()


PROVIDER = LakeFSProvider()


def directory_name(endpoint_url: str, repository: str) -> str:
    """Readable directory name for the run records, unique for server and repository."""
    parts = urlsplit(endpoint_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    server = f"{parts.hostname or ''}:{port}{parts.path.rstrip('/').removesuffix('/api/v1')}"
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", server).strip("-.")[:_READABLE_CHARACTERS]
    digest = hashlib.sha256(f"{server}\0{repository}".encode()).hexdigest()[:_HASH_DIGITS]
    return f"{repository}-{readable}-{digest}"


def _login(settings: StoreSettings) -> Credentials:
    """The credentials, which are read again when their files change."""
    values = {LAKEFS_URL: settings.values["endpoint_url"], **settings.revealed()}
    origins = {name: Origin(**origin) for name, origin in settings.values["origins"].items()}
    return Credentials(values, origins, LAKEFS_URL)


def _cache_of(settings: StoreSettings) -> ObjectCache | None:
    from perago.workspace.cache import ObjectCache

    directory, max_size = settings.values["cache_dir"], settings.values["cache_max_size"]
    return ObjectCache(Path(directory), max_size) if directory is not None and max_size else None
