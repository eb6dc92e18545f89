"""The store of an executor, opened when the first task with a workspace comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perago.errors import TaskInputError
from perago.ports import Event, Observer, WorkspaceStore, ignore
from perago.values.history import Stamp
from perago.values.models import Attempt, AttemptIdentity, StagedWorkspace, TaskExecution, staging_branch_name
from perago.worker.executor.wire import GitSettings, LakeFSSettings
from perago.workspace.owner import Liveness

if TYPE_CHECKING:
    from perago.stores.git import GitStore
    from perago.stores.lakefs import LakeFSStore
    from perago.workspace.cache import ObjectCache


class ExecutorStore:
    """One store for one attempt at a time.

    Args:
        settings: None: there is no store.
    """

    def __init__(self, settings: GitSettings | LakeFSSettings | None) -> None:
        self._settings = settings
        self._observer: Observer = ignore
        self._git: GitStore | None = None
        self._lakefs: dict[float, LakeFSStore] = {}  # by how long publishing may take, which tasks differ in
        self._cache: ObjectCache | None = None

    def open(self, observer: Observer, merge_seconds: float | None = None) -> WorkspaceStore:
        """The store, whose progress events the observer gets from now on.

        Args:
            merge_seconds: how long a server may take to publish; None: the store's own bound.

        Raises:
            TaskInputError: none is configured.
        """
        self._observer = observer
        match self._settings:
            case None:
                raise TaskInputError(
                    "the worker has no store: set LAKECTL_SERVER_ENDPOINT_URL, LAKECTL_CREDENTIALS_ACCESS_KEY_ID and "
                    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY, or start it with --repo"
                )
            case GitSettings():
                return self._open_git(self._settings)
            case LakeFSSettings():
                return self._open_lakefs(self._settings, merge_seconds)

    def discard(self, attempt: Attempt, execution_id: str, older_than_seconds: float) -> None:
        """Remove what an execution staged that was killed.

        Raises:
            StoreError: it could not be removed; the sweep by age will.
        """
        match self._settings:
            case GitSettings():
                from perago.stores.git.refs import STAGING

                identity = AttemptIdentity.of(attempt)
                execution = TaskExecution(attempt=attempt, identity=identity, execution_id=execution_id)
                self._open_git(self._settings).cleanup_staging(
                    StagedWorkspace(repository="", branch=STAGING + staging_branch_name(execution), commit="")
                )
            case LakeFSSettings():
                repository = _repository_of(attempt)
                if repository is not None:
                    store = self._open_lakefs(self._settings)
                    store.repository(repository).sweep(older_than_seconds, _Killed(execution_id))

    def sweep(self, repository: str, older_than_seconds: float) -> None:
        """Remove what killed attempts of anybody staged, by age.

        Raises:
            StoreError: some could not be removed.
        """
        match self._settings:
            case GitSettings():
                self._open_git(self._settings).sweep(older_than_seconds)
            case LakeFSSettings():
                self._open_lakefs(self._settings).repository(repository).sweep(older_than_seconds)

    def close(self) -> None:
        """End connections and threads."""
        for store in self._lakefs.values():
            store.close()
        if self._cache is not None:
            self._cache.close()

    def _observe(self, event: Event) -> None:
        self._observer(event)

    def _open_git(self, settings: GitSettings) -> GitStore:
        if self._git is None:
            from perago.stores.git import GitStore

            self._git = GitStore(settings.path, observer=self._observe)
        return self._git

    def _open_lakefs(self, settings: LakeFSSettings, merge_seconds: float | None = None) -> LakeFSStore:
        from perago.stores.lakefs.publication.publish import MERGE_SECONDS
        from perago.stores.lakefs.store import LakeFSStore
        from perago.workspace.cache import ObjectCache

        seconds = merge_seconds or MERGE_SECONDS
        if seconds not in self._lakefs:
            if self._cache is None and settings.cache_dir is not None and settings.cache_max_size:
                self._cache = ObjectCache(Path(settings.cache_dir), settings.cache_max_size)
            self._lakefs[seconds] = LakeFSStore(
                endpoint_url=settings.endpoint_url,
                access_key_id=settings.access_key_id,
                secret_access_key=settings.secret_access_key.get_secret_value(),
                fence=settings.fence,
                checksums=settings.checksums,
                merge_timeout_seconds=seconds,
                cache=self._cache,
                observer=self._observe,
            )
        return self._lakefs[seconds]


@dataclass(frozen=True)
class _Killed:
    """Who is known to be dead: one execution."""

    execution_id: str

    def __call__(self, stamp: Stamp) -> Liveness:
        return "dead" if stamp.execution_id == self.execution_id else "unknown"


def _repository_of(attempt: Attempt) -> str | None:
    """Of the task's input, which may be malformed."""
    input_data = getattr(attempt, "input_data", None)
    workspace = input_data.get("workspace") if isinstance(input_data, Mapping) else None
    repository = workspace.get("repository") if isinstance(workspace, Mapping) else None
    return repository if isinstance(repository, str) else None
