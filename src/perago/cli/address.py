"""What a `--repo` argument names, whatever store it is in."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from perago.ports import Observer, ignore

if TYPE_CHECKING:
    from perago.repositories import Repository


class Address(Protocol):
    """What a `--repo` argument names. There may be nothing there."""

    @property
    def argument(self) -> str:
        """As `--repo` takes it."""
        ...

    @property
    def name(self) -> str:
        """What the repository is called in messages and stamps."""
        ...

    @property
    def runs_directory(self) -> Path:
        """Where the records of its runs lie on this host.

        Raises:
            RuntimeConfigError: the settings do not say which server it is on.
        """
        ...

    def open(
        self, observer: Observer = ignore, *, merge_seconds: float | None = None
    ) -> AbstractContextManager[Repository]:
        """Open the repository.

        Args:
            merge_seconds: how long a server may take to publish; None: the store's own bound.

        Raises:
            RuntimeConfigError: the settings do not say how.
            RepositoryNotFoundError: nothing is there, or no repository.
            StoreError: the server cannot be reached, or refuses.
        """
        ...

    def create(
        self, branch: str, observer: Observer, *, storage_namespace: str | None
    ) -> AbstractContextManager[Repository]:
        """As `open`; if there is none, one is made, with this branch if the store makes one with it.

        Args:
            storage_namespace: where a lakeFS server is to keep the objects of a new repository.
        """
        ...

    def is_to_be_made(self, branch: str, *, storage_namespace: str | None) -> bool:
        """Whether `create` would make the repository. Arguments, and errors, as there; nothing is made."""
        ...

    def check_source(self, directory: Path) -> None:
        """Refuse a directory that cannot be imported into this repository.

        Raises:
            UsageError
        """
        ...

    def check_names(self, names: Iterable[str], *, prefix: str) -> None:
        """Refuse names that files cannot have in this repository, before one is made for them.

        Args:
            prefix: what all of them begin with, as it was given; it may look like a drive.

        Raises:
            ObjectNameError
        """
        ...

    def branch_from_commit(self, branch: str, commit: str = "COMMIT") -> str:
        """The command that makes a branch from a commit."""
        ...
