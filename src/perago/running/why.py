"""What a run of a task would do now: the result that it would take, or what has changed since the nearest one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydantic import BaseModel

from perago.attempt.cache_key import cache_key, parts_of
from perago.attempt.differences import KeyFacts
from perago.attempt.missed import Missed, gone_miss, nothing_with_key
from perago.attempt.reuse import Hit, Miss, choose
from perago.attempt.stamp import describe_params
from perago.errors import StoreError, TaskInputError, required
from perago.index.results import IndexedResults
from perago.ports import EarlierResult, ListedFile, Repository, ReusableStore
from perago.running.cache import results_of
from perago.running.request import RunRequest
from perago.settings import RuntimeConfig
from perago.stores.provider import RepositoryAddress
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import validate_params
from perago.tasks.patterns import filled
from perago.values.cache import RunCacheMode, Untold
from perago.values.json_text import JsonObject
from perago.values.models import WorkspaceInput
from perago.values.spec import WorkspaceSpec


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A run would take an earlier result.

    Attributes:
        made: its outputs, by path below the prefix.
    """

    result: EarlierResult
    made: Mapping[str, ListedFile]

    @property
    def commit(self) -> str:
        """Full id of the commit that a body made."""
        return self.result.origin


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A run would compute it.

    Attributes:
        key: digest of the key; None if it has none.
    """

    missed: Missed
    key: str | None = None


Outlook = Taken | Computed


def as_json(outlook: Outlook) -> JsonObject:
    """For people's scripts."""
    missed = Missed() if isinstance(outlook, Taken) else outlook.missed
    differences = [vars(each) for each in missed.differences]
    takes = outlook.commit if isinstance(outlook, Taken) else None
    return {
        "takes": takes,
        "why": missed.why,
        "since": missed.since,
        "differences": differences,
        "line": None if isinstance(outlook, Taken) else missed.line,
    }


@dataclass(frozen=True)
class History:
    """The earlier results of a repository, as a run here would see them.

    Attributes:
        results: None if this user has no state directory.
    """

    repository: Repository
    results: IndexedResults | None
    mode: RunCacheMode

    @classmethod
    def of(cls, address: RepositoryAddress, repository: Repository, config: RuntimeConfig) -> History:
        return cls(repository, results_of(address), config.run_cache or "observed")

    def as_known(self) -> History:
        """Without looking for new commits again."""
        return self if self.results is None else replace(self, results=self.results.as_known())

    def outlook(
        self,
        task: TaskDefinition,
        spec: WorkspaceSpec,
        params: BaseModel,
        inputs: Mapping[str, ListedFile],
        place: WorkspaceInput,
    ) -> Outlook:
        """What a run of a task with a cache would do.

        Args:
            spec: filled with the values of params.
            inputs: what the body finds, by path.
            place: names the repository and the branch.

        Raises:
            StoreError, WorkspaceStorageError: the history or the index cannot be read.
        """
        if self.mode == "off":
            return Computed(missed=Missed(why="PERAGO_RUN_CACHE is off"))
        if self.results is None:
            return Computed(missed=Missed(why="this user has no state directory, so there is no history index"))
        key = cache_key(task, spec, params, inputs, os.environ)
        if isinstance(key, Untold):
            return Computed(missed=Missed(why=f"no cache key: {key.why}"))

        def listed(ref: str, seen: WorkspaceSpec) -> Mapping[str, ListedFile]:
            return self.repository.list_workspace(place.model_copy(update={"ref": ref}), seen)

        reusable = self.repository if isinstance(self.repository, ReusableStore) else None
        store = required(reusable, "each repository has a history")
        earlier = self.results.with_key(store, place.repository, key.digest)
        found = choose(task, earlier, self.mode, datetime.now(UTC)) if earlier else None
        while isinstance(found, Hit):
            try:
                return Taken(result=found.result, made=listed(found.result.outputs, spec.made) if spec.outputs else {})
            except StoreError as exc:
                gone = gone_miss(found.result, exc)
            earlier = [each for each in earlier if each != found.result]
            found = choose(task, earlier, self.mode, datetime.now(UTC)) if earlier else gone
        if isinstance(found, Miss):
            return Computed(missed=Missed(why=found.why), key=key.digest)
        now = KeyFacts(parts_of(key) or {}, describe_params(params))
        missed = nothing_with_key(
            self.results, place.repository, task, now, inputs, lambda ref: listed(ref, spec.laid_out)
        )
        return Computed(missed=missed, key=key.digest)


def outlook_of(job: RunRequest) -> Outlook:
    """What a run of one task would do.

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
    place = WorkspaceInput.model_validate(input_data["workspace"])
    params = validate_params(task, input_data["params"])
    spec = filled(task.workspace, task.name, params)
    with job.repository.open() as repository:
        inputs = repository.list_workspace(place, spec.laid_out)
        return History.of(job.repository, repository, job.config).outlook(task, spec, params, inputs, place)
