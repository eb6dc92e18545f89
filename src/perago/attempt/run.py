"""One attempt of a workspace task, from its input to its result.

parse -> decide -> materialize -> pre guards -> body -> post guards -> diff -> (decide -> fence -> stage -> fence ->
publish, in `publication`) -> clean; the caller reports, by `report`.

Everything outside is passed in as a callable. The observer receives the phases; logs, metrics and faults use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from perago.attempt.body import BodyCall
from perago.attempt.context import RunContext
from perago.attempt.fence import Applicant
from perago.attempt.free import run_free_attempt
from perago.attempt.join import resolve_join
from perago.attempt.output import completed, workspace_output
from perago.attempt.outputs import expect_in_outputs, make_output_directories
from perago.attempt.parse import (
    WORKSPACE_FIELDS,
    Caution,
    Unmatched,
    expect_fields,
    of_read_only_writes,
    of_unknown_fields,
    of_unknown_params,
    parse_params,
    parse_workspace,
    such_as,
)
from perago.attempt.phases import Phases
from perago.attempt.publication import AttemptPorts, Due, PublicationResult, PublicationTarget, Settled
from perago.attempt.same_outputs import InputsFirst
from perago.attempt.stamp import StampDraft
from perago.attempt.told import what_changed, what_it_reads
from perago.attempt.transaction import begin_or_end, begins_or_ends
from perago.errors import WorkspaceContentError, required
from perago.ports import (
    AttemptEngine,
    CompleteWorkspace,
    DownloadWorkspace,
    ListedFile,
    ListWorkspace,
    Phase,
    ReadHistory,
    WorkspaceStore,
)
from perago.tasks.declare import TaskDefinition
from perago.tasks.guards import GuardPhase, check_files
from perago.tasks.patterns import filled
from perago.tasks.secrets import secrets_of
from perago.tasks.series import SeriesRecorder
from perago.values import redaction
from perago.values.history import Stamp
from perago.values.joins import WorkspaceJoin, input_refs
from perago.values.json_text import JsonObject
from perago.values.models import (
    Attempt,
    AttemptIdentity,
    Changes,
    RuntimeTaskResult,
    WorkspaceInput,
)
from perago.values.names import show_name
from perago.values.spec import Guard, Guardrail, WorkspaceSpec
from perago.workspace.collector import collector_paused
from perago.workspace.digest import algorithm_of, digest_file, is_known
from perago.workspace.directory import AttemptDirectory
from perago.workspace.manifest import Manifest, ManifestEntry, take_manifest
from perago.workspace.patterns import Selection
from perago.workspace.reading import open_workspace
from perago.workspace.scan import FileStat, Scan, listed, scan, scan_files
from perago.workspace.warm.place import WarmStay

Digest = Callable[[str, str, int], str]
"""(path, algorithm, size in bytes) -> `<algorithm>:<hex>` of the file's content now."""


def diff(manifest: Manifest, now: Scan, digest: Digest) -> Changes:
    """Compare a workspace with its manifest.

    A file is read only if its size is the same but its stat differs or is racy.

    Args:
        manifest: taken before the body ran.
        now: the workspace after it, scanned with the same selection.
        digest: reads a file; called only for those files.

    Raises:
        WorkspaceContentError: a file was replaced by a directory. A store could not know whether the files in it
            replace the file, and could not store an empty one.
    """
    before = manifest.entries
    turned = sorted(path for path in before.keys() & now.directories if not before[path].is_absent)
    if turned:
        shown = [show_name(path) for path in turned]
        raise WorkspaceContentError(
            f"the body replaced a file by a directory: {listed(shown, len(shown))}. In the task, give the directory "
            f"another name"
        )
    modified = [
        path
        for path, stat in now.files.items()
        if path in before and _is_modified(path, before[path], stat, manifest, digest)
    ]
    return Changes(
        added=tuple(sorted(now.files.keys() - before.keys())),
        modified=tuple(sorted(modified)),
        deleted=tuple(sorted(before.keys() - now.files.keys())),
    )


def _is_modified(path: str, entry: ManifestEntry, stat: FileStat, manifest: Manifest, digest: Digest) -> bool:
    if stat.size != entry.stat.size or stat.executable != entry.stat.executable:
        return True
    if stat == entry.stat and not manifest.is_racy(entry.stat):
        return False
    if not is_known(entry.digest):
        return True
    return digest(path, algorithm_of(entry.digest), stat.size) != entry.digest


def run_attempt(
    task: TaskDefinition,
    input_data: Mapping[str, Any],
    attempt: Attempt,
    context: RunContext,
    *,
    workspace_root: Path,
    open_store: Callable[[], WorkspaceStore],
    engine: AttemptEngine,
) -> RuntimeTaskResult:
    """Run one attempt of any task, for a worker, `perago run` and the testing kit.

    Args:
        input_data: further top-level fields are ignored, and warned of: a TaskDef permits them.
        open_store: called only for a task with a workspace. An error fails the attempt.
    """
    if task.workspace is None:
        return run_free_attempt(task, input_data, attempt, context)
    if begins_or_ends(task):
        return context.result_of(
            lambda: begin_or_end(task, input_data, attempt, context, store=open_store(), engine=engine)
        )
    run = AttemptRun(task, task.workspace, attempt, workspace_root, context)
    return context.result_of(lambda: run.complete(input_data, AttemptPorts.of(open_store(), engine)))


@dataclass(frozen=True)
class Work:
    """The body's result as JSON, its changes, the bytes that they write, and the numbers that it has recorded."""

    result: JsonObject
    changes: Changes
    written_bytes: int = 0
    series: JsonObject | None = None


@dataclass(frozen=True)
class _Place:
    """The directory of an attempt, and what stays of it for another one.

    Attributes:
        warm: None if nothing stays.
        complete_workspace: the store's; not None with `warm`.
    """

    directory: AttemptDirectory
    warm: WarmStay | None
    complete_workspace: CompleteWorkspace | None

    @property
    def workspace(self) -> Path:
        return self.directory.workspace

    def lay_out(
        self,
        workspace_input: WorkspaceInput,
        spec: WorkspaceSpec,
        selection: Selection,
        download_workspace: DownloadWorkspace,
    ) -> Manifest | None:
        """Lay out the input's files. Returns the manifest of a writable workspace."""
        if self.warm is None or self.complete_workspace is None:
            digests = download_workspace(workspace_input, spec.laid_out, self.workspace)
            return None if spec.read_only else take_manifest(self.workspace, selection, digests)
        digests = self.complete_workspace(workspace_input, spec.laid_out, self.workspace, self.warm.keep)
        manifest = self.warm.laid_out(selection, digests)
        return None if spec.read_only else manifest

    def body_ended(self, written: Iterable[str]) -> None:
        """Note that the body has ended well, and the paths that it has written."""
        if self.warm is not None:
            self.warm.body_ended(frozenset(written))


@dataclass(frozen=True)
class AttemptRun:
    """One running attempt of a workspace task.

    Attributes:
        workspace_root: directory in which the attempt creates its own.
    """

    task: TaskDefinition
    spec: WorkspaceSpec
    attempt: Attempt
    workspace_root: Path
    context: RunContext

    def complete(self, input_data: Mapping[str, Any], ports: AttemptPorts, *, only: bool = False) -> RuntimeTaskResult:
        """Run it completely; an error ends it early.

        Args:
            only: refuse further top-level fields of the input.
        """
        run, workspace_input, call = self._parse(input_data, ports.read_history, only=only)
        return run.complete_parsed(workspace_input, call, input_refs(input_data), ports)

    def with_patterns_of(self, params: BaseModel) -> AttemptRun:
        """With the values of params in the patterns of the workspace."""
        return replace(self, spec=filled(self.spec, self.task.name, params))

    def complete_parsed(
        self, workspace_input: WorkspaceInput, call: BodyCall, refs: tuple[str, ...], ports: AttemptPorts
    ) -> RuntimeTaskResult:
        """The same, from its parsed input on.

        Args:
            refs: the commits that the input names.
        """
        with self._directory(workspace_input, ports.complete_workspace) as directory:
            has_cache = not (self.context.cache is None or ports.reusable is None or self.task.cache is None)
            if self.spec.read_only and not has_cache:
                work = self._work(workspace_input, call, directory, ports.download_workspace, ports.list_workspace)
                return completed(workspace_output(workspace_input, workspace_input.ref, work.result))
            if ports.foresee_download is not None and self.task.cache is None:
                ports.foresee_download(workspace_input, self.spec.laid_out)
            draft = StampDraft.begin(self.task, call, self.identity, workspace_input, self.spec, self.context.clock)
            target = self._target(draft, workspace_input, refs, ports)
            execution = draft.execution(self.attempt, self.context, {})
            inputs_first = InputsFirst(ports.validate_reads, self.spec.laid_out)
            first = replace(target, ports=replace(ports, validate_reads=inputs_first)) if has_cache else target
            begun = (
                Due(target.is_first_delivery()) if self.spec.read_only else first.begin(execution, directory.workspace)
            )
            if not isinstance(begun, Due):
                return self._completed(workspace_input, begun, {})
            drafted = partial(draft.execution, self.attempt, self.context)

            def compute(
                target: PublicationTarget, stamped: Callable[[Stamp], Stamp], look_again: Callable[[], Settled | None]
            ) -> Settled:
                if inputs_first.is_put_off:
                    settled = target.begin(execution, directory.workspace)
                    if not isinstance(settled, Due):
                        return settled, {}
                work = self._work(workspace_input, call, directory, ports.download_workspace, ports.list_workspace)
                meanwhile = look_again()
                if meanwhile is not None:
                    return meanwhile
                made = drafted(work.result)
                stamp = stamped(required(made.stamp, "what is drafted has a stamp"))
                made = replace(made, stamp=replace(stamp, series=work.series), changes=work.changes)
                if self.spec.read_only:
                    return target.recorded(made, directory.workspace), work.result
                return target.finish(made, directory.workspace, work.written_bytes), work.result

            if self.context.cache is None or ports.reusable is None or not has_cache:
                return self._completed(workspace_input, *compute(target, lambda stamp: stamp, lambda: None))
            from perago.attempt.cached import CachedAttempt  # it reads code, which takes more than a small attempt

            cached = CachedAttempt(
                task=self.task,
                spec=self.spec,
                params=call.params,
                workspace_input=workspace_input,
                store=ports.reusable,
                list_workspace=ports.list_workspace,
                cache=self.context.cache,
                target=target,
                drafted=drafted,
                compute=compute,
                sandbox=self.context.sandbox,
                phases=self.phases,
                clock=self.context.clock,
            )
            return self._completed(workspace_input, *cached.complete(is_first=begun.is_first))

    def rehearse(
        self,
        input_data: Mapping[str, Any],
        download_workspace: DownloadWorkspace,
        list_workspace: ListWorkspace,
        read_history: ReadHistory,
    ) -> Work:
        """Run it up to the diff and publish nothing. Only a join needs the history."""
        run, workspace_input, call = self._parse(input_data, read_history)
        return run.rehearse_parsed(workspace_input, call, download_workspace, list_workspace)

    def rehearse_parsed(
        self,
        workspace_input: WorkspaceInput,
        call: BodyCall,
        download_workspace: DownloadWorkspace,
        list_workspace: ListWorkspace,
    ) -> Work:
        """The same, from its parsed input on."""
        with self._directory(workspace_input) as directory:
            return self._work(workspace_input, call, directory, download_workspace, list_workspace)

    @property
    def identity(self) -> AttemptIdentity:
        return AttemptIdentity.of(self.attempt)

    @property
    def phases(self) -> Phases:
        return self.context.phases(self.identity)

    def _parse(
        self, input_data: Mapping[str, Any], read_history: ReadHistory, *, only: bool = False
    ) -> tuple[AttemptRun, WorkspaceInput, BodyCall]:
        with self.phases(Phase.PARSE) as span:
            expect_fields(self.task, input_data, WORKSPACE_FIELDS, only=only)
            span.caution(of_unknown_fields(input_data, WORKSPACE_FIELDS))
            given = parse_workspace(self.task, input_data["workspace"])
            params, raw_params = parse_params(self.task, input_data)
            redaction.learn_of(self.context.execution_id, secrets_of(params))
            span.caution(of_unknown_params(self.task, raw_params))
            workspace_input = resolve_join(given, read_history)
            if isinstance(given, WorkspaceJoin):
                span.note(joined=len(given.inputs), ref=workspace_input.ref)
            run = self.with_patterns_of(params)
            span.note(reads=what_it_reads(workspace_input, run.spec))
        call = BodyCall(
            task=self.task,
            params=params,
            raw_params=raw_params,
            metrics=None if self.task.metrics is None else SeriesRecorder.of(self.context.metrics),
            context=self.context.of_task(self.task, self.identity),
        )
        return run, workspace_input, call

    @contextmanager
    def _directory(
        self, workspace_input: WorkspaceInput, complete_workspace: CompleteWorkspace | None = None
    ) -> Iterator[_Place]:
        """The attempt's directory, created before its first file and removed after its last.

        Args:
            complete_workspace: None if no workspace may stay for another attempt.
        """
        directory = AttemptDirectory.create(
            self.workspace_root, self.identity, self.context.execution_id, self.context.worker_id, self.context.clock
        )
        with ExitStack() as stack:
            warm = None
            if self.context.warm is not None and complete_workspace is not None:
                warm = self.context.warm.stay(directory, workspace_input.repository, self.spec.laid_out)
            place = _Place(directory, None if warm is None else stack.enter_context(warm), complete_workspace)
            failed = True
            try:
                yield place
                failed = False
            finally:
                self._clean(place, failed=failed)

    def _clean(self, place: _Place, *, failed: bool) -> None:
        """Best effort: an error here, even `sys.exit`, goes to the observer and never changes the result."""
        try:
            with self.phases(Phase.CLEAN, what="directory") as span:
                if failed and self.context.keep_failed_workspace:
                    span.note(kept=str(place.directory.keep()))
                    return
                if place.warm is not None and not failed:
                    place.warm.leave()
                place.directory.remove()
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - the phase's `failed` event carries it; the janitor removes what is left
            return

    def _work(
        self,
        workspace_input: WorkspaceInput,
        call: BodyCall,
        directory: _Place,
        download_workspace: DownloadWorkspace,
        list_workspace: ListWorkspace,
    ) -> Work:
        """Materialize, check pre guards, run the body, check post guards, diff."""
        laid_out, made = self.spec.laid_out, dict[str, ListedFile]()
        selection = Selection(laid_out.include, laid_out.exclude)
        with self.phases(Phase.MATERIALIZE) as span:
            manifest = directory.lay_out(workspace_input, self.spec, selection, download_workspace)
            if self.spec.outputs:
                made.update(list_workspace(workspace_input, self.spec.made))
                make_output_directories(directory.workspace, self.spec.outputs)
            if manifest is not None:
                if directory.warm is None:
                    manifest.save(directory.directory.manifest_path)
                span.note(files=len(manifest.entries), bytes=manifest.total_bytes)
            if directory.warm is not None and directory.warm.kept:
                span.note(files_kept=directory.warm.kept)
        everything = Selection(exclude=self.spec.exclude)
        before = {} if manifest is not None else scan_files(directory.workspace, everything)
        unmatched = Unmatched.by(laid_out, before if manifest is None else manifest.entries).without(made)
        try:
            result = self._body(call, directory.workspace)
        except BaseException:
            self._warn(Phase.MATERIALIZE, unmatched.caution)  # it may explain a violated guard
            raise
        series = call.metrics.kept() if isinstance(call.metrics, SeriesRecorder) else None
        if manifest is None:
            self._warn(Phase.MATERIALIZE, unmatched.caution)
            after = scan_files(directory.workspace, everything)
            self._warn(Phase.POST_GUARDS, of_read_only_writes(before, after))
            directory.body_ended(path for path, stat in after.items() if before.get(path) != stat)
            return Work(result, Changes(), series=series)
        changes, written_bytes = self._diff(directory.workspace, manifest.with_absent(made))
        directory.body_ended(changes.written)
        self._warn(Phase.MATERIALIZE, unmatched.without(changes.added).caution)
        return Work(result, changes, written_bytes, series)

    def _body(self, call: BodyCall, workspace: Path) -> JsonObject:
        call = replace(call, workspace=workspace)
        with self.phases(Phase.PRE_GUARDS):
            self._check_guards(call, workspace, self.spec.pre, "pre")
        with self.phases(Phase.BODY) as span:
            context = call.context.reporting_to(span.report_progress)
            result = self.context.invoke_body(replace(call, context=context))
        with self.phases(Phase.POST_GUARDS):
            self._check_guards(call, workspace, self.spec.post, "post")
        return result

    def _check_guards(
        self, call: BodyCall, workspace: Path, guards: Sequence[Guardrail | Guard], phase: GuardPhase
    ) -> None:
        check_files(workspace, guards, phase)
        if not all(isinstance(guard, Guardrail) for guard in guards):
            self.context.invoke_guards(replace(call, guards=phase))

    def _warn(self, phase: Phase, caution: Caution) -> None:
        if caution:
            self.phases.emit(phase, "progress", self.context.clock.monotonic(), dict(caution))

    @collector_paused()
    def _diff(self, workspace_dir: Path, manifest: Manifest) -> tuple[Changes, int]:
        """The changes, and the bytes of the files that they write."""
        touched = self.spec.touched
        with self.phases(Phase.DIFF) as span:
            now = scan(workspace_dir, Selection(touched.include, touched.exclude), known=manifest.unchanged)
            if now.left_out:
                shown = such_as(now.left_out)
                span.progress(left_out=now.left_out_count, more=now.left_out_more, such_as=shown)
            with open_workspace(workspace_dir) as files:
                changes = diff(manifest, now, partial(digest_file, files))
            if self.spec.outputs:
                expect_in_outputs(changes, now, self.spec.outputs)
            span.note(**what_changed(changes))
        return changes, sum(now.files[path].size for path in changes.written)

    def _applicant(self, draft: StampDraft, refs: tuple[str, ...]) -> Applicant:
        return Applicant(
            identity=self.identity,
            reference_task_name=draft.reference_task_name,
            input_ref=draft.input_ref,
            input_refs=refs,
            params_digest=draft.params_digest,
            code_digest=draft.code_digest,
            isolation=self.spec.isolation,
        )

    def _target(
        self, draft: StampDraft, workspace_input: WorkspaceInput, refs: tuple[str, ...], ports: AttemptPorts
    ) -> PublicationTarget:
        return PublicationTarget(
            ports=ports,
            attempt=self.attempt,
            workspace_input=workspace_input,
            spec=self.spec.touched,
            applicant=self._applicant(draft, refs),
            phases=self.phases,
            queue=self.context.queue,
            is_cancelled=self.context.is_cancelled,
        )

    @staticmethod
    def _completed(workspace_input: WorkspaceInput, outcome: PublicationResult, own: JsonObject) -> RuntimeTaskResult:
        result = own if outcome.result is None else outcome.result
        return completed(workspace_output(workspace_input, outcome.ref, result))
