"""A host of the nemesis: one supervisor with its executors, which is started again whenever it is gone."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

from nemesis import hook
from perago.settings.config import RuntimeConfig
from perago.workspace import janitor
from perago.workspace.directory import NEW_PREFIX, OWNER_FILE
from perago.workspace.owner import OwnerMarker
from start_support import StartedWorker

END_SECONDS = 30.0
"""For what a killed supervisor leaves to go: a second is enough, on a machine with time."""


class Host(StartedWorker):
    """`program_host.py`, with a workspace root and a worker id of its own.

    Args:
        programs: a copy of this directory, which nobody changes during the run: other code adopts nothing.
        modules: whose tasks it runs.

    Attributes:
        faults: what a host must not do.
        starts_refused: starts that ended because a server did not answer, as they should.
        away_seconds: from each end that was seen until it polled again.
    """

    def __init__(
        self, directory: Path, programs: Path, modules: Sequence[str], url: str, *options: str, **variables: str
    ) -> None:
        super().__init__(directory, url, [*modules], *options, **variables)
        self._command = [sys.executable, str(programs / "program_host.py"), "start", *modules, *options]
        self._environment["PYTHONPATH"] = os.pathsep.join([str(programs / "modules"), str(programs / "support")])
        self._environment["PERAGO_WORKER_ID"] = directory.name
        self.faults: list[str] = []
        self.starts_refused = 0
        self.away_seconds: list[float] = []
        self._shared = Path(variables[hook.DIRECTORY_VARIABLE])
        self._was_ready = False
        self._gone_at: float | None = None
        self._away_since: float | None = None

    def start(self) -> None:
        self._was_ready = False
        super().start()
        hook.polled_file(self._shared, self.pid).unlink(missing_ok=True)  # of another process of that id

    @property
    def is_ready(self) -> bool:
        return hook.polled_file(self._shared, self.pid).exists()

    def turn(self, *, may_start: bool) -> None:
        """Look how it is; start it again if it is gone, and all that it had started."""
        assert self.process is not None
        if self.process.poll() is None:
            self._was_ready = self._was_ready or self.is_ready
            if self._was_ready and self._away_since is not None:
                self.away_seconds.append(time.monotonic() - self._away_since)
                self._away_since = None
            return
        if self._gone_at is None:
            self._gone_at = time.monotonic()
            self._away_since = self._away_since or self._gone_at
            self._judge_end(self.process.returncode)
        left = processes_of(self)
        if left and time.monotonic() - self._gone_at > END_SECONDS:
            self.faults.append(f"{self.root}: processes outlive their supervisor: {[each.pid for each in left]}")
            for process in left:
                process.kill()
        elif not left and may_start:
            self._gone_at = None
            self.start()

    def _judge_end(self, code: int) -> None:
        if code == 2 and not self._was_ready:
            self.starts_refused += 1
        elif code != -signal.SIGKILL:
            self.faults.append(f"{self.root}: the supervisor ended by itself, with {code}: {self.told()[-2000:]}")

    @property
    def works(self) -> bool:
        """Whether it has polled since its start, and lives."""
        assert self.process is not None
        return self.process.poll() is None and self._was_ready

    def executors(self) -> list[psutil.Process]:
        """Those under its reapers."""
        try:
            reapers = psutil.Process(self.pid).children()
            return [executor for reaper in reapers for executor in reaper.children()]
        except psutil.NoSuchProcess:
            return []

    def tasks_under_way(self) -> list[str]:
        """Ids, as the status tells."""
        worker = self.status()["worker"]
        return [slot["job"]["task_id"] for slot in worker["slots"] if slot["job"]] if worker else []

    @property
    def is_idle(self) -> bool:
        """Whether it works on nothing, and has nothing to deliver."""
        worker = self.status()["worker"]
        return self.works and not self.tasks_under_way() and not worker["undelivered"]


def processes_of(host: StartedWorker) -> list[psutil.Process]:
    """All processes that work below a worker's root, whoever their parent is by now."""
    found = []
    for process in psutil.process_iter():
        try:
            root = process.environ().get("PERAGO_WORKSPACE_ROOT")
            if root == str(host.root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def resume(pids: Iterable[int]) -> None:
    """SIGCONT to those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue


def left_in(root: Path) -> list[Path]:
    """What a workspace root has when nobody works there any more, but for what goes in time.

    Whoever is killed before they have said whose a new directory is leaves one as if somebody were just making it. So
    the janitor takes it when it is a day old, and not before; it is seen to here that it does.
    """
    left = [path for path in root.iterdir() if path.name != "supervisor"]
    unnamed = [path for path in left if path.name.startswith(NEW_PREFIX) and not OwnerMarker.read(path / OWNER_FILE)]
    age = RuntimeConfig.model_fields["workspace_gc_ttl"].default.total_seconds()
    janitor.sweep(root, age, time.time() + 2 * age)
    return [path for path in left if path not in unnamed or path.exists()]
