"""One simulation: sets up a plan, runs until everything has ended, and records it for the judge."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from perago.errors import EngineError
from perago.ports import Event, Phase
from perago.values.joins import input_refs
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, RuntimeTaskResult
from perago.values.record import InstanceRecord, WorkflowStatus
from perago.worker.attempts.job import Job
from perago.workspace.patterns import visible_to
from simulation.baton import Baton, EndlessError, Process, VirtualClock
from simulation.executor import WorkerParts
from simulation.incidents import SHARED, Incidents
from simulation.network import LATE_SECONDS, Network
from simulation.plan import Plan, WorkflowPlan
from simulation.servers import SWEEP_SECONDS, SimulatedEngine, SimulatedStore
from simulation.tasks import SCOPE, SCOPED, SECRET, TASKS, BodyRun
from simulation.worker import GC_INTERVAL_SECONDS, GC_TTL_SECONDS, Site, Worker

CHAOS_SECONDS = 60.0
"""Duration of faults, in virtual seconds."""

SETTLE_SECONDS = 240.0
"""Maximum time until everything has ended after that."""

LOOK_SECONDS = 2.0
"""Seconds between two checks of a condition."""

HOSTILE = "../../escaped.txt"
"""A name that is valid in a store but not in a workspace."""

_FIRST = {"in.txt": "input", SHARED: "0", "w1-a": "0", "w1-l": "0"}


class World:
    """One simulation.

    Args:
        directory: empty directory for the workers' files.
        outfit: wraps the parts that executors use.

    Attributes:
        broken: broken promises found during the run.
        written: files that each body wrote, by execution id.
        healed_at: end of the faults in virtual seconds.
        people: commits of people.
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
        self.healed_at = 0.0
        self.clock = VirtualClock(self.baton)
        self.engine = SimulatedEngine(self.baton, self.clock, self.counts)
        self.engine.check = self._check_report
        self.store = SimulatedStore(self.clock)
        self.incidents = Incidents(self)
        self.network = Network(
            self.baton, plan.incidents, self.incidents.set_off, self.store.look, self.engine.is_current
        )
        self.workflows: dict[str, WorkflowPlan] = {}
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
            outfit=outfit,
        )
        self._make_branches()
        types = [name for name in TASKS if name not in SCOPED or any(workflow.scoped for workflow in plan.workflows)]
        if plan.has_one_type:
            types = sorted({_task_type(workflow) for workflow in plan.workflows})
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
        if not self._is_over():
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
        tries = self.engine.tasks.record(workflow).tries
        return any(entry.status.is_live and not self.engine.is_stranded(entry) for entry in tries)

    def _what_is_left(self) -> str:
        running = [name for name in self.workflows if self._is_under_way(name)]
        busy = [worker.process.name for worker in self.workers if not worker.is_idle]
        return f"workflows {running}, workers {busy}"

    # ---- set-up

    def _make_branches(self) -> None:
        for branch in sorted({workflow.branch for workflow in self.plan.workflows}):
            files = _FIRST | ({HOSTILE: "evil"} if branch in self.plan.hostile else {})
            if any(workflow.scoped for workflow in self.plan.workflows):
                files |= {f"{SCOPE}/{path}": text for path, text in _FIRST.items()}
            self.roots[branch] = self.store.memory.commit(branch, files, "Grace")
        self.store.look()

    def _start_workflow(self, number: int, plan: WorkflowPlan) -> None:
        workflow = "workflow-1" if number == 1 else self.engine.tasks.start_workflow()
        ref = self.store.memory.head(plan.branch)
        prefix = f"w{number}-"

        def schedule(who: str, *after: str) -> None:
            paths = [prefix + who, *([SHARED] if plan.shared_path else [])]
            params = {"who": prefix + who, "paths": paths, "noop": plan.noop, "big": plan.big, "password": SECRET}

            def make_input(record: InstanceRecord) -> JsonObject:
                refs = [_outcome(record, prefix + name, prefix + who) for name in after] or [ref]
                inputs = [self.store.memory.input(plan.branch, one).model_dump() for one in refs]
                return {"workspace": inputs[0] if len(inputs) == 1 else {"join": inputs}, "params": params}

            self.engine.tasks.schedule(
                _task_type(plan, who),
                make_input,
                reference_task_name=prefix + who,
                after=tuple(prefix + name for name in after),
                workflow=workflow,
            )

        match plan.shape:
            case "single" | "read-only":
                schedule("a")
            case "sequence":
                schedule("a")
                schedule("b", "a")
            case "fork" | "join":
                schedule("l")
                schedule("r")
                if plan.shape == "join":
                    schedule("b", "l", "r")
        self.workflows[workflow] = plan

    # ---- callbacks

    def _sweep(self) -> None:
        while True:
            self.baton.pause(SWEEP_SECONDS)
            self.engine.sweep(self.workflows)

    def _new_execution_id(self) -> str:
        self._executions += 1
        return f"e{self._executions}"

    def _make_body_run(self, job: Job) -> BodyRun:
        plan, name = self.workflows[job.identity.workflow_instance_id], job.attempt.task_def_name
        refs = input_refs(job.attempt.input_data)
        files = self.store.memory.files(next(ref for ref in self.store.memory.history(plan.branch) if ref in refs))
        root = ""
        if plan.scoped and (spec := TASKS[name].workspace) is not None:
            root, sees = spec.root, visible_to(spec)
            files = {path.removeprefix(root): content for path, content in files.items() if sees(path)}

        def saw(found: Mapping[str, bytes]) -> None:
            if found != files:
                names = sorted(name for name in found.keys() | files.keys() if found.get(name) != files.get(name))
                self.broken.append(f"the body of {job.execution_id} saw content that is not its input's: {names}")

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

    def _body_seconds(self, plan: WorkflowPlan) -> float:
        chance = self.random.random()
        return 4.0 + 12.0 * chance if plan.long else 0.4 + 2.0 * chance**2

    def _note_phase(self, job: Job, event: Event) -> None:
        is_scoped = job.attempt.task_def_name in SCOPED
        if event.kind == "started":
            job.phase = event.phase.value
        elif event.kind == "failed":
            self.baton.tell(f"{event.phase} failed: {type(event.error).__name__}: {str(event.error)[:200]}")
            self.counts[f"{event.phase} failed: {type(event.error).__name__}"] += 1
            if is_scoped and "could see" in str(event.error):
                self.counts["scoped: refused"] += 1
        elif event.phase is Phase.DECIDE:
            self.counts[f"plan {event.attributes.get('plan')}"] += 1
            if is_scoped:
                self.counts[f"scoped: {event.attributes.get('plan')}"] += 1
            self.baton.tell(f"decides: {event.attributes.get('plan')} on {str(event.attributes.get('head'))[:12]}")

    def _check_report(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Check that a newly recorded COMPLETED result names a commit of the branch, and is the only one."""
        record = self.engine.tasks.record(attempt.workflow_instance_id)
        entry = record.find(attempt.task_id)
        if result.status != "COMPLETED" or entry is None or entry.output_ref is None:
            return
        self.counts["completions"] += 1
        branch = self.workflows[attempt.workflow_instance_id].branch
        if entry.output_ref not in self.store.memory.history(branch):
            self.broken.append(
                f"2: {attempt.task_id} completed with {entry.output_ref[:12]}, which is not on its branch"
            )
        refs = {other.output_ref for other in record.of(entry.reference_task_name) if other.output_ref is not None}
        if len(refs) > 1:
            self.broken.append(f"2: task {entry.reference_task_name!r} has two outcomes: {sorted(refs)}")


def _task_type(plan: WorkflowPlan, who: str = "a") -> str:
    if plan.shape == "read-only":
        return "read"
    return f"scoped {who}" if plan.scoped else "merge" if plan.snapshot else "write"


def _outcome(record: InstanceRecord, name: str, asking: str) -> str:
    """The commit that a task completed with, for an input expression."""
    for entry in record.of(name):
        if entry.output_ref is not None:
            return entry.output_ref
    return next((entry.input_refs[0] for entry in reversed(record.of(asking)) if entry.input_refs), "")
