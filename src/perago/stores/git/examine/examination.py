"""The examination of a repository, with findings that can be repaired."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from perago.ports import AttemptLiveness, RunAgeLimit
from perago.stores.git.examine.large_files import large_file_findings
from perago.stores.git.examine.leftovers import run_branches, staged_commits, temporary_files, unfinished_publication
from perago.stores.git.examine.reachable import Reachable, mark
from perago.stores.git.examine.stale_locks import stale_locks
from perago.stores.git.refs import References
from perago.stores.git.runs import OldRuns
from perago.values.findings import Finding


@dataclass(frozen=True, kw_only=True)
class Examination:
    """The scope of an examination.

    Attributes:
        older_than_seconds: age from which something may be removed if nothing else shows that its owner is dead. Longer
            than any attempt takes from staging to publishing.
        run_age_limit: age from which the branch of a run may be removed.
        liveness_of: distinguishes staged commits of live and dead attempts.
        living_since: start of the oldest attempt that may run here, seconds since the epoch; None if none runs.
        deep: read all large files, and compare their content with their names.
    """

    references: References
    older_than_seconds: float
    run_age_limit: RunAgeLimit
    liveness_of: AttemptLiveness
    living_since: float | None = None
    deep: bool = False

    def run(self) -> Iterator[Finding]:
        """All findings. Changes nothing.

        Raises:
            StoreError, WorkspaceStorageError: the repository cannot be read.
        """
        references, older_than = self.references, self.older_than_seconds
        yield from staged_commits(references, self.liveness_of, older_than)
        yield from run_branches(OldRuns(references, self.run_age_limit))
        yield from unfinished_publication(references)
        yield from stale_locks(references, older_than)
        yield from temporary_files(references.repository, older_than)
        reachable = mark(references.repository)
        yield from reachable.findings
        yield from self._large_files(reachable)

    def _large_files(self, reachable: Reachable) -> Iterator[Finding]:
        before = time.time() - self.older_than_seconds
        if self.living_since is not None:
            before = min(before, self.living_since)
        repository = self.references.repository
        return large_file_findings(repository, reachable, before, lambda: mark(repository), deep=self.deep)
