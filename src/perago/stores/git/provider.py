"""The door of the git store. See `stores.provider`."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from perago.errors import RuntimeConfigError
from perago.files.private_directory import fault_of
from perago.ports import Event, Observer, Repository, ignore
from perago.stores.provider import FencedRepository, Host
from perago.values.models import Attempt, AttemptIdentity, StagedWorkspace, TaskExecution, staging_branch_name
from perago.values.stores import DatasetSource, StoreSettings

if TYPE_CHECKING:
    from perago.stores.git.store import GitStore

KIND = "git"
_PATH = "path"
_HASH_DIGITS = 12


def git_settings(path: Path) -> StoreSettings:
    """The store of one bare repository."""
    return StoreSettings(kind=KIND, values={_PATH: str(path)})


def runs_in(repository: Path) -> Path:
    """Run records of a git repository. They are inside it, so that they move with it."""
    return repository / "perago" / "runs"


class OpenedGit:
    """See `provider.OpenedStore`. One repository, whatever the input names."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._observer: Observer = ignore
        self._store: GitStore | None = None

    def for_attempt(self, observer: Observer = ignore, merge_seconds: float | None = None) -> GitStore:  # noqa: ARG002 - moving a reference takes no time
        from perago.stores.git.store import GitStore

        self._observer = observer
        if self._store is None:
            self._store = GitStore(self._path, observer=self._observe)
        return self._store

    def discard(self, attempt: Attempt, execution_id: str, older_than_seconds: float) -> None:  # noqa: ARG002 - it is this execution's own
        from perago.stores.git.refs import STAGING

        identity = AttemptIdentity.of(attempt)
        execution = TaskExecution(attempt=attempt, identity=identity, execution_id=execution_id)
        branch = STAGING + staging_branch_name(execution)
        self.for_attempt().cleanup_staging(StagedWorkspace(repository="", branch=branch, commit=""))

    def sweep(self, repository: str, older_than_seconds: float, runs_older_than_seconds: float) -> None:  # noqa: ARG002 - a path is one repository
        self.for_attempt().sweep(older_than_seconds, runs_older_than_seconds=runs_older_than_seconds)

    def close(self) -> None:
        """Nothing is open between calls."""

    def _observe(self, event: Event) -> None:
        self._observer(event)


@dataclass(frozen=True)
class GitAddress:
    """See `provider.RepositoryAddress`. The path is absolute."""

    path: Path
    host: Host = field(repr=False, compare=False)

    @property
    def argument(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name or str(self.path)

    @property
    def settings(self) -> StoreSettings:
        return git_settings(self.path)

    def for_worker(self) -> StoreSettings:
        return self.settings

    @property
    def runs_place(self) -> Path:
        """In the repository; with the user if others can write to it, because records are of one user."""
        places = (self.path, self.path / "perago")
        if any(place.is_dir() and fault_of(place) is not None for place in places):
            return Path(KIND) / _directory_name(self.path) / "runs"
        return runs_in(self.path)

    @contextmanager
    def open(self, observer: Observer = ignore, *, merge_seconds: float | None = None) -> Iterator[Repository]:
        PROVIDER.prepare(self.settings, self.host)
        store = PROVIDER.open(self.settings).for_attempt(observer, merge_seconds)
        store.branches()  # raises if it is damaged
        yield store

    def open_fenced(self) -> AbstractContextManager[FencedRepository]:
        raise RuntimeConfigError(
            f"--repo {self.argument}: a git repository needs no publish fence, because git moves its references by "
            f"compare-and-swap"
        )

    @contextmanager
    def create(self, branch: str, observer: Observer, *, storage_namespace: str | None) -> Iterator[Repository]:
        from perago.stores.git.store import GitStore

        _refuse_namespace(storage_namespace)
        PROVIDER.prepare(self.settings, self.host)
        yield GitStore.create(self.path, branch=branch, observer=observer)

    def is_to_be_made(self, branch: str, *, storage_namespace: str | None) -> bool:
        from perago.stores.git.import_export import check_branch_name, is_free

        _refuse_namespace(storage_namespace)
        check_branch_name(branch)
        return is_free(self.path)

    def check_source(self, directory: Path) -> None:
        if self.path.resolve().is_relative_to(directory.resolve()):
            raise RuntimeConfigError(
                f"the repository {self.path} is inside {directory}, the directory to import; move it out, or import "
                f"another directory"
            )

    def check_names(self, names: Iterable[str], *, prefix: str) -> None:
        from perago.values.names import FOR_IMPORT, check_git_name

        for name in names:
            check_git_name(name, FOR_IMPORT, prefix=prefix)


class GitProvider:
    """See `provider.StoreProvider`."""

    address = "the path of a bare git repository"

    def parse(self, text: str, host: Host) -> GitAddress:
        return GitAddress(Path(text).expanduser().absolute(), host)

    def open(self, settings: StoreSettings) -> OpenedGit:
        return OpenedGit(settings.values[_PATH])

    def prepare(self, settings: StoreSettings, host: Host) -> None:
        """Refuse a repository that another user could replace, unless git is told that it is safe."""
        from perago.stores.git.trust import is_trusted, or_trust

        path = Path(settings.values[_PATH])
        if not is_trusted(path):
            host.expect_irreplaceable(path, "the repository", f". {or_trust(path)}")

    def queue_key(self, settings: StoreSettings) -> tuple[str, bool]:
        return settings.values[_PATH], False

    def may_have(self, settings: StoreSettings, repository: str) -> bool:
        return bool(repository == Path(settings.values[_PATH]).name)

    def dataset_source(self, settings: StoreSettings, repository: str) -> DatasetSource:  # noqa: ARG002 - a path is one repository
        place = f"file://{platform.node()}{quote(settings.values[_PATH])}"
        return DatasetSource(f"git+{place}", place)

    @contextmanager
    def probe(self, settings: StoreSettings) -> Iterator[Callable[[], str]]:
        path = Path(settings.values[_PATH])

        def look() -> str:
            if not (path / "HEAD").is_file():
                raise RuntimeConfigError(f"{path} is no longer a repository")
            return "there"

        yield look

    def tidy(self, settings: StoreSettings) -> None:
        """Executors leave nothing outside the repository."""


PROVIDER = GitProvider()


def _directory_name(repository: Path) -> str:
    """Readable directory name for the run records of a repository, unique for its path."""
    real = os.path.realpath(repository)
    return f"{repository.name}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:_HASH_DIGITS]}"


def _refuse_namespace(storage_namespace: str | None) -> None:
    if storage_namespace is not None:
        raise RuntimeConfigError("--storage-namespace is for repositories on a server; leave it out")
