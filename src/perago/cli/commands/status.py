"""`perago status`: show the slots of a worker."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from perago.cli.arguments import workspace_root_to_look_at
from perago.cli.output import json_option, note, print_json, tell
from perago.running.text import printable, size_text

if TYPE_CHECKING:
    from perago.worker.supervisor.status import SlotStatus, WorkerStatus

RUNNING = 0
NOT_RUNNING = 1


@click.command()
@click.option("--workspace-root", metavar="DIR", help="The worker's workspace root.  [default: PERAGO_WORKSPACE_ROOT]")
@click.option("--ready", "must_be_ready", is_flag=True, help="Exit with 1 unless the worker is ready to take tasks.")
@json_option
def command(workspace_root: str | None, must_be_ready: bool, as_json: bool) -> int:
    """Show the worker of a workspace root: for each slot its attempt, with phase and progress.

    Exit codes: 0 it runs, and with --ready takes tasks; 1 it does not.
    """
    from perago.worker.supervisor.status import read_status

    root = workspace_root_to_look_at(workspace_root)
    status = read_status(root) if root.is_dir() else None
    runs = status is not None and status.state != "gone"
    is_ready = status is not None and status.ready
    if as_json:
        print_json({"running": runs, "ready": is_ready, "worker": None if status is None else asdict(status)})
    elif status is None or not runs:
        last = "" if status is None else f" The last one was {status.worker_id}, process {status.pid}."
        note(f"No worker is running on the workspace root {root}.{last}")
    else:
        _print(status)
    return RUNNING if runs and (is_ready or not must_be_ready) else NOT_RUNNING


def _print(status: WorkerStatus) -> None:
    now = time.time()
    polled = "no poll was answered yet" if status.polled_at is None else f"polled {_ago(now - status.polled_at)}"
    tell(f"Worker {printable(status.worker_id)}, process {status.pid}: {status.state}, {polled}")
    tell(f"Tasks: {printable(', '.join(status.tasks)) or 'none yet'}")
    for check in status.checks:
        if not check.ok:
            tell(printable(f"Not ready: {check.name}: {check.detail}"))
    if status.undelivered:
        tell(f"Results waiting for the server: {status.undelivered}")
    for slot in status.slots:
        tell(printable(_line(slot, now)))


def _line(slot: SlotStatus, now: float) -> str:
    memory = f", {size_text(slot.memory_bytes)}" if slot.memory_bytes else ""
    if slot.job is None:
        return f"  {slot.slot:>3}  {slot.state} for {_span(now - slot.since)}{memory}{_deaths(slot.deaths)}"
    job = slot.job
    progress = f", {job.progress}" if job.progress else ""
    ending = f", being stopped: {job.ending}" if job.ending else ""
    return (
        f"  {slot.slot:>3}  {job.task} (workflow {job.workflow}, attempt {job.attempt}) for "
        f"{_span(now - job.begun_at)}: {job.phase or 'starting'}{progress}{ending}"
    )


def _deaths(count: int) -> str:
    if count == 0:
        return ""
    return ", its executor died" if count == 1 else f", {count} executors died in a row"


def _ago(seconds: float) -> str:
    return f"{_span(seconds)} ago"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(seconds, 0):.0f} s"
