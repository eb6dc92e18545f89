"""One repository of a lakeFS server, as the commands see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perago.findings import Finding
from perago.ports import (
    CleanupStaging,
    CompleteNoopWorkspace,
    DownloadWorkspace,
    PublishWorkspace,
    ReadHistory,
    StageWorkspace,
)
from perago.repositories import AttemptLiveness, LogEntry
from perago.spec import WorkspaceSpec
from perago.stores.lakefs.store import LakeFSStore


class LakeFSRepository:
    """The store with a repository's name filled in. See `perago.repositories.Repository`.

    Args:
        store: the caller's, who closes it.
    """

    def __init__(self, store: LakeFSStore, name: str) -> None:
        self._store = store
        self._name = name

    # ---- the ports

    @property
    def download_workspace(self) -> DownloadWorkspace:
        return self._store.download_workspace

    @property
    def stage_workspace(self) -> StageWorkspace:
        return self._store.stage_workspace

    @property
    def publish_workspace(self) -> PublishWorkspace:
        return self._store.publish_workspace

    @property
    def cleanup_staging(self) -> CleanupStaging:
        return self._store.cleanup_staging

    @property
    def complete_noop_workspace(self) -> CompleteNoopWorkspace:
        return self._store.complete_noop_workspace

    @property
    def read_history(self) -> ReadHistory:
        return self._store.read_history

    # ---- what the commands need

    def branch_head(self, branch: str) -> str | None:
        return self._store.branch_head(self._name, branch)

    def branches(self) -> list[str]:
        return self._store.branches(self._name)

    def resolve(self, ref: str) -> str:
        return self._store.resolve(self._name, ref)

    def import_directory(
        self, source: Path, branch: str, message: str, *, spec: WorkspaceSpec | None = None
    ) -> str | None:
        return self._store.import_directory(self._name, source, branch, message, spec=spec)

    def export(self, ref: str, prefix: str, target: Path) -> int:
        return self._store.export(self._name, ref, prefix, target)

    def log(self, ref: str, limit: int) -> Iterator[LogEntry]:
        return iter(self._store.log(self._name, ref, limit))

    def sweep(self, older_than_seconds: float) -> tuple[str, ...]:
        return self._store.sweep(self._name, older_than_seconds)

    def examine(
        self,
        *,
        older_than_seconds: float,
        liveness_of: AttemptLiveness = lambda _: "unknown",
        living_since: float | None = None,  # noqa: ARG002 - a staging branch's own name says since when it is there
        deep: bool = False,
    ) -> Iterator[Finding]:
        return self._store.examine(
            self._name, older_than_seconds=older_than_seconds, liveness_of=liveness_of, deep=deep
        )
