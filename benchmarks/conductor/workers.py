"""The measured workers: each is started as its users start it, and observed from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import psutil

from benchmarks.environments import PackageEnvironment
from benchmarks.inputs import environment

HERE = Path(__file__).parent
RUNNER = PackageEnvironment("conductor-python", "2.0.0")
REFERENCE = PackageEnvironment("perago", "0.6.1", beside=("conductor-python",))
LIGHT, FILES = "benchmarks.conductor.light_task", "benchmarks.conductor.files_task"

END_SECONDS = 8.0
"""Seconds for a worker to end after SIGTERM; remaining processes are killed."""


@dataclass(frozen=True)
class Kind:
    """A kind of worker.

    Attributes:
        python: the Python that runs it.
        arguments: Python's arguments, with the placeholders `{module}` and `{slots}`.
        registers: whether its tasks must be registered with its own command.
    """

    title: str
    python: Path
    arguments: tuple[str, ...]
    registers: bool = False

    def command(self, module: str, slots: int) -> list[str | Path]:
        return [self.python, *(text.format(module=module, slots=slots) for text in self.arguments)]


_OURS = ("-m", "perago", "start", "{module}", "-j", "{slots}", "--execution-mode")
PROCESSES = Kind("Perago, processes", Path(sys.executable), (*_OURS, "process"), registers=True)
THREADS = Kind("Perago, threads", Path(sys.executable), (*_OURS, "thread"), registers=True)
THEIR_RUNNER = Kind("conductor-python", RUNNER.python, (str(HERE / "program_runner.py"), "{slots}"))
THEIR_WORKER = Kind("the reference", REFERENCE.python, ("-m", "perago.cli", "start", "{module}", "-j", "{slots}"))


class Memory(NamedTuple):
    """Bytes of all processes of a worker.

    Attributes:
        resident: shared pages count in each process.
        proportional: shared pages are divided among the processes.
    """

    resident: int
    proportional: int


class Worker:
    """A running worker with all its processes. A context manager.

    Args:
        variables: environment variables that name the servers.
        directory: its working directory, which is not removed here.

    Attributes:
        task: the name of its task; inputs: its inputs.
    """

    def __init__(self, kind: Kind, module: str, slots: int, directory: Path, variables: Mapping[str, str]) -> None:
        self.kind = kind
        self.task = f"bench.{uuid.uuid4().hex[:12]}"
        self.inputs = ("params", "workspace") if module == FILES else ("params",)
        self._module = module
        self._command = kind.command(module, slots)
        self._directory = directory
        self._environment = {
            **environment(),
            "PERAGO_BENCH_TASK": self.task,
            "PERAGO_WORKSPACE_ROOT": str(directory / "workspaces"),
            "PERAGO_LOG_ROOT": str(directory / "logs"),
            "PERAGO_CACHE_DIR": str(directory / "cache"),
            **variables,
        }
        directory.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self.kind.registers:
            self._run([self.kind.python, "-m", "perago", "register", self._module])
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Send SIGTERM, and kill processes that remain: some workers leave some behind.

        Resource trackers of multiprocessing end by themselves after the others.
        """
        assert self._process is not None
        family = self.processes()
        cleaners = [process for process in family if _cleans_up(process)]
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        _kill(process for process in family if process not in cleaners)
        self._process.wait()
        _kill(psutil.wait_procs(cleaners, END_SECONDS)[1])

    def check(self) -> None:
        """Check that it is running.

        Raises:
            RuntimeError: it has ended; with its output.
        """
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.kind.title} has ended: {self._said.read_text(errors='replace')[-2_000:]}")

    def processes(self) -> list[psutil.Process]:
        """Its first process and all descendants."""
        assert self._process is not None
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> None:
        """Pause it until `go_on`, after its pending poll is answered."""
        for process in self.processes():
            process.send_signal(signal.SIGSTOP)

    def go_on(self) -> float:
        """Let it continue; returns the time in seconds since the epoch."""
        began = time.time()
        for process in reversed(self.processes()):
            process.send_signal(signal.SIGCONT)
        return began

    def cpu_seconds(self) -> float:
        """CPU seconds that it has used, including ended processes."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(taken.user + taken.system + taken.children_user + taken.children_system for taken in times)

    def memory(self) -> Memory:
        """Its present memory."""
        taken = [process.memory_full_info() for process in self.processes()]
        return Memory(sum(one.rss for one in taken), sum(getattr(one, "pss", 0) for one in taken))

    @property
    def _said(self) -> Path:
        return self._directory / "said.txt"

    def _run(self, command: Sequence[str | Path]) -> None:
        done = subprocess.run(
            command, cwd=self._directory, env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))} failed: {done.stderr}")


def _cleans_up(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return any("resource_tracker" in word for word in process.cmdline())
    return False


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
