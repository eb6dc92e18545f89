"""One attempt of a task whose results may be used again: takes an earlier result, or computes one and keeps its key.

A hit is published like what a body made. Only its content comes from the commit that has it, and nothing is laid out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from perago.attempt.cache_key import cache_key, code_of, parts_of
from perago.attempt.differences import KeyFacts
from perago.attempt.missed import gone_miss, nothing_with_key
from perago.attempt.phases import Phases
from perago.attempt.publication import PublicationResult, PublicationTarget, Settled
from perago.attempt.reuse import Hit, Miss, RunCache, Unproven, choose, proof_of
from perago.attempt.same_outputs import WithResult
from perago.attempt.stamp import describe_params
from perago.attempt.told import what_changed
from perago.errors import RuntimeConfigError, SourceGoneError, StoreError, WorkspaceStorageError, required
from perago.ports import (
    Clock,
    EarlierResult,
    ListedFile,
    ListWorkspace,
    Phase,
    ReusableStore,
    StageWorkspace,
)
from perago.tasks.declare import TaskDefinition
from perago.tasks.sources.parts import files_beyond
from perago.values.cache import CacheKey, CacheSpec, Untold
from perago.values.history import Stamp
from perago.values.json_text import JsonObject
from perago.values.models import Changes, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.sandbox import SandboxMode
from perago.values.spec import WorkspaceSpec

RECOMPUTES = "earlier results are turned off for this run"
NOT_FIRST = "this is not the first try or delivery of the task"
"""Why no earlier result is looked for."""

_NO_DIRECTORY = Path()
"""A hit lays out no files and uploads none."""

_UNREADABLE = (StoreError, WorkspaceStorageError, RuntimeConfigError)
"""Errors of the history and its index; the last: others could write the index."""


@dataclass(frozen=True, kw_only=True)
class CachedAttempt:
    """The cache's part of one attempt.

    Attributes:
        spec: filled with the values of params.
        target: the branch that it publishes to.
        drafted: the execution with a result, as it is stamped without a cache.
        compute: runs the body and publishes what it made; stamps it as it is told.
        sandbox: the mode in which the body runs.
    """

    task: TaskDefinition
    spec: WorkspaceSpec
    params: BaseModel
    workspace_input: WorkspaceInput
    store: ReusableStore
    list_workspace: ListWorkspace
    cache: RunCache
    target: PublicationTarget
    drafted: Callable[[JsonObject], TaskExecution]
    compute: Callable[[PublicationTarget, Callable[[Stamp], Stamp], Callable[[], Settled | None]], Settled]
    sandbox: SandboxMode
    phases: Phases
    clock: Clock

    def complete(self, *, is_first: bool) -> Settled:
        """Take an earlier result, or compute one.

        Args:
            is_first: no other delivery, and no other try, was before. Otherwise something went wrong, or somebody asks
                for it again, and the body runs.
        """
        key, inputs = self._key()
        if isinstance(key, Untold):
            self._tell(Miss(f"no cache key: {key.why}"))
            return self.compute(self.target, lambda stamp: stamp, lambda: None)
        if self.cache.recomputes or not is_first:
            self._tell(Miss(RECOMPUTES if self.cache.recomputes else NOT_FIRST))
            return self._computed(key, lambda: None)
        repository, why_none = self.workspace_input.repository, partial(self._why_none, key, inputs)
        taken = self._taken(key, why_none)
        if taken is not None:
            return taken
        with self.cache.results.computing(repository, key.digest, self.target.is_cancelled) as has_waited:
            taken = self._taken(key, why_none) if has_waited else None
            return taken or self._computed(key, lambda: self._taken(key))

    def _key(self) -> tuple[CacheKey | Untold, Mapping[str, ListedFile]]:
        """The key, and what the body finds, by path."""
        with self.phases(Phase.DECIDE) as span:
            inputs = self.list_workspace(self.workspace_input, self.spec.laid_out)
            key = cache_key(self.task, self.spec, self.params, inputs, os.environ)
            span.note(files=len(inputs), cache="no key" if isinstance(key, Untold) else "key")
        return key, inputs

    def _taken(self, key: CacheKey, why_none: Callable[[], Miss] | None = None) -> Settled | None:
        """The attempt, completed with an earlier result; None if there is none.

        Args:
            why_none: why no result has the key. Default: a miss is not told.
        """
        earlier = self._earlier(key)
        found = earlier if isinstance(earlier, Miss) else self._choose(earlier) if earlier else None
        while isinstance(found, Hit):
            self._tell(found)
            try:
                return self._published(found.result)
            except SourceGoneError as exc:
                gone = gone_miss(found.result, exc)
            earlier = [] if isinstance(earlier, Miss) else [each for each in earlier if each != found.result]
            found = self._choose(earlier) if earlier else gone
        if why_none is not None:
            self._tell(found or why_none())
        return None

    def _choose(self, earlier: Sequence[EarlierResult]) -> Hit | Miss:
        return choose(self.task, earlier, self.cache.mode, self.clock.now())

    def _earlier(self, key: CacheKey) -> Sequence[EarlierResult] | Miss:
        """The results with the key, newest first."""
        try:
            return self.cache.results.with_key(self.store, self.workspace_input.repository, key.digest)
        except _UNREADABLE as exc:
            return Miss(f"the history could not be read: {exc}")

    def _why_none(self, key: CacheKey, inputs: Mapping[str, ListedFile]) -> Miss:
        """In what the key differs from the nearest one of before."""

        def list_input(ref: str) -> Mapping[str, ListedFile]:
            return self.list_workspace(self.workspace_input.model_copy(update={"ref": ref}), self.spec.laid_out)

        now = KeyFacts(parts_of(key) or {}, describe_params(self.params))
        results, repository = self.cache.results, self.workspace_input.repository
        try:
            return Miss(nothing_with_key(results, repository, self.task, now, inputs, list_input).line)
        except _UNREADABLE as exc:
            return Miss(f"the history could not be read: {exc}")

    def _published(self, found: EarlierResult) -> Settled:
        """Put the outputs of an earlier result on the branch.

        Raises:
            SourceGoneError: they are not there any more.
        """
        result = required(found.stamp.result, "a result with a key is whole")
        if self.spec.read_only:
            with self.phases(Phase.DECIDE) as span:
                span.note(how="cached")
            return PublicationResult(self.workspace_input.ref, "cached"), result
        with self.phases(Phase.DIFF) as span:
            changes, written_bytes = self._changes(found)
            span.note(**what_changed(changes))

        def stage(_: Path, target: WorkspaceInput, spec: WorkspaceSpec, execution: TaskExecution) -> StagedWorkspace:
            try:
                return self.store.stage_copy(found.outputs, target, spec, execution)
            except StoreError as exc:  # nothing is published, and the body can still run
                raise SourceGoneError(str(exc)) from exc

        target = self._target(stage, found)
        drafted = self.drafted(result)
        stamp = required(drafted.stamp, "what is drafted has a stamp")
        taken = replace(
            stamp,
            cache_key=found.stamp.cache_key,
            cache_parts=found.stamp.cache_parts,
            cache_proof=found.stamp.cache_proof,
            cached_from=found.origin,
            sandbox=found.stamp.sandbox,
            series=found.stamp.series,
        )
        outcome = target.finish(replace(drafted, stamp=taken, changes=changes), _NO_DIRECTORY, written_bytes)
        return outcome, result

    def _target(self, stage: StageWorkspace, found: EarlierResult) -> PublicationTarget:
        ports = self.target.ports
        validate = WithResult(ports.validate_reads, self.store, found.outputs, self.spec)
        ports = replace(ports, stage_workspace=stage, validate_reads=validate)
        return replace(self.target, ports=ports, cached_from=found.origin)

    def _changes(self, found: EarlierResult) -> tuple[Changes, int]:
        """What leads from the outputs that the input has to the earlier ones, and the bytes of what that writes."""
        made = self.spec.made
        try:
            if self.store.has_same_files(self.workspace_input, found.outputs, made):
                return Changes(), 0
            after = self.list_workspace(self.workspace_input.model_copy(update={"ref": found.outputs}), made)
        except StoreError as exc:
            raise SourceGoneError(str(exc)) from exc
        before = self.list_workspace(self.workspace_input, made)
        changes = difference(before, after)
        return changes, sum(after[path].size for path in changes.written)

    def _computed(self, key: CacheKey, look_again: Callable[[], Settled | None]) -> Settled:
        """Run the body, and keep the key with its result, unless an equal one has been published meanwhile."""

        def keyed(stamp: Stamp) -> Stamp:
            if code_of(self.task) != key.code:
                self._tell(Unproven("the task's code changed while it ran"))
                return stamp
            reached = self.cache.reached()
            beyond = [] if reached is None else files_beyond(key.code, reached.opened)
            proof = proof_of(self.task.cache or CacheSpec(), key.code, self.sandbox, reached, beyond)
            if isinstance(proof, Unproven):
                self._tell(proof)
            known = None if isinstance(proof, Unproven) else proof
            return replace(stamp, cache_key=key.digest, cache_parts=parts_of(key), cache_proof=known)

        return self.compute(replace(self.target, seals_noop=True), keyed, look_again)

    def _tell(self, found: Hit | Miss | Unproven) -> None:
        with self.phases(Phase.DECIDE) as span:
            match found:
                case Hit(result):
                    span.note(cache="hit", cached_from=result.origin)
                case Miss(why):
                    span.note(cache="miss", why=why)
                case Unproven(why):
                    span.note(cache="unproven", why=why)


def difference(before: Mapping[str, ListedFile], after: Mapping[str, ListedFile]) -> Changes:
    """The changes that lead from one listing to another."""
    return Changes(
        added=tuple(sorted(after.keys() - before.keys())),
        modified=tuple(sorted(path for path in after.keys() & before.keys() if after[path] != before[path])),
        deleted=tuple(sorted(before.keys() - after.keys())),
    )
