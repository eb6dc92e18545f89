"""What a worker is told, checked already."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perago.worker.polling import Pace
from perago.worker.slot import Wear


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker is told.

    Attributes:
        directory: the supervisor's own, below the workspace root; see `lock`.
        slots: attempts at a time.
        pace: of polling.
        domain: whose queues are polled; None: those without one.
        gc_ttl_seconds, gc_interval_seconds: of orphans, and how often they are looked for.
    """

    worker_id: str
    workspace_root: Path
    directory: Path
    execution_mode: Literal["process", "thread"]
    slots: int
    pace: Pace
    domain: str | None = None
    wear: Wear = field(default_factory=Wear)
    failure_reason_max_length: int = 500
    gc_ttl_seconds: float = 86400.0
    gc_interval_seconds: float = 3600.0
