"""The executable model of the publication protocol, with Perago's own decisions in the place of the model's.

The model explores every interleaving of workers, engine, people and faults. Here its `Protocol` is replaced by
`perago.attempt.fence`: facts are translated from the model's state, plans back into the model's commits. What is
explored is thus the code that runs in production, in the model's world.

usage: python -m tests.protocol.conformance [SCENARIO …]   (none: all; minutes)
"""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from perago.attempt import fence, membership, transaction
from perago.engines.conductor.mapping import instance_of
from perago.errors import PublishFenceError
from perago.values.history import CommitFacts, Complete, History, Merge, Plan, Publish, Refuse, Seal, Stamp, Validate
from perago.values.models import (
    RUN_BRANCH_TTL_SECONDS,
    AttemptIdentity,
    WorkspaceInput,
    run_branch_age,
    run_branch_name,
)
from perago.values.plans import compared, foreign_changes
from perago.values.record import InstanceRecord, TryRecord, TryStatus
from perago.values.spec import Isolation
from perago.values.tree import WorkflowInstance, read_tree
from perago.workspace.merge import changed_reads, merge_paths
from tests.protocol import model, transactional, trees

INSTANCE, ANOTHER = "workflow", "another"
_STATUS = {"ENDED": TryStatus.COMPLETED_WITH_ERRORS}


@lru_cache(maxsize=200_000)
def _facts(commit: model.Commit, index: int, empty: bool, blind: bool) -> CommitFacts:
    stamp = None
    if commit.who not in ("root", "person"):
        task_id, scheduled, poll = commit.exe or (0, 0, 0)
        stamp = Stamp(
            task=commit.who,
            workflow_instance_id=ANOTHER if commit.who == "other" else INSTANCE,
            reference_task_name=commit.who,
            task_id=str(task_id),
            retry_count=0,
            scheduled_time=scheduled,
            poll_count=poll,
            execution_id=str(commit.exe),
            input_ref=str(commit.base),
            expected_head=str(commit.expected),
            params_digest=str(commit.digest),
            code_digest="" if blind else str(commit.code),
            result_digest="",
            result={"code": commit.code} if commit.stored else None,
            result_exact=commit.stored,
            abandoned=tuple(map(str, commit.replaced)),
            completes=None if commit.completes is None else str(commit.completes),
        )
    return CommitFacts(str(index), str(index - 1), stamp, empty)


@lru_cache(maxsize=200_000)
def history(chain: tuple, base: int, head: int, blind: bool) -> History:
    commits = tuple(_facts(chain[i], i, chain[i].tree == chain[i - 1].tree, blind) for i in range(head, base, -1))
    return History(str(head), str(base), commits)


@lru_cache(maxsize=200_000)
def record(rows: tuple) -> InstanceRecord:
    return InstanceRecord(INSTANCE, tuple(_try(row) for row in rows))


def _try(row: model.Row) -> TryRecord:
    output = None
    if row.status == "COMPLETED":
        output = {"workspace": {"ref": str(row.out)}, "result": {"code": row.out_code}}
    return TryRecord(
        task_id=str(row.tid),
        reference_task_name=row.name,
        retry_count=0,
        scheduled_time=row.sched,
        poll_count=row.poll,
        status=_STATUS.get(row.status) or TryStatus(row.status),
        input_refs=(str(row.inp),),
        output=output,
        ended_time=row.ended if row.status == "COMPLETED" else None,
        retried_task_id=None if row.prev is None else str(row.prev),
    )


@lru_cache(maxsize=200_000)
def _applicant(
    name: str, exe: tuple, inp: int, digest: tuple, code: str, isolation: Isolation, instance: str
) -> fence.Applicant:
    task_id, scheduled, poll = exe
    identity = AttemptIdentity(
        workflow_instance_id=instance,
        task_id=str(task_id),
        retry_count=0,
        scheduled_time=scheduled,
        poll_count=poll,
    )
    return fence.Applicant(
        identity=identity,
        reference_task_name=name,
        input_ref=str(inp),
        params_digest=str(digest),
        code_digest=code,
        isolation=isolation,
    )


class Ours(model.Protocol):
    """The model's protocol, decided by `perago.attempt.fence`, and merged as stores do."""

    def asking(self, w: model.Worker) -> fence.Applicant:
        code = "" if self.cfg.blind else str(w.code)
        return _applicant(w.name, w.exe, w.inp, self.digest(w), code, self.isolation, self.instance(w))

    def instance(self, w: model.Worker) -> str:
        """The workflow instance that the worker's task belongs to."""
        return INSTANCE

    @property
    def isolation(self) -> Isolation:
        return "serializable" if self.cfg.scoped else "snapshot" if self.cfg.snapshot else "exclusive"

    def seen(self, s: model.State, w: model.Worker, head: int) -> tuple[History, InstanceRecord, fence.Applicant]:
        return history(s.chain, w.inp, head, self.cfg.blind), record(s.rows), self.asking(w)

    def start_plan(self, s: model.State, w: model.Worker, head: int) -> Plan | None:
        return self.validated(fence.plan_start(*self.seen(s, w, head)), s, w, head)

    def validated(self, plan: Plan | Validate | None, s: model.State, w: model.Worker, head: int) -> Plan | None:
        """The plan after its validation, as an attempt makes it with a store."""
        if not isinstance(plan, Validate):
            return plan
        foreign = dict(zip(plan.merge.foreign, self.foreign(plan.merge, s), strict=True))
        base = dict(s.chain[w.inp].tree)
        conflict = changed_reads(foreign, base.get, lambda path: self.sees(w, path))
        return plan.then if conflict is None else fence.refuse_conflict(conflict, *self.seen(s, w, head))

    def start(self, s: model.State, w: model.Worker, head: int) -> tuple | None:
        plan = self.start_plan(s, w, head)
        return None if plan is None or isinstance(plan, Refuse) else self.carry_out(plan, s, w, head)

    def decide(self, s: model.State, w: model.Worker, head: int) -> tuple:
        seals = self.R.seal == "all"  # as tasks with a cache do
        decided = fence.plan_publication(*self.seen(s, w, head), changed=bool(w.writes), seals_noop=seals)
        plan = self.validated(decided, s, w, head)
        assert plan is not None, "a publication is always decided"
        return self.carry_out(plan, s, w, head)

    def adopt_engine(self, s: model.State, w: model.Worker) -> tuple | None:
        plan = fence.plan_completed_elsewhere(*self.seen(s, w, len(s.chain) - 1))
        return None if plan is None else self.carry_out(plan, s, w, len(s.chain) - 1)

    def carry_out(self, plan: Plan, s: model.State, w: model.Worker, head: int) -> tuple:
        match plan:
            case Complete(ref, result):
                return ("out", int(ref), w.code if result is None else result["code"])
            case Seal(_, completes, source):
                code = w.code if source is None or source.result is None else source.result["code"]
                tree = s.chain[head].tree
                return ("pub", model.Commit(w.name, w.exe, w.inp, head, tree, (), (), self.cfg.stored, self.digest(w),
                                            code, False, int(completes)))  # fmt: skip
            case Publish(_, abandoned):
                content = model.put(s.chain[w.inp].tree, w.writes)
                return self.make(w, head, content, [int(ref) for ref in abandoned])
            case Merge():
                return self.put_on(plan, s, w, head)
            case Refuse(_, foreign):
                return ("refuse", tuple(int(commit.id) for commit in foreign))

    def put_on(self, plan: Merge, s: model.State, w: model.Worker, head: int) -> tuple:
        """A merge of trees, as a store makes it of a plan."""
        base = dict(s.chain[w.inp].tree)
        merged = merge_paths(self.foreign(plan, s), dict(w.writes), base.get)
        if merged.conflicts:
            return ("refuse", tuple(int(name) for name in plan.foreign))
        tree = {path: entry for path, entry in (base | merged.overlay).items() if entry is not None}
        content = tuple(sorted(tree.items()))
        return self.make(w, head, content, [int(name) for name in plan.abandoned])

    @staticmethod
    def foreign(plan: Merge, s: model.State) -> list[dict]:
        return foreign_changes(plan, {name: _changed(s.chain, int(name)) for name in compared(plan)})


def _changed(chain: tuple, index: int) -> dict:
    now, before = dict(chain[index].tree), dict(chain[index - 1].tree)
    return {path: now.get(path) for path in now.keys() | before.keys() if now.get(path) != before.get(path)}


class OurWorld(model.World):
    """The model's world; an attempt that would be refused is refused before its body."""

    def __init__(self, rules: model.Rules, cfg: model.Config) -> None:
        super().__init__(rules, cfg)
        self.P = Ours(rules, cfg)

    def work(self, s, w, faults=True):
        if w.pc == "S" and isinstance(self.P.start_plan(s, w, len(s.chain) - 1), Refuse):
            yield f"{self.id(w)} refused before its body", self.with_worker(s, w, w._replace(pc="X", plan=()))
            return
        yield from model.World.work(self, s, w, faults)


class OurRuns(Ours, transactional.Protocol):
    """Transactional runs, decided by `perago.attempt.transaction` as well."""

    def begun(self, s: model.State, w: model.Worker) -> tuple | None:
        asking = self.asking(w)
        identity = replace(asking.identity, reference_task_name=w.name)
        other = transaction.begun_elsewhere(record(s.rows), identity)
        return None if other is None else ast.literal_eval(other.output["workspace"]["ref"])

    def moved(self, run: transactional.Run, ref: int) -> str | None:
        made = WorkspaceInput(repository="memory", branch="run", refType="commit", ref=str(ref))
        try:
            seen = history(run.chain, 0, run.tip, self.cfg.blind)
            transaction.published_run(seen, made, "workflow", self.is_of_run)
        except PublishFenceError as exc:
            return str(exc)
        return None

    def is_of_run(self, commit: CommitFacts) -> bool:
        return membership.is_of_run(commit, INSTANCE, InstanceRecord(INSTANCE))

    def lets_in(self, run: transactional.Run) -> bool:
        branch = run_branch_name(self.asking(_NOBODY).identity)
        assert membership.may_publish(branch, INSTANCE, InstanceRecord(INSTANCE))
        return membership.may_publish(branch, ANOTHER, InstanceRecord(ANOTHER))

    def outlived(self, run: transactional.Run, now: int) -> bool:
        identity = self.asking(_NOBODY).identity
        name = run_branch_name(replace(identity, scheduled_time=round(_time(run.born).timestamp() * 1000)))
        age = run_branch_age(name, _time(run.head_time), _time(now))
        assert age is not None, "it is the name of a run"
        return age > RUN_BRANCH_TTL_SECONDS


def _time(periods: int) -> datetime:
    return _BEGINNING + timedelta(seconds=periods * (RUN_BRANCH_TTL_SECONDS + 1))


_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
_NOBODY = model.Worker("n", (1, 1, 1), 0, 0, "S", -1, None, (), None)


class OurRunsWorld(transactional.World):
    """The model's world of transactional runs."""

    protocol = OurRuns


@lru_cache(maxsize=200_000)
def _tree_facts(commit: model.Commit, index: int, empty: bool, blind: bool, around: tuple) -> CommitFacts:
    facts = _facts(commit, index, empty, blind)
    if facts.stamp is None or not around:
        return facts
    stamp = replace(facts.stamp, workflow_instance_id="an instance of " + "/".join(around))
    return replace(facts, stamp=stamp.in_tree((INSTANCE, "/".join((*around, commit.who)))))


@lru_cache(maxsize=200_000)
def instances(rows: tuple, kids: tuple) -> dict[str, WorkflowInstance]:
    """The workflow instances, as Conductor's documents of them are read."""
    around: dict[tuple, dict] = {(): {}}
    for k, kid in enumerate(kids):
        around[(k,)] = {"parentWorkflowId": _instance(kid.run), "parentWorkflowTaskId": str(kid.row)}
    shown = {kid.row: _instance((k,)) for attached in (False, True) for k, kid in enumerate(kids)
             if kid.attached == attached}  # fmt: skip
    attached = {kid.row for kid in kids if kid.attached}
    found = {}
    for run, parent in around.items():
        tasks = [_document(row, place, shown.get(row.tid) if row.status == "SCHEDULED" or row.tid in attached else None)
                 for place, row in enumerate(rows) if row.run == run]  # fmt: skip
        found[_instance(run)] = instance_of({"workflowId": _instance(run), "tasks": tasks, **parent})
    return found


@lru_cache(maxsize=200_000)
def tree_record(rows: tuple, kids: tuple, instance: str, paths: frozenset[str]) -> InstanceRecord:
    return read_tree(instances(rows, kids).__getitem__, instance, paths)


def _document(row: model.Row, place: int, instance: str | None) -> dict[str, object]:
    """A task. The row of a sub-workflow that is handed out again shows its instance of before."""
    entry = _try(row)
    return {
        "taskId": entry.task_id,
        "referenceTaskName": row.name,
        "taskType": "SUB_WORKFLOW" if row.name in trees.SUBS else "SIMPLE",
        "seq": place + 1,
        "retryCount": 0,
        "scheduledTime": row.sched,
        "pollCount": row.poll,
        "status": str(entry.status),
        "inputData": {"workspace": {"ref": str(row.inp)}},
        "outputData": entry.output,
        "endTime": entry.ended_time,
        "retriedTaskId": entry.retried_task_id,
        "subWorkflowId": instance,
    }


def _instance(run: tuple) -> str:
    return f"sub-{run[0]}" if run else INSTANCE


class OurTrees(Ours, trees.Protocol):
    """Trees of workflows: names, the record and the verdicts are those of `perago`."""

    def instance(self, w: model.Worker) -> str:
        return _instance(w.run)

    def seen(self, s: model.State, w: model.Worker, head: int) -> tuple[History, InstanceRecord, fence.Applicant]:
        line = range(head, w.inp, -1)
        found = History(str(head), str(w.inp), tuple(self.facts(s.chain, i) for i in line))
        record = self.record_for(s, w)
        if unread := fence.unread_paths(found, record):
            record = self.record_for(s, w, unread)
        asking = self.asking(w)
        return fence.in_tree(found, record), record, asking.in_tree(record)

    def facts(self, chain: tuple, i: int) -> CommitFacts:
        empty = chain[i].tree == chain[i - 1].tree
        return _tree_facts(chain[i], i, empty, self.cfg.blind, self.cfg.around(chain[i].who))

    def record_for(self, s: model.State, w: model.Worker, paths: frozenset[str] = frozenset()) -> InstanceRecord:
        return tree_record(s.rows, s.tx.kids, self.instance(w), paths)

    def counts_for_parent(self, s: model.State, w: model.Worker) -> bool:
        try:
            fence.assert_instance_counts(self.record_for(s, w), self.asking(w))
        except PublishFenceError:
            return False
        return True

    def start_plan(self, s: model.State, w: model.Worker, head: int) -> Plan | None:
        return super().start_plan(s, w, head) if self.counts_for_parent(s, w) else Refuse(str(head), ())

    def decide(self, s: model.State, w: model.Worker, head: int) -> tuple:
        return super().decide(s, w, head) if self.counts_for_parent(s, w) else ("refuse", ())


class OurTreesWorld(trees.World):
    """The model's world of trees; an attempt that would be refused is refused before its body."""

    protocol = OurTrees
    work = OurWorld.work


def explore(
    name: str, limit_s: float, *, stop_first: bool = False, cached: bool = False
) -> tuple[int, bool, dict[str, str]]:
    """Explore a scenario: states, whether all were seen, and what broke (property -> shortest trace).

    Args:
        cached: the tasks have a cache. A hit is a body that takes no time, which the interleavings have anyway; what
            differs is that each no-op is sealed.
    """
    tree_record.cache_clear()  # a test may have broken the code that made these
    if name in transactional.SCENARIOS:
        rules, cfg, world_type = transactional.FIXED, transactional.SCENARIOS[name], OurRunsWorld
    elif name in trees.SCENARIOS:
        rules, cfg, world_type = trees.FIXED, trees.SCENARIOS[name], OurTreesWorld
    else:
        rules = model.FIXED if cached else model.LEAN
        cfg, world_type = model.SCENARIOS[name], OurWorld
    explored = model.explore(rules, cfg, limit_s, stop_first=stop_first, world_type=world_type)
    states, _, complete, found, _ = explored
    broken = {kind: "\n".join([what, *trace]) for kind, (what, trace) in found.items() if not kind.startswith("soft")}
    return states, complete, broken


if __name__ == "__main__":
    for scenario in sys.argv[1:] or (*model.SCENARIOS, *transactional.SCENARIOS, *trees.SCENARIOS):
        states, complete, broken = explore(scenario, limit_s=900)
        verdict = "holds" if not broken else f"BROKEN {sorted(broken)}"
        print(f"{scenario}: {states} states, {'complete' if complete else 'cut off'}: {verdict}", flush=True)
        for trace in broken.values():
            print(trace)
