"""The verdict on a finished simulation: the checker's, and facts that only a simulation knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from perago.values.history import CommitFacts
from perago.values.record import TryRecord, TryStatus, WorkflowStatus
from perago.workspace.patterns import visible_to
from simulation.checker import Observation, changed_by, violations
from simulation.incidents import SHARED
from simulation.plan import WorkflowPlan
from simulation.tasks import SCOPE, SCOPED, SECRET
from simulation.world import HOSTILE, World


def judge(world: World) -> list[str]:
    """The broken promises, one sentence each."""
    found = [*world.broken, *world.network.broken, *world.baton.failures]
    for branch in world.roots:
        seen = _observe(world, branch)
        found += violations(seen)
        found += _false_content(world, seen)
        found += _secrets_told(world, seen)
    found += _left(world)
    found += _forgotten(world)
    found += _not_completed(world)
    found += _not_on_head(world)
    return found


def _observe(world: World, branch: str) -> Observation:
    memory = world.store.memory
    root = world.roots[branch]
    return Observation(
        root=root,
        line=memory.read_history(memory.input(branch, root)).commits,
        heads=world.store.heads[branch],
        records=[world.engine.tasks.record(name) for name, plan in world.workflows.items() if plan.branch == branch],
        files=lru_cache(memory.files),
        snapshot=[name for name, plan, _ in _tasks(world) if plan.snapshot and not plan.scoped],
        scopes={name: _scope(who) for name, plan, who in _tasks(world) if plan.scoped},
        calls=world.network.calls,
    )


def _tasks(world: World) -> Iterator[tuple[str, WorkflowPlan, str]]:
    """Reference name, workflow and role of every task."""
    for number, plan in enumerate(world.plan.workflows, 1):
        for who in ("a", "b", "l", "r"):
            yield f"w{number}-{who}", plan, who


def _scope(who: str) -> Callable[[str], bool]:
    spec = SCOPED[f"scoped {who}"].workspace
    assert spec is not None, "it has a workspace"
    return visible_to(spec)


def _false_content(world: World, seen: Observation) -> Iterator[str]:
    """A publication holds its body's files on top of its input, and of foreign commits where it merges with them."""
    for commit in seen.line:
        stamp = commit.counting_stamp
        if stamp is None or stamp.completes is not None:
            continue
        wrote = world.written.get(stamp.execution_id)
        if wrote is None:
            yield f"{commit.id[:12]} was published by {stamp.execution_id}, whose body did not end"
            continue
        content = seen.files(commit.id)
        expected: Mapping[str, bytes] = wrote
        if stamp.reference_task_name not in (*seen.snapshot, *seen.scopes):
            expected = {**seen.files(stamp.input_ref), **wrote}
            content = {**dict.fromkeys(expected, b""), **content}
        for path in sorted(expected):
            if content.get(path) != expected[path]:
                yield f"{commit.id[:12]} of {stamp.execution_id} has wrong content of {path!r}"


def _secrets_told(world: World, seen: Observation) -> Iterator[str]:
    """No secret of a task's params is in a commit, a result or a reason."""
    for commit in seen.line:
        if SECRET in repr(commit):
            yield f"8: a secret is in {commit.id[:12]}"
    for record in seen.records:
        for entry in record.tries:
            if SECRET in repr((entry, world.engine.tasks.reason(entry.task_id))):
                yield f"8: a secret is in the result of {entry.task_id}"


def _left(world: World) -> Iterator[str]:
    """No orphans: staging references, attempt directories, spooled results, files elsewhere."""
    for name in world.store.memory.staged():
        yield f"6: left behind: staging reference {name}"
    for worker in world.workers:
        for directory in (worker.workspaces, worker.spool):
            for path in sorted(directory.iterdir()) if directory.exists() else []:
                yield f"6: left behind: {path.relative_to(world.directory)}"
    for path in sorted(world.directory.rglob("escaped*")):
        yield f"7: written outside of a workspace: {path.relative_to(world.directory)}"


def _forgotten(world: World) -> Iterator[str]:
    """A worker that was not killed has begun, or given back, every task that came to it, and settled what it began."""
    for worker in world.workers:
        yield from worker.broken
        if not worker.process.is_dead:
            yield from worker.lost()


def _not_completed(world: World) -> Iterator[str]:
    """Every try that started after the faults stopped has completed, or was refused for a good reason."""
    for workflow, plan in world.workflows.items():
        for entry in world.engine.tasks.record(workflow).tries:
            key = (entry.task_id, entry.scheduled_time, entry.poll_count)
            polled_at = world.engine.polled_at.get(key)
            ended_well = entry.status in (TryStatus.COMPLETED, TryStatus.CANCELED)  # cancelled because a sibling failed
            if polled_at is None or polled_at < world.healed_at or ended_well:
                continue
            reason = world.engine.tasks.reason(entry.task_id) or ""
            if not _is_excused(world, plan, entry, reason):
                yield f"5: {entry.task_id} ({entry.reference_task_name}) began without faults, {entry.status}: {reason}"


def _not_on_head(world: World) -> Iterator[str]:
    """Without other writers, the head of a completed workflow's branch holds what its tasks wrote last."""
    memory = world.store.memory
    for workflow, plan in world.workflows.items():
        is_alone = [other.branch for other in world.plan.workflows].count(plan.branch) == 1
        if world.people or not is_alone or world.engine.tasks.status(workflow) is not WorkflowStatus.COMPLETED:
            continue
        head = memory.files(plan.branch)
        for entry in world.engine.tasks.record(workflow).tries:
            stamp = None if entry.output_ref is None else memory.stamp_of(entry.output_ref)
            if stamp is None or stamp.logical_task != (workflow, entry.reference_task_name):
                continue
            for path, content in world.written[stamp.execution_id].items():
                if head.get(path) != content and path.removeprefix(f"{SCOPE}/") != SHARED:
                    yield f"the head of {plan.branch} lacks what {entry.task_id} wrote to {path!r}"


def _is_excused(world: World, plan: WorkflowPlan, entry: TryRecord, reason: str) -> bool:
    """Whether a refusal is justified: it names a foreign commit, a path that both changed, or an impossible name."""
    if plan.branch in world.plan.hostile and HOSTILE in reason:
        return True
    seen = _observe(world, plan.branch)
    foreign = [commit for commit in seen.line if _is_of_another(commit, entry)]
    if plan.scoped:
        sees = seen.scopes[entry.reference_task_name]
        foreign = [commit for commit in foreign if any(map(sees, changed_by(seen, commit)))]
    if any(commit.id[:12] in reason for commit in foreign):
        return True
    return plan.snapshot and bool(foreign) and "of the paths that this attempt changed" in reason


def _is_of_another(commit: CommitFacts, entry: TryRecord) -> bool:
    stamp = commit.counting_stamp
    return stamp is None or stamp.reference_task_name != entry.reference_task_name
