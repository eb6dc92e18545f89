"""`perago watch`, `retry`, `rerun` and `cancel`: workflows on the Conductor server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from perago.cli.failure import before_start
from perago.cli.output import json_option, note, print_json
from perago.running.text import printable

if TYPE_CHECKING:
    from perago.engines.conductor import ConductorEngine, ConductorWorkflow

_MAX_NAMED = 3

_id_argument = click.argument("workflow_id", metavar="ID")


@click.command()
@_id_argument
@json_option
def watch(workflow_id: str, as_json: bool) -> int:
    """Follow a workflow on the Conductor server until it ends; the exit code is that of `perago run`.

    Ctrl-C leaves it running.
    """
    from perago.cli.run.follow import follow

    with _server() as engine:
        with before_start():
            engine.get_workflow(workflow_id)
        return follow(engine, workflow_id, as_json=as_json)


@click.command()
@_id_argument
@json_option
def retry(workflow_id: str, as_json: bool) -> None:
    """Retry the failed tasks of a workflow on the Conductor server. Completed tasks stay completed."""
    from perago.cli.run.unserved import to_retry_in, unserved_now, warning_for

    with _server() as engine, before_start():
        workflow = engine.get_workflow(workflow_id)
        for queue in unserved_now(engine.last_poll, to_retry_in(workflow)):
            note(warning_for(queue, "perago start MODULE"))
        engine.retry_workflow(workflow_id)
    text = f"{_retried(workflow)}. `perago watch {workflow_id}` shows it."
    _tell(workflow_id, printable(text), as_json=as_json)


def _retried(workflow: ConductorWorkflow) -> str:
    names = [repr(task.reference_task_name) for task in workflow.failed_tasks]
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    if not names:
        return f"Workflow {workflow.name} continues"
    return f"Retrying {', '.join(names[:_MAX_NAMED])}{more} of workflow {workflow.name}"


@click.command()
@_id_argument
@click.option("--from", "reference_name", metavar="TASK", help="Its reference name.  [default: the beginning]")
@click.option("--yes", is_flag=True, help="Replace what has been published without asking.")
@json_option
def rerun(workflow_id: str, reference_name: str | None, yes: bool, as_json: bool) -> None:
    """Rerun an ended workflow, starting at a given task, even if that task has completed.

    When the tasks publish again, this replaces what they have published on the branch. Those commits are listed first.
    """
    from perago.cli.run.consent import Replaced, expect_consent

    with _server() as engine, before_start():
        plan = engine.plan_rerun(workflow_id, reference_name)
        expect_consent(
            [
                Replaced(task.reference_task_name, task.output_branch or "", task.output_ref or "")
                for task in plan.replaced
            ],
            yes=yes,
        )
        engine.rerun_workflow(plan)
    if as_json:
        replaced = [
            {"reference_name": task.reference_task_name, "branch": task.output_branch, "ref": task.output_ref}
            for task in plan.replaced
        ]
        print_json({"workflow_id": workflow_id, "from": plan.start, "replaced": replaced})
    start = plan.start or "the beginning"
    note(f"Workflow {workflow_id} runs again from {start}. `perago watch {workflow_id}` shows it.")


@click.command()
@_id_argument
@click.option(
    "--reason", metavar="TEXT", default="cancelled by a person", show_default=True, help="Why, for its record."
)
@json_option
def cancel(workflow_id: str, reason: str, as_json: bool) -> None:
    """End a running workflow on the Conductor server. Tasks that have published stay published."""
    with _server() as engine, before_start():
        name = engine.get_instance(workflow_id).name
        engine.terminate_workflow(workflow_id, reason)
    _tell(workflow_id, f"Workflow {printable(name)} ({workflow_id}) is TERMINATED.", as_json=as_json)


def _tell(workflow_id: str, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"workflow_id": workflow_id})
    note(text)


@contextmanager
def _server() -> Iterator[ConductorEngine]:
    from perago.cli.conductor import open_conductor
    from perago.settings import load_run_config

    with open_conductor(load_run_config("perago", probe_workspace_root=False)) as engine:
        yield engine
