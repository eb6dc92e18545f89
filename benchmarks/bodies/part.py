"""The part: attempts with bodies in this process, forked, and spawned, in turn."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

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
from perago.worker.body.run import BodyProcess, BodyZygote, load_order

HERE, FORKED, SPAWNED = "in this process", "forked", "spawned"
FILES, CHANGED = 10, 2
AT_MOST_MILLISECONDS = 15
"""Maximum cost of a separate process for an attempt of a small module, in milliseconds."""


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    rounds = 2 if tiny else 60
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        store, engine = _repository(place)
        sides = {HERE: invoke_in_process, FORKED: _in_a_process(stack, "fork"), SPAWNED: _in_a_process(stack, "spawn")}
        samples: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(rounds + 1):
            for name, invoke_body in sides.items():
                seconds = _attempt(store, engine, place / "root", f"{name[0]}{number:07}", invoke_body)
                if number:  # the first round loads modules
                    samples[name].append(seconds * 1000)
    costs = Spread.of([forked - here for forked, here in zip(samples[FORKED], samples[HERE], strict=True)])
    reached = "reached" if costs.median <= AT_MOST_MILLISECONDS else "**not reached**"
    return Measured(
        title="A process for each body",
        versions={},
        short=(
            (
                f"a forked body costs an attempt {_milliseconds(costs)}, required at most {AT_MOST_MILLISECONDS} ms: "
                f"{reached}"
            ),
        ),
        text="\n".join(_report(samples, rounds)),
    )


def _repository(place: Path) -> tuple[GitStore, LocalEngine]:
    files = place / "files"
    files.mkdir()
    for number in range(FILES):
        (files / f"{number:06}").write_bytes(bytes(4096))
    store = GitStore.create(place / "data.git", observer=ignore)
    store.import_directory(files, "main", "begin")
    return store, LocalEngine(place / "runs")


def _in_a_process(stack: ExitStack, start: str) -> InvokeBody:
    load = load_order(["benchmarks.tasks"], "spawn" if start == "spawn" else "fork")
    return BodyProcess(stack.enter_context(BodyZygote(load)).start, load, cancelled=bool)


def _attempt(store: GitStore, engine: LocalEngine, root: Path, word: str, invoke_body: InvokeBody) -> float:
    """Run one attempt on the head of `main`; returns its seconds."""
    task = task_of(change)
    assert task is not None
    workspace = {"repository": "r", "branch": "main", "refType": "commit", "ref": store.resolve("main")}
    input_data = {"workspace": workspace, "params": {"count": CHANGED, "word": word}}
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
    yield "| the body runs | an attempt | difference to in this process |"
    yield "|---|---|---|"
    for name, taken in samples.items():
        more = Spread.of([one - here for one, here in zip(taken, samples[HERE], strict=True)])
        yield f"| {name} | {_milliseconds(Spread.of(taken))} | {'' if name == HERE else _milliseconds(more)} |"


def _milliseconds(spread: Spread) -> str:
    return f"{spread.median:.1f} ({spread.least:.1f} to {spread.greatest:.1f}) ms"
