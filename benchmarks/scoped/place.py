"""A repository on either store, with what the measurements do on it."""

from __future__ import annotations

import tempfile
import threading
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

from perago.attempt.context import RunContext
from perago.attempt.run import run_attempt
from perago.engines.local import LocalEngine
from perago.http.session import HttpSession
from perago.ports import WorkspaceStore, ignore
from perago.stores.git import GitStore
from perago.stores.lakefs import LakeFSStore
from perago.tasks.declare import TaskDefinition
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, EngineTask, RuntimeTaskResult, WorkspaceInput
from perago.values.record import InstanceRecord
from perago.values.spec import WorkspaceSpec
from servers.lakefs import LakeFSServer


class Repository(WorkspaceStore, Protocol):
    """What the measurements need of a repository on either store."""

    def resolve(self, ref: str) -> str: ...

    def import_directory(
        self, source: Path, branch: str, message: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> str | None: ...


@dataclass(frozen=True)
class Place:
    """A repository with its name, and a directory for files."""

    repository: Repository
    name: str
    directory: Path

    def input(self, ref: str) -> WorkspaceInput:
        return WorkspaceInput(repository=self.name, branch="main", refType="commit", ref=ref)

    def commit(self, files: dict[str, str]) -> str:
        """A person's commit."""
        with tempfile.TemporaryDirectory(dir=self.directory) as source:
            for name, text in files.items():
                path = Path(source) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            made = self.repository.import_directory(Path(source), "main", "by hand")
        assert made is not None, "it differs"
        return made

    def attempt(
        self, definition: TaskDefinition, input_data: JsonObject, engine: LocalEngine, of: str | None = None
    ) -> RuntimeTaskResult:
        """One attempt of a task, as a run of its own; or as a task of workflow instance `of`."""
        with engine.start_run(target=definition.name, task_name=definition.name, input_data=input_data) as run:
            return run_attempt(
                definition,
                input_data,
                run.attempt if of is None else replace(run.attempt, workflow_instance_id=of),
                RunContext(execution_id=uuid.uuid4().hex, observer=ignore),
                workspace_root=self.directory / f"root-{threading.get_ident()}",
                open_store=lambda: self.repository,
                engine=engine if of is None else _Renamed(engine, run.attempt, of),
            )


@dataclass(frozen=True)
class _Renamed:
    """An engine for one attempt of a run, which calls the run by another id."""

    engine: LocalEngine
    real: EngineTask
    name: str

    def load_current_attempt(self, attempt: Attempt, /) -> EngineTask:  # noqa: ARG002 - it is of this attempt alone
        return replace(self.engine.load_current_attempt(self.real), workflow_instance_id=self.name)

    def load_record(self, attempt: Attempt, paths: Collection[str] = (), /) -> InstanceRecord:  # noqa: ARG002 - as above
        return replace(self.engine.load_record(self.real, paths), workflow_instance_id=self.name)


@contextmanager
def new_place(name: str, server: LakeFSServer, directory: Path) -> Iterator[Place]:
    """A new repository."""
    own = f"scoped-{uuid.uuid4().hex[:8]}"
    if name == "git":
        yield Place(GitStore.create(directory / f"{own}.git", observer=ignore), own, directory)
        return
    with server.api() as api:
        api.create_repository(own, f"{server.storage}{own}")
    with LakeFSStore(
        endpoint_url=server.url,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
        observer=ignore,
    ) as store:
        yield Place(store.repository(own), own, directory)


@contextmanager
def counted() -> Iterator[list[str]]:
    """The methods of the calls to a server."""
    methods: list[str] = []
    honest = HttpSession.call

    async def call(self: HttpSession, request, *, timeout):  # type: ignore[no-untyped-def] # `call` has them
        methods.append(request.method)
        return await honest(self, request, timeout=timeout)

    with patch.object(HttpSession, "call", call):
        yield methods
