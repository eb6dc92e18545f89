"""One simulation: sets up a plan, runs until everything has ended, and records it for the judge."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from perago.attempt.cached import NOT_FIRST
from perago.errors import BranchNotFoundError, EngineError, PublishFenceError
from perago.ports import Event, Phase
from perago.testing.workflow import Step
from perago.values.joins import input_refs, joined
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, AttemptIdentity, RuntimeTaskResult, run_branch_name, run_branch_time
from perago.values.record import WITHIN, InstanceRecord, TryRecord, WorkflowStatus
from perago.worker.attempts.job import Job
from perago.workflows.graph import END_TASK, TaskNode
from perago.workspace.patterns import visible_to
from simulation.baton import Baton, EndlessError, Process, VirtualClock
from simulation.executor import WorkerParts
from simulation.incidents import Incidents
from simulation.network import LATE_SECONDS, Network
from simulation.plan import Plan, WorkflowPlan
from simulation.servers import SWEEP_SECONDS, SimulatedEngine, SimulatedStore
from simulation.tasks import CACHED, SCOPE, SCOPED, TASKS, BodyRun
from simulation.worker import GC_INTERVAL_SECONDS, GC_TTL_SECONDS, Site, Worker
from simulation.workflows import SHARED, WITHIN_SUB, input_of, leaf, name_of, nodes_of, ordered, task_type

CHAOS_SECONDS = 60.0
"""Duration of faults, in virtual seconds."""

SETTLE_SECONDS = 240.0
"""Maximum time until everything has ended after that."""

LOOK_SECONDS = 2.0
"""Seconds between two checks of a condition."""

LONG_AGO = timedelta(days=30)
"""Age of the first commits, and of the branch of a run that somebody has left."""

HOSTILE = "../../escaped.txt"
"""A name that is valid in a store but not in a workspace."""

_FIRST = {"in.txt": "input", SHARED: "0", "w1-a": "0", "w1-l": "0"}


@dataclass(frozen=True)
class Computing:
    """A body that makes a result for a cache, on one machine."""

    job: Job
    process: Process
    machine: str
    facts: str

    @property
    def is_over(self) -> bool:
        return self.process.is_dead or self.job.ending is not None or self.job.result is not None


class World:
    """One simulation.

    Args:
        directory: empty directory for the workers' files.
        outfit: wraps the parts that executors use.

    Attributes:
        workflows: those that have started, by instance id; numbers: their places in the plan, from 1.
        broken: broken promises found during the run.
        written: files that each body wrote, by execution id.
        recomputing: executions that use no earlier result.
        healed_at: end of the faults in virtual seconds.
        people: commits of people.
        moved: branches of runs that a person has moved.
    """

    def __init__(
        self, plan: Plan, directory: Path, outfit: Callable[[WorkerParts], WorkerParts] = lambda parts: parts
    ) -> None:
        self.plan = plan
        self.directory = directory
        self.baton = Baton(plan.seed)
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self.written: dict[str, Mapping[str, bytes]] = {}
        self.people: list[str] = []
        self.moved: set[str] = set()
        self.recomputing: set[str] = set()
        self.healed_at = 0.0
        self._computing: list[Computing] = []
        self._hits: set[str] = set()
        self._swapped: set[str] = set()
        self.clock = VirtualClock(self.baton)
        self.engine = SimulatedEngine(self.baton, self.clock, self.counts)
        self.engine.check = self._check_report
        self.store = SimulatedStore(self.clock)
        self.incidents = Incidents(self)
        self.network = Network(
            self.baton, plan.incidents, self.incidents.set_off, self.store.look, self.engine.is_current
        )
        self.workflows: dict[str, WorkflowPlan] = {}
        self.numbers: dict[str, int] = {}
        self.roots: dict[str, str] = {}
        self.random = random.Random(plan.seed + 1)
        self.elsewhere = Process("elsewhere")
        self._executions = 0
        site = Site(
            baton=self.baton,
            network=self.network,
            engine=self.engine,
            store=self.store,
            directory=directory,
            new_execution_id=self._new_execution_id,
            make_body_run=self._make_body_run,
            note_phase=self._note_phase,
            count=self._count,
            outfit=outfit,
        )
        self._make_branches()
        types = [name for name in TASKS if self._may_be_polled(name)]
        if plan.has_one_type:
            types = sorted({task_type(workflow) for workflow in plan.workflows})
        self.workers = [Worker(f"w{number}", slots, site, types) for number, slots in enumerate(plan.slots, 1)]

    # ---- run

    def run(self) -> None:
        """Run until everything has ended."""
        try:
            self._run()
        except EndlessError as exc:
            self.broken.append(f"5: {exc}: {self._what_is_left()}")

    def _run(self) -> None:
        self.baton.spawn("engine", self.elsewhere, self._sweep)
        for number, workflow in enumerate(self.plan.workflows, 1):
            self.incidents.later(workflow.starts, partial(self._start_workflow, number, workflow), "caller")
        self.until(self._is_over, CHAOS_SECONDS)
        self._heal()
        self.until(self._is_quiet, SETTLE_SECONDS)
        if self._take_up_again():
            self.until(self._is_quiet, SETTLE_SECONDS)
        if not self._is_quiet():
            self.broken.append(f"5: not ended: {self._what_is_left()}")
        self._clean()

    def close(self) -> None:
        """End every actor."""
        self.baton.close()

    def _heal(self) -> None:
        """Stop the faults: machines resume, servers answer, and messages arrive."""
        self.network.is_calm = True
        self.network.away.update(engine=0.0, store=0.0)
        self.baton.tell("== faults stop")
        for worker in self.workers:
            worker.process.stopped_until = 0.0
            worker.clock.ahead = 0.0
        if self.network.late or not self._is_over():
            self.until(lambda: False, LATE_SECONDS)
        self.healed_at = self.baton.now
        self.baton.tell("== tries that start from now on must complete")

    def _clean(self) -> None:
        """Stop taking tasks, and let janitors remove old files."""
        for worker in self.workers:
            worker.rest()
        self.baton.pause(GC_TTL_SECONDS + GC_INTERVAL_SECONDS + 1)
        for worker in self.workers:
            worker.dispatcher.housekeeping.turn()
        self.baton.pause(1.0)

    def _take_up_again(self) -> bool:
        """A person retries ended workflows; returns whether there were any."""
        found = [name for name in self.workflows if self.engine.tasks.status(name) is not WorkflowStatus.COMPLETED]
        for workflow in found:
            with suppress(EngineError):  # it has ended
                self.engine.tasks.terminate(workflow)
            with suppress(EngineError):  # its only open try is one that the engine never ends
                self.engine.tasks.retry_workflow(workflow)
                self.baton.tell(f"somebody retries {workflow}")
        return bool(found)

    def until(self, is_reached: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition holds, or for some virtual seconds."""
        end = self.baton.now + seconds
        while self.baton.now < end and not is_reached():
            self.baton.pause(LOOK_SECONDS)

    def _is_over(self) -> bool:
        return len(self.workflows) == len(self.plan.workflows) and self._is_quiet()

    def _is_quiet(self) -> bool:
        is_somebody_busy = self.incidents.pending or not all(worker.is_idle for worker in self.workers)
        return not is_somebody_busy and not any(map(self._is_under_way, self.workflows))

    def _is_under_way(self, workflow: str) -> bool:
        tries = [
            entry for name in self.engine.tasks.instances(workflow) for entry in self.engine.tasks.record(name).tries
        ]
        return any(entry.status.is_live and not self.engine.is_stranded(entry) for entry in tries)

    def _what_is_left(self) -> str:
        running = [name for name in self.workflows if self._is_under_way(name)]
        busy = [worker.process.name for worker in self.workers if not worker.is_idle]
        return f"workflows {running}, workers {busy}"

    def is_run_of(self, branch: str, workflow: str | None) -> bool:
        """Whether a branch is of a run of a workflow."""
        return workflow is not None and run_branch_time(branch) is not None and f"z-{workflow}-" in branch

    # ---- set-up

    def _may_be_polled(self, task: str) -> bool:
        """Workers poll for rare tasks only where a workflow has them."""
        if task in SCOPED:
            return any(workflow.scoped for workflow in self.plan.workflows)
        if task in CACHED:
            return any(workflow.cached for workflow in self.plan.workflows)
        return not TASKS[task].is_builtin or any(workflow.transactional for workflow in self.plan.workflows)

    def _make_branches(self) -> None:
        for branch in sorted({workflow.branch for workflow in self.plan.workflows}):
            files = _FIRST | ({HOSTILE: "evil"} if branch in self.plan.hostile else {})
            files |= {"in.txt": "another input"} if branch in self.plan.unlike else {}
            if any(workflow.scoped for workflow in self.plan.workflows):
                files |= {f"{SCOPE}/{path}": text for path, text in _FIRST.items()}
            self.roots[branch] = self.store.memory.commit(branch, files, "Grace")
            self.store.made_at[self.roots[branch]] = self.clock.now() - LONG_AGO
        if any(workflow.transactional for workflow in self.plan.workflows):
            scheduled = round((self.clock.now() - LONG_AGO).timestamp() * 1000)
            left = AttemptIdentity(workflow_instance_id="gone", task_id="", retry_count=0, scheduled_time=scheduled)
            branch, root = next(iter(self.roots.items()))
            self.store.memory.create_run_branch(self.store.memory.repository, run_branch_name(left), root)
        self.store.look()

    def _start_workflow(self, number: int, plan: WorkflowPlan) -> None:
        workflow = "workflow-1" if number == 1 else self.engine.tasks.start_workflow()
        given: dict[str, object] = self.store.memory.input(plan.branch).model_dump()
        if plan.transactional and plan.at_head:
            given = {name: given[name] for name in ("repository", "branch")}
        self.workflows[workflow], self.numbers[workflow] = plan, number
        steps = [
            Step(
                task_name=node.task_name,
                reference_task_name=node.reference_name,
                input_data=partial(self._input_of, node, {"workspace": given}),
                after=after,
            )
            for node, after in ordered(nodes_of(number, plan))
        ]
        names = [name_of(number, who) for who in WITHIN_SUB] if plan.shape == "tree" else []
        inner = [step for step in steps if step.reference_task_name in names]
        within = tuple(replace(step, after=()) if step is inner[0] else step for step in inner)
        around = name_of(number, "s")
        for step in steps:
            after = tuple(around if name in names else name for name in step.after)
            if step in inner[:1]:
                self.engine.tasks.schedule_sub_workflow(around, lambda _: within, after=after, workflow=workflow)
            elif step not in inner:
                self.engine.tasks.schedule(
                    step.task_name,
                    step.input_data,
                    reference_task_name=step.reference_task_name,
                    after=after,
                    workflow=workflow,
                )

    def _input_of(self, node: TaskNode, workflow_input: JsonObject, record: InstanceRecord) -> JsonObject:
        tries = record.of(node.reference_name)
        earlier = self.engine.tasks.attempt(tries[-1].task_id).input_data if tries else None
        own = {entry.reference_task_name for entry in record.tries}
        tree = self.engine.tasks.tree(record.workflow_instance_id)
        others = tuple(entry for entry in tree.tries if leaf(entry) not in own)
        return input_of(node, workflow_input, replace(record, tries=(*record.tries, *others)), earlier)

    def root_of(self, attempt: Attempt | AttemptIdentity) -> str:
        """The workflow that started the instance of a task, or the one around it."""
        return self.engine.tasks.tree(attempt.workflow_instance_id).workflow_instance_id

    # ---- callbacks

    def _sweep(self) -> None:
        while True:
            self.baton.pause(SWEEP_SECONDS)
            self.engine.sweep(self.workflows)

    def _new_execution_id(self) -> str:
        self._executions += 1
        return f"e{self._executions}"

    def _make_body_run(self, job: Job, process: Process) -> BodyRun:
        plan, name = self.workflows[self.root_of(job.identity)], job.attempt.task_def_name
        refs, branch = input_refs(job.attempt.input_data), input_branch(job.attempt.input_data)
        files = self.store.memory.files(next(ref for ref in self.store.memory.history(branch) if ref in refs))
        root = ""
        if (plan.scoped or plan.cached) and (spec := TASKS[name].workspace) is not None:
            root, sees = spec.root, visible_to(spec.laid_out)
            files = {path.removeprefix(root): content for path, content in files.items() if sees(path)}

        def saw(found: Mapping[str, bytes]) -> None:
            if found != files:
                names = sorted(name for name in found.keys() | files.keys() if found.get(name) != files.get(name))
                self.broken.append(f"the body of {job.execution_id} saw content that is not its input's: {names}")
            if name in CACHED:
                self._note_computing(
                    job, process, repr((name, job.attempt.input_data["params"], sorted(found.items())))
                )

        return BodyRun(
            token="as ever" if plan.same_content else job.execution_id,
            seconds=self._body_seconds(plan),
            coin=self.random.random() < 0.5,
            pause=lambda: self.baton.pause(0.3 * self.random.random()),
            saw=saw,
            wrote=lambda found: self.written.update(
                {job.execution_id: {root + path: content for path, content in found.items()}}
            ),
        )

    def _count(self, what: str) -> None:
        self.counts[what] += 1

    def _note_computing(self, job: Job, process: Process, facts: str) -> None:
        """One machine computes a result once at a time, except for tries that compute whatever is there, or that were
        ended while they waited.
        """
        machine = process.name.partition(".")[0]
        self._computing = [one for one in self._computing if not one.is_over and one.job is not job]
        others = [one for one in self._computing if (one.machine, one.facts) == (machine, facts)]
        now = Computing(job, process, machine, facts)
        if job.execution_id not in self.recomputing and not now.is_over:
            self.broken += [f"{job.execution_id} computes what {other.job.execution_id} does" for other in others]
            self._computing.append(now)

    def _body_seconds(self, plan: WorkflowPlan) -> float:
        chance = self.random.random()
        return 4.0 + 12.0 * chance if plan.long else 0.4 + 2.0 * chance**2

    def _note_phase(self, job: Job, event: Event) -> None:
        is_scoped, is_end = job.attempt.task_def_name in SCOPED, job.attempt.task_def_name == END_TASK
        if event.kind == "started":
            job.phase = event.phase.value
        elif event.kind in ("failed", "lost"):
            self.baton.tell(f"{event.phase} {event.kind}: {type(event.error).__name__}: {str(event.error)[:200]}")
            self.counts[f"{event.phase} {event.kind}: {type(event.error).__name__}"] += 1
            if event.kind == "lost" and job.execution_id in self._hits:
                self._swapped.add(job.execution_id)
            if "has begun again" in str(event.error):
                self.counts["trees: refused in a replaced instance"] += 1
            if is_scoped and "could see" in str(event.error):
                self.counts["scoped: refused"] += 1
            if is_end and isinstance(event.error, PublishFenceError):
                self.counts["run: refused"] += 1
            if isinstance(event.error, BranchNotFoundError):
                self.broken.append(f"10: {job.execution_id} of {job.attempt.task_def_name}: {event.error}")
        elif "cache" in event.attributes:
            self._note_cache(job, event)
        elif event.phase is Phase.DECIDE:
            if job.execution_id in self._swapped:
                self._swapped.remove(job.execution_id)
                self.counts["cached: decided again after a lost swap"] += 1
            self.counts[f"plan {event.attributes.get('plan')}"] += 1
            if is_scoped:
                self.counts[f"scoped: {event.attributes.get('plan')}"] += 1
            if is_end:
                self.counts[f"run: {event.attributes.get('plan')}"] += 1
            self.baton.tell(f"decides: {event.attributes.get('plan')} on {str(event.attributes.get('head'))[:12]}")

    def _note_cache(self, job: Job, event: Event) -> None:
        """What a try of a task with a cache found."""
        found, why = event.attributes["cache"], str(event.attributes.get("why", ""))
        self.baton.tell(f"cache: {found} {event.attributes.get('cached_from', why)}")
        if found == "hit":
            self._hits.add(job.execution_id)
            self.counts["cached: hit"] += 1
            self.counts["cached: hit after its body"] += job.execution_id in self.written
        elif found == "miss":
            self.counts["cached: miss"] += 1
            self.counts["cached: source gone"] += "cannot be taken" in why
            self.counts["cached: history not read"] += "could not be read" in why
            if why == NOT_FIRST:
                self.recomputing.add(job.execution_id)
                self.counts["cached: to be computed again"] += 1

    def _check_report(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Check that a newly recorded COMPLETED result names a commit of the branch, and is the only one."""
        record = self.engine.tasks.tree(attempt.workflow_instance_id)
        entry = record.find(attempt.task_id)
        if result.status != "COMPLETED" or entry is None or entry.output_ref is None:
            return
        self.counts["completions"] += 1
        self.counts["trees: completions in a sub-workflow"] += (
            bool(record.parts) and WITHIN in entry.reference_task_name
        )
        branch = branch_of(entry)
        if branch in self.moved:
            return
        if entry.output_ref not in self.store.memory.history(branch):
            self.broken.append(
                f"2: {attempt.task_id} completed with {entry.output_ref[:12]}, which is not on its branch"
            )
        refs = {other.output_ref for other in record.of(entry.reference_task_name) if other.output_ref is not None}
        if len(refs) > 1:
            self.broken.append(f"2: task {entry.reference_task_name!r} has two outcomes: {sorted(refs)}")


def input_branch(input_data: JsonObject) -> str:
    """The branch that a task's input names."""
    return next(str(one["branch"]) for _, one in joined(input_data["workspace"]) if isinstance(one, Mapping))


def branch_of(entry: TryRecord) -> str:
    """The branch that a try has completed on; empty if it has not."""
    return "" if entry.output is None else str(entry.output["workspace"]["branch"])
