"""Workflows on a real Conductor server pass the suite that holds the in-memory engine to it."""

import functools
import time

import pytest

from perago.engines.conductor import ConductorEngine
from perago.engines.conductor.engine import SETTLE_SECONDS
from perago.testing.contract import TreeContract, WorkflowContract
from perago.testing.contract.engine import INPUT
from servers.conductor_api import fresh, simple

pytestmark = pytest.mark.both
BEGINNINGS = 10


class JoinFailedTooSoonError(Exception):
    """Conductor 3.32.3 looked at the join between the failure of a task in the fork and its retry: once in 40 times."""


def begun_anew(test):
    """The test, repeated if a join failed too soon: a race in Conductor, which means no workflow to end so."""

    @functools.wraps(test)
    def begin_until_joined(self):
        for _ in range(BEGINNINGS - 1):
            try:
                return test(self)
            except JoinFailedTooSoonError:
                continue
        return test(self)

    return begin_until_joined


class TestConductorWorkflows(WorkflowContract, TreeContract):
    test_when_its_tries_are_spent_the_workflow_fails_and_siblings_are_cancelled = begun_anew(
        WorkflowContract.test_when_its_tries_are_spent_the_workflow_fails_and_siblings_are_cancelled
    )
    test_a_rerun_takes_up_a_sibling_that_was_cancelled = begun_anew(
        WorkflowContract.test_a_rerun_takes_up_a_sibling_that_was_cancelled
    )
    test_a_failed_try_whose_retry_a_rerun_removed_gets_no_other = begun_anew(
        WorkflowContract.test_a_failed_try_whose_retry_a_rerun_removed_gets_no_other
    )

    @pytest.fixture(autouse=True)
    def server(self, conductor):
        self.api = conductor
        self._engine = ConductorEngine(conductor.url)
        self.begun = []
        self.tasks = {}
        yield
        self._engine.close()
        for workflow in self.begun:
            if self.is_running(workflow):
                self.api.terminate(workflow)

    def engine(self):
        return self._engine

    def begin(self, shape, *, is_patient=True):
        seconds = 60 if is_patient else 2
        if shape == "tree":
            return self._start(self._tree(seconds))
        first, second = ("l", "r") if shape == "fork" else ("a", "b")
        is_optional = shape == "optional"
        first_task = self._task(first, seconds, retryCount=0 if is_optional else 1, optional=is_optional)
        second_task = self._task(second, seconds, shape, retryCount=1)
        tasks = [first_task, second_task]
        if shape == "fork":
            fork = {
                "name": "fork",
                "taskReferenceName": "fork",
                "type": "FORK_JOIN",
                "forkTasks": [[task] for task in tasks],
            }
            join = {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": [first, second]}
            tasks = [fork, join]
        return self._start(tasks)

    def _tree(self, seconds):
        given = {name: f"${{workflow.input.{name}}}" for name in INPUT}
        inner = [self._task(who, seconds, retryCount=1) for who in ("c", "d")]
        sub = {
            "name": "s",
            "taskReferenceName": "s",
            "type": "SUB_WORKFLOW",
            "subWorkflowParam": {"name": self.api.define_workflow(fresh("inner"), inner)},
            "inputParameters": given,
        }
        return [sub, self._task("b", seconds, retryCount=1)]

    def _start(self, tasks):
        workflow = self.api.start_workflow(self.api.define_workflow(fresh("flow"), tasks), INPUT)
        self.begun.append(workflow)
        return workflow

    def _task(self, who, response_seconds, shape="", *, optional=False, **settings):
        self.tasks[who] = self.api.define_task(fresh(who), responseTimeoutSeconds=response_seconds, **settings)
        inputs = {name: f"${{workflow.input.{name}}}" for name in INPUT}
        if shape == "sequence":
            inputs["workspace"] = "${a.output.workspace}"
        return simple(self.tasks[who], who, inputs, optional=optional)

    def poll(self, workflow, who):
        def look():
            self.api.decide(workflow)
            polled = self._engine.poll([self.tasks[who]], 1, "contract")
            if not polled:
                self._see_that_no_join_failed(workflow)
            return polled or None

        (attempt,) = self.api.wait_while_none(look)
        assert self._engine.load_record(attempt).workflow_instance_id == workflow
        return attempt

    def _see_that_no_join_failed(self, workflow):
        now = self.api.workflow(workflow)
        if now["status"] == "FAILED" and any(
            task["taskType"] == "JOIN" and task["status"] == "FAILED" for task in now["tasks"]
        ):
            raise JoinFailedTooSoonError(f"workflow {workflow}: {now.get('reasonForIncompletion')}")
        tasks = [(task["referenceTaskName"], task["status"]) for task in now["tasks"]]
        assert now["status"] == "RUNNING", f"there is nothing to poll in workflow {workflow}: {now['status']}, {tasks}"

    def is_running(self, workflow):
        return self.api.workflow(workflow)["status"] == "RUNNING"

    def await_end(self, workflow):
        self.api.decide(workflow)
        self.api.wait_for_end(workflow)

    def requeue(self, attempt):
        assert self._engine.give_back(attempt)

    def time_out(self, attempt):
        """The next poll has the server look."""

    def stay_silent(self, attempt):
        time.sleep(4)  # twice the response timeout of those that are not patient
        self.api.decide(attempt.workflow_instance_id)

    def terminate(self, workflow):
        self.api.terminate(workflow)

    def retry(self, workflow):
        self._let_settle(workflow)
        self.api.retry(workflow)

    def rerun(self, workflow, task_id):
        self._let_settle(workflow)
        self.api.rerun(workflow, task_id)

    def restart(self, workflow):
        self._let_settle(workflow)
        self.api.restart(workflow)

    def _let_settle(self, workflow):
        """The server works on an ended workflow for a moment, and writes over what is done with it meanwhile."""
        ended = self.api.workflow(workflow)["endTime"] / 1000
        time.sleep(max(0.0, ended + SETTLE_SECONDS - time.time()))
