"""The checker: compares observations of a run with Perago's promises. Plain functions, for any store and engine.

The driver of a run (a sweep, a simulation, a nemesis on real servers) records an `Observation`; `violations` checks it.
Nothing here calls a store or an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from perago.values.history import CommitFacts, Stamp
from perago.values.record import InstanceRecord, TryRecord, TryStatus

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Call:
    """A call of an attempt that took effect.

    Attributes:
        execution: id of the calling execution.
        port: `load_current_attempt`, `stage_workspace`, `publish_workspace`, …
        is_current: whether the execution was the engine's current one when the call took effect.
    """

    execution: str
    port: str
    is_current: bool


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Observations of one branch, after everything has ended and the janitor has run.

    Attributes:
        root: id of the first commit of the branch.
        line: first-parent commits from the head (first) to the root (excluded).
        heads: every head that was ever observed.
        records: records of all workflows whose tasks wrote to the branch, with their sub-workflows.
        files: returns the content of a commit by object name.
        snapshot: reference names of the tasks with snapshot isolation.
        scopes: reference names of the serializable tasks -> which paths each could see. All others are exclusive.
        ends: workflow instances that publish all that they do at once -> reference name of the task that does so. Its
            result names, as `ref`, the commit of a branch of their own that it publishes. Of an instance that publishes
            to this branch otherwise, there is none.
        calls: in the order of their effects.
        left: orphans: staging references, attempt directories, temporary files, locks.
    """

    root: str
    line: Sequence[CommitFacts]
    heads: Collection[str]
    records: Sequence[InstanceRecord]
    files: Callable[[str], Files]
    snapshot: Collection[str] = ()
    scopes: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)
    ends: Mapping[str, str] = field(default_factory=dict)
    calls: Sequence[Call] = ()
    left: Collection[str] = ()


def violations(seen: Observation) -> list[str]:
    """The broken promises, one sentence each."""
    checks = (
        _lost_heads,
        _double_publications,
        _false_outcomes,
        _replaced_outcomes,
        _unfenced_publications,
        _overwritten_commits,
        _misjoined,
        _false_seals,
        _halves,
        _false_runs,
    )
    return [broken for check in checks for broken in check(seen)] + [f"left behind: {name}" for name in seen.left]


# ---------------------------------------------------------------- nothing is lost


def _lost_heads(seen: Observation) -> Iterator[str]:
    """Every observed head stays on the first-parent line."""
    there = {commit.id for commit in seen.line} | {seen.root}
    for head in seen.heads:
        if head not in there:
            yield f"lost: {head[:12]} was the head once and is not in the history"


def _overwritten_commits(seen: Observation) -> Iterator[str]:
    """A publication never overwrites a foreign commit. Where its isolation permits, it merges with its content."""
    for publication, stamp in _publications(seen):
        between = _between(seen, stamp, publication)
        if between is None:
            yield f"{_name(publication)}: its input {stamp.input_ref[:12]} is not below it"
            continue
        foreign = [commit for commit in between if _is_foreign_to(seen, commit, stamp)]
        sees = seen.scopes.get(stamp.reference_task_name)
        if sees is not None:
            yield from _unvalidated(seen, publication, stamp, foreign, sees)
        if sees is not None or stamp.reference_task_name in seen.snapshot:
            yield from _unmerged(seen, publication, stamp, foreign)
        else:
            yield from (f"{_name(publication)} replaces the foreign commit {_name(commit)}" for commit in foreign)


def _unmerged(
    seen: Observation, publication: CommitFacts, stamp: Stamp, foreign: Sequence[CommitFacts]
) -> Iterator[str]:
    """Foreign changes since the input are kept. A path that is equal in the input is not a change, for example after a
    merge that undoes an abandoned publication.
    """
    theirs: dict[str, bytes | None] = {}
    for commit in foreign:
        theirs.update(changed_by(seen, commit))
    merged, base = seen.files(publication.id), seen.files(stamp.input_ref)
    for path, content in sorted(theirs.items()):
        if content != base.get(path) and merged.get(path) != content:
            yield f"{_name(publication)} overwrites {path!r}, which foreign commits changed"


def _unvalidated(
    seen: Observation,
    publication: CommitFacts,
    stamp: Stamp,
    foreign: Sequence[CommitFacts],
    sees: Callable[[str], bool],
) -> Iterator[str]:
    """Foreign commits have changed nothing that the task could see, so that it would have done the same on the head.

    They may have made an output what the earlier result has there that the attempt took. An input that is now as it was
    in that result's input has not changed: both have the same key.
    """
    theirs: dict[str, bytes | None] = {}
    for commit in foreign:
        theirs.update(changed_by(seen, commit))
    base = seen.files(stamp.input_ref)
    taken = None if stamp.cached_from is None else seen.files(stamp.cached_from)
    for path, content in sorted(theirs.items()):
        if taken is not None and content == taken.get(path):
            continue
        if sees(path) and content != base.get(path):
            yield f"{_name(publication)} could see {path!r}, which foreign commits changed"


def changed_by(seen: Observation, commit: CommitFacts) -> dict[str, bytes | None]:
    """What a commit changed of its parent: path -> new content, None if deleted."""
    return changes(seen.files(commit.parent), seen.files(commit.id))


def _misjoined(seen: Observation) -> Iterator[str]:
    """A task starts from the newest of the commits that its input joins: the others would be lost to it."""
    place = {commit.id: number for number, commit in enumerate(seen.line)}
    tries = {entry.task_id: entry for record in seen.records for entry in record.tries}
    for publication, stamp in _publications(seen):
        entry = tries.get(stamp.task_id)
        refs = () if entry is None or stamp.input_ref not in entry.input_refs else entry.input_refs
        newest = min(refs, key=lambda ref: place.get(ref, len(place)), default=stamp.input_ref)
        if newest != stamp.input_ref:
            yield f"{_name(publication)} was made from {stamp.input_ref[:12]}, but {newest[:12]} joins its inputs"


# ---------------------------------------------------------------- nothing is done twice


def _double_publications(seen: Observation) -> Iterator[str]:
    """An execution publishes once or not at all."""
    by_execution: dict[str, CommitFacts] = {}
    for publication, stamp in _publications(seen):
        first = by_execution.setdefault(stamp.execution_id, publication)
        if first is not publication:
            yield f"execution {stamp.execution_id} published twice: {_name(first)} and {_name(publication)}"


def _false_outcomes(seen: Observation) -> Iterator[str]:
    """A logical task completes with one commit: its input, or a commit of its own in the history."""
    by_id = {commit.id: commit for commit in seen.line}
    for record in seen.records:
        outcomes: dict[str, str] = {}
        for entry in _completed(record):
            name, ref = entry.reference_task_name, entry.output_ref
            if ref is None:
                continue
            if outcomes.setdefault(name, ref) != ref:
                yield f"task {name!r} completed twice: with {outcomes[name][:12]} and with {ref[:12]}"
            if ref not in entry.input_refs:
                yield from _false_outcome(record, entry, ref, by_id.get(ref))


def _false_outcome(record: InstanceRecord, entry: TryRecord, ref: str, commit: CommitFacts | None) -> Iterator[str]:
    said = f"try {entry.task_id} completed with {ref[:12]}"
    if commit is None:
        yield f"{said}, which is not in the history"
        return
    stamp = commit.counting_stamp
    if stamp is None or stamp.logical_task != (record.workflow_instance_id, entry.reference_task_name):
        yield f"{said}, which is not of its logical task"
    elif stamp.input_ref not in entry.input_refs:
        yield f"{said}, which was made from another input"
    elif stamp.result_exact and stamp.result != (entry.output or {}).get("result"):
        yield f"{said} and another result than its stamp has"


def _replaced_outcomes(seen: Observation) -> Iterator[str]:
    """After a logical task has completed, none of its executions publishes again."""
    for publication, stamp in _publications(seen):
        effective = _outcome_of(seen, stamp)
        if effective is not None and effective in _below(seen, publication):
            yield f"{_name(publication)} was published over the outcome {effective[:12]} of its own task"


# ---------------------------------------------------------------- nothing without a fence


def _unfenced_publications(seen: Observation) -> Iterator[str]:
    """Between staging and publishing an execution checks that it is current, and it is at that time."""
    is_fenced: dict[str, bool] = {}
    for call in seen.calls:
        if call.port == "load_current_attempt":
            is_fenced[call.execution] = call.is_current
        elif call.port in ("stage_workspace", "stage_copy", "stage_run"):
            is_fenced[call.execution] = False
        elif call.port == "publish_workspace" and not is_fenced.get(call.execution, False):
            yield f"execution {call.execution} published without having seen after staging that it was current"


def _false_seals(seen: Observation) -> Iterator[str]:
    """A seal says which commit its task completed with, and changes nothing."""
    for commit in seen.line:
        stamp = commit.counting_stamp
        if stamp is not None and stamp.completes is not None and not commit.empty:
            yield f"the seal {_name(commit)} has content of its own"


# ---------------------------------------------------------------- all or nothing


def _halves(seen: Observation) -> Iterator[str]:
    """The tasks of a run publish to its own branch alone."""
    for commit in seen.line:
        stamp = commit.counting_stamp
        if stamp is not None and stamp.reference_task_name != seen.ends.get(
            stamp.logical_task[0], stamp.reference_task_name
        ):
            yield f"10: {_name(commit)} is a part of a run, on the branch that the run is published to"


def _false_runs(seen: Observation) -> Iterator[str]:
    """The publication of a run has the content of its input, the foreign changes since, what the run changed: no more,
    no less.
    """
    for publication, stamp in _publications(seen):
        if stamp.reference_task_name != seen.ends.get(stamp.logical_task[0]):
            continue
        expected = dict(seen.files(stamp.input_ref))
        for commit in _between(seen, stamp, publication) or []:
            if _is_foreign_to(seen, commit, stamp):
                _put(expected, changed_by(seen, commit))
        _put(expected, changes(seen.files(stamp.input_ref), seen.files(published_by(stamp))))
        wrong = changes(seen.files(publication.id), expected)
        if wrong:
            yield f"10: {_name(publication)} has something else than its run: {sorted(wrong)}"


def published_by(stamp: Stamp) -> str:
    """The commit of a run's branch that the publication of the run was made of."""
    return "" if stamp.result is None else str(stamp.result["ref"])


def changes(before: Files, after: Files) -> dict[str, bytes | None]:
    """Path -> new content, None if deleted."""
    return {path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def _put(files: dict[str, bytes], changed: Mapping[str, bytes | None]) -> None:
    for path, content in changed.items():
        if content is None:
            files.pop(path, None)
        else:
            files[path] = content


# ---------------------------------------------------------------- helpers


def _publications(seen: Observation) -> Iterator[tuple[CommitFacts, Stamp]]:
    """Commits of attempts that are no seals, oldest first."""
    for commit in reversed(seen.line):
        stamp = commit.counting_stamp
        if stamp is not None and stamp.completes is None:
            yield commit, stamp


def _below(seen: Observation, commit: CommitFacts) -> list[str]:
    """Ids of the commits under one, newest first, the root included."""
    ids = [entry.id for entry in seen.line] + [seen.root]
    return ids[ids.index(commit.id) + 1 :]


def _between(seen: Observation, stamp: Stamp, publication: CommitFacts) -> list[CommitFacts] | None:
    """The commits between a publication and its input, oldest first; None: the input is not below it."""
    below = _below(seen, publication)
    if stamp.input_ref not in below:
        return None
    wanted = set(below[: below.index(stamp.input_ref)])
    return [commit for commit in reversed(seen.line) if commit.id in wanted]


def _is_foreign_to(seen: Observation, commit: CommitFacts, asking: Stamp) -> bool:
    """A person's commit, another workflow's, or the outcome of another logical task of this one."""
    if commit.is_seal:
        return False
    stamp = commit.counting_stamp
    if stamp is None or stamp.logical_task[0] != asking.logical_task[0]:
        return True
    return stamp.logical_task != asking.logical_task and _outcome_of(seen, stamp) == commit.id


def _outcome_of(seen: Observation, stamp: Stamp) -> str | None:
    """The commit that the logical task of a stamp completed with, as recorded."""
    workflow, path = stamp.logical_task
    for record in seen.records:
        if record.workflow_instance_id == workflow:
            for entry in _completed(record):
                if entry.reference_task_name == path:
                    return entry.output_ref
    return None


def _completed(record: InstanceRecord) -> list[TryRecord]:
    """Its completed tries of tasks; a sub-workflow completes with what its tasks did."""
    return [entry for entry in record.tries if entry.status is TryStatus.COMPLETED and entry.sub_workflow is None]


def _name(commit: CommitFacts) -> str:
    stamp = commit.counting_stamp
    made_by = f"{stamp.reference_task_name}/{stamp.task_id}" if stamp is not None else commit.author or "somebody"
    return f"{commit.id[:12]} ({made_by})"
