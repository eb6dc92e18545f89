"""`perago run`: run a task once, or a workflow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from perago.cli.arguments import A_COMMIT, RunArguments, configured_repo, pairs_option, params_option, seconds
from perago.cli.failure import before_start
from perago.cli.loading import declared_by, tasks_option, workflows_option

if TYPE_CHECKING:
    from perago.running.request import RunRequest
    from perago.running.workflow_request import WorkflowRequest


@click.command()
@click.argument("module", metavar="[MODULE[:FUNCTION]]", required=False)
@params_option
@pairs_option
@click.option(
    "--repo",
    metavar="REPO",
    default=configured_repo,
    help="The repository: lakefs://NAME, or the path of a bare git repository. Required by tasks with a workspace.  "
    "[default: PERAGO_REPO]",
)
@click.option(
    "--branch",
    metavar="NAME",
    help="The branch: its head is the input, and the result is published to it. Required by tasks with a workspace.  "
    "[default: PERAGO_BRANCH]",
)
@click.option(
    "--ref",
    metavar="COMMIT",
    help=f"The commit of the branch to use as input: {A_COMMIT}.  [default: the branch's head]",
)
@click.option(
    "--retries",
    metavar="COUNT",
    type=click.IntRange(0, 100),
    help="Number of retries of a task after a failure; of each task in a workflow.  "
    "[default: 0; in a workflow each task's own]",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    callback=seconds,
    help="Timeout of the body.  [default: the task's own]",
)
@click.option("--workspace-root", metavar="DIR", help="Directory for workspaces.  [default: PERAGO_WORKSPACE_ROOT]")
@click.option("--keep", is_flag=True, help="Keep the workspace of each try that fails, and print its path.")
@click.option("--dry-run", is_flag=True, help="Run the body and show its changes, but publish nothing.")
@click.option(
    "--debug",
    is_flag=True,
    help="Run the body in this process, so that breakpoint() works. A workflow runs its bodies one after the other.",
)
@click.option("--resume", metavar="RUN_ID", help="Try a failed or killed run again, from the same input.")
@click.option(
    "--onto-head",
    is_flag=True,
    help="With --resume: start a new run with the same params, from the branch's current head.",
)
@click.option(
    "--from",
    "start",
    metavar="TASK",
    help="With --resume: rerun the workflow starting at this task, even if the task has completed.",
)
@click.option("--yes", is_flag=True, help="With --from: replace what has been published without asking.")
@click.option("--task-id", metavar="ID", help="Replay a recorded Conductor task on its input; publish nothing.")
@click.option(
    "-j",
    "--jobs",
    metavar="COUNT",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Tasks of a workflow to run at the same time.",
)
@click.option("--fast-retries", is_flag=True, help="Retry tasks of a workflow without their delays.")
@click.option(
    "--no-cache", is_flag=True, help="Ignore earlier results: run the body of every task, even if it has a cache."
)
@tasks_option
@workflows_option
@click.option("--json", "as_json", is_flag=True, help="Print the whole run as JSON on stdout, not just its result.")
def command(**given: Any) -> int:
    """Run a task or a workflow once on a commit of a branch, and publish the changes to that branch.

    \b
      perago run app.features:build --params @p.json --repo data.git --branch main
      perago run app.pipeline:nightly --params @p.json --repo data.git --branch main -j 4
      perago run nightly.json --tasks app.features --params @p.json --repo data.git --branch main
      perago run --resume RUN_ID --repo data.git
      perago run --resume RUN_ID --onto-head --repo data.git
      perago run --resume RUN_ID --from TASK --repo data.git
      perago run app.features:build --task-id ID

    The result goes to stdout as JSON, everything else to stderr. A task without a workspace needs no repository.
    Ctrl-C cancels the body and cleans up. Press Ctrl-C again to stop now.
    """
    arguments = RunArguments(**given)
    arguments.check()
    from perago.attempt.breakpoints import let_breakpoints_stop
    from perago.running.workflow_request import WorkflowRequest

    let_breakpoints_stop(stop=arguments.debug)

    if arguments.task_id is not None:
        from perago.cli.run.replay import replay

        return replay(arguments)
    with before_start():
        request = replace(_request(arguments), recomputes=arguments.no_cache)
    if isinstance(request, WorkflowRequest):
        from perago.cli.run.workflow_result import run_workflow

        return run_workflow(request, arguments)
    if arguments.dry_run:
        from perago.cli.run.rehearsal import rehearse

        return rehearse(request, arguments)
    from perago.cli.run.task import run_job

    return run_job(request, arguments)


def _request(arguments: RunArguments) -> RunRequest | WorkflowRequest:
    """What is to run, checked."""
    from perago.cli.run.consent import Replaced, expect_consent
    from perago.cli.run.prepare import (
        prepare,
        prepare_resume,
        prepare_workflow,
        prepare_workflow_resume,
        resumes_workflow,
    )
    from perago.tasks.declare import TaskDefinition

    if arguments.resume is not None:
        if resumes_workflow(arguments):
            arguments.check_for_workflow()
            resumed = prepare_workflow_resume(arguments)
            expect_consent(
                [
                    Replaced(entry.reference_task_name, *published)
                    for entry in resumed.replaced
                    if (published := entry.published) is not None
                ],
                yes=arguments.yes,
            )
            return resumed
        arguments.check_for_task()
        return prepare_resume(arguments)
    found = declared_by(arguments.module or "", arguments.tasks, arguments.workflows).only()
    if isinstance(found, TaskDefinition):
        arguments.check_for_task()
        return prepare(arguments, found)
    arguments.check_for_workflow()
    return prepare_workflow(arguments, found)
