"""The sides: our attempts, the reference's, lakectl's commands, and bare HTTP. Each lays out, changes, publishes."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.changing import CHANGES
from benchmarks.compare import Sample
from benchmarks.inputs import environment
from benchmarks.measure import Usage, run, settle
from servers import lakefs_build
from servers.lakefs import LakeFSServer
from servers.lakefs_api import LakeFSRepository

REFERENCE_VARIABLE = "PERAGO_BENCH_REFERENCE"
"""Names the Python of an environment that has perago==0.6.1; without it the reference is left out."""

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """What is done.

    Attributes:
        task: of `benchmarks.tasks`; `count` files are changed by it.
    """

    server: LakeFSServer
    repository: LakeFSRepository
    task: str
    count: int

    @property
    def known(self) -> dict[str, str]:
        """What a program finds in its environment."""
        return {
            **environment(),
            "PERAGO_BENCH_KEY_ID": self.server.access_key_id,
            "PERAGO_BENCH_SECRET": self.server.secret_access_key,
            "PERAGO_BENCH_HEAD": self.repository.head("main"),
        }

    def arguments(self, directory: Path) -> list[str | Path]:
        return [self.server.url, self.repository.name, directory]


def first_attempt(case: Case, directory: Path, _round: str) -> Sample:
    """An attempt of a worker that has just begun, on a host whose cache is empty."""
    return _attempts(case, directory, 1)[0]


def second_attempt(case: Case, directory: Path, _round: str) -> Sample:
    """The attempt after that one; time and CPU are its own, memory is the process's."""
    sample = _attempts(case, directory, 2)[1]
    phases = sample.phases
    used = replace(sample.whole, seconds=sum(phases.values()) - phases["cpu"], cpu_seconds=phases["cpu"])
    return replace(sample, whole=used)


def _attempts(case: Case, directory: Path, number: int) -> list[Sample]:
    """So many attempts, one after the other, by one process; `phases` has each one's CPU seconds too."""
    program = [sys.executable, "-m", "benchmarks.lakefs.program_attempt"]
    more: list[str | Path] = [directory / "cache", case.task, str(case.count), *(_word() for _ in range(number))]
    settle()
    whole = run([*program, *case.arguments(directory), *more], environment=case.known, directory=directory)
    samples = []
    for told in json.loads(whole.output):
        phases = told["phases"]
        phases["rest"] = told["seconds"] - sum(phases.values())
        phases["cpu"] = told["cpu"]
        samples.append(Sample(told["seconds"] - phases["body"] - phases["clean"], whole, phases))
    return samples


def _word() -> str:
    """One that nobody has written yet: all sides publish to one branch, and a change has to be one."""
    return uuid.uuid4().hex[:8]


def reference(case: Case, directory: Path, _round: str) -> Sample:
    """The same work by the reference."""
    return _program(case, directory, [os.environ[REFERENCE_VARIABLE], HERE / "program_reference.py"])


def bare(case: Case, directory: Path, _round: str) -> Sample:
    """The same bytes by the standard library's HTTP."""
    return _program(case, directory, [sys.executable, HERE / "program_bare.py"])


def _program(case: Case, directory: Path, program: Sequence[str | Path]) -> Sample:
    settle()
    known = case.known
    known.pop("PYTHONPATH", None)  # the reference's package has our name
    command = [*program, *case.arguments(directory), case.task, str(case.count), _word()]
    whole = run(command, environment=known, directory=directory)
    phases: dict[str, float] = json.loads(whole.output)
    return Sample(sum(phases.values()) - phases["body"] - phases["clean"], whole, phases)


def lakectl(case: Case, directory: Path, _round: str) -> Sample:
    """By hand: everything down, the changes, everything up to a branch, a commit, a merge."""
    known = {
        **case.known,
        "LAKECTL_SERVER_ENDPOINT_URL": case.server.url,
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": case.server.access_key_id,
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": case.server.secret_access_key,
        "HOME": str(directory),
    }
    program = lakefs_build.programs() / "lakectl"
    at, branch, work = f"lakefs://{case.repository.name}", f"by-hand-{uuid.uuid4().hex}", directory / "work"

    def do(*arguments: str | Path) -> Usage:
        return run([program, *arguments], environment=known, directory=directory)

    settle()
    down = do("fs", "download", "-r", "-p", "25", f"{at}/main/", work)
    began = time.perf_counter()
    CHANGES[case.task](work, case.count, _word())
    changing = time.perf_counter() - began
    up = do("branch", "create", f"{at}/{branch}", "--source", f"{at}/main")
    up += do("fs", "upload", "-r", "-p", "25", "-s", work, f"{at}/{branch}/")
    up += do("commit", f"{at}/{branch}", "-m", "by hand", "--allow-empty-message")
    up += do("merge", f"{at}/{branch}", f"{at}/main")
    clean = run(["rm", "-rf", work], environment=known, directory=directory)
    whole = down + up + clean
    phases = {"download": down.seconds, "upload, commit, merge": up.seconds, "rm -rf": clean.seconds}
    return Sample(down.seconds + up.seconds, replace(whole, seconds=whole.seconds + changing), phases)
