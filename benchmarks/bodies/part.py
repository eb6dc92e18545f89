"""The part: attempts with bodies in this process, forked, and spawned, without and with a sandbox, in turn."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from benchmarks.compare import Spread
from benchmarks.parts import Measured
from benchmarks.tasks import change
from perago.attempt.body import InvokeBody, invoke_in_process
from perago.attempt.context import RunContext
from perago.attempt.run import run_attempt
from perago.engines.local import LocalEngine
from perago.ports import ignore
from perago.stores.git import GitStore
from perago.tasks.declare import task_of
from perago.values.sandbox import SandboxMode
from perago.worker.body.run import BodyProcess, BodyZygote, load_order
from perago.worker.body.sandbox import lacks_for

HERE, FORKED, SPAWNED = "in this process", "forked", "spawned"
CONFINED, CONFINED_SPAWNED = "forked, in a sandbox", "spawned, in a sandbox"
WITHOUT = {FORKED: HERE, SPAWNED: HERE, CONFINED: FORKED, CONFINED_SPAWNED: SPAWNED}
"""What each is compared with."""
FILES, CHANGED = 10, 2
MANY = 2_000
"""Files that a body changes, so that what one file costs can be told."""
AT_MOST_MILLISECONDS = 15
"""Maximum cost of a separate process for an attempt of a small module, in milliseconds."""
AT_MOST_IN_A_SANDBOX = 5
"""The same for a sandbox."""


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    rounds, few = (2, 2) if tiny else (60, 12)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        sides: dict[str, InvokeBody] = {HERE: invoke_in_process}
        sides |= {FORKED: _in_a_process(stack, "fork"), SPAWNED: _in_a_process(stack, "spawn")}
        if lacks_for(network=False) is None:
            sides[CONFINED] = _in_a_process(stack, "fork", "enforce")
            sides[CONFINED_SPAWNED] = _in_a_process(stack, "spawn", "enforce")
        taken = _in_turn(place / "few", sides, rounds, FILES, CHANGED)
        many = {name: side for name, side in sides.items() if name in (FORKED, CONFINED)}
        taken_by_many = _in_turn(place / "many", many, few, MANY, MANY)
    return Measured(
        title="A process for each body",
        versions={},
        short=tuple(_short(taken)),
        text="\n".join([*_report(taken, rounds), "", *_report_of_many(taken_by_many, few)]),
    )


def _in_turn(
    place: Path, sides: Mapping[str, InvokeBody], rounds: int, files: int, changed: int
) -> dict[str, list[float]]:
    """Milliseconds of attempts, by side."""
    store, engine = _repository(place, files)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, invoke_body in sides.items():
            seconds = _attempt(store, engine, place / "root", changed, f"{name[0]}{number:07}", invoke_body)
            if number:  # the first round loads modules
                taken[name].append(seconds * 1000)
    return taken


def _more(taken: Mapping[str, list[float]], name: str) -> Spread:
    """Milliseconds that one side takes more than the one that it is compared with."""
    return Spread.of([one - without for one, without in zip(taken[name], taken[WITHOUT[name]], strict=True)])


def _short(taken: Mapping[str, list[float]]) -> Iterator[str]:
    costs = [(FORKED, "a forked body", AT_MOST_MILLISECONDS)]
    costs += [(name, f"a sandbox ({WITHOUT[name]})", AT_MOST_IN_A_SANDBOX) for name in (CONFINED, CONFINED_SPAWNED)]
    for name, what, limit in costs:
        if name in taken:
            more = _more(taken, name)
            reached = "reached" if more.median <= limit else "**not reached**"
            yield f"{what} costs an attempt {_milliseconds(more)}, required at most {limit} ms: {reached}"


def _repository(place: Path, count: int) -> tuple[GitStore, LocalEngine]:
    files = place / "files"
    files.mkdir(parents=True)
    for number in range(count):
        (files / f"{number:06}").write_bytes(bytes(4096))
    store = GitStore.create(place / "data.git", observer=ignore)
    store.import_directory(files, "main", "begin")
    return store, LocalEngine(place / "runs")


def _in_a_process(stack: ExitStack, start: Literal["fork", "spawn"], sandbox: SandboxMode = "off") -> InvokeBody:
    load = load_order(["benchmarks.tasks"], start, sandbox=sandbox)
    return BodyProcess(stack.enter_context(BodyZygote(load)).start, load, cancelled=bool, sandbox=sandbox)


def _attempt(
    store: GitStore, engine: LocalEngine, root: Path, changed: int, word: str, invoke_body: InvokeBody
) -> float:
    """Run one attempt on the head of `main`; returns its seconds."""
    task = task_of(change)
    assert task is not None
    workspace = {"repository": "r", "branch": "main", "refType": "commit", "ref": store.resolve("main")}
    input_data = {"workspace": workspace, "params": {"count": changed, "word": word}}
    with engine.start_run(target="benchmarks.tasks:change", task_name=task.name, input_data=input_data) as run:
        began = time.perf_counter()
        result = run_attempt(
            task,
            input_data,
            run.attempt,
            RunContext(invoke_body=invoke_body, observer=ignore),
            workspace_root=root,
            open_store=lambda: store,
            engine=engine,
        )
        seconds = time.perf_counter() - began
    assert result.status == "COMPLETED", result.reason_for_incompletion
    return seconds


def _report(samples: Mapping[str, list[float]], rounds: int) -> Iterator[str]:
    yield (
        f"Attempts on the git store with {FILES} files of 4 KiB, of which the body changes {CHANGED}; {rounds} of each "
        f"kind, in turn. The task's module loads nothing large."
    )
    yield ""
    yield "| the body runs | an attempt | more than |"
    yield "|---|---|---|"
    for name, taken in samples.items():
        more = f"{WITHOUT[name]}: {_milliseconds(_more(samples, name))}" if name in WITHOUT else ""
        yield f"| {name} | {_milliseconds(Spread.of(taken))} | {more} |"


def _report_of_many(samples: Mapping[str, list[float]], rounds: int) -> Iterator[str]:
    if CONFINED not in samples:
        yield "This kernel cannot enforce a sandbox."
        return
    confined, free = Spread.of(samples[CONFINED]), Spread.of(samples[FORKED])
    yield (
        f"Where a forked body changes {MANY:,} files, an attempt takes {_milliseconds(free)} without a sandbox and "
        f"{_milliseconds(confined)} in one: {_milliseconds(_more(samples, CONFINED))} more; {rounds} of each, in turn."
    )


def _milliseconds(spread: Spread) -> str:
    return f"{spread.median:.1f} ({spread.least:.1f} to {spread.greatest:.1f}) ms"
