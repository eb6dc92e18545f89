"""The verdict on a finished simulation: the checker's, and facts that only a simulation knows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache, partial
from itertools import pairwise

from perago.values.history import CommitFacts, Stamp
from perago.values.joins import input_refs, joined
from perago.values.json_text import JsonObject
from perago.values.record import InstanceRecord, TryRecord, TryStatus, WorkflowStatus
from perago.values.spec import Isolation
from perago.workflows.transaction import validation
from perago.workspace.patterns import visible_to
from simulation.checker import Observation, changed_by, changes, published_by, violations
from simulation.plan import WorkflowPlan
from simulation.tasks import CACHED, SCOPE, SECRET, TASKS, made_by, path_made_by
from simulation.workflows import BEGIN, SHARED, WHO, definitions, leaf, name_of, task_type
from simulation.world import HOSTILE, World, branch_of, input_branch


def judge(world: World) -> list[str]:
    """The broken promises, one sentence each."""
    found = [*world.broken, *world.network.broken, *world.baton.failures]
    swept = [branch for branch in _runs(world) if branch not in world.store.memory.branches()]
    if swept:  # and can be looked at no more
        return [*found, *(f"10: branch {branch} was swept under its run" for branch in swept)]
    for branch in (*world.roots, *_runs(world)):
        seen = _observe(world, branch)
        if branch not in world.moved:
            found += violations(seen)
            found += _false_content(world, seen)
            found += _false_hits(world, seen)
            found += _false_results(world, branch)
        found += _secrets_told(world, seen)
    for workflow, plan in world.workflows.items():
        if plan.transactional:
            found += _half_shown(world, workflow, plan)
            found += _half_done(world, workflow, plan)
            found += _not_of_run(world, _observe(world, plan.branch), workflow)
    found += _left(world)
    found += _forgotten(world)
    found += _not_completed(world)
    found += _not_on_head(world)
    return found


def _runs(world: World, workflow: str | None = None) -> list[str]:
    """The branches of runs, of one workflow or of all."""
    wanted = world.workflows if workflow is None else [workflow]
    return [name for name in world.store.begun if any(world.is_run_of(name, each) for each in wanted)]


def _observe(world: World, branch: str) -> Observation:
    """What was seen of a branch, be it one of a run."""
    memory = world.store.memory
    root = world.roots.get(branch) or world.store.begun[branch]
    workflows = {name: plan for name, plan in world.workflows.items() if plan.branch == branch}
    workflows |= {name: plan for name, plan in world.workflows.items() if world.is_run_of(branch, name)}
    return Observation(
        root=root,
        line=memory.read_history(memory.input(branch, root)).on_branch(branch).commits,
        heads=world.store.heads[branch],
        records=[_on_branch(world.engine.tasks.tree(name), branch) for name in workflows],
        files=lru_cache(memory.files),
        snapshot=[name for name, isolation, _ in _tasks(world) if isolation == "snapshot"],
        scopes={name: sees for name, isolation, sees in _tasks(world) if isolation == "serializable"},
        ends={
            name: _end(world, name) for name, plan in workflows.items() if plan.transactional and branch in world.roots
        },
        calls=world.network.calls,
    )


def _on_branch(record: InstanceRecord, branch: str) -> InstanceRecord:
    """The record without what has completed on another branch, and without the task that has only created this one."""
    tries = (entry for entry in record.tries if entry.output is None or branch_of(entry) == branch)
    return InstanceRecord(
        record.workflow_instance_id, tuple(entry for entry in tries if entry.reference_task_name != BEGIN)
    )


def _end(world: World, workflow: str) -> str:
    """Reference name of the task that publishes a run."""
    return name_of(world.numbers[workflow], "end")


def _tasks(world: World) -> Iterator[tuple[str, Isolation, Callable[[str], bool]]]:
    """Reference name of every task, its isolation, and what it sees."""
    for number, plan in enumerate(world.plan.workflows, 1):
        for who in WHO[plan.shape]:
            spec = TASKS[task_type(plan, who)].workspace
            assert spec is not None, "every simulated task has a workspace"
            yield name_of(number, who), spec.isolation, visible_to(spec.touched)
        scopes, isolation = validation(definitions(plan).values())
        sees = [visible_to(scope.as_spec()) for scope in scopes]
        yield name_of(number, "end"), isolation, partial(_is_seen, sees)


def _is_seen(sees: Sequence[Callable[[str], bool]], path: str) -> bool:
    return any(see(path) for see in sees)


def _false_content(world: World, seen: Observation) -> Iterator[str]:
    """A publication holds its body's files on top of its input, and of foreign commits where it merges with them."""
    for commit in seen.line:
        stamp = commit.counting_stamp
        if stamp is None or stamp.completes is not None:
            continue
        wrote = _wrote(world, stamp)
        if stamp.reference_task_name == seen.ends.get(stamp.logical_task[0]):
            continue
        if wrote is None:
            yield f"{commit.id[:12]} was published by {stamp.execution_id}, whose body did not end"
            continue
        content = seen.files(commit.id)
        expected: Mapping[str, bytes | None] = wrote
        if stamp.reference_task_name not in (*seen.snapshot, *seen.scopes):
            expected = {**seen.files(stamp.input_ref), **wrote}
            content = {**dict.fromkeys(expected, b""), **content}
        for path in sorted(expected):
            if content.get(path) != expected[path]:
                yield f"{commit.id[:12]} of {stamp.execution_id} has wrong content of {path!r}"


def _wrote(world: World, stamp: Stamp) -> Mapping[str, bytes | None] | None:
    """What an execution has written: None for its content deletes a path. None if its body did not end.

    Of a task with a cache, what any body would have made of its input, whether it has run or not.
    """
    if stamp.task not in CACHED:
        return world.written.get(stamp.execution_id)
    text = _due(stamp.task, stamp.params or {}, world.store.memory.files(stamp.input_ref))
    return {path_made_by(str((stamp.params or {})["who"])): None if text is None else text.encode()}


def _due(task: str, params: JsonObject, files: Mapping[str, bytes]) -> str | None:
    """What a task with a cache makes of a commit."""
    spec = TASKS[task].workspace
    assert spec is not None, "every simulated task has a workspace"
    sees = visible_to(spec.laid_out)
    found = {path: content for path, content in files.items() if sees(path)}
    return made_by(str(params["who"]), found, noop=bool(params["noop"]))


def _false_hits(world: World, seen: Observation) -> Iterator[str]:
    """A result that was taken is that of a body, for the same key. A retry computes."""
    for commit in seen.line:
        stamp = commit.counting_stamp
        if stamp is None or stamp.cached_from is None:
            continue
        world.counts["cached: seals" if stamp.completes is not None else "cached: published"] += 1
        origin = world.store.memory.stamp_of(stamp.cached_from)
        if origin is None or origin.cache_key != stamp.cache_key or origin.cached_from is not None:
            yield f"{commit.id[:12]} took the result of {stamp.cached_from[:12]}, which made none for its key"
        elif origin.execution_id not in world.written:
            yield f"{commit.id[:12]} took the result of {stamp.cached_from[:12]}, whose body did not end"
        if stamp.completes is None and stamp.retry_count:  # a seal may be of a retry that adopted it
            yield f"{commit.id[:12]} took a result, although it is of a retry"


def _false_results(world: World, branch: str) -> Iterator[str]:
    """A task with a cache completes with what its body would have made of its input, in its commit and its result."""
    memory = world.store.memory
    for workflow in world.workflows:
        for entry in world.engine.tasks.tree(workflow).tries:
            given = None if entry.output_ref is None else world.engine.tasks.attempt(entry.task_id)
            if given is None or given.task_def_name not in CACHED or branch_of(entry) != branch:
                continue
            refs, params = input_refs(given.input_data), given.input_data["params"]
            base = next(ref for ref in memory.history(branch) if ref in refs)
            due = _due(given.task_def_name, params, memory.files(base))
            found = memory.files(str(entry.output_ref)).get(path_made_by(params["who"]))
            if found != (None if due is None else due.encode()):
                yield f"{entry.task_id} completed with {str(entry.output_ref)[:12]}, which has not what it makes"
            if entry.output is not None and entry.output["result"]["said"] != due:
                yield f"{entry.task_id} completed with another result than it makes"


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
    for name in world.store.memory.branches():
        if world.store.is_old_run(name, world.clock.now() - timedelta(days=2)):  # by clocks that were a day behind
            yield f"6: left behind: branch {name}"
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
        for entry in world.engine.tasks.tree(workflow).tries:
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
        for entry in world.engine.tasks.tree(workflow).tries:
            stamp = None if entry.output_ref is None else memory.stamp_of(entry.output_ref)
            if stamp is None or stamp.logical_task != (workflow, entry.reference_task_name):
                continue
            for path, content in (_wrote(world, stamp) or {}).items():
                if head.get(path) != content and path.removeprefix(f"{SCOPE}/") != SHARED:
                    yield f"the head of {plan.branch} lacks what {entry.task_id} wrote to {path!r}"


def _is_excused(world: World, plan: WorkflowPlan, entry: TryRecord, reason: str) -> bool:
    """Whether a refusal is justified: it names a foreign commit, a path that both changed, an impossible name, or a
    run's branch that a person has moved or committed to.
    """
    if plan.branch in world.plan.hostile and HOSTILE in reason:
        return True
    branch = input_branch(world.engine.tasks.attempt(entry.task_id).input_data)
    if branch in world.moved or any(name in reason for name in _strayed(world)):
        return True
    seen = _observe(world, branch)
    foreign = [commit for commit in seen.line if _is_of_another(commit, entry)]
    sees = seen.scopes.get(leaf(entry))
    if sees is not None:
        foreign = [commit for commit in foreign if any(map(sees, _touched(world, seen, commit)))]
    if any(commit.id[:12] in reason for commit in foreign):
        return True
    is_snapshot = leaf(entry) in seen.snapshot
    return is_snapshot and bool(foreign) and "of the paths that this attempt changed" in reason


def _touched(world: World, seen: Observation, commit: CommitFacts) -> Collection[str]:
    """What it changed, and what its attempt wrote: that may have been there as another try had left it."""
    stamp = commit.counting_stamp
    if stamp is None:
        return changed_by(seen, commit).keys()
    wrote: Collection[str] = (_wrote(world, stamp) or {}).keys()
    if stamp.completes is None and stamp.reference_task_name == seen.ends.get(stamp.logical_task[0]):
        wrote = changes(seen.files(stamp.input_ref), seen.files(published_by(stamp))).keys()
    return {*changed_by(seen, commit), *wrote}


def _strayed(world: World) -> Iterator[str]:
    """The branches of runs on which a person has committed, or that a person has moved."""
    for branch, heads in world.store.heads.items():
        if branch in world.store.begun and (branch in world.moved or not heads.isdisjoint(world.people)):
            yield branch


def _is_of_another(commit: CommitFacts, entry: TryRecord) -> bool:
    stamp = commit.counting_stamp
    return stamp is None or stamp.reference_task_name != leaf(entry)


# ---------------------------------------------------------------- all or nothing


def _half_shown(world: World, workflow: str, plan: WorkflowPlan) -> Iterator[str]:
    """Each commit of a run's target shows what all tasks of one run have written, or nothing of it.

    By content alone: what the tasks' own paths have. A path that a person has changed tells nothing any more.
    """
    seen, number = _observe(world, plan.branch), world.numbers[workflow]
    paths = {f"{SCOPE}/{name}" if plan.scoped else name for name in (name_of(number, who) for who in WHO[plan.shape])}
    wholes = list(_wholes(world, workflow, plan, paths))
    has_published = False
    for commit in reversed(seen.line):
        stamp = commit.counting_stamp
        if stamp is None:
            paths -= changed_by(seen, commit).keys()
        elif stamp.logical_task == (workflow, _end(world, workflow)):
            has_published = True
        shown = _written(seen.files(commit.id), paths, number)
        if shown and not has_published:
            yield f"10: {commit.id[:12]} shows {sorted(shown)} of {workflow}, which has published nothing yet"
        elif shown and not any(_written(whole, paths, number) == shown for whole in wholes):
            yield f"10: {commit.id[:12]} shows a part of a run of {workflow}: {sorted(shown)}"


def _wholes(world: World, workflow: str, plan: WorkflowPlan, paths: Collection[str]) -> Iterator[Mapping[str, bytes]]:
    """The content of the commits of the workflow's runs in which all of its tasks have written."""
    memory = world.store.memory
    for branch in _runs(world, workflow):
        begun = world.store.begun[branch]
        base, lines = memory.files(begun), map(memory.history, world.store.heads[branch])
        for ref in {ref for line in lines for ref in line[: line.index(begun)]}:
            files = memory.files(ref)
            is_new = plan.same_content or all(files.get(path) != base.get(path) for path in paths)
            is_full = _written(files, paths, world.numbers[workflow]).keys() == set(paths)
            if plan.noop != "never" or plan.shape == "read-only" or (is_new and is_full):
                yield files


def _written(files: Mapping[str, bytes], paths: Collection[str], number: int) -> dict[str, bytes]:
    """What tasks of a workflow have written to these paths."""
    made_by = f"w{number}-".encode()
    return {path: files[path] for path in paths if files.get(path, b"").startswith(made_by)}


def _half_done(world: World, workflow: str, plan: WorkflowPlan) -> Iterator[str]:
    """An end that has completed has published the commit that it was given, which has what all tasks completed with."""
    memory, record = world.store.memory, world.engine.tasks.tree(workflow)
    entry = next((one for one in record.of(_end(world, workflow)) if one.output_ref is not None), None)
    if entry is None or entry.output_ref is None:
        return
    given = world.engine.tasks.attempt(entry.task_id).input_data
    refs = {str(one["ref"]) for _, one in joined(given["params"]["run"]) if isinstance(one, Mapping)}
    ref = next(ref for ref in refs if refs.issubset(memory.history(ref)))
    names = {name_of(world.numbers[workflow], who) for who in WHO[plan.shape]}
    for other in record.tries:
        if leaf(other) in names and other.output_ref not in (None, *memory.history(ref)):
            yield f"10: {entry.task_id} has published {ref[:12]}, which is without {other.task_id}"
    names -= {leaf(other) for other in record.tries if other.output_ref is not None}
    if names:
        yield f"10: {entry.task_id} has published {ref[:12]} before {sorted(names)}"
    stamp = memory.stamp_of(entry.output_ref)
    if stamp is None or entry.output_ref in entry.input_refs:
        if changes(memory.files(entry.output_ref), memory.files(ref)):
            yield f"10: {entry.task_id} has completed without the changes of {ref[:12]}"
    elif published_by(stamp) != ref:
        yield f"10: {entry.task_id} was to publish {ref[:12]}, and has published {published_by(stamp)[:12]}"


def _not_of_run(world: World, seen: Observation, workflow: str) -> Iterator[str]:
    """What is published of a run's branch has been made by the tasks of the run alone."""
    for publication in seen.line:
        stamp = publication.counting_stamp
        if stamp is None or stamp.completes is not None or stamp.logical_task != (workflow, _end(world, workflow)):
            continue
        line = world.store.memory.history(published_by(stamp))
        for ref, parent in pairwise(line[: line.index(stamp.input_ref) + 1]):
            made = world.store.memory.stamp_of(ref)
            if made is None or made.expected_head != parent or made.logical_task[0] != workflow:
                yield f"10: {publication.id[:12]} has published {ref[:12]} of {workflow}, which no task has made"
