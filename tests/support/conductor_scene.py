"""Attempts on a real engine and a real store, with what befalls them set off by the test, and the branch to look at."""

from __future__ import annotations

import itertools
import math
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from attempt_ports import ports_of
from perago import RetryPolicy, TaskControls, TimeoutPolicy, WorkspaceSpec, build_taskdef, task
from perago.attempt.compat import run_workspace_task_attempt
from perago.attempt.phases import Phases
from perago.attempt.report import Reported, last_look, report_attempt
from perago.ports import SystemClock, ignore
from perago.values.models import RuntimeTaskResult
from servers.conductor_api import fresh, simple
from servers.machine import slowness

ACTIONS = "_lakefs_actions/"
DONE = RuntimeTaskResult("COMPLETED", {"result": {"n": 1}})


def taken(conductor, engine, task_types, count=1, worker="w", **settings):
    """Poll until something comes."""
    return conductor.wait_while_none(lambda: engine.poll(task_types, count, worker, **settings) or None)


def short_lease() -> int:
    """A response timeout in seconds to run out in a test. The first calls to a server may take a second each."""
    return min(10, 2 * math.ceil(slowness()))


class Params(BaseModel):
    text: str = "text"


class Made(BaseModel):
    run: int


@dataclass
class Step:
    """A task that writes one file, with the number of the run that wrote it; and what it needs in a workflow."""

    definition: object
    file: str
    runs: list[int] = field(default_factory=list)

    @property
    def name(self):
        return self.definition.name


@dataclass
class Ended:
    """An attempt that has ended; `reported` is None where the report was lost."""

    result: object
    reported: Reported | None
    body_ran: bool

    @property
    def status(self):
        return self.result.status

    @property
    def ref(self):
        assert self.result.output is not None, self.result.reason_for_incompletion
        return self.result.output["workspace"]["ref"]

    @property
    def run(self):
        return self.result.output["result"]["run"]


class Scene:
    """One repository, one engine; any number of workflows.

    Attributes:
        api: the engine through plain HTTP, where the test plays the person.
        base: the commit that the branch began with.
    """

    def __init__(self, api, engine, store, repository, directory: Path):
        self.api = api
        self.engine = engine
        self.store = store
        self.repository = repository
        self.directory = directory
        self.base = repository.commit_files("main", {"input": b"input"})
        self.started = []
        self._numbers = itertools.count(1)

    # ---- definitions

    def step(self, file="out", *, response_seconds=60, retries=3, writes=True, **spec):
        """A task, registered as `perago register` does it. `writes`: False, and it changes nothing."""
        runs = []

        def body(workspace: Path, params: Params) -> Made:
            number = next(self._numbers)
            runs.append(number)
            if writes:
                (workspace / file).write_text(f"{params.text} {number}")
            return Made(run=number)

        body.__annotations__ = {"workspace": Path, "params": Params, "return": Made}
        controls = TaskControls(
            retry=RetryPolicy(count=retries, delay_seconds=0),
            timeout=TimeoutPolicy(policy="RETRY", response_seconds=response_seconds),
        )
        name = fresh(file)
        made = task(name=name, owner_email="tests@example.com", workspace=WorkspaceSpec(**spec), controls=controls)(
            body
        )
        self.engine.put_taskdef(build_taskdef(made.__perago_task__))
        return Step(made.__perago_task__, file, runs)

    def define(self, *tasks, **settings):
        """Register a workflow; returns its name."""
        return self.api.define_workflow(fresh("flow"), tasks, **settings)

    def start(self, workflow, workspace=None, **settings):
        given = {"workspace": workspace or self.workspace(), "params": {}}
        self.started.append(self.api.start_workflow(workflow, given, **settings))
        return self.started[-1]

    def workspace(self, ref=None):
        name = self.repository.name
        return {"repository": name, "branch": "main", "refType": "commit", "ref": ref or self.base}

    # ---- attempts

    def take(self, step):
        """The next execution of a task, as a worker gets it."""
        (attempt,) = self.api.wait_while_none(lambda: self.engine.poll([step.name], 1, "scene") or None)
        return attempt

    def take_deciding(self, step, workflow):
        """The same, where the server has to notice something first: a timeout, or the end of a loop's round."""

        def look():
            self.api.decide(workflow)
            return self.engine.poll([step.name], 1, "scene") or None

        (attempt,) = self.api.wait_while_none(look)
        return attempt

    def run(self, step, attempt, *, report=True, at=None):
        """One attempt to its end, its lease held, with what is to happen when a phase begins for the first time.

        Args:
            at: phase -> a function of the lease.
        """
        happenings = dict(at or {})
        lease = self.engine.hold(attempt)
        begun = set()

        def observe(event):
            if event.kind == "started":
                begun.add(event.phase.value)
                happenings.pop(event.phase.value, let_go_on)(lease)

        result = run_workspace_task_attempt(
            step.definition,
            attempt.input_data,
            attempt,
            self.directory,
            **ports_of(self.store, self.engine),
            execution_id=uuid.uuid4().hex,
            observer=observe,
        )
        lease.stop()
        assert not happenings, f"the attempt never came to {list(happenings)}: {result}"
        return Ended(result, self.report(step, attempt, result) if report else None, "body" in begun)

    def report(self, step, attempt, result):
        look = last_look(
            step.definition,
            attempt.input_data,
            attempt,
            read_history=self.store.read_history,
            load_record=self.engine.load_record,
        )
        phases = Phases(ignore, SystemClock(), execution_id="", task_id=attempt.task_id)
        return report_attempt(self.engine, attempt, result, phases, last_look=look)

    def in_background(self, step, attempt, phase, **options):
        """An attempt that stops where a phase begins, until the test lets it go on; see `Halted`."""
        return Halted(self, step, attempt, phase, options)

    # ---- the outcome

    def status(self, workflow):
        return self.api.wait_for_end(workflow)["status"]

    def end_by_timeout(self, workflow):
        """Wait until the response timeout of a task without retries ends the workflow."""

        def look():
            self.api.decide(workflow)
            return self.api.workflow(workflow)["status"] != "RUNNING" or None

        self.api.wait_while_none(look)

    def line(self):
        """Ids of the commits on the branch, newest first, down to the base, which is left out."""
        line = self.repository.line("main")
        return line[: line.index(self.base)]

    def files(self, ref="main"):
        found = {name: content.decode() for name, content in self.repository.files(ref).items()}
        return {name: content for name, content in found.items() if not name.startswith(ACTIONS) and name != "input"}

    def is_empty(self, commit):
        """Whether a commit has the content of its first parent, as a seal has."""
        parent = self.repository.show(commit)["parents"][0]
        return self.files(commit) == self.files(parent)

    def staged(self):
        """Staging branches that are left."""
        return self.repository.branches("perago-", hidden=True)

    def close(self):
        for workflow in self.started:
            if self.api.workflow(workflow)["status"] in ("RUNNING", "PAUSED"):
                self.api.terminate(workflow)


class Halted:
    """An attempt in a thread of its own, which waits where a phase begins, as if its process had been stopped."""

    def __init__(self, scene, step, attempt, phase, options):
        self._there = threading.Event()
        self._go_on = threading.Event()
        self._ended = None
        self._error = None

        def halt(lease):
            lease.stop()
            self._there.set()
            assert self._go_on.wait(60 * slowness())

        def run():
            try:
                self._ended = scene.run(step, attempt, at={phase: halt}, **options)
            except BaseException as exc:
                self._error = exc
                self._there.set()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert self._there.wait(60 * slowness())

    def go_on(self):
        """Let it run to its end."""
        self._go_on.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._ended


def on_workspace(step, reference, workspace="${workflow.input.workspace}", **settings):
    """The step in a workflow."""
    return simple(step.name, reference, {"workspace": workspace, "params": "${workflow.input.params}"}, **settings)


def after(reference):
    """The workspace that a task left, for the next one."""
    return f"${{{reference}.output.workspace}}"


def let_go_on(_lease):
    return None
