"""A store and an engine as the callables that `run_workspace_task_attempt` takes."""

from __future__ import annotations

from typing import Any

from perago.attempt.publication import AttemptPorts


def ports_of(store: Any, engine: Any) -> dict[str, Any]:
    """By keyword, all that store and engine have."""
    ports = vars(AttemptPorts.of(store, engine))
    return {name: ports[name] for name in ports if name not in ("foresee_download", "complete_workspace", "reusable")}
