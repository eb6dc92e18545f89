"""What a run of a task would do now: the result that it would take, or what has changed since the nearest one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from perago.attempt.cache_key import cache_key, parts_of
from perago.attempt.differences import Difference, KeyFacts, nearest, of_files
from perago.attempt.reuse import Hit, choose
from perago.attempt.stamp import describe_params
from perago.errors import StoreError, TaskInputError, required
from perago.index.results import IndexedResults
from perago.ports import CommitEntry, ListedFile, Repository, ReusableStore
from perago.running.cache import results_of
from perago.running.request import RunRequest
from perago.tasks.params import validate_params
from perago.tasks.patterns import filled
from perago.values.cache import CacheKey, Untold
from perago.values.models import WorkspaceInput
from perago.values.spec import WorkspaceSpec


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a run would do.

    Attributes:
        takes: full id of the commit whose result it would take; None if the body would run.
        why: in words; empty if `differences` says it all.
        since: full id of the nearest earlier publication, which `differences` compares with; None if there is none.
    """

    takes: str | None = None
    why: str = ""
    since: str | None = None
    differences: Sequence[Difference] = ()


def outlook(job: RunRequest) -> Outlook:
    """What a run would do.

    Raises:
        TaskInputError: the task has no cache.
        RepositoryNotFoundError, StoreError: the repository cannot be read.
    """
    task = job.task
    if task.cache is None or task.workspace is None or job.repository is None:
        raise TaskInputError(
            f"task {task.name!r} has no cache, so each run computes it. Declare cache=True to change that"
        )
    input_data = required(job.input_data, "a new run has input")
    workspace_input = WorkspaceInput.model_validate(input_data["workspace"])
    params = validate_params(task, input_data["params"])
    spec = filled(task.workspace, task.name, params)
    with job.repository.open() as repository:
        inputs = repository.list_workspace(workspace_input, spec.laid_out)
        key = cache_key(task, spec, params, inputs, os.environ)
        if isinstance(key, Untold):
            return Outlook(why=f"{key.why}, so that it has no key")
        results = results_of(job.repository)
        if results is None:
            return Outlook(why="this user has no state directory, which would have the index of the history")
        found = _Found(repository, results, workspace_input, spec, inputs, key)
        return found.outlook(job, KeyFacts(parts_of(key) or {}, describe_params(params)))


@dataclass(frozen=True)
class _Found:
    repository: Repository
    results: IndexedResults
    workspace_input: WorkspaceInput
    spec: WorkspaceSpec
    inputs: Mapping[str, ListedFile]
    key: CacheKey

    def outlook(self, job: RunRequest, now: KeyFacts) -> Outlook:
        name, mode = self.workspace_input.repository, job.config.run_cache or "observed"
        if mode == "off":
            return Outlook(why="PERAGO_RUN_CACHE is off")
        store = required(
            self.repository if isinstance(self.repository, ReusableStore) else None, "each repository has a history"
        )
        earlier = self.results.with_key(store, name, self.key.digest)
        if earlier:
            chosen = choose(job.task, earlier, mode, datetime.now(UTC))
            return Outlook(takes=chosen.result.origin) if isinstance(chosen, Hit) else Outlook(why=chosen.why)
        near = nearest(self.results.of_task(name, job.task.name), now)
        if near is None:
            return Outlook(why="the history has no earlier result of this task to compare with")
        entry, others = near
        found = [*self._of_files(entry), *others]
        why = "" if found else self.results.standing(name, entry.id)
        return Outlook(why=why, since=entry.id, differences=found)

    def _of_files(self, entry: CommitEntry) -> list[Difference]:
        """Which input files differ; none if the commit that was the input cannot be read any more."""
        stamp = required(entry.stamp, "what is compared has a key")
        try:
            before = self.repository.list_workspace(
                self.workspace_input.model_copy(update={"ref": stamp.input_ref}), self.spec.laid_out
            )
        except StoreError:
            return []
        return of_files(before, self.inputs)
