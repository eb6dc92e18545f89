"""A store and an engine in memory, and tasks whose bodies a test decides on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from attempt_ports import ports_of
from perago import RuntimeTaskResult, WorkspaceSpec, run_workspace_task_attempt, task
from perago.ports import Event, Phase
from perago.testing import MemoryEngine, MemoryStore


class Params(BaseModel):
    text: str = "hello"


class Result(BaseModel):
    said: str


Body = Callable[[Path, Params], None]


def say(workspace: Path, params: Params) -> None:
    (workspace / "out.txt").write_text(params.text)


def nothing(workspace: Path, params: Params) -> None:
    return None


class World:
    """One workflow on one branch. `runs` counts how often a body ran; `body` is what it does."""

    def __init__(self, root: Path, **spec: object) -> None:
        self.store, self.engine = MemoryStore(), MemoryEngine()
        self.root = root
        self.runs = 0
        self.body: Body = say
        self.result = ""
        self.events: list[Event] = []
        self.at: dict[tuple[Phase, str], Callable[[], object]] = {}
        self.input_ref = self.store.commit("main", {"in.txt": "input"})
        self.task = self._make_task(**spec)

    def _make_task(self, **spec: object):
        world = self

        @task(name="say", owner_email="ada@example.org", workspace=WorkspaceSpec(**spec))
        def speak(workspace: Path, params: Params) -> Result:
            world.runs += 1
            world.body(workspace, params)
            return Result(said=world.result or params.text)

        return speak.__perago_task__

    def schedule(self, name: str = "say", **options: object) -> None:
        workspace = self.store.input(ref=self.input_ref).model_dump()
        self.engine.schedule("say", {"workspace": workspace, "params": {}}, reference_task_name=name, **options)

    def poll(self):
        attempt = self.engine.poll()
        assert attempt is not None, "nothing is scheduled"
        return attempt

    def attempt(self, attempt, *, report: bool = True, **replaced: object) -> RuntimeTaskResult:
        given = ports_of(self.store, self.engine) | {"observer": self._observe} | replaced
        result = run_workspace_task_attempt(self.task, attempt.input_data, attempt, self.root, **given)
        if report:
            self.engine.report_result(attempt, result)
        return result

    def _observe(self, event: Event) -> None:
        self.events.append(event)
        happening = self.at.pop((event.phase, event.kind), None)
        if happening is not None:
            happening()

    @property
    def head(self) -> str:
        return self.store.head("main")

    @property
    def line(self) -> list[str]:
        return self.store.history("main")

    @property
    def files(self) -> dict[str, bytes]:
        return self.store.files("main")

    def person(self, **files: str) -> str:
        return self.store.commit("main", {name.replace("_", "."): text for name, text in files.items()}, "Grace")

    @contextmanager
    def nothing_left(self) -> Iterator[None]:
        yield
        assert self.store.staged() == []
        assert not self.root.exists() or list(self.root.iterdir()) == []


def with_params(attempt, **params: object):
    """The same attempt with other params, as an input expression that is evaluated again may give."""
    return replace(attempt, input_data={**attempt.input_data, "params": params})


def ref_of(result: RuntimeTaskResult) -> str:
    assert result.output is not None, result.reason_for_incompletion
    ref = result.output["workspace"]["ref"]
    assert isinstance(ref, str)
    return ref


def said_of(result: RuntimeTaskResult) -> object:
    assert result.output is not None, result.reason_for_incompletion
    return result.output["result"]["said"]
