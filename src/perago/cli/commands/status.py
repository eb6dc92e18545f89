"""`perago status`: show the slots of a worker, or which tasks of a workflow are up to date."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from perago.cli.arguments import (
    A_COMMIT,
    RunArguments,
    configured_repo,
    pairs_option,
    params_option,
    workspace_root_to_look_at,
)
from perago.cli.failure import before_start
from perago.cli.loading import tasks_option, workflows_option
from perago.cli.output import json_option, note, print_json, tell
from perago.running.text import printable, size_text

if TYPE_CHECKING:
    from perago.worker.supervisor.status import SlotStatus, WorkerStatus

RUNNING = 0
NOT_RUNNING = 1


@click.command()
@click.argument("module", metavar="[MODULE[:FUNCTION]]", required=False)
@click.option("--workspace-root", metavar="DIR", help="The worker's workspace root.  [default: PERAGO_WORKSPACE_ROOT]")
@click.option("--ready", "must_be_ready", is_flag=True, help="Exit with 1 unless the worker is ready to take tasks.")
@params_option
@pairs_option
@click.option("--repo", metavar="REPO", help="The repository.  [default: PERAGO_REPO]")
@click.option("--branch", metavar="NAME", help="The branch whose head would be the input.  [default: PERAGO_BRANCH]")
@click.option(
    "--ref",
    metavar="COMMIT",
    help=f"The commit that would be the input: {A_COMMIT}.  [default: the branch's head]",
)
@tasks_option
@workflows_option
@json_option
def command(workspace_root: str | None, must_be_ready: bool, as_json: bool, **given: Any) -> int:
    """Without an argument: show what each slot of the worker does. With a workflow: show which tasks are up to date,
    and what changed for the others.

    \b
      perago status
      perago status app.pipeline:nightly --repo data.git --branch main

    Runs nothing and changes nothing. `perago why` gives more detail.

    Exit codes: 0 the worker is running (with --ready: and takes tasks), 1 it is not. For a workflow always 0.
    """
    if given["module"] is None:
        _refuse("a workflow: name one as MODULE:WORKFLOW", {f"--{name}": value for name, value in given.items()})
        return _worker(workspace_root, must_be_ready=must_be_ready, as_json=as_json)
    _refuse(
        "a worker: leave the workflow out",
        {"--workspace-root": workspace_root, "--ready": must_be_ready},
    )
    _workflow(RunArguments(as_json=as_json, **{**given, "repo": given["repo"] or configured_repo()}))
    return RUNNING


def _refuse(what: str, options: dict[str, object]) -> None:
    """Refuse options that are for the other of both.

    Raises:
        UsageError
    """
    found = [name.replace("--pairs", "--param") for name, value in options.items() if value]
    if found:
        raise click.UsageError(f"{' and '.join(found)} {'is' if len(found) == 1 else 'are'} for the status of {what}")


def _workflow(arguments: RunArguments) -> None:
    from perago.cli.run.foretold import document, foretold_of, request_of, status_lines

    with before_start():
        request = request_of(arguments)
        found = foretold_of(request)
    if arguments.as_json:
        print_json(document(request, found))
        return
    for line in status_lines(found):
        tell(line)


def _worker(workspace_root: str | None, *, must_be_ready: bool, as_json: bool) -> int:
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
    polled = "the server has not answered yet" if status.polled_at is None else f"polled {_ago(now - status.polled_at)}"
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
