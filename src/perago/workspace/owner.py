"""The owner of an attempt directory, so that a janitor can recognize orphans."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from perago.files.storage import opened_file, storage_errors, write_whole

Liveness = Literal["alive", "dead", "unknown"]

START_TOLERANCE_SECONDS = 0.5
"""Start times closer than this belong to one process. They come from one clock with a precision of 10 ms, and process
ids are not reused that quickly."""

ENDED = -math.inf
"""Start time of a process that has ended but was not waited for. No owner has this start time."""

_DEAD_STATES = ("Z", "X", "x")
_MAX_MARKER_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class OwnerMarker:
    """The owner of an attempt directory, from its `owner.json`.

    Attributes:
        host: the host's name.
        boot_id: identifies the host's boot; None if the system has none.
        pid_namespace: of `pid`; None if there are none. Containers can share host name and boot.
        pid: the owner's process id.
        process_started: start time in seconds, by a clock that never jumps: since boot on Linux, elsewhere since the
            epoch as recorded by the kernel at the start.
        worker_id, task_id, execution_id: the owner's worker and work.
        created_at: RFC 3339, UTC.
    """

    host: str
    boot_id: str | None
    pid: int
    process_started: float
    worker_id: str
    task_id: str
    execution_id: str
    created_at: str
    pid_namespace: str | None = None

    @classmethod
    def of_this_process(cls, *, worker_id: str, task_id: str, execution_id: str, now: datetime) -> Self:
        """The marker of a directory that this process creates."""
        pid = os.getpid()
        return cls(
            host=platform.node(),
            boot_id=boot_id(),
            pid_namespace=_pid_namespace(),
            pid=pid,
            process_started=_started(pid) or 0.0,
            worker_id=worker_id,
            task_id=task_id,
            execution_id=execution_id,
            created_at=now.isoformat(),
        )

    def write(self, path: Path) -> None:
        """Write the marker completely or not at all, readable by its owner only.

        Raises:
            WorkspaceStorageError: the disk refused.
        """
        with storage_errors("cannot write owner marker", path):
            write_whole(path, [json.dumps(asdict(self), indent=1) + "\n"])

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a marker; None if it is missing or unreadable. Does not follow links."""
        try:
            with opened_file(path) as file:
                return cls._of(json.loads(file.read(_MAX_MARKER_BYTES)))
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> Self:
        pid = int(values["pid"])
        if pid <= 0:
            raise ValueError(pid)  # for the system, such numbers mean groups of processes
        return cls(
            host=_text(values["host"]),
            boot_id=_text_or_none(values["boot_id"]),
            pid=pid,
            process_started=float(values["process_started"]),
            worker_id=_text(values["worker_id"]),
            task_id=_text(values["task_id"]),
            execution_id=_text(values["execution_id"]),
            created_at=_text(values["created_at"]),
            pid_namespace=_text_or_none(values.get("pid_namespace")),
        )


def liveness(marker: OwnerMarker) -> Liveness:
    """Whether the owner still runs. "unknown" if that is not visible from here: another host or container.

    Another boot does not prove that the owner is dead. Hosts can share a name and a workspace root, as containers with
    a fixed name do. Then the boot may be that of another host, where the owner runs.
    """
    if (marker.host, marker.boot_id, marker.pid_namespace) != (platform.node(), boot_id(), _pid_namespace()):
        return "unknown"
    return _process_liveness(marker.pid, marker.process_started)


def started_by_wall_clock(pid: int) -> float | None:
    """Seconds since the epoch at which a process started, or `ENDED`; None if it is missing or invisible.

    Not for Linux, where the value is computed from the current wall clock and changes when that is set.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return ENDED if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def started_since_boot(pid: int) -> float | None:
    """Seconds from Linux's boot to the start of a process, or `ENDED`; None if it is missing or invisible."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command's name, in parentheses, may contain anything. After it come the fields from the third on.
    fields = status[status.rindex(b")") + 2 :].decode("ascii").split()
    state, start_ticks = fields[0], int(fields[19])
    return ENDED if state in _DEAD_STATES else start_ticks / os.sysconf("SC_CLK_TCK")


_started = started_since_boot if sys.platform == "linux" else started_by_wall_clock


def _process_liveness(pid: int, started: float) -> Liveness:
    found = _started(pid)
    if found is None:
        return "unknown" if _exists(pid) else "dead"
    return "alive" if abs(found - started) <= START_TOLERANCE_SECONDS else "dead"


def _exists(pid: int) -> bool:
    """Whether a process exists but is invisible, because the system hides other users' processes."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


@cache
def boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except OSError:
        return None


def _pid_namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - the link's text is not a path
    except OSError:
        return None


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
