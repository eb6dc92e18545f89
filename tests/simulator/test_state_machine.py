"""Any sequence of what can befall one workflow, one step at a time, drawn by Hypothesis, which shrinks what breaks a
promise to the fewest steps. The simulator has more workers and real time; this has the shortest stories.
"""

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from pydantic import BaseModel

from perago import WorkspaceSpec, task
from perago.errors import EngineError
from perago.ports import PHASES, Phase
from perago.testing import MemoryEngine, MemoryStore
from perago.testing.attempts import RunningAttempt, Watch
from perago.values.record import TryStatus
from simulation.checker import Observation, violations

RETRIES = 50
BRANCH = "main"
STRUCK = [*(phase for phase, facts in PHASES.items() if facts.kind != "other"), Phase.REPORT]


class Params(BaseModel):
    text: str


class Answer(BaseModel):
    text: str


def _write(workspace: Path, params: Params) -> Answer:
    (workspace / f"{params.text}.txt").write_text(params.text)
    return Answer(text=params.text)


@task(name="strict", owner_email="tests@example.org", workspace=WorkspaceSpec())
def strict(workspace: Path, params: Params) -> Answer:
    return _write(workspace, params)


@task(name="merging", owner_email="tests@example.org", workspace=WorkspaceSpec(isolation="snapshot"))
def merging(workspace: Path, params: Params) -> Answer:
    return _write(workspace, params)


@task(name="reading", owner_email="tests@example.org", workspace=WorkspaceSpec(read_only=True))
def reading(workspace: Path, params: Params) -> Answer:
    return Answer(text=" ".join(sorted(path.name for path in workspace.iterdir())))


DEFINITIONS = {each.__perago_task__.name: each.__perago_task__ for each in (strict, merging, reading)}


class OneWorkflow(RuleBasedStateMachine):
    """Attempts of one workflow on one branch, and all that people, time and other workers do meanwhile.

    A happening strikes when an attempt is about to begin a phase. "taken over" is what makes zombies: the try times
    out, another worker runs the next one to its end, and only then the first goes on.
    """

    def __init__(self):
        super().__init__()
        self.store, self.engine = MemoryStore(), MemoryEngine(retries=RETRIES)
        self.root = self.store.commit(BRANCH, {"base.txt": b"0"}, "someone")
        self.heads, self.written, self.added = {self.root}, 0, 0
        self.directory = tempfile.TemporaryDirectory(dir=_memory())

    def teardown(self):
        self.directory.cleanup()

    # ---- what is done

    @rule(
        kind=st.sampled_from(sorted(DEFINITIONS)),
        happening=st.sampled_from(["nothing", "a person commits", "taken over", "terminated", "requeued", "rerun"]),
        phase=st.sampled_from(STRUCK),
        is_lost=st.booleans(),
    )
    def run_a_try(self, kind, happening, phase, is_lost):
        """The oldest one that waits, or the first one of another task."""
        attempt = self.engine.poll() or self._first_try(kind)
        if attempt is None:
            return
        if happening == "rerun" and phase is Phase.REPORT:
            return  # a rerun while a report is under way is beyond what a worker can see (docs/reliability.md)
        befall = getattr(self, f"_{happening.replace(' ', '_')}")
        self._run(attempt, {} if happening == "nothing" else {phase.value: lambda: befall(attempt)}, is_lost=is_lost)

    @rule()
    def a_person_commits(self):
        self._a_person_commits()

    @rule()
    def time_passes(self):
        for entry in self.engine.record().tries:
            if entry.status is TryStatus.IN_PROGRESS:
                with suppress(EngineError):  # a try that has had its retry never times out
                    self.engine.timeout(entry.task_id)

    @rule()
    def somebody_reruns_the_last_task(self):
        """An earlier one would give those after it new inputs, which is the simulator's to tell."""
        tries = self.engine.record().tries
        if tries and not tries[-1].status.is_live:
            with suppress(EngineError):
                self.engine.rerun(tries[-1].task_id)

    @rule(what=st.sampled_from(["terminate", "retry_workflow", "retry_workflow", "restart"]))
    def somebody_meddles(self, what):
        if what == "restart" and len({entry.reference_task_name for entry in self.engine.record().tries}) > 1:
            return  # as with a rerun of an earlier one
        with suppress(EngineError):
            getattr(self.engine, what)()

    @invariant()
    def every_promise_holds(self):
        self.heads.add(self.store.head(BRANCH))
        history = self.store.read_history(self.store.input(BRANCH, self.root))
        seen = Observation(
            root=self.root,
            line=history.commits,
            heads=self.heads,
            records=[self.engine.record()],
            files=self.store.files,
            snapshot=[f"merging_{number}" for number in range(1, self.added + 1)],
            left=self.store.staged(),
        )
        broken = violations(seen)
        assert broken == [], "\n".join(broken)

    # ---- what happens meanwhile

    def _nothing(self, attempt):
        """Happens."""

    def _a_person_commits(self, _attempt=None):
        self.written += 1
        self.heads.add(self.store.commit(BRANCH, {f"person-{self.written}.txt": b"p"}, "someone"))

    def _taken_over(self, attempt):
        with suppress(EngineError):
            self.engine.timeout(attempt.task_id)
            following = self.engine.poll(reference_task_name=attempt.reference_task_name)
            if following is not None:
                self._run(following, {}, is_lost=False)

    def _terminated(self, _attempt):
        with suppress(EngineError):
            self.engine.terminate()

    def _requeued(self, attempt):
        with suppress(EngineError):
            self.engine.requeue(attempt.task_id)

    def _rerun(self, attempt):
        with suppress(EngineError):
            self.engine.terminate()
            self.engine.rerun(attempt.task_id)

    # ---- within

    def _first_try(self, kind):
        """Of a task that is added; None: the workflow takes none, as it was ended, or another task is under way."""
        if any(entry.status.is_live for entry in self.engine.record().tries):
            return None
        self.added += 1
        name = f"{kind}_{self.added}"
        inputs = {"params": {"text": name}, "workspace": self.store.input(BRANCH).model_dump()}
        with suppress(EngineError):
            self.engine.schedule(kind, inputs, reference_task_name=name)
            return self.engine.poll(reference_task_name=name)
        return None

    def _run(self, attempt, at, *, is_lost):
        watch = Watch(at)
        running = RunningAttempt(self.store, self.engine, DEFINITIONS[attempt.task_def_name], attempt, watch)
        result = running.run(Path(self.directory.name), keep=False)
        self.heads.add(self.store.head(BRANCH))
        if not is_lost:
            running.report(result)


def _memory():
    """Where files cost least."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() else None


HOW = settings(
    max_examples=400,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)

FRAME = ("state.every_promise_holds", "state.teardown")

TestOneWorkflow = OneWorkflow.TestCase
TestOneWorkflow.settings = HOW


def test_what_loses_a_commit_is_found_and_shrunk_to_its_shortest_story(monkeypatch):
    """Planted: the branch is set to what was staged, whatever its head is by then."""

    def reset(self, staged, workspace_input, _spec, _execution):
        self.reset(workspace_input.branch, staged.commit)
        return staged.commit

    monkeypatch.setattr(MemoryStore, "publish_workspace", reset)
    with pytest.raises(AssertionError, match="lost") as caught:
        run_state_machine_as_test(OneWorkflow, settings=settings(HOW, database=None, derandomize=True))
    told = [line.strip() for note in caught.value.__notes__ for line in note.splitlines()]
    steps = [line for line in told if line.startswith("state.") and not line.startswith(FRAME)]
    assert [step.partition("(")[0] for step in steps] == ["state.run_a_try"]
    assert "happening='a person commits'" in steps[-1]
