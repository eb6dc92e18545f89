"""The part: workflows of tasks that do nothing, run here and submitted to an idle worker on Conductor."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare import Spread
from benchmarks.inputs import environment
from benchmarks.measure import run
from benchmarks.parts import CannotMeasureError, Measured
from benchmarks.tables import seconds_text, verdict
from servers import conductor_jar
from servers.conductor import ConductorServer

MODULE = "benchmarks.workflows.steps"
AT_MOST_SECONDS = 6.0
"""For 100 tasks with `-j 2`, the start of the command included."""

AT_MOST_BEYOND = 0.02
"""Seconds of a run for each task, beyond the tasks."""

AT_MOST_SUBMITTED = 0.5
"""Seconds from the start of a workflow on an idle worker to that of its first task."""

END_SECONDS = 30.0


@dataclass(frozen=True)
class Plan:
    """The plan of one run."""

    steps: int = 100
    repeats: int = 5
    submissions: int = 10


TINY = Plan(steps=4, repeats=1, submissions=2)


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    plan = TINY if tiny else Plan()
    if missing := conductor_jar.what_is_missing():
        raise CannotMeasureError(f"Conductor {conductor_jar.VERSION} {missing}")
    with tempfile.TemporaryDirectory(dir=directory) as name:
        here = _Here(Path(name), plan)
        beside = Spread.of([here.seconds("beside", "-j", "2") for _ in range(plan.repeats)])
        beyond = Spread.of([here.beyond_tasks("chain") for _ in range(plan.repeats)])
        on_server = _submitted(Path(name), plan)
    found = Spread.of([first for first, _ in on_server])
    commands = Spread.of([command for _, command in on_server])
    return Measured(
        title="Workflows of tasks that do nothing",
        versions={"Conductor": f"{conductor_jar.VERSION}, on SQLite"},
        short=(
            f"{plan.steps} tasks beside each other, `-j 2`: {_held(beside, AT_MOST_SECONDS)}",
            f"a run, for each task beyond the task: {_held(beyond, AT_MOST_BEYOND)}",
            f"from the start of a workflow to its first task on an idle worker: {_held(found, AT_MOST_SUBMITTED)}",
        ),
        text=(
            "Each body has a process of its own. Whole commands are measured, with their start. Beyond the tasks: the "
            f"time of a chain of {plan.steps}, `-j 1`, without that of its tries. The whole `perago submit` takes "
            f"{seconds_text(commands)}."
        ),
    )


def _held(spread: Spread, limit: float) -> str:
    return f"{seconds_text(spread)}, {verdict(spread.median <= limit, f'{limit:g} s')}"


@dataclass(frozen=True)
class _Here:
    """Runs of the command on this machine."""

    directory: Path
    plan: Plan

    def seconds(self, workflow: str, *options: str) -> float:
        """Seconds of a whole run."""
        return run(self._command(workflow, *options), environment=self.environment, directory=self.directory).seconds

    def beyond_tasks(self, workflow: str) -> float:
        """Seconds of a run for each task, without those of the tasks."""
        used = run(self._command(workflow, "-j", "1"), environment=self.environment, directory=self.directory)
        told = json.loads(used.output)
        listed = run([*_PERAGO, "runs", "-n", "1", "--json"], environment=self.environment, directory=self.directory)
        (summary,) = json.loads(listed.output)
        assert summary["run_id"] == told["run_id"], summary
        own = summary["duration"] - sum(task["seconds"] for task in told["tasks"])
        return float(own) / len(told["tasks"])

    @property
    def environment(self) -> dict[str, str]:
        return {
            **environment(),
            "PERAGO_BENCH_STEPS": str(self.plan.steps),
            "PERAGO_WORKSPACE_ROOT": str(self.directory / "workspaces"),
            "PERAGO_LOG_ROOT": str(self.directory / "logs"),
            "XDG_STATE_HOME": str(self.directory / "state"),
        }

    @staticmethod
    def _command(workflow: str, *options: str) -> list[str]:
        return [*_PERAGO, "run", f"{MODULE}:{workflow}", "--json", *options]


_PERAGO = (sys.executable, "-m", "perago")


def _submitted(directory: Path, plan: Plan) -> list[tuple[float, float]]:
    """Of each submission: seconds from the workflow to its first task by the server's clock, and of the command."""
    with ConductorServer(parent=directory) as server, server.api() as api:
        given = {**_Here(directory, plan).environment, "CONDUCTOR_SERVER_URL": server.api_url}
        run([*_PERAGO, "register", f"{MODULE}:single"], environment=given, directory=directory)
        with _worker(directory, given):
            found = []
            for number in range(plan.submissions + 1):
                used = run([*_PERAGO, "submit", f"{MODULE}:single"], environment=given, directory=directory)
                workflow = api.wait_for_end(used.output.strip(), END_SECONDS)
                if number:  # the first one loads classes in the server
                    found.append((_until_first_task(workflow), used.seconds))
            return found


def _until_first_task(workflow: Mapping[str, Any]) -> float:
    return float(workflow["tasks"][0]["startTime"] - workflow["startTime"]) / 1000


@contextmanager
def _worker(directory: Path, given: Mapping[str, str]) -> Iterator[None]:
    with (directory / "worker.txt").open("wb") as said:
        process = subprocess.Popen(
            [*_PERAGO, "start", MODULE, "-j", "2"], cwd=directory, env=given, stdout=said, stderr=said
        )
        try:
            _wait_until(lambda: "runs bench.step" in (directory / "worker.txt").read_text(errors="replace"))
            yield
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            finally:
                process.kill()


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + END_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError("the worker did not start")
        time.sleep(0.05)
