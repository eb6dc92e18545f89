"""A workflow on a Conductor server whose tasks a test answers, in the order that it needs."""

from __future__ import annotations

from servers.conductor_api import ConductorApi, fresh, simple

LIVE = ("RUNNING", "PAUSED")


class Play:
    """A workflow whose tasks are all of one type, which the test answers.

    Attributes:
        ran: the reference names of the tasks that were handed out, in order.
    """

    def __init__(self, api: ConductorApi, **settings: object) -> None:
        self.api = api
        self.task = api.define_task(fresh("t"), **{"retryCount": 0, **settings})
        self.id = ""
        self.ran: list[str] = []

    def one(self, reference: str):
        return simple(self.task, reference)

    def fork(self, *branches):
        last = [branch[-1]["taskReferenceName"] for branch in branches]
        return [
            {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": list(branches)},
            {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": last},
        ]

    def forked(self):
        """A fork of two branches between two tasks."""
        branches = ([self.one("a1"), self.one("a2")], [self.one("b1"), self.one("b2")])
        return [self.one("pre"), *self.fork(*branches), self.one("after")]

    def sub(self, *tasks):
        inner = self.api.define_workflow(fresh("inner"), tasks)
        param = {"name": inner, "version": 1}
        return {"name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW", "subWorkflowParam": param}

    def start(self, *tasks, **settings):
        self.id = self.api.start_workflow(self.api.define_workflow(fresh("w"), tasks, **settings), {})
        return self

    def go(self, *, fails=(), keeps=(), only=None):
        """Answer what is handed out until the workflow has ended.

        Args:
            fails: tasks that fail, once all of `keeps` have been handed out.
            keeps: tasks that are not answered. If none fails, this returns when all of them have been handed out.
            only: return when these have completed; nothing else follows.
        """
        failing: list[object] = []
        held: set[str] = set()

        def look():
            for task in self.api.poll_many(self.task, 20):
                name = task["referenceTaskName"]
                self.ran.append(name)
                if name in fails:
                    failing.append(task)
                elif name in keeps:
                    held.add(name)
                else:
                    self.api.update(task, "COMPLETED", outputData={"made": name})
            if held.issuperset(keeps):
                while failing:
                    self.api.update(failing.pop(), "FAILED")
            if only is not None:
                self.api.decide(self.id)
                statuses = self.statuses
                return all(statuses.get(name) == "COMPLETED" for name in only) or None
            return self.has_settled or (bool(keeps) and not fails and held.issuperset(keeps)) or None

        self.api.wait_while_none(look)
        return self

    @property
    def has_settled(self) -> bool:
        """Whether it has ended, and the server has ended its steps, which it does afterwards."""
        live = [step for step in self.steps.values() if step["status"] in ("SCHEDULED", "IN_PROGRESS")]
        return self.status not in LIVE and all(step["taskType"] == "JOIN" for step in live)

    @property
    def status(self) -> str:
        return self.api.workflow(self.id)["status"]

    @property
    def steps(self):
        """The newest try of each step."""
        return {step["referenceTaskName"]: step for step in self.api.tasks(self.id)}

    @property
    def statuses(self):
        return {name: step["status"] for name, step in self.steps.items()}

    def rerun(self, reference: str | None):
        self.ran.clear()
        body = {} if reference is None else {"reRunFromTaskId": self.steps[reference]["taskId"]}
        self.api.expect("POST", f"/workflow/{self.id}/rerun", data=body)
        return self

    def retry(self, *, resume: bool = False):
        self.ran.clear()
        query = f"resumeSubworkflowTasks={str(resume).lower()}"
        return self.api.call("POST", f"/workflow/{self.id}/retry?{query}", data={})

    def cancel(self):
        self.api.terminate(self.id)
        return self

    def join_too_early(self, *, keeps):
        """Have the join fail, as it does where it looks between a failed try and its retry: a race, so it is told to.

        Args:
            keeps: the tasks that run then.
        """
        self.start(*self.forked()).go(keeps=keeps)
        return self.fail_join() or self.join_too_early(keeps=keeps)

    def fail_join(self):
        """Have the join fail; None if the server was looking at it, and has written over that, or comes back to it only
        after an hour.
        """
        self.api.update(self.steps["join"], "FAILED")
        try:
            self.api.wait_while_none(lambda: self.has_settled or None, 20.0)
        except AssertionError:
            self.cancel()
            return None
        return self if self.statuses["join"] == "FAILED" else None
