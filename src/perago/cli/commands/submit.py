"""`perago submit`: start a workflow on the Conductor server."""

from __future__ import annotations

from typing import Any

import click

from perago.cli.arguments import A_COMMIT, configured_repo, pairs_option, params_option
from perago.cli.failure import DONE, before_start
from perago.cli.loading import declared_by, tasks_option, workflows_option
from perago.cli.output import json_option, note, print_json, tell


@click.command()
@click.argument("target", metavar="MODULE:FUNCTION")
@params_option
@pairs_option
@click.option(
    "--repo",
    metavar="REPO",
    default=configured_repo,
    help="The repository, lakefs://NAME. Required if tasks have a workspace.  [default: PERAGO_REPO]",
)
@click.option(
    "--branch",
    metavar="NAME",
    help="The branch: its head is the input. Required if tasks have a workspace.  [default: PERAGO_BRANCH]",
)
@click.option(
    "--ref",
    metavar="COMMIT",
    help=f"The commit of the branch to use as input: {A_COMMIT}.  [default: the branch's head]",
)
@click.option("--bump", is_flag=True, help="Register the workflow's next version first, if its newest one differs.")
@click.option("--watch", is_flag=True, help="Follow the workflow until it ends; the exit code is that of `perago run`.")
@tasks_option
@workflows_option
@json_option
def command(target: str, bump: bool, watch: bool, as_json: bool, **given: Any) -> int:
    """Start a registered workflow on the Conductor server, on the head of a branch, and print its id.

    \b
      perago submit app.pipeline:nightly --params @p.json --repo lakefs://data --branch main --watch

    `perago register` registers it, and workers run its tasks (`perago start`). The newest version that equals the code
    is started. CONDUCTOR_SERVER_URL names the server.
    """
    from perago.cli.conductor import compare_workflows, expect_registered, open_conductor, register_workflows
    from perago.cli.run.prepare import prepare_submission
    from perago.settings import load_run_config
    from perago.tasks.declare import TaskDefinition
    from perago.workflows.forks import task_names

    workflow = declared_by(target, given["tasks"], given["workflows"]).only()
    if isinstance(workflow, TaskDefinition):
        raise click.UsageError(
            f"{target} is a task, and Conductor starts workflows only. Give MODULE:FUNCTION of a workflow, or use "
            f"`perago run {target}`"
        )
    with before_start():
        input_data = prepare_submission(workflow, **given)
        config = load_run_config("perago" if target.endswith(".json") else target, probe_workspace_root=False)
    with open_conductor(config) as engine:
        with before_start():
            expect_registered(engine, task_names(workflow.graph), target)
            versions = compare_workflows(engine, [workflow.graph], bump=bump)
            for compared in versions:
                if compared.state == "missing" and not bump:
                    raise click.UsageError(
                        f"not registered at {engine.api_url}: version {compared.version} of workflow "
                        f"{compared.name!r}. `perago register {target}` registers it"
                    )
            register_workflows(engine, versions)
            started = versions[-1]
            workflow_id = engine.start_workflow(started.name, started.version, input_data)
        if not watch:
            if as_json:
                print_json({"workflow_id": workflow_id, "workflow": started.name, "version": started.version})
            else:
                tell(workflow_id)
            note(f"Started version {started.version}. `perago watch {workflow_id}` shows it.")
            return DONE
        note(f"Started workflow {started.name}, version {started.version}: {workflow_id}")
        from perago.cli.run.follow import follow

        start = "perago start MODULE" if target.endswith(".json") else f"perago start {target.partition(':')[0]}"
        return follow(engine, workflow_id, start=start, as_json=as_json)
