"""Both fences as plain functions from engine state and history to a decision. No I/O.

The attempt fence asks whether this execution is still the engine's current one. The publish fence asks whether the
target may move from its head, and how. The rules are those of the publication protocol (ARCHITECTURE.md). The tests
run every interleaving of its executable model with the functions of this file.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from perago.errors import PublishFenceError, StaleAttemptError
from perago.values.history import (
    CommitFacts,
    Complete,
    Conflict,
    History,
    LogicalTask,
    Merge,
    Plan,
    Publish,
    Refuse,
    Seal,
    Stamp,
    Validate,
)
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, AttemptIdentity
from perago.values.record import InstanceRecord, TryRecord, TryStatus
from perago.values.spec import Isolation

# ---------------------------------------------------------------- attempt fence


def assert_current_attempt_snapshot(task: Attempt, fresh: Attempt) -> None:
    """The attempt fence: `fresh`, the engine's present state, is still the execution `task`.

    Scheduled time and poll count are compared if both sides have them: a rerun keeps the task id and the retry count,
    and a requeue keeps everything except the poll count.

    Raises:
        StaleAttemptError: it is another execution, or it is no longer IN_PROGRESS.
    """
    changed = _differences(task, fresh)
    if fresh.status != TryStatus.IN_PROGRESS:
        changed.append(f"status is {fresh.status}")
    if changed:
        raise StaleAttemptError(
            f"{AttemptIdentity.of(task).label} no longer belongs to this attempt: {'; '.join(changed)}. "
            f"Another execution has it, or it was ended. Nothing more is published or reported here"
        )


def is_same_execution(task: Attempt, fresh: Attempt) -> bool:
    """Whether `fresh` is the execution `task`, in any status."""
    return not _differences(task, fresh)


def _differences(task: Attempt, fresh: Attempt) -> list[str]:
    mine, now = AttemptIdentity.of(task), AttemptIdentity.of(fresh)
    return [
        f"{name} {ours!r} is now {theirs!r}"
        for name in ("workflow_instance_id", "task_id", "retry_count", "scheduled_time", "poll_count")
        if (ours := getattr(mine, name)) is not None and (theirs := getattr(now, name)) is not None and ours != theirs
    ]


# ---------------------------------------------------------------- publish fence


@dataclass(frozen=True, kw_only=True)
class Applicant:
    """The attempt that asks to publish.

    Attributes:
        identity: needs a scheduled time for adoption: without one a rerun cannot be recognised.
        reference_task_name: of the task in its workflow instance; after `in_tree`, its path from the root.
        root_workflow_id: instance of the outermost workflow. None: its own instance.
        input_ref: full id of the input commit.
        input_refs: the commits that the input names; several for a join. Empty for `input_ref` alone.
        isolation: what it does beside foreign commits; see `WorkspaceSpec`.
    """

    identity: AttemptIdentity
    reference_task_name: str
    input_ref: str
    params_digest: str
    code_digest: str
    isolation: Isolation = "exclusive"
    input_refs: tuple[str, ...] = ()
    root_workflow_id: str | None = None

    def in_tree(self, record: InstanceRecord) -> Applicant:
        """The applicant by its name in the tree of its workflow."""
        path = record.path_of(self.identity.workflow_instance_id, self.reference_task_name)
        return replace(self, reference_task_name=path, root_workflow_id=record.workflow_instance_id)

    def has_input_of(self, entry: TryRecord) -> bool:
        """Whether a try was given the same commits, which are resolved alike for all tries."""
        return entry.input_refs == (self.input_refs or (self.input_ref,))

    @property
    def logical_task(self) -> LogicalTask:
        return (self.root_workflow_id or self.identity.workflow_instance_id, self.reference_task_name)


class Verdict(enum.StrEnum):
    """The kind of a commit between input and head, as seen by an attempt."""

    EFFECTIVE = "effective"
    ABANDONED = "abandoned"
    FOREIGN = "foreign"


def judge(commit: CommitFacts, record: InstanceRecord, asking: Applicant) -> Verdict:
    """The verdict on a commit, by the engine's record of the asking attempt's workflow, sub-workflows included.

    Of a commit of another workflow nothing is known, and it is foreign.
    """
    stamp = commit.counting_stamp
    if stamp is None or not _is_of(stamp, record):
        return Verdict.FOREIGN
    _, path = stamp.logical_task
    tries = record.of(path)
    if _completed_with(tries, commit.id):
        return Verdict.EFFECTIVE
    made_by = record.find(stamp.task_id)
    if made_by is None and record.is_unread(path):
        return Verdict.FOREIGN  # the instance of its sub-workflow may still be unknown, or is no longer kept
    if made_by is None:
        return Verdict.ABANDONED  # removed by a restart or a rerun, or in an instance that has been replaced
    if stamp.scheduled_time is None:
        return Verdict.FOREIGN
    if made_by.scheduled_time != stamp.scheduled_time:
        return Verdict.ABANDONED  # a rerun: same task id, another execution
    if any(entry.status is TryStatus.COMPLETED for entry in tries):
        return Verdict.ABANDONED  # its logical task completed with another commit
    if stamp.logical_task == asking.logical_task:
        return Verdict.ABANDONED  # our own, and not adoptable
    if record.is_passed_over(path) and not made_by.status.is_live:
        return Verdict.ABANDONED  # no later try will come
    return Verdict.FOREIGN  # a later try of its logical task may still adopt it


def _is_of(stamp: Stamp, record: InstanceRecord) -> bool:
    """Whether a stamp is of the record's workflow or of one of its sub-workflows. None is of `NO_RECORD`'s."""
    return stamp.logical_task[0] == record.workflow_instance_id != ""


def in_tree(history: History, record: InstanceRecord) -> History:
    """The history with the names that tasks have in the tree, also in stamps of Perago versions that knew no trees."""
    if not record.parts:
        return history

    def named(stamp: Stamp | None) -> Stamp | None:
        if stamp is None or stamp.root_workflow_id is not None or stamp.workflow_instance_id not in record.parts:
            return stamp
        path = record.path_of(stamp.workflow_instance_id, stamp.reference_task_name)
        return stamp.in_tree((record.workflow_instance_id, path))

    return replace(history, commits=tuple(replace(commit, stamp=named(commit.stamp)) for commit in history.commits))


def unread_paths(history: History, record: InstanceRecord) -> frozenset[str]:
    """The tasks whose tries the record lacks, although they have published since the input."""
    stamps = (commit.counting_stamp for commit in history.commits)
    paths = {stamp.logical_task[1] for stamp in stamps if stamp is not None and _is_of(stamp, record)}
    return frozenset(path for path in paths if record.is_unread(path))


def assert_instance_counts(record: InstanceRecord, asking: Applicant) -> None:
    """The attempt's sub-workflow has not been replaced by another instance of it.

    An engine may hand out tasks of a replaced instance, and wait for them to end.

    Raises:
        PublishFenceError: it has been replaced.
    """
    instance = asking.identity.workflow_instance_id
    if not record.has_instance(instance):
        raise PublishFenceError(
            f"Not published: this task is in workflow {instance}, a sub-workflow that workflow "
            f"{record.workflow_instance_id} has since begun again or removed. Only the task of the same name in the "
            f"newest instance counts. There is nothing to do"
        )


def plan_start(
    history: History, record: InstanceRecord, asking: Applicant
) -> Complete | Seal | Refuse | Validate | None:
    """Before the body: complete as another try did, adopt, or refuse early.

    Returns:
        None if the body must run.
    """
    settled = _settled_by_another_try(history, record, asking)
    if settled is not None:
        return settled
    foreign, abandoned = _sort(history, record, asking)
    if not foreign or asking.isolation == "snapshot":
        return None
    if asking.isolation == "exclusive":
        return _refuse(history, foreign, record, asking)
    return Validate(_merge(history, foreign, abandoned, record, asking))


def plan_publication(
    history: History, record: InstanceRecord, asking: Applicant, *, changed: bool, seals_noop: bool = False
) -> Plan | Validate:
    """The publish fence, after the body.

    A no-op of a first delivery writes nothing. A no-op of a later delivery, or beside other tries, is sealed: an older
    execution may still be alive, and its swap, or a heartbeat that reverts the report, would give the task a second
    result.

    Args:
        changed: the body changed a file.
        seals_noop: seal each no-op, so that the history has its result.
    """
    settled = _settled_by_another_try(history, record, asking)
    if settled is not None:
        return settled
    foreign, abandoned = _sort(history, record, asking)
    if foreign and asking.isolation == "exclusive":
        return _refuse(history, foreign, record, asking)
    merge = _merge(history, foreign, abandoned, record, asking)
    if not changed and not abandoned:
        again = history.is_known and (seals_noop or not is_first_delivery(record, asking))
        plan: Plan = Seal(history.head, asking.input_ref) if again else Complete(asking.input_ref)
    else:
        plan = merge if foreign else Publish(history.head, merge.abandoned)
    return Validate(merge, plan) if foreign and asking.isolation == "serializable" else plan


def refuse_conflict(conflict: Conflict, history: History, record: InstanceRecord, asking: Applicant) -> Refuse:
    """The refusal for a conflict that a `Validate` found. Final if only settled commits changed one of the paths."""
    foreign, _ = _sort(history, record, asking)
    unsettled = {commit.id for commit in foreign if _is_unsettled(commit, record, asking)}
    final = any(commits and unsettled.isdisjoint(commits) for commits in conflict.paths.values())
    blamed = tuple(commit for commit in foreign if commit.id in conflict.commits)
    return Refuse(history.head, blamed or foreign, unsettled=bool(unsettled) and not final, conflict=conflict)


def _settled_by_another_try(
    history: History, record: InstanceRecord, asking: Applicant
) -> Complete | Seal | Refuse | None:
    """The plan if another try of this logical task determines it, otherwise None."""
    adopted = _adopt(history, record, asking)
    if adopted is not None:
        return adopted
    beside = _published_beside(history, record, asking)
    return None if beside is None else Refuse(history.head, (beside,), unsettled=True)


def _refuse(history: History, foreign: tuple[CommitFacts, ...], record: InstanceRecord, asking: Applicant) -> Refuse:
    unsettled = all(_is_unsettled(commit, record, asking) for commit in foreign)
    return Refuse(history.head, foreign, unsettled=unsettled)


def _is_unsettled(commit: CommitFacts, record: InstanceRecord, asking: Applicant) -> bool:
    """Whether the verdict on a foreign commit may change: its task is of this workflow, and has not ended."""
    stamp = commit.counting_stamp
    if stamp is None or not _is_of(stamp, record):
        return False
    return stamp.scheduled_time is not None and judge(commit, record, asking) is Verdict.FOREIGN


def _merge(
    history: History,
    foreign: tuple[CommitFacts, ...],
    abandoned: tuple[CommitFacts, ...],
    record: InstanceRecord,
    asking: Applicant,
) -> Merge:
    """A merge with foreign commits. Lists which of them claim to replace which abandoned ones."""
    gone = tuple(commit.id for commit in abandoned)
    unsettled = any(_is_unsettled(commit, record, asking) for commit in foreign)
    replaced, left_out = [], frozenset(gone)
    for commit in history.between:
        stamp = commit.counting_stamp
        if stamp is not None and (over := tuple(name for name in stamp.abandoned if name in left_out)):
            replaced.append((commit.id, over))
    line = tuple(commit.id for commit in history.between)
    return Merge(history.head, tuple(commit.id for commit in foreign), gone, tuple(replaced), line, unsettled, foreign)


def plan_completed_elsewhere(history: History, record: InstanceRecord, asking: Applicant) -> Complete | None:
    """Complete as another try of this logical task that is recorded COMPLETED with the same input and code.

    The code comes from the stamp of the commit that it completed with, or from a seal for it. A no-op wrote no commit,
    so that its code is unknown. Its result is used all the same, because the logical task must not have two. Exception:
    it ended before its retry was scheduled; then somebody requested a rerun, and the body runs again.

    A try that completed after this one was scheduled counts with any code and input: no rerun was requested since. This
    try is current although the other completed later if it had failed, and the rerun of a later task or a sibling
    handed it out again.
    """
    later = completed_since(record, asking.identity, asking.reference_task_name)
    if later is not None and later.output_ref is not None:
        return Complete(later.output_ref, _result_of(later))
    for entry in record.of(asking.reference_task_name):
        ref = entry.output_ref
        if entry.task_id == asking.identity.task_id or entry.status is not TryStatus.COMPLETED or ref is None:
            continue
        if not asking.has_input_of(entry):
            continue
        noop = ref == asking.input_ref and not _rerun_since(entry, record)
        if noop or _code_of(history, entry, asking) == asking.code_digest:
            return Complete(ref, _result_of(entry))
    return None


def completed_since(record: InstanceRecord, identity: AttemptIdentity, reference_task_name: str) -> TryRecord | None:
    """Another try of a logical task that completed after this one was scheduled: no rerun was requested since."""
    retries = {entry.task_id for entry in _retries_of(identity.task_id, record)}
    for entry in record.of(reference_task_name):
        if entry.task_id == identity.task_id or entry.status is not TryStatus.COMPLETED:
            continue
        if entry.task_id in retries or _ended_since(entry, identity.scheduled_time):
            return entry
    return None


def may_be_completed_elsewhere(record: InstanceRecord, task_id: str, reference_task_name: str) -> bool:
    """Whether the record has what `plan_completed_elsewhere` needs, whatever the history is."""
    return any(
        entry.task_id != task_id and entry.status is TryStatus.COMPLETED for entry in record.of(reference_task_name)
    )


def _adopt(history: History, record: InstanceRecord, asking: Applicant) -> Complete | Seal | None:
    return plan_completed_elsewhere(history, record, asking) or _adopt_from_history(history, record, asking)


def _adopt_from_history(history: History, record: InstanceRecord, asking: Applicant) -> Complete | Seal | None:
    """Adopt by the newest stamp of this logical task. Older ones have been replaced."""
    newest = _newest_of(history, asking.logical_task)
    if newest is None or not _adoptable(newest[1], record, asking):
        return None
    commit, stamp = newest
    ref = commit.id if stamp.completes is None else stamp.completes
    if _completed_with(record.of(asking.reference_task_name), ref):
        return Complete(ref, stamp.result)
    return Seal(history.head, ref, stamp)


def _newest_of(history: History, logical_task: LogicalTask) -> tuple[CommitFacts, Stamp] | None:
    """The newest commit of a logical task, seals included."""
    for commit in history.commits:
        stamp = commit.counting_stamp
        if stamp is not None and stamp.logical_task == logical_task:
            return commit, stamp
    return None


def _published_beside(history: History, record: InstanceRecord, asking: Applicant) -> CommitFacts | None:
    """The newest commit of this logical task, if another live try has made it and may report it.

    Two tries of one task are live at once if a rerun handed out a failed one again. A commit of the other try that
    cannot be adopted must not be replaced.
    """
    newest = _newest_of(history, asking.logical_task)
    if newest is None:
        return None
    commit, stamp = newest
    made_by = record.find(stamp.task_id)
    if made_by is None or made_by.task_id == asking.identity.task_id:
        return None
    return commit if made_by.status.is_live and made_by.scheduled_time == stamp.scheduled_time else None


def _adoptable(stamp: Stamp, record: InstanceRecord, asking: Applicant) -> bool:
    made_by = (stamp.task_id, stamp.scheduled_time)
    return (
        stamp.input_ref == asking.input_ref
        and stamp.params_digest == asking.params_digest
        and stamp.code_digest == asking.code_digest
        and stamp.result_exact
        and stamp.result is not None
        and stamp.scheduled_time is not None
        and made_by in _kin(record, asking.identity)
    )


def _kin(record: InstanceRecord, identity: AttemptIdentity) -> set[tuple[str, int | None]]:
    """(task id, recorded scheduled time) of this try, of the tries that it retries, and of those that retry it.

    The latter exist while this one is current if a rerun handed it out again.
    """
    kin: set[tuple[str, int | None]] = {(identity.task_id, identity.scheduled_time)}
    entry = record.find(identity.task_id)
    while entry and entry.retried_task_id:
        entry = record.find(entry.retried_task_id)
        if entry is None or (entry.task_id, entry.scheduled_time) in kin:
            break
        kin.add((entry.task_id, entry.scheduled_time))
    later = _retries_of(identity.task_id, record)
    return kin | {(entry.task_id, entry.scheduled_time) for entry in later}


def _retries_of(task_id: str, record: InstanceRecord) -> list[TryRecord]:
    """The try that retries this one, the retry of that one, and so on."""
    found: list[TryRecord] = []
    while (retry := _retry_of(task_id, record)) is not None and retry not in found:
        found.append(retry)
        task_id = retry.task_id
    return found


def _retry_of(task_id: str, record: InstanceRecord) -> TryRecord | None:
    return next((entry for entry in record.tries if entry.retried_task_id == task_id), None)


def _sort(
    history: History, record: InstanceRecord, asking: Applicant
) -> tuple[tuple[CommitFacts, ...], tuple[CommitFacts, ...]]:
    """The commits since the input, oldest first: the foreign ones, and the abandoned ones."""
    foreign, abandoned = [], []
    for commit in history.between:
        verdict = judge(commit, record, asking)
        if verdict is Verdict.FOREIGN and _is_superseded(commit, history, record):
            verdict = Verdict.ABANDONED
        stamp = commit.counting_stamp
        own = stamp is not None and stamp.logical_task == asking.logical_task
        if verdict is Verdict.ABANDONED or (verdict is Verdict.EFFECTIVE and own):
            abandoned.append(commit)  # own effective ones have an earlier input or code: a rerun replaces them
        else:
            foreign.append(commit)
    return tuple(foreign), tuple(abandoned)


def _is_superseded(commit: CommitFacts, history: History, record: InstanceRecord) -> bool:
    """Whether its logical task, in this instance, has a newer commit: then no try adopts this one."""
    stamp = commit.counting_stamp
    if stamp is None or not _is_of(stamp, record):
        return False
    newest, by = _newest_of(history, stamp.logical_task) or (commit, stamp)
    return commit.id not in (newest.id, by.completes)


def _completed_with(tries: tuple[TryRecord, ...], ref: str) -> bool:
    return any(entry.status is TryStatus.COMPLETED and entry.output_ref == ref for entry in tries)


def _code_of(history: History, entry: TryRecord, asking: Applicant) -> str | None:
    """The code digest of a try's result: from the commit that it completed with, or from its seal."""
    for commit in history.commits:
        stamp = commit.counting_stamp
        if stamp is None or stamp.logical_task != asking.logical_task:
            continue
        sealed_by = (stamp.task_id, stamp.scheduled_time) == (entry.task_id, entry.scheduled_time)
        if commit.id == entry.output_ref or (stamp.completes == entry.output_ref and sealed_by):
            return stamp.code_digest
    return None


def is_first_delivery(record: InstanceRecord, asking: Applicant) -> bool:
    """Whether this logical task was never delivered before: neither this try, nor another one."""
    tries = record.of(asking.reference_task_name)
    return (asking.identity.poll_count or 0) <= 1 and all(entry.task_id == asking.identity.task_id for entry in tries)


def _ended_since(entry: TryRecord, scheduled_time: int | None) -> bool:
    return scheduled_time is not None and entry.ended_time is not None and scheduled_time <= entry.ended_time


def _rerun_since(entry: TryRecord, record: InstanceRecord) -> bool:
    """Whether the retry of a COMPLETED try was scheduled after its end, which only a rerun does."""
    retry = _retry_of(entry.task_id, record)
    return retry is not None and entry.ended_time is not None and entry.ended_time < retry.scheduled_time


def _result_of(entry: TryRecord) -> JsonObject:
    result = (entry.output or {}).get("result")
    return result if isinstance(result, Mapping) else {}
