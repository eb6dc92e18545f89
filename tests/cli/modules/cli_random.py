"""Random workflows of tasks that write: `w0`, `w1`, … Each is the same whenever the module is loaded.

Every other one is transactional. A branch's second task may see what a neighbour has published, or not, so no result
depends on what a workspace holds.

What a task writes says in which era it ran: the file at CLI_ERAS lists the tasks of the second era, or "*" for all. So
a test sees which tasks a rerun has run again. With CLI_RANDOM_SUBS they also have sub-workflows.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

from pydantic import BaseModel

from perago import Flow, RetryPolicy, TaskContext, TaskControls, TaskFailed, WorkspaceSpec, task, workflow

OWNER = "a@example.org"
NAME = os.environ.get("CLI_RANDOM", "random")
COUNT = int(os.environ.get("CLI_RANDOM_COUNT", "4"))
SEEDS = [int(os.environ["CLI_RANDOM_ONLY"])] if "CLI_RANDOM_ONLY" in os.environ else range(COUNT)
SUBS = ["sub"] * bool(os.environ.get("CLI_RANDOM_SUBS"))
CONTROLS = TaskControls(retry=RetryPolicy(count=2, delay_seconds=0))
MOST_TASKS = 10


class Params(BaseModel):
    name: str
    fails: int = 0
    before: int = 0


class Put(BaseModel):
    size: int
    is_even: bool
    names: list[str]


class Nothing(BaseModel):
    pass


class Seen(BaseModel):
    names: list[str]


@task(name=f"{NAME}.put", owner_email=OWNER, workspace=WorkspaceSpec(isolation="snapshot"), controls=CONTROLS)
def put(workspace: Path, params: Params, context: TaskContext) -> Put:
    """Write a file, after some tries that write another one and fail."""
    text = f"{params.name} after {params.before} in era {_era(context)}"
    (workspace / f"{params.name}.txt").write_text(text)
    if context.identity.retry_count < params.fails:
        (workspace / "failed.txt").write_text("of a try that failed")
        raise TaskFailed("as it was told")
    return Put(size=len(text), is_even=len(text) % 2 == 0, names=[f"{params.name}{number}" for number in "xyz"])


def _era(context: TaskContext) -> int:
    listed = Path(os.environ["CLI_ERAS"]) if "CLI_ERAS" in os.environ else None
    names = listed.read_text().split() if listed is not None and listed.exists() else []
    own = (context.identity.reference_task_name or "").rpartition("/")[2]  # which no other task of the tree has
    return 2 if {"*", own} & set(names) else 1


@task(name=f"{NAME}.look", owner_email=OWNER, workspace=WorkspaceSpec(read_only=True), controls=CONTROLS)
def look(workspace: Path, params: Nothing) -> Seen:
    return Seen(names=sorted(path.name for path in workspace.iterdir()))


class _Drawing:
    """Draws one workflow."""

    def __init__(self, flow: Flow, seed: int, first: int = 0) -> None:
        self.flow = flow
        self.random = random.Random(seed)
        self.count = first
        self.most = first + MOST_TASKS

    def sequence(self, depth: int) -> None:
        last = self.put()
        for _ in range(self.random.randint(1, 2)):
            kinds = ["put", "look", "map", *["parallel", "when", *SUBS] * (depth < 2 and self.count < self.most)]
            match self.random.choice(kinds):
                case "put":
                    last = self.put(last)
                case "look":
                    self.flow.run(look)
                case "map":
                    self.map(last)
                case "parallel":
                    self.parallel(depth)
                case "when":
                    self.when(last, depth)
                case "sub":
                    self.sub()

    def put(self, before: Put | None = None) -> Put:
        self.count += 1
        fails = self.random.choice([0, 0, 0, 1])
        given = {} if before is None else {"before": before.size}
        return self.flow.run(put, name=f"f{self.count}", fails=fails, ref_=f"put_{self.count}", **given)

    def map(self, before: Put) -> None:
        self.count += 2
        over = self.random.choice([before.names, [f"f{self.count}{number}" for number in "ab"]])
        self.flow.map(
            put, over=over, as_="name", ref_=f"map_{self.count}", fails=self.random.choice([0, 1]), before=before.size
        )

    def sub(self) -> None:
        self.count += 1
        seed = self.random.randrange(1_000)
        inner = _declared(seed, f"{NAME}_in_{self.count}_{seed}", first=100 * self.count)
        self.flow.run(inner, ref_=f"sub_{self.count}")

    def parallel(self, depth: int) -> None:
        with self.flow.parallel():
            for _ in range(self.random.randint(2, 3)):
                with self.flow.branch():
                    self.sequence(depth + 1)

    def when(self, last: Put, depth: int) -> None:
        with self.flow.when(last.is_even) as it:
            with it.case(value=True):
                self.sequence(depth + 1)
            with it.otherwise():
                self.put()


def _declared(seed: int, name: str, *, first: int = 0, transactional: bool = False):
    def flow(flow: Flow) -> Seen:
        _Drawing(flow, seed, first).sequence(2 if first else 0)
        return flow.run(look)

    flow.__name__ = flow.__qualname__ = f"w{seed}"
    return workflow(name=name, owner_email=OWNER, transactional=transactional)(flow)


for _seed in SEEDS:
    globals()[f"w{_seed}"] = _declared(_seed, f"{NAME}_{_seed}", transactional=_seed % 2 == 1)
