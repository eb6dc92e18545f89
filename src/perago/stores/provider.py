"""The door of a store: all that others need of it, behind one port. `stores.table` finds it by name or address."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from perago.ports import Observer, Repository, WorkspaceStore, ignore
from perago.values.models import Attempt
from perago.values.stores import DatasetSource, StoreSettings


class Host(Protocol):
    """What the settings of this user say to a store."""

    def settings_of(self, kind: str) -> StoreSettings | None:
        """The store of this kind that the settings name, such as a server; None if they name none.

        Raises:
            RuntimeConfigError: the settings are wrong.
        """
        ...

    def expect_irreplaceable(self, path: Path, what: str, or_else: str = "") -> None:
        """Refuse a directory that another user could replace. It need not exist.

        Args:
            what: its role, for the message.
            or_else: another way out, as the end of the message.

        Raises:
            RuntimeConfigError: the message says who could, and what to do.
        """
        ...

    def check_cache(self) -> None:
        """Check that no other user can replace the directory of the object cache.

        Raises:
            RuntimeConfigError: another user can.
        """
        ...


class OpenedStore(Protocol):
    """A store with its connections, for one attempt at a time."""

    def for_attempt(self, observer: Observer = ignore, merge_seconds: float | None = None) -> WorkspaceStore:
        """The store. From now on the observer receives its progress events.

        Args:
            merge_seconds: time limit for the server to publish. Default: the store's own.
        """
        ...

    def discard(self, attempt: Attempt, execution_id: str, older_than_seconds: float) -> None:
        """Remove the staged work of a killed execution.

        Raises:
            StoreError: it could not be removed; the sweep by age will.
        """
        ...

    def sweep(self, repository: str, older_than_seconds: float, runs_older_than_seconds: float) -> None:
        """Remove the staged work of killed attempts of any worker, and branches of old runs, by age.

        Raises:
            StoreError: some could not be removed.
        """
        ...

    def close(self) -> None:
        """Close connections and end threads."""
        ...


FenceFile = Literal["present", "missing", "different"]
"""State of a branch's fence; "different" means that it differs from this version's."""


@dataclass(frozen=True)
class FenceReport:
    """The state of the publish fence of a branch.

    Attributes:
        head: full id of the commit that the branch points at.
        file: state of the fence's file in that commit.
        is_heeded: the server refused a publication that the fence forbids, on a scratch branch.
        why: why the fence is not enforced, and what to do; None if it is.
    """

    head: str
    file: FenceFile
    is_heeded: bool
    why: str | None = None


class FencedRepository(Repository, Protocol):
    """A repository whose server runs a fence for each publication; see `perago fence`."""

    def check(self) -> None:
        """Check that the repository exists.

        Raises:
            RepositoryNotFoundError: it does not.
        """
        ...

    def check_fence(self, branch: str) -> FenceReport:
        """Whether a branch has the fence, and the server enforces it."""
        ...

    def install_fence(self, branch: str) -> str | None:
        """Commit the fence to a branch. Returns the commit; None if the branch holds it."""
        ...


class RepositoryAddress(Protocol):
    """A parsed `--repo` argument. The repository need not exist."""

    @property
    def argument(self) -> str:
        """The text that `--repo` accepts."""
        ...

    @property
    def name(self) -> str:
        """Name of the repository in messages and stamps."""
        ...

    @property
    def settings(self) -> StoreSettings:
        """What opens the store of this repository.

        Raises:
            RuntimeConfigError: no server is configured.
        """
        ...

    def for_worker(self) -> StoreSettings:
        """The store of a worker that is started with this address.

        Raises:
            RuntimeConfigError: a worker takes no address of this store.
        """
        ...

    @property
    def runs_place(self) -> Path:
        """Directory of its run records on this host: absolute, or below the user's state directory.

        Raises:
            RuntimeConfigError: no server is configured.
        """
        ...

    def open(
        self, observer: Observer = ignore, *, merge_seconds: float | None = None
    ) -> AbstractContextManager[Repository]:
        """Open the repository.

        Args:
            merge_seconds: time limit for the server to publish. Default: the store's own.

        Raises:
            RuntimeConfigError: no server is configured.
            RepositoryNotFoundError: there is no repository.
            StoreError: the server cannot be reached, or refused.
        """
        ...

    def open_fenced(self) -> AbstractContextManager[FencedRepository]:
        """As `open`, to look at the publish fence. The repository need not exist.

        Raises:
            RuntimeConfigError: repositories of this store have none.
        """
        ...

    def create(
        self, branch: str, observer: Observer, *, storage_namespace: str | None
    ) -> AbstractContextManager[Repository]:
        """Open the repository; create it first if it does not exist, with this branch if the store can.

        Args:
            storage_namespace: where a server keeps the objects of a new repository.

        Raises:
            RuntimeConfigError: the store takes no storage namespace.
        """
        ...

    def is_to_be_made(self, branch: str, *, storage_namespace: str | None) -> bool:
        """Whether `create` would create the repository. Takes its arguments and raises its errors."""
        ...

    def check_source(self, directory: Path) -> None:
        """Refuse a directory that cannot be imported into this repository.

        Raises:
            RuntimeConfigError
        """
        ...

    def check_names(self, names: Iterable[str], *, prefix: str) -> None:
        """Refuse names that files cannot have in this repository.

        Args:
            prefix: their common prefix, as given; it may look like a drive.

        Raises:
            ObjectNameError
        """
        ...


class StoreProvider(Protocol):
    """Everything that is specific to a store. Loading it loads no client of the store.

    Attributes:
        address: how its addresses look, for a message.
    """

    @property
    def address(self) -> str: ...

    def parse(self, text: str, host: Host) -> RepositoryAddress:
        """Parse an address, given without its scheme.

        Raises:
            RuntimeConfigError: it is not one.
        """
        ...

    def open(self, settings: StoreSettings) -> OpenedStore:
        """Open a store. Nothing is sent before its first use."""
        ...

    def prepare(self, settings: StoreSettings, host: Host) -> None:
        """Check what this host must guarantee before the store is used.

        Raises:
            RuntimeConfigError: it does not.
        """
        ...

    def queue_key(self, settings: StoreSettings) -> tuple[str, bool]:
        """Which place attempts wait for, and whether that is a server; see `workspace.queue.host_queue`."""
        ...

    def may_have(self, settings: StoreSettings, repository: str) -> bool:
        """Whether the store can have a repository with this name."""
        ...

    def dataset_source(self, settings: StoreSettings, repository: str) -> DatasetSource:
        """Where the data sets of a repository are. Asks no server."""
        ...

    def probe(self, settings: StoreSettings) -> AbstractContextManager[Callable[[], str]]:
        """A readiness probe: says in a word what is there, or raises."""
        ...

    def tidy(self, settings: StoreSettings) -> None:
        """Remove what killed executors of this host have left outside the repository. Best effort."""
        ...
