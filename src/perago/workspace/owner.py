"""Who an attempt directory belongs to, so that a janitor can tell the dead from the living."""

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
"""Start times this close are one process's: they come from one clock, exact to 10 ms; a process id is not given out
again within so short a time."""

ENDED = -math.inf
"""Stands for the start of a process that has ended and was not waited for yet: no owner started then."""

_DEAD_STATES = ("Z", "X", "x")
_MAX_MARKER_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class OwnerMarker:
    """The owner of an attempt directory, as its `owner.json` says.

    Attributes:
        host: the host's name.
        boot_id: names the host's boot; None where the system has no such name.
        pid_namespace: in which `pid` counts; None where there are none. Containers can share host name and boot.
        pid: the owner's process id.
        process_started: when it started, in seconds, on a clock that never jumps: on Linux since the boot, elsewhere
            since the epoch as the kernel took it down then.
        worker_id, task_id, execution_id: who it works as, and on what.
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
        """The marker of a directory that this process makes."""
        pid = os.getpid()
        return cls(
            host=platform.node(),
            boot_id=_boot_id(),
            pid_namespace=_pid_namespace(),
            pid=pid,
            process_started=_started(pid) or 0.0,
            worker_id=worker_id,
            task_id=task_id,
            execution_id=execution_id,
            created_at=now.isoformat(),
        )

    def write(self, path: Path) -> None:
        """Write the marker, whole or not at all, readable by its owner alone.

        Raises:
            WorkspaceStorageError: the disk refused.
        """
        with storage_errors("cannot write owner marker", path):
            write_whole(path, [json.dumps(asdict(self), indent=1) + "\n"])

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a marker; None where there is none, or none that can be understood. A link is not followed."""
        try:
            with opened_file(path) as file:
                return cls._of(json.loads(file.read(_MAX_MARKER_BYTES)))
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> Self:
        pid = int(values["pid"])
        if pid <= 0:
            raise ValueError(pid)  # to the system these mean groups of processes, not one
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
    """Whether the owner still runs. "unknown" where that cannot be seen from here: another host or container.

    Another boot is no proof of death. Hosts can share a name, as containers do that are given a fixed one, and a
    workspace root with it; then it is another host's, which is at work.
    """
    if (marker.host, marker.boot_id, marker.pid_namespace) != (platform.node(), _boot_id(), _pid_namespace()):
        return "unknown"
    return _process_liveness(marker.pid, marker.process_started)


def started_by_wall_clock(pid: int) -> float | None:
    """Seconds since the epoch at which a process started, or `ENDED`; None: there is none, or it cannot be seen.

    Not for Linux: there it is worked out from the wall clock at the time of asking, and moves when that is set.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return ENDED if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def started_since_boot(pid: int) -> float | None:
    """Seconds from Linux's boot to the start of a process, or `ENDED`; None: there is none, or it cannot be seen."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command's name, in parentheses, may hold anything; after it come the fields from the third on.
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
    """Whether there is a process that cannot be looked at: a system can hide those of other users."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


@cache
def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except OSError:
        return None


def _pid_namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - the link's text is no path
    except OSError:
        return None


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
