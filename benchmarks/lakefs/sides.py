"""The sides: our attempts, the reference's, lakectl's commands, and bare HTTP. Each lays out, changes, publishes."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.changing import CHANGES
from benchmarks.compare import Sample
from benchmarks.inputs import environment
from benchmarks.lakefs import reference as reference_environment
from benchmarks.measure import Usage, run, settle
from servers.go_build import LAKEFS
from servers.lakefs import LakeFSServer
from servers.lakefs_api import LakeFSRepository

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


def fill(case: Case, directory: Path, files: int, size: int) -> None:
    """Commit so many files of so many bytes to the repository."""
    program = [sys.executable, "-m", "benchmarks.lakefs.program_fill"]
    sizes = [str(files), str(size)]
    run([*program, *case.arguments(directory), *sizes], environment=case.known, directory=directory)


def first_attempt(case: Case, directory: Path, _round: str) -> Sample:
    """An attempt of a worker that has just begun, on a host whose cache is empty."""
    return _attempts(case, directory, 1)[0].sample


def second_attempt(case: Case, directory: Path, _round: str) -> Sample:
    """The attempt after that one; time and CPU are its own, memory is the process's."""
    _, second = _attempts(case, directory, 2)
    used = replace(second.sample.whole, seconds=second.seconds, cpu_seconds=second.cpu_seconds)
    return replace(second.sample, whole=used)


class _Attempt(NamedTuple):
    """One of several by one process, whose usage is the sample's; `seconds` and `cpu_seconds` are the attempt's own."""

    sample: Sample
    seconds: float
    cpu_seconds: float


def _attempts(case: Case, directory: Path, number: int) -> list[_Attempt]:
    """So many attempts, one after the other, by one process."""
    program = [sys.executable, "-m", "benchmarks.lakefs.program_attempt"]
    more: list[str | Path] = [directory / "cache", case.task, str(case.count), *(_word() for _ in range(number))]
    settle()
    whole = run([*program, *case.arguments(directory), *more], environment=case.known, directory=directory)
    attempts = []
    for told in json.loads(whole.output):
        phases = told["phases"]
        phases["rest"] = told["seconds"] - sum(phases.values())
        sample = Sample(told["seconds"] - phases["body"] - phases["clean"], whole, phases)
        attempts.append(_Attempt(sample, told["seconds"], told["cpu"]))
    return attempts


def _word() -> str:
    """One that nobody has written yet: all sides publish to one branch, and a change has to be one."""
    return uuid.uuid4().hex[:8]


def reference(case: Case, directory: Path, _round: str) -> Sample:
    """The same work by the reference."""
    return _program(case, directory, [reference_environment.python(), HERE / "program_reference.py"])


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
    program = LAKEFS.made() / "lakectl"
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
