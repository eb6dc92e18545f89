"""The page of the worker of this host's workspace root: its slots and what they do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perago.worker.supervisor.status import WorkerStatus


@dataclass(frozen=True, kw_only=True)
class WorkerPage:
    """A worker.

    Attributes:
        root: the workspace root; None if there is none to look at.
        worker: None if none ever ran there.
        now: seconds since the epoch.
    """

    root: str | None
    worker: WorkerStatus | None
    now: float


def worker_page(root: Path | None) -> WorkerPage:
    """See `WorkerPage`."""
    from perago.worker.supervisor.status import read_status  # other pages do without the worker's code

    status = read_status(root) if root is not None and root.is_dir() else None
    return WorkerPage(root=None if root is None else str(root), worker=status, now=time.time())
