"""The part: the validation of reads on a large branch, and workflows under prefixes of one branch."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

from pydantic import BaseModel

from benchmarks.compare import Spread
from benchmarks.inputs import Content
from benchmarks.parts import CannotMeasureError, Measured
from perago.attempt.context import RunContext
from perago.attempt.run import run_attempt
from perago.engines.local import LocalEngine
from perago.http.session import HttpSession
from perago.ports import WorkspaceStore, ignore
from perago.stores.git import GitStore
from perago.stores.lakefs import LakeFSStore
from perago.tasks.declare import task, task_of
from perago.values.history import Merge
from perago.values.models import WorkspaceInput
from perago.values.spec import Isolation, WorkspaceSpec
from servers.go_build import LAKEFS
from servers.lakefs import LakeFSServer

AT_MOST_MILLISECONDS, AT_MOST_CALLS = 100, 4
"""Required of a validation on 100,000 files with 10 changed between input and head."""

AT_LEAST_TIMES = 6.0
"""Required throughput of eight workflows under eight prefixes, as a multiple of `exclusive` with retries."""

WORKFLOWS = 8
TRIES = 200


class Repository(WorkspaceStore, Protocol):
    """What the measurements need of a repository on either store."""

    def resolve(self, ref: str) -> str: ...

    def import_directory(
        self, source: Path, branch: str, message: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> str | None: ...


@dataclass(frozen=True)
class Case:
    """The work: files of the branch, validations, publications of each workflow, seconds of a body."""

    files: int = 100_000
    validations: int = 30
    publications: int = 3
    body_seconds: float = 3.0


TINY = Case(files=200, validations=2, publications=1, body_seconds=0.05)


@dataclass(frozen=True)
class Throughput:
    """Publications of all workflows: seconds of all, bodies that ran, and attempts that were refused."""

    seconds: float
    bodies: int
    refused: int


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


class Params(BaseModel):
    """`seconds` that the body takes, and the `word` that it writes."""

    seconds: float
    word: str


class Result(BaseModel):
    pass


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    if LAKEFS.is_missing:
        raise CannotMeasureError(LAKEFS.missing)
    case = TINY if tiny else Case()
    text: list[str] = []
    short: list[str] = []
    with tempfile.TemporaryDirectory(dir=directory) as directory_of_all, LakeFSServer(parent=directory) as server:
        for name in ("git", "lakeFS"):
            with _place(name, server, Path(directory_of_all)) as place:
                taken, calls = _validations(place, case)
                short.append(_validated(name, taken, calls, case))
            sides: dict[Isolation, Throughput] = {}
            for isolation in ("exclusive", "serializable"):
                with _place(name, server, Path(directory_of_all)) as place:
                    sides[isolation] = _workflows(place, isolation, case)
            short.append(_compared(name, sides))
            text += _report(name, sides, case)
    return Measured(
        title="Serializable tasks under prefixes of one branch",
        versions={"lakeFS": LAKEFS.version},
        short=tuple(short),
        text="\n".join(text),
    )


@contextmanager
def _place(name: str, server: LakeFSServer, directory: Path) -> Iterator[Place]:
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


def _validations(place: Place, case: Case) -> tuple[Spread, int]:
    """Validate a task on one half of the branch, while ten files of the other half have changed."""
    with tempfile.TemporaryDirectory(dir=place.directory) as source:
        for half in ("data", "other"):
            Content(case.files // 2, 16).write(Path(source) / half)
        base = place.repository.import_directory(Path(source), "main", "begin")
    assert base is not None, "the branch was empty"
    foreign = tuple(place.commit({f"other/{number:04}/new": "theirs"}) for number in range(10))
    merge, spec = Merge(foreign[-1], foreign), WorkspaceSpec(prefix="data")
    seconds, calls = [], 0
    for _ in range(case.validations + 1):
        with _counted() as counted:
            began = time.perf_counter()
            found = place.repository.validate_reads(place.input(base), spec, merge)
            seconds.append(time.perf_counter() - began)
        assert found is None, found
        calls = max(calls, len(counted))
    whole = place.repository.validate_reads(place.input(base), WorkspaceSpec(), merge)
    assert whole is not None, "the whole branch has changed"
    assert len(whole.paths) == len(foreign)
    return Spread.of(seconds[1:]), calls


@contextmanager
def _counted() -> Iterator[list[str]]:
    """The methods of the calls to a server."""
    counted: list[str] = []
    honest = HttpSession.call

    async def call(self: HttpSession, request, *, timeout):  # type: ignore[no-untyped-def] # `call` has them
        counted.append(request.method)
        return await honest(self, request, timeout=timeout)

    with patch.object(HttpSession, "call", call):
        yield counted


def _workflows(place: Place, isolation: Isolation, case: Case) -> Throughput:
    """Eight workflows, each under its prefix, all from one head; what is refused runs again from the present one."""
    place.commit({f"{number}/start": "start" for number in range(WORKFLOWS)})
    began = time.perf_counter()
    with ThreadPoolExecutor(WORKFLOWS) as pool:
        tries = list(pool.map(lambda number: _workflow(place, isolation, number, case), range(WORKFLOWS)))
    seconds = time.perf_counter() - began
    return Throughput(seconds, sum(bodies for bodies, _ in tries), sum(refused for _, refused in tries))


def _workflow(place: Place, isolation: Isolation, number: int, case: Case) -> tuple[int, int]:
    """Publish one after the other; returns the bodies that ran, and how often an attempt was refused."""
    bodies = refused = 0

    @task(
        name="write",
        owner_email="benchmarks@example.org",
        workspace=WorkspaceSpec(prefix=f"{number}", isolation=isolation),
    )
    def write(workspace: Path, params: Params) -> Result:
        nonlocal bodies
        bodies += 1
        time.sleep(params.seconds)
        (workspace / "out").write_text(params.word)
        return Result()

    definition = task_of(write)
    assert definition is not None, "it is decorated"
    engine = LocalEngine(place.directory / f"runs-{number}")
    for publication in range(case.publications):
        for _ in range(TRIES):
            params = {"seconds": case.body_seconds, "word": f"{publication}"}
            workspace = place.input(place.repository.resolve("main")).model_dump()
            input_data = {"workspace": workspace, "params": params}
            with engine.start_run(target="write", task_name="write", input_data=input_data) as run:
                result = run_attempt(
                    definition,
                    input_data,
                    run.attempt,
                    RunContext(execution_id=uuid.uuid4().hex, observer=ignore),
                    workspace_root=place.directory / f"root-{number}",
                    open_store=lambda: place.repository,
                    engine=engine,
                )
            if result.status == "COMPLETED":
                break
            assert "Not published" in (result.reason_for_incompletion or ""), result
            refused += 1
        else:
            raise AssertionError(f"refused {TRIES} times")
    return bodies, refused


def _validated(name: str, taken: Spread, calls: int, case: Case) -> str:
    reached = taken.median * 1000 <= AT_MOST_MILLISECONDS and calls <= AT_MOST_CALLS
    told = (
        f"calls: {calls}, required at most {AT_MOST_MILLISECONDS} ms and {AT_MOST_CALLS} calls"
        if calls
        else (f"required at most {AT_MOST_MILLISECONDS} ms")
    )
    return (
        f"{name}: validating the reads of a task on a branch of {case.files:,} files, 10 of them changed between: "
        f"{_milliseconds(taken)}, {told}: {'reached' if reached else '**not reached**'}"
    )


def _milliseconds(spread: Spread) -> str:
    return f"{spread.median * 1000:.1f} ({spread.least * 1000:.1f} to {spread.greatest * 1000:.1f}) ms"


def _compared(name: str, sides: dict[Isolation, Throughput]) -> str:
    times = sides["exclusive"].seconds / sides["serializable"].seconds
    reached = times >= AT_LEAST_TIMES and not sides["serializable"].refused
    return (
        f"{name}: {WORKFLOWS} workflows under {WORKFLOWS} prefixes of one branch, serializable: "
        f"{sides['serializable'].refused} refused, {times:.1f} times the throughput of exclusive with retries, "
        f"required at least {AT_LEAST_TIMES:.0f}: {'reached' if reached else '**not reached**'}"
    )


def _report(name: str, sides: dict[Isolation, Throughput], case: Case) -> Iterator[str]:
    yield (
        f"### {name}: {WORKFLOWS} workflows, {case.publications} publications each, bodies of {case.body_seconds:g} s"
    )
    yield ""
    yield "| isolation | seconds | publications a second | bodies that ran | refused |"
    yield "|---|---|---|---|---|"
    for isolation, side in sides.items():
        rate = WORKFLOWS * case.publications / side.seconds
        yield f"| {isolation} | {side.seconds:.1f} | {rate:.2f} | {side.bodies} | {side.refused} |"
    yield ""
