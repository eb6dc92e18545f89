"""A writer of a branch: publishes several times, each time from its last commit, and prints what that took as JSON.

usage: program_writer.py QUEUE REPOSITORY HEAD NUMBER COUNT BYTES DIRECTORY

QUEUE is `queue` or `race`, REPOSITORY the path of a git repository or lakefs://NAME on the server of `LAKECTL_…`. It
says `ready`, and begins when it is sent a line.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from perago import WorkspaceSpec, task
from perago.attempt.context import RunContext
from perago.attempt.run import run_attempt
from perago.engines.local import LocalEngine
from perago.errors import HeadMovedError
from perago.ports import Event, no_queue
from perago.running.repos.address import parse_address
from perago.tasks.declare import task_of


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


def main(queue: str, repository: str, head: str, number: str, count: str, size: str, directory: str) -> None:
    """Publish `count` times."""
    address, definition = parse_address(repository), task_of(write)
    assert definition is not None
    lost: Counter[str] = Counter()
    seconds = []

    def observe(event: Event) -> None:
        if event.kind == "failed" and isinstance(event.error, HeadMovedError):
            lost[event.phase] += 1

    with address.open(observe) as store:
        engine = LocalEngine(Path(directory) / f"runs-{number}")
        context = RunContext(observer=observe, queue=address.queue if queue == "queue" else no_queue)
        print("ready", flush=True)
        sys.stdin.readline()
        for turn in range(int(count)):
            workspace = {"repository": address.name, "branch": "main", "refType": "commit", "ref": head}
            params = {"name": f"writer-{number}", "turn": turn, "size": int(size)}
            input_data = {"workspace": workspace, "params": params}
            began = time.perf_counter()
            with engine.start_run(target="write", task_name="write", input_data=input_data) as run:
                result = run_attempt(
                    definition,
                    input_data,
                    run.attempt,
                    replace(context, execution_id=uuid.uuid4().hex),
                    workspace_root=Path(directory) / f"root-{number}",
                    open_store=lambda: store,
                    engine=engine,
                )
            seconds.append(time.perf_counter() - began)
            assert result.output is not None, result.reason_for_incompletion
            head = result.output["workspace"]["ref"]
    print(json.dumps({"lost": sum(lost.values()), "seconds": seconds, "ref": head}))


if __name__ == "__main__":
    main(*sys.argv[1:])
