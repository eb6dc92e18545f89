"""Incidents at a call: workers die or are paused, people and the engine act elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from perago.errors import EngineError, PeragoError
from perago.values.record import CAME_TO_NOTHING, TryRecord, TryStatus
from perago.worker.attempts.job import Cause
from perago.worker.supervisor.shutdown import AT_ONCE_SECONDS
from simulation.network import Caller
from simulation.plan import Incident
from simulation.tasks import SCOPE, path_made_by
from simulation.worker import Worker
from simulation.workflows import SHARED

if TYPE_CHECKING:
    from simulation.world import World

PATHS = tuple(f"w{number}-{who}" for number in (1, 2, 3) for who in "ablr")
"""The path that a task writes, by number of its workflow and its name."""

LATER_SECONDS = 40.0
"""Maximum delay in seconds before a person reruns a workflow."""

DRAIN_SECONDS = 60.0
"""That a worker which was told to stop gets after its jobs were ended; one that was told twice gets three."""

STRAYING, MOVING = 0.8, 0.95
"""From these amounts on a person commits to the branch of a run, or moves it."""

_DAY = 86_400.0


class Incidents:
    """Triggers the incidents of a world.

    Attributes:
        pending: number of unfinished actions of people.
    """

    def __init__(self, world: World) -> None:
        self.pending = 0
        self._world = world
        self._acts: dict[str, Callable[[Incident, Caller], None]] = {
            "crash": self._crash,
            "kill": self._kill,
            "stop": self._stop,
            "drain": self._drain,
            "person": self._person,
            "conflict": self._conflict,
            "copy": self._copy,
            "requeue": self._requeue,
            "terminate": self._terminate,
            "rerun": self._rerun,
            "restart": self._restart,
            "clock": self._jump,
            "engine away": self._engine_away,
            "store away": self._store_away,
            "janitor": self._janitor,
        }

    def set_off(self, incident: Incident, caller: Caller) -> None:
        self._acts[incident.kind](incident, caller)

    def later(self, seconds: float, act: Callable[[], None], who: str) -> None:
        """Schedule an action of a person. If a server refuses it, it is dropped."""
        self.pending += 1

        def go() -> None:
            self._world.baton.pause(seconds)
            with suppress(PeragoError):
                act()
                self._world.store.look()
            self.pending -= 1

        self._world.baton.spawn(who, self._world.elsewhere, go)

    def _worker_of(self, caller: Caller) -> Worker | None:
        return next((worker for worker in self._world.workers if worker.process is caller.worker), None)

    def _workflow_of(self, caller: Caller) -> str | None:
        """The caller's workflow, or any."""
        attempt = caller.attempt
        if attempt is not None and (root := self._world.root_of(attempt)) in self._world.workflows:
            return root
        return self._world.random.choice(sorted(self._world.workflows)) if self._world.workflows else None

    def _crash(self, incident: Incident, caller: Caller) -> None:
        worker = self._worker_of(caller)
        if worker is not None and not worker.process.is_dead:
            worker.crash()
            self.later(0.5 + 15.0 * incident.amount, worker.boot, "init")
            self._give_way()

    def _kill(self, _: Incident, caller: Caller) -> None:
        worker = self._worker_of(caller)
        if worker is not None and worker.kill_executor(caller.executor):
            self._give_way()

    def _stop(self, incident: Incident, caller: Caller) -> None:
        caller.worker.stopped_until = self._world.baton.now + 11.0 + 20.0 * incident.amount
        self._give_way()

    def _drain(self, incident: Incident, caller: Caller) -> None:
        worker = self._worker_of(caller)
        if worker is None or worker.process.is_dead:
            return
        worker.dispatcher.drain()
        process = worker.process
        cause, seconds = (Cause.AT_ONCE, AT_ONCE_SECONDS) if incident.amount < 0.5 else (Cause.SHUTDOWN, DRAIN_SECONDS)

        def replace() -> None:
            if not process.is_dead:
                worker.dispatcher.end(cause)
            self._world.until(lambda: process.is_dead or worker.is_drained, seconds)
            if not process.is_dead:
                worker.end()

        self.later(4.0 * incident.amount, replace, "init")

    def _give_way(self) -> None:
        """Stop a caller that has just died or is paused."""
        me = self._world.baton.current
        if me.process.is_dead:
            self._world.baton.park()
        elif me.process.still_until > self._world.baton.now:
            self._world.baton.pause()

    def _person(self, incident: Incident, caller: Caller) -> None:
        run = None if incident.amount < STRAYING else self._run_of(caller)
        if run is not None:
            self._stray(run, incident)
            return
        name = f"person-{len(self._world.people) % 3}"
        is_beside = self._is_scoped(caller) and incident.amount < 0.5  # below the tasks' prefix, and seen by none
        self._commit(caller, f"{SCOPE}/{name}" if is_beside else name, incident)

    def _run_of(self, caller: Caller) -> str | None:
        """The newest branch of the workflow's runs."""
        workflow = self._workflow_of(caller)
        return next((name for name in reversed(self._world.store.begun) if self._world.is_run_of(name, workflow)), None)

    def _stray(self, run: str, incident: Incident) -> None:
        """Commit to the branch of a run, or move it back to where it was begun."""
        store = self._world.store
        if incident.amount < MOVING:
            made = store.memory.commit(run, {"stray": f"theirs {incident.number} {incident.amount}"}, "Grace")
        else:
            store.memory.reset(run, made := store.begun[run])
            self._world.moved.add(run)
        self._world.counts["runs that a person strayed into"] += 1
        self._note(made, f"strays into {run}")

    def _conflict(self, incident: Incident, caller: Caller) -> None:
        paths = [SHARED, *PATHS[: 4 * len(self._world.plan.workflows)]]
        if self._is_scoped(caller):
            paths = [f"{SCOPE}/{path}" for path in [*paths, "in.txt"]]
        if any(plan.cached for plan in self._world.workflows.values()):
            paths = ["in.txt", *map(path_made_by, "ablr")]
        self._commit(caller, self._world.random.choice(paths), incident)

    def _is_scoped(self, caller: Caller) -> bool:
        attempt = caller.attempt
        plan = None if attempt is None else self._world.workflows.get(self._world.root_of(attempt))
        return plan is not None and plan.scoped

    def _commit(self, caller: Caller, path: str, incident: Incident) -> None:
        workflow = self._workflow_of(caller)
        if workflow is not None:
            branch = self._world.workflows[workflow].branch
            text = f"theirs {incident.number} {incident.amount}"
            self._note(self._world.store.memory.commit(branch, {path: text}, "Grace"), f"commits {path}")

    def _copy(self, _: Incident, caller: Caller) -> None:
        workflow = self._workflow_of(caller)
        branch = None if workflow is None else self._world.workflows[workflow].branch
        if branch is None:
            return
        memory, run = self._world.store.memory, self._run_of(caller)
        line = [ref for name in (branch, run) if name is not None for ref in memory.history(name)]
        stamped = [ref for ref in dict.fromkeys(line) if memory.stamp_of(ref) is not None]
        if stamped:
            chosen = self._world.random.choice(stamped)
            self._note(memory.cherry_pick(chosen, branch, "Grace"), f"cherry-picks {chosen[:12]}")

    def _note(self, made: str, what: str) -> None:
        self._world.people.append(made)
        self._world.store.look()
        self._world.baton.tell(f"Grace {what}: {made[:12]}")

    def _requeue(self, _: Incident, caller: Caller) -> None:
        workflow = self._workflow_of(caller)
        if workflow is None:
            return
        tries = self._tasks_of(workflow, inside=True)
        live = [entry.task_id for entry in tries if entry.status is TryStatus.IN_PROGRESS]
        if self._world.workflows[workflow].big:  # the next execution cannot adopt what this report tells of
            live = [task_id for task_id in live if task_id not in self._reported(workflow)]
        if live:
            self._attempt_admin(lambda: self._world.engine.tasks.requeue(self._world.random.choice(live)), "requeued")

    def _terminate(self, incident: Incident, caller: Caller) -> None:
        workflow = self._workflow_of(caller)
        if workflow is not None:
            self._attempt_admin(lambda: self._world.engine.tasks.terminate(workflow), f"{workflow} terminated")
            self.later(12.0 * incident.amount, lambda: self._world.engine.tasks.retry_workflow(workflow), "admin")

    def _tasks_of(self, workflow: str, *, inside: bool = False) -> list[TryRecord]:
        """The tries of tasks of a workflow. A rerun from within a sub-workflow, or from it, is not a use that we model.

        Args:
            inside: those of its sub-workflows as well.
        """
        tasks = self._world.engine.tasks
        tries = (tasks.tree(workflow) if inside else tasks.record(workflow)).tries
        return [entry for entry in tries if entry.sub_workflow is None]

    def _reported(self, workflow: str) -> set[str]:
        return self._world.network.reported(self._world.engine.tasks.instances(workflow))

    def _rerun(self, incident: Incident, caller: Caller) -> None:
        """Rerun now from any task, or later from a task that followed failed ones."""
        workflow = self._workflow_of(caller)
        if workflow is None:
            return
        if incident.amount < 0.5:
            self._rerun_from(workflow, self._tasks_of(workflow), 2 * incident.amount)
        else:
            share = 2 * incident.amount - 1
            self.later(LATER_SECONDS * share, lambda: self._rerun_later(workflow, share), "admin")

    def _rerun_later(self, workflow: str, share: float) -> None:
        """Hand out the failed tries before the chosen task again: two tries, or one, if there are any."""
        tries = self._world.engine.tasks.record(workflow).tries
        failed = [sum(_failed_before(entry, other) for other in tries[:n]) for n, entry in enumerate(tries)]
        tasks = [(entry, count) for entry, count in zip(tries, failed, strict=True) if entry.sub_workflow is None]
        wanted = min(2, max((count for _, count in tasks), default=0))
        chosen = [entry for entry, count in tasks if count >= wanted]
        self._rerun_from(workflow, chosen, share)

    def _rerun_from(self, workflow: str, tries: Sequence[TryRecord], share: float) -> None:
        if not tries or self._reported(workflow):
            return  # a rerun between a fence and its report: no worker can handle that
        chosen = tries[int(share * len(tries))]
        with suppress(EngineError):
            self._world.engine.tasks.terminate(workflow)
        self._attempt_admin(lambda: self._world.engine.rerun(chosen.task_id), f"rerun from {chosen.task_id}")

    def _restart(self, _: Incident, caller: Caller) -> None:
        workflow = self._workflow_of(caller)
        if workflow is not None:
            with suppress(EngineError):
                self._world.engine.tasks.terminate(workflow)
            self._attempt_admin(lambda: self._world.engine.tasks.restart(workflow), f"{workflow} restarted")

    def _attempt_admin(self, act: Callable[[], None], told: str) -> None:
        with suppress(EngineError):
            act()
            self._world.baton.tell(told)

    def _jump(self, incident: Incident, caller: Caller) -> None:
        worker = self._worker_of(caller)
        clock = self._world.clock if worker is None or incident.amount < 0.2 else worker.clock
        clock.ahead = _DAY * (2 * incident.amount - 1)
        self._world.baton.tell(f"a clock is {clock.ahead:.0f} s ahead")

    def _engine_away(self, incident: Incident, _: Caller) -> None:
        self._world.network.away["engine"] = self._world.baton.now + 1.0 + 14.0 * incident.amount

    def _store_away(self, incident: Incident, _: Caller) -> None:
        self._world.network.away["store"] = self._world.baton.now + 1.0 + 14.0 * incident.amount

    def _janitor(self, _: Incident, __: Caller) -> None:
        removed = self._world.store.sweep(float("inf"))
        self._world.counts["staged work taken from its attempt"] += removed
        self._world.store.sweep_runs(self._world.clock.now() + timedelta(seconds=_DAY))


def _failed_before(entry: TryRecord, before: TryRecord) -> bool:
    """Whether it is an earlier try of another task that did not complete."""
    return before.status in CAME_TO_NOTHING and before.reference_task_name != entry.reference_task_name
