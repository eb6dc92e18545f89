"""Tries of a workflow on Conductor, as the server would show them."""

from __future__ import annotations

from perago.engines.conductor import ConductorTask


def conductor_task(number: int, path: str, status: str, reason: str | None = None) -> ConductorTask:
    """A first try, which took a second.

    Args:
        number: its place in the order of scheduling; of its id, too.
        path: its reference name.
    """
    return ConductorTask(
        task_id=f"id-{number}",
        reference_task_name=path,
        task_name="step",
        status=status,
        retry_count=0,
        output={},
        reason=reason,
        seconds=1.0,
        kind="SIMPLE",
        seq=number,
        input_data={},
        is_limited=False,
    )
