"""A writer of branches: publishes several times, each time from its last commit, and prints what that took as JSON.

usage: program_writer.py REPOSITORY NUMBER DIRECTORY

REPOSITORY is the path of a git repository, or lakefs://NAME on the server of `LAKECTL_…`. It says `ready`. Each line of
JSON on its stdin is an `Order`, which it answers with a line.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pydantic import BaseModel

from perago import WorkspaceSpec, task
from perago.attempt.context import RunContext
from perago.attempt.run import run_attempt
from perago.engines.local import LocalEngine
from perago.errors import HeadMovedError
from perago.ports import BranchQueue, Event, WorkspaceStore, no_queue
from perago.running.repos.address import parse_address
from perago.tasks.declare import task_of
from perago.workspace.queue import host_queue


class Params(BaseModel):
    """What to write: `name` is the writer's own directory."""

    name: str
    turn: int
    size: int


class Result(BaseModel):
    pass


@task(name="write", owner_email="benchmarks@example.org", workspace=WorkspaceSpec(isolation="snapshot"))
def write(workspace: Path, params: Params) -> Result:
    """Write two files that no other writer does."""
    own = workspace / params.name
    own.mkdir(exist_ok=True)
    for name in ("a", "b"):
        (own / name).write_bytes(f"{params.name} {params.turn} {name} ".encode().ljust(params.size // 2, b"."))
    return Result()


class Order(BaseModel):
    """What to do.

    Attributes:
        state: the host's state directory, whose queue to use; None to race.
        branch: to publish to, `count` times, files of `size` bytes together each time.
        head: the first input.
    """

    state: str | None
    branch: str
    head: str
    count: int
    size: int


class Done(BaseModel):
    """What became of it: lost swaps, seconds of each attempt, the last commit."""

    lost: int
    seconds: list[float]
    ref: str


class Writer:
    """Publishes as it is told."""

    def __init__(self, repository: str, number: str, directory: str) -> None:
        self.address = parse_address(repository)
        self._number = number
        self._engine = LocalEngine(Path(directory) / f"runs-{number}")
        self._root = Path(directory) / f"root-{number}"
        self._lost = 0

    def observe(self, event: Event) -> None:
        if event.kind == "failed" and isinstance(event.error, HeadMovedError):
            self._lost += 1

    def obey(self, order: Order, store: WorkspaceStore) -> Done:
        self._lost, ref, seconds = 0, order.head, []
        for turn in range(order.count):
            began = time.perf_counter()
            ref = self._attempt(order, store, ref, turn)
            seconds.append(time.perf_counter() - began)
        return Done(lost=self._lost, seconds=seconds, ref=ref)

    def _attempt(self, order: Order, store: WorkspaceStore, ref: str, turn: int) -> str:
        workspace = {"repository": self.address.name, "branch": order.branch, "refType": "commit", "ref": ref}
        params = {"name": f"writer-{self._number}", "turn": turn, "size": order.size}
        input_data = {"workspace": workspace, "params": params}
        definition = task_of(write)
        assert definition is not None
        with self._engine.start_run(target="write", task_name="write", input_data=input_data) as run:
            result = run_attempt(
                definition,
                input_data,
                run.attempt,
                RunContext(observer=self.observe, queue=self._queue(order.state)),
                workspace_root=self._root,
                open_store=lambda: store,
                engine=self._engine,
            )
        assert result.output is not None, result.reason_for_incompletion
        return str(result.output["workspace"]["ref"])

    def _queue(self, state: str | None) -> BranchQueue:
        return no_queue if state is None else host_queue(Path(state), self.address.argument, is_server=True)


def main(repository: str, number: str, directory: str) -> None:
    writer = Writer(repository, number, directory)
    with writer.address.open(writer.observe) as store:
        print("ready", flush=True)
        for line in sys.stdin:
            print(writer.obey(Order.model_validate_json(line), store).model_dump_json(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
