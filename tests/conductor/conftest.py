"""What the tests on a real Conductor share: definitions of their own, and an engine."""

import pytest

from conductor_scene import Scene
from perago.engines.conductor import ConductorEngine
from servers.conductor_api import fresh, simple
from servers.fixtures import repository_on
from servers.lakefs_hooks import store_on
from servers.proxy import FaultProxy


class Flow:
    """A workflow of one task, under names that no other test has.

    Attributes:
        task, workflow: names of the definitions.
    """

    def __init__(self, api, *, inputs=(), task=None, **settings):
        self.api = api
        self.task = api.define_task(fresh("task"), **settings)
        parameters = {name: f"${{workflow.input.{name}}}" for name in inputs}
        self.workflow = api.define_workflow(fresh("flow"), [simple(self.task, "only", parameters, **(task or {}))])
        self.started = []

    def start(self, **settings):
        """Start it; returns the workflow's id."""
        self.started.append(self.api.start_workflow(self.workflow, **settings))
        return self.started[-1]

    def begin(self, **settings):
        """Start it and take its task, as the server gives it."""
        self.start(**settings)
        return self.api.wait_for_task(self.task)

    def ended(self):
        """Whether the first one has; None: it has not."""
        return self.api.workflow(self.started[0])["status"] != "RUNNING" or None

    def end(self):
        for workflow_id in self.started:
            answer = self.api.call("GET", f"/workflow/{workflow_id}", query={"includeTasks": False})
            if answer.status == 200 and answer.json()["status"] in ("RUNNING", "PAUSED"):
                self.api.terminate(workflow_id)


@pytest.fixture
def make_flow(conductor):
    """Makes workflows of one task; takes settings of the task's definition."""
    flows = []

    def make(**settings):
        flows.append(Flow(conductor, **settings))
        return flows[-1]

    yield make
    for flow in flows:
        flow.end()


@pytest.fixture
def flow(make_flow):
    return make_flow()


@pytest.fixture
def engine(conductor_server):
    with ConductorEngine(conductor_server.api_url) as engine:
        yield engine


@pytest.fixture
def proxy(conductor_server):
    url = conductor_server.api_url.removesuffix("/api")
    with FaultProxy(url) as proxy:
        yield proxy


@pytest.fixture
def behind_proxy(proxy):
    with ConductorEngine(f"{proxy.url}/api") as engine:
        yield engine


@pytest.fixture
def scene(conductor, engine, lakefs_server, tmp_path):
    """A repository on a real lakeFS, and the engine."""
    with repository_on(lakefs_server) as repository, store_on(lakefs_server) as store:
        scene = Scene(conductor, engine, store, repository, tmp_path)
        yield scene
        scene.close()
        assert scene.staged() == []
