"""The plan of a seed: workflows, workers, and incidents at calls. Plain values.

Every failure is an `Incident` at the n-th call of a kind, so that one can be left out of a plan without changing the
rest.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

When = Literal["before", "after"]

POINTS = {
    "poll": 8,
    "current_of": 2,
    "heartbeat": 1,
    "load_current_attempt": 5,
    "load_record": 4,
    "read_history": 4,
    "download_workspace": 2,
    "body": 2,
    "stage_workspace": 2,
    "publish_workspace": 2,
    "validate_reads": 1,
    "create_run_branch": 2,
    "changes_of_run": 2,
    "stage_run": 1,
    "complete_noop_workspace": 1,
    "cleanup_staging": 2,
    "report_result": 2,
    "report_and_take": 2,
    "give_back": 1,
    "list_workspace": 3,
    "commits_since": 2,
    "stage_copy": 2,
}
"""Calls at which incidents can happen -> range of call numbers."""

FAULTS: dict[str, Collection[str]] = {
    "error": POINTS.keys() - {"body"},
    "lost": POINTS.keys() - {"body"},
    "twice": POINTS.keys() - {"body", "download_workspace"},
    "late": POINTS.keys() - {"body"},
    "abandoned": {
        "heartbeat",
        "stage_workspace",
        "publish_workspace",
        "create_run_branch",
        "stage_run",
        "report_result",
        "report_and_take",
        "give_back",
        "stage_copy",
    },
    "gone": {"stage_copy"},
    "crash": POINTS.keys(),
    "kill": POINTS.keys() - {"poll", "current_of", "heartbeat", "report_result", "report_and_take", "give_back"},
    "stop": POINTS.keys(),
}
"""Faults of a call or its caller -> calls. `error`: nothing was done; `lost`: it was done, but the answer is lost;
`twice`: it arrives twice; `late`: it takes long; `abandoned`: the caller gives up, and it is done later; `gone`: what
is to be copied is not there any more; `crash`: the worker dies; `kill`: the executor dies; `stop`: the worker is paused
for longer than its lease."""

ENDINGS = ("crash", "kill", "stop")
"""The faults of the caller, before or after the call."""

EVENTS = {
    "person": "a person commits, or commits to a run's branch, or moves that",
    "conflict": "a person commits what a task writes",
    "copy": "a person cherry-picks a publication, its stamp included",
    "requeue": "the engine hands the task out again",
    "terminate": "a person terminates the workflow, and later retries it",
    "rerun": "a person reruns the workflow from a task",
    "restart": "a person restarts the workflow",
    "clock": "a machine's clock jumps",
    "engine away": "the engine does not answer for a while",
    "store away": "the store does not answer for a while",
    "janitor": "a janitor whose clock is ahead takes everything that is staged for old, and sweeps runs' branches",
    "drain": "a worker is told to stop, and another starts",
}
"""Events elsewhere, at the time of any call."""

CELLS = tuple(
    sorted([(kind, point) for kind, points in FAULTS.items() for point in points])
    + sorted((kind, point) for kind in EVENTS for point in POINTS)
)
"""Every pair of a fault or an event and a call."""

OF_A_CACHE = ("list_workspace", "commits_since", "stage_copy")
"""Calls that only tasks with a cache make."""

SCARCE = {
    "stage_copy": 4,
    "publish_workspace": 3,
    "cleanup_staging": 3,
    "stage_workspace": 2,
    "validate_reads": 2,
    "create_run_branch": 2,
    "changes_of_run": 3,
    "stage_run": 3,
    "give_back": 2,
    "complete_noop_workspace": 2,
    "current_of": 2,
    "download_workspace": 2,
    "heartbeat": 2,
    "report_result": 2,
    "report_and_take": 3,
    "body": 2,
}
"""Rare calls -> factor by which they are chosen more often."""

Shape = Literal["single", "sequence", "fork", "join", "read-only", "tree"]
Noop = Literal["never", "sometimes", "always"]

CACHED_SHARE = 0.44
"""Of the plans that may be, those whose tasks have a cache."""

_NOT_CACHED = {"complete_noop_workspace", "give_back"}
"""Plans with incidents at these calls are made for them."""

NOOPS: list[Noop] = ["never", "never", "sometimes", "always"]


@dataclass(frozen=True, kw_only=True)
class Incident:
    """An event or fault at the n-th call of a kind.

    Attributes:
        kind: of `FAULTS` or `EVENTS`.
        point: of `POINTS`; number: from 1.
        when: before or after the call takes effect.
        amount: from 0 to 1; determines duration, size or choice.
    """

    kind: str
    point: str
    number: int
    when: When
    amount: float

    def __str__(self) -> str:
        return f"{self.kind} {self.when} {self.point} {self.number}"


@dataclass(frozen=True, kw_only=True)
class WorkflowPlan:
    """A planned workflow.

    Attributes:
        snapshot: whether its tasks have snapshot isolation.
        noop: whether its bodies change nothing.
        big: whether results are too large for a stamp.
        long: whether bodies take longer than the response timeout.
        shared_path: whether siblings also write one common path.
        starts: virtual seconds.
        same_content: whether each run of a body writes the same content.
        scoped: whether its tasks are serializable, and see a part of one directory. Then `snapshot` does not matter.
        transactional: whether it publishes all that its tasks do at its end, or nothing.
        at_head: whether it begins at the head of its branch when it begins, rather than at a given commit; only if it
            is transactional.
        cached: whether its tasks have a cache, and make the same in each workflow.
    """

    shape: Shape
    branch: str
    snapshot: bool
    noop: Noop
    big: bool
    long: bool
    shared_path: bool
    starts: float
    same_content: bool = False
    scoped: bool = False
    transactional: bool = False
    at_head: bool = False
    cached: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A planned simulation.

    Attributes:
        slots: number of slots of each worker.
        has_one_type: whether all tasks have one type, so that workers take the next one with a report.
        unlike: branches that begin with another input, of which tasks with a cache make something else.
        hostile: branches that hold a name that would be a file outside of a workspace.
    """

    seed: int
    slots: tuple[int, ...]
    workflows: tuple[WorkflowPlan, ...]
    incidents: tuple[Incident, ...]
    hostile: tuple[str, ...] = field(default=())
    unlike: tuple[str, ...] = field(default=())
    has_one_type: bool = False

    def without(self, numbers: Collection[int]) -> Plan:
        """The plan without some of its incidents, by number from 0."""
        kept = (incident for number, incident in enumerate(self.incidents) if number not in numbers)
        return replace(self, incidents=tuple(kept))


def make_plan(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(seed)
    branches = ["main", "other"][: rng.choice([1, 1, 2])]
    incidents = [_incident(rng, _OTHERS) for _ in range(rng.randint(2, 8))]
    points = {incident.point for incident in incidents}
    if "give_back" in points:  # a stopping worker returns its tasks
        incidents.append(Incident(kind="drain", point="body", number=1, when="before", amount=0.2 * rng.random()))
    has_one_type = "report_and_take" in points or rng.random() < 0.1
    workflows = tuple(_workflow(rng, branches, points) for _ in range(rng.choice([1, 1, 2, 2, 3])))
    slots = tuple(rng.choice([1, 1, 2]) for _ in range(rng.choice([1, 2, 2, 3, 3, 4, 5])))
    if has_one_type:
        workflows, slots = _backlog(rng, workflows), slots[:2]
    # separate generators, which change no other choice
    likewise, joining = random.Random(f"same content {seed}"), random.Random(f"join {seed}")
    narrow = random.Random(f"scoped {seed}")
    workflows = tuple(replace(each, shape=_joined(each.shape, joining)) for each in workflows)
    workflows = tuple(replace(each, scoped=narrow.random() < 0.4 and not has_one_type) for each in workflows)
    unlike: tuple[str, ...] = ()
    if not has_one_type:
        trees = random.Random(f"tree {seed}")
        workflows = tuple(replace(each, shape=_deeper(each.shape, trees)) for each in workflows)
        if any(each.shape == "tree" for each in workflows):
            incidents += _felling(trees)
        cache = random.Random(f"same key {seed}")
        if cache.random() < CACHED_SHARE and not points & _NOT_CACHED:
            workflows, unlike = _cached(workflows, cache), ("other",) if cache.random() < 0.3 else ()
            incidents += [_incident(cache, _OF_A_CACHE) for _ in range(cache.randint(4, 8))]
        whole = random.Random(f"transactional {seed}")
        workflows = tuple(_for_run(each, points, whole) for each in _beside_each_other(workflows, points))
    return Plan(
        seed=seed,
        slots=slots,
        workflows=tuple(replace(each, same_content=likewise.random() < 0.5) for each in workflows),
        incidents=tuple(incidents),
        hostile=(branches[-1],) if rng.random() < 0.03 else (),
        has_one_type=has_one_type,
        unlike=unlike,
    )


def _joined(shape: Shape, rng: random.Random) -> Shape:
    """Some forks have a task behind them that takes the workspaces of both branches."""
    return "join" if shape == "fork" and rng.random() < 0.4 else shape


def _deeper(shape: Shape, rng: random.Random) -> Shape:
    """Some sequences are in a sub-workflow, with a task behind it."""
    return "tree" if shape == "sequence" and rng.random() < 0.5 else shape


def _felling(rng: random.Random) -> list[Incident]:
    """People end a workflow with a sub-workflow early, and in most cases rerun a task behind it later."""
    early, later, share = rng.randint(2, 6), rng.randint(7, 9), rng.random()
    ends = Incident(kind="terminate", point="load_record", number=early, when="before", amount=rng.random())
    reruns = Incident(kind="rerun", point="load_record", number=later, when="before", amount=0.5 + share / 2)
    return [ends, reruns][: rng.choice([0, 1, 2, 2])]


def _beside_each_other(workflows: tuple[WorkflowPlan, ...], points: set[str]) -> tuple[WorkflowPlan, ...]:
    """The workflows, the first one with siblings that see parts of a directory if reads have to be validated."""
    if "validate_reads" not in points:
        return workflows
    return (replace(workflows[0], shape="fork", scoped=True, noop="never"), *workflows[1:])


def _cached(workflows: tuple[WorkflowPlan, ...], rng: random.Random) -> tuple[WorkflowPlan, ...]:
    """Workflows whose tasks have a cache, two of them alike: beside each other, or one after the other."""
    first = replace(
        workflows[0],
        cached=True,
        scoped=False,
        shape="single" if workflows[0].shape == "read-only" else workflows[0].shape,
        noop="always" if rng.random() < 0.1 else "never",
        big=False,
        shared_path=False,
    )
    starts = rng.choice([first.starts, first.starts, 3.0 * rng.random(), 40.0 * rng.random()])
    twin = replace(first, branch=rng.choice(["main", "other"]), starts=starts)
    return (first, twin, *(each for each in workflows[1:2] if rng.random() < 0.5))


def _for_run(workflow: WorkflowPlan, points: set[str], rng: random.Random) -> WorkflowPlan:
    """Some workflows are transactional. Those for whose calls there are incidents are, and change something."""
    is_wanted = bool(points & {"create_run_branch", "changes_of_run", "stage_run"})
    made = replace(workflow, transactional=rng.random() < (0.8 if is_wanted else 0.35), at_head=rng.random() < 0.5)
    if not made.transactional:
        return workflow
    if made.shape in ("fork", "join") and rng.random() < 0.9:  # exclusive siblings refuse each other
        made = replace(made, snapshot=True)
    if is_wanted:
        made = replace(made, noop="never", shape="single" if made.shape == "read-only" else made.shape)
    return made


def _workflow(rng: random.Random, branches: list[str], points: set[str]) -> WorkflowPlan:
    """A workflow that makes the calls of the incidents more often."""
    shapes: list[Shape] = ["single", "sequence", "fork", "fork", "read-only"]
    is_noop = "complete_noop_workspace" in points and rng.random() < 0.6
    return WorkflowPlan(
        shape=rng.choice(shapes[:-1] if is_noop else shapes),
        branch=rng.choice(branches),
        snapshot=rng.random() < 0.5,
        noop="always" if is_noop else rng.choice(NOOPS),
        big=rng.random() < 0.1,
        long=rng.random() < (0.8 if points & {"heartbeat", "current_of"} else 0.1),
        shared_path=rng.random() < 0.15,
        starts=rng.choice([0.0, 0.0, 3.0 * rng.random()]),
    )


def _backlog(rng: random.Random, workflows: tuple[WorkflowPlan, ...]) -> tuple[WorkflowPlan, ...]:
    """At least three workflows whose tasks have one type and wait from the start."""
    first = workflows[0]
    many = (*workflows, *(replace(first, shape="fork", noop=rng.choice(NOOPS)) for _ in range(3 - len(workflows))))
    return tuple(
        replace(workflow, shape=_of_one_type(workflow, first), snapshot=first.snapshot, starts=0.0) for workflow in many
    )


def _of_one_type(workflow: WorkflowPlan, first: WorkflowPlan) -> Shape:
    """The shape of a workflow, but read-only where the first one's is."""
    if first.shape == "read-only":
        return first.shape
    return "fork" if workflow.shape == "read-only" else workflow.shape


_OTHERS = [cell for cell in CELLS if cell[1] not in OF_A_CACHE]
_OF_A_CACHE = [cell for cell in CELLS if cell[1] in OF_A_CACHE]


def _incident(rng: random.Random, cells: Sequence[tuple[str, str]]) -> Incident:
    ((kind, point),) = rng.choices(cells, [SCARCE.get(point, 1) for _, point in cells])
    either = kind in EVENTS or kind in ENDINGS
    return Incident(
        kind=kind,
        point=point,
        number=rng.randint(1, POINTS[point]),
        when="after" if either and rng.random() < 0.5 else "before",
        amount=rng.random(),
    )
