"""Bugs that are put in on purpose, each of which the simulator has to find: decisions replaced, or something put
between an executor and what it uses. `python planted_bugs.py [NAME …]` looks for the first seed that catches each.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from unittest.mock import patch

from perago.attempt import cache_key, cached, fence, transaction
from perago.attempt import report as reporting
from perago.attempt import run as attempt_run
from perago.attempt import stamp as stamping
from perago.attempt.cached import CachedAttempt
from perago.attempt.fence import Verdict
from perago.errors import EngineError
from perago.index import results
from perago.testing import engine as memory_engine
from perago.testing import store as memory_store
from perago.values import stamps
from perago.values.history import CommitFacts
from perago.values.joins import WorkspaceJoin
from perago.values.models import run_branch_time
from perago.values.record import InstanceRecord
from perago.values.spec import WorkspaceSpec
from perago.values.tree import WorkflowInstance
from perago.worker.attempts.job import Job
from perago.worker.supervisor import dispatcher
from perago.worker.supervisor.completion import TakesNext
from perago.worker.supervisor.delivery import Delivery
from perago.worker.supervisor.dispatcher import Dispatcher
from perago.worker.supervisor.slot import Slot, SlotState
from perago.workflows.graph import TaskNode
from perago.workspace.patterns import Selection
from planted_stores import Trusting, resetting, retrying_blindly, tapped
from simulation import servers, workflows
from simulation.engine_port import SimulatedLease
from simulation.executor import WorkerParts
from simulation.plan import make_plan
from simulation.results import MachineResults
from simulation.run import Outfit, as_they_are, scratch, simulate

MAX_SEEDS = 1_000


def reset_instead_of_publish(parts: WorkerParts) -> WorkerParts:
    return replace(parts, at_server=resetting)


def no_second_attempt_fence(parts: WorkerParts) -> WorkerParts:
    return replace(parts, engine=Trusting(parts.engine))


def blind_retry(parts: WorkerParts) -> WorkerParts:
    return replace(parts, at_client=retrying_blindly(lambda branch: parts.store.memory.head(branch)))


def cache_of_hard_links(parts: WorkerParts) -> WorkerParts:
    """Files of equal content are one file, in all workspaces of a worker."""
    cache = parts.runner.workspace_root.parent / "cache"

    def plant(store):
        def download(workspace_input, spec, workspace_dir):
            digests = store.download_workspace(workspace_input, spec, workspace_dir)
            cache.mkdir(exist_ok=True)
            for path in digests:
                file = workspace_dir / path
                entry = cache / hashlib.sha256(file.read_bytes()).hexdigest()
                if entry.exists():
                    file.unlink()
                    os.link(entry, file)
                else:
                    os.link(file, entry)
            return digests

        return tapped(store, download_workspace=download)

    return replace(parts, at_client=plant)


@contextmanager
def stamps_of_copies_count() -> Iterator[None]:
    with patch.object(CommitFacts, "counting_stamp", property(lambda commit: commit.stamp)):
        yield


@contextmanager
def secrets_in_stamps() -> Iterator[None]:
    """They are masked where params are described, and where that is put into a stamp."""
    with patch.object(stamping, "mask_json_alike", _as_it_is), patch.object(stamps, "mask_json", _as_it_is):
        yield


def _as_it_is(value):
    return value


def _everything_abandoned(commit, record, asking):
    verdict = _HONEST_JUDGE(commit, record, asking)
    return Verdict.ABANDONED if commit.stamp is None else verdict


_HONEST_JUDGE = fence.judge


def _unsettled_abandoned(commit, record, asking):
    verdict = _HONEST_JUDGE(commit, record, asking)
    stamp = commit.counting_stamp
    of_this_workflow = stamp is not None and stamp.workflow_instance_id == asking.identity.workflow_instance_id
    return Verdict.ABANDONED if verdict is Verdict.FOREIGN and of_this_workflow else verdict


@contextmanager
def only_what_it_retries_counts() -> Iterator[None]:
    """A try that a rerun hands out again does not look for tries that retry it."""
    with (
        patch.object(fence, "_retries_of", lambda *_: []),
        patch.object(fence, "_ended_since", lambda *_: False),
        patch.object(fence, "_published_beside", lambda *_: None),
    ):
        yield


def only_what_differs_from_the_parent() -> AbstractContextManager[object]:
    """A merge counts only what differs from a commit's parent as written by that commit."""
    return patch.object(
        memory_store, "foreign_changes", lambda plan, changes: [dict(changes[name]) for name in plan.foreign]
    )


def _sees_without_its_prefix(spec: WorkspaceSpec):
    return Selection(spec.include, spec.exclude).selects


def _appeared_files_do_not_count(foreign, base, sees):
    return _HONEST_READS(foreign, base, lambda path: base(path) is not None and sees(path))


_HONEST_READS = memory_store.changed_reads


def _lay_out_anywhere(files, target):
    for path, blob in files.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(blob.content)


@contextmanager
def no_name_check() -> Iterator[None]:
    """No name is judged before it is laid out, and each is looked up as a path: either alone would keep it inside."""
    with (
        patch.object(memory_store, "check_object_names", lambda *_, **__: None),
        patch.object(memory_store, "lay_out", _lay_out_anywhere),
    ):
        yield


def _forgets_what_came_with_a_dropped_report(self, attempt, result):
    _HONEST_REPORT(self, attempt, result)
    try:
        was_dropped = self.load_current_attempt(attempt).status != result.status
    except EngineError:
        was_dropped = True
    if was_dropped:
        self.taken = None


_HONEST_REPORT = TakesNext.report_result


def _is_free_whatever_it_has(slot):
    return slot.state is SlotState.IDLE and slot._executor is not None and not slot._closing.is_set()  # noqa: SLF001 - the bug replaces a method of the slot


def _claims_what_is_claimed(job, result=None):
    job.result = result
    return True


def _first_of(given, _read_history):
    return given.inputs[0] if isinstance(given, WorkspaceJoin) else given


def _enclosed_too_early(name, nodes, workspace, tasks):
    """The run is published before its last task, as far as it has come."""
    (beginning, *inner, ending), left = _HONEST_ENCLOSURE(name, nodes, workspace, tasks)
    last = inner.pop()
    if not (inner and isinstance(last, TaskNode)):
        return (beginning, *inner, last, ending), left
    params = {**ending.inputs["params"], "run": last.inputs["workspace"]}
    return (beginning, *inner, replace(ending, inputs={**ending.inputs, "params": params}), last), left


_HONEST_ENCLOSURE = workflows.enclosed


def _age_by_its_head_alone(name, head_time, now):
    begun = run_branch_time(name)
    return None if begun is None else (now - head_time).total_seconds()


def _present_head(given, read_history):
    found = _HONEST_JOIN(given, read_history)
    of_a_run = run_branch_time(found.branch) is not None
    return found.model_copy(update={"ref": read_history(found).head}) if of_a_run else found


_HONEST_JOIN = transaction.resolve_join


def _whatever_is_there(history, run, workflow, is_of_run):
    made = (commit for commit in history.commits if commit.counting_stamp is not None)
    return _HONEST_LOOK(replace(history, commits=tuple(made)), run, workflow, is_of_run)


_HONEST_LOOK = transaction.published_run


@dataclass(frozen=True)
class Bug:
    """How it is put in: an outfit for workers, or a decision that is replaced meanwhile."""

    outfit: Outfit = as_they_are
    patched: Callable[[], AbstractContextManager[object]] = nullcontext


def _own_instance_alone(
    read: Callable[[str], WorkflowInstance], workflow_id: str, paths: Collection[str] = ()
) -> InstanceRecord:
    del paths
    return InstanceRecord(workflow_id, read(workflow_id).tries)


def _without_what_is_added(before, after):
    return replace(_HONEST_DIFFERENCE(before, after), added=())


_HONEST_DIFFERENCE = cached.difference


def _first_whatever_was_before(self, *, is_first):
    del is_first
    return _HONEST_COMPLETION(self, is_first=True)


_HONEST_COMPLETION = CachedAttempt.complete


def _its_own_origin(index, entry):
    found = _HONEST_RESULT(index, entry)
    return None if found is None else replace(found, origin=found.commit)


_HONEST_RESULT = results._result  # noqa: SLF001 - the bug replaces it


BUGS = {
    "reset instead of publish": Bug(reset_instead_of_publish),
    "no second attempt fence": Bug(no_second_attempt_fence),
    "blind retry after a timeout": Bug(blind_retry),
    "cache shared by hard link": Bug(cache_of_hard_links),
    "no name check": Bug(patched=no_name_check),
    "heartbeat not joined": Bug(patched=lambda: patch.object(SimulatedLease, "join", lambda self: None)),
    "no fence before a report": Bug(patched=lambda: patch.object(reporting, "_is_current", lambda *_: True)),
    "a person's commit taken for abandoned": Bug(patched=lambda: patch.object(fence, "judge", _everything_abandoned)),
    "what a try may still adopt is replaced": Bug(patched=lambda: patch.object(fence, "judge", _unsettled_abandoned)),
    "reads are not validated, writes alone are": Bug(
        patched=lambda: patch.object(memory_store, "changed_reads", lambda *_: None)
    ),
    "a file that would have appeared does not count": Bug(
        patched=lambda: patch.object(memory_store, "changed_reads", _appeared_files_do_not_count)
    ),
    "a scope without its prefix": Bug(
        patched=lambda: patch.object(memory_store, "visible_to", _sees_without_its_prefix)
    ),
    "secrets in stamps": Bug(patched=secrets_in_stamps),
    "what comes along with a dropped report is forgotten": Bug(
        patched=lambda: patch.object(TakesNext, "report_result", _forgets_what_came_with_a_dropped_report)
    ),
    "stamps of cherry-picks count": Bug(patched=stamps_of_copies_count),
    "a slot takes a second task before it has begun the first": Bug(
        patched=lambda: patch.object(Slot, "is_free", property(_is_free_whatever_it_has))
    ),
    "a slot that closes drops the task that came along": Bug(
        patched=lambda: patch.object(Slot, "_give_back", lambda *_: None)
    ),
    "a task that comes to a worker which is told to stop is dropped": Bug(
        patched=lambda: patch.object(Dispatcher, "_refuse", lambda *_: None)
    ),
    "the lease goes on beside the report": Bug(patched=lambda: patch.object(Job, "stop_lease", lambda _: None)),
    "an older execution of a task goes on": Bug(patched=lambda: patch.object(dispatcher, "end_older", lambda *_: None)),
    "a result that was kept is not tried again": Bug(
        patched=lambda: patch.object(Dispatcher, "_begin_rounds", lambda _: None)
    ),
    "a result on its way is dropped at the end": Bug(patched=lambda: patch.object(Delivery, "keep", lambda *_: None)),
    "a join is the first of its commits": Bug(patched=lambda: patch.object(attempt_run, "resolve_join", _first_of)),
    "two threads settle one job": Bug(patched=lambda: patch.object(Job, "claim", _claims_what_is_claimed)),
    "a target moved before the last task": Bug(
        patched=lambda: patch.object(workflows, "enclosed", _enclosed_too_early)
    ),
    "a run's branch swept under a live run": Bug(
        patched=lambda: patch.object(servers, "run_branch_age", _age_by_its_head_alone)
    ),
    "of a run, writes alone are validated": Bug(
        patched=lambda: patch.object(transaction, "_conflict", lambda *_: None)
    ),
    "a run's branch is published as it is by now": Bug(
        patched=lambda: patch.object(transaction, "resolve_join", _present_head)
    ),
    "what a person commits to a run's branch is published": Bug(
        patched=lambda: patch.object(transaction, "published_run", _whatever_is_there)
    ),
    "a sub-workflow is judged by its own instance": Bug(
        patched=lambda: patch.object(memory_engine, "read_tree", _own_instance_alone)
    ),
    "a key without the files": Bug(patched=lambda: patch.object(cache_key, "_inputs", lambda _: "sha256:0")),
    "a result is taken without what is added": Bug(
        patched=lambda: patch.object(cached, "difference", _without_what_is_added)
    ),
    "a retry takes an earlier result": Bug(
        patched=lambda: patch.object(CachedAttempt, "complete", _first_whatever_was_before)
    ),
    "what was taken is taken for its own source": Bug(
        patched=lambda: patch.object(results, "_result", _its_own_origin)
    ),
    "two processes of a machine compute one result": Bug(
        patched=lambda: patch.object(MachineResults, "is_held", lambda *_: False)
    ),
}

CAUGHT = {
    "reset instead of publish": (10, "was the head once and is not in the history"),
    "no second attempt fence": (0, "published without having seen after staging that it was current"),
    "blind retry after a timeout": (87, "without having seen after staging"),
    "cache shared by hard link": (10, "has wrong content"),
    "no name check": (54, "escaped.txt"),
    "heartbeat not joined": (3, "reports beside a heartbeat"),
    "no fence before a report": (85, "not ended"),
    "a person's commit taken for abandoned": (1, "replaces the foreign commit"),
    "what a try may still adopt is replaced": (0, "replaces the foreign commit"),
    "reads are not validated, writes alone are": (3, "could see"),
    "a file that would have appeared does not count": (13, "could see"),
    "a scope without its prefix": (3, "could see"),
    "secrets in stamps": (0, "a secret is in"),
    "what comes along with a dropped report is forgotten": (4, "neither began it nor gave it back"),
    "stamps of cherry-picks count": (23, "published twice"),
    "a slot takes a second task before it has begun the first": (0, "neither settled it nor gave it back"),
    "a slot that closes drops the task that came along": (92, "neither settled it nor gave it back"),
    "a task that comes to a worker which is told to stop is dropped": (601, "neither began it nor gave it back"),
    "the lease goes on beside the report": (3, "reports beside a heartbeat"),
    "an older execution of a task goes on": (48, "which has its task now"),
    "a result that was kept is not tried again": (4, "not ended"),
    "a result on its way is dropped at the end": (795, "kept it nowhere"),
    "a join is the first of its commits": (4, "saw content"),
    "two threads settle one job": (446, "was settled twice"),
    "a target moved before the last task": (20, "shows a part of a run"),
    "a run's branch swept under a live run": (1, "has no branch"),
    "of a run, writes alone are validated": (3, "could see"),
    "a run's branch is published as it is by now": (192, "was to publish"),
    "what a person commits to a run's branch is published": (86, "which no task has made"),
    "a sub-workflow is judged by its own instance": (20, "began without faults"),
    "a key without the files": (19, "has wrong content"),
    "a result is taken without what is added": (13, "has not what it makes"),
    "a retry takes an earlier result": (49, "although it is of a retry"),
    "what was taken is taken for its own source": (120, "which made none for its key"),
    "two processes of a machine compute one result": (354, "computes what"),
}
"""Bug -> its seed, and part of what is broken. Whoever changes the simulator looks for them anew, with
`python planted_bugs.py`."""


def broken_by(bug: Bug, seed: int, directory) -> tuple[str, ...]:
    """The promises that a seed's schedule breaks with the bug."""
    with bug.patched():
        return simulate(make_plan(seed), directory / str(seed), bug.outfit).broken


def first_caught(bug: Bug, directory) -> tuple[int, str] | None:
    """The first seed that catches it, and how."""
    for seed in range(MAX_SEEDS):
        broken = broken_by(bug, seed, directory)
        if broken:
            return seed, broken[0]
    return None


if __name__ == "__main__":
    with scratch() as root:
        for name in sys.argv[1:] or BUGS:
            print(name, first_caught(BUGS[name], root), flush=True)
