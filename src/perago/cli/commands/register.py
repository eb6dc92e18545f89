"""`perago register`: register tasks and workflows at the Conductor server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perago.cli.failure import before_start
from perago.cli.loading import declared_by, tasks_option, workflows_option
from perago.cli.output import json_option, note, plain_warnings, print_json, tell

if TYPE_CHECKING:
    from perago.cli.conductor import Compared
    from perago.engines.conductor import ConductorEngine

_DONE = {"missing": "new", "differs": "changed", "registered": "unchanged"}


@click.command()
@click.argument("modules", metavar="MODULE[:FUNCTION]...", nargs=-1, required=True)
@click.option("--bump", is_flag=True, help="Register a workflow that differs as its next version.")
@tasks_option
@workflows_option
@json_option
def command(modules: tuple[str, ...], bump: bool, as_json: bool, **sources: tuple[str, ...]) -> None:
    """Register the tasks and workflows of modules at the Conductor server. A workflow is registered with its tasks and
    sub-workflows.

    \b
      perago register app.features app.audio:mix
      perago register app.pipeline:nightly

    Tasks with the same names are replaced. A registered version of a workflow is never replaced. If its definition
    differs, the difference is shown; --bump registers it as the next version. Running workflows keep the definitions
    they started with. CONDUCTOR_SERVER_URL names the server.
    """
    from perago.cli.conductor import compare_taskdefs, compare_workflows, open_conductor, register_workflows
    from perago.settings import load_run_config

    found = [declared_by(module, sources["tasks"], sources["workflows"]) for module in modules]
    workflows = [workflow for one in found for workflow in one.workflows]
    declared = {id(task): task for one in found for task in one.all_tasks}
    module = next((module for module in modules if not module.endswith(".json")), "perago")
    with open_conductor(load_run_config(module, probe_workspace_root=False)) as engine:
        with plain_warnings(), before_start():
            compared = compare_taskdefs(engine, list(declared.values()))
            versions = compare_workflows(engine, [workflow.graph for workflow in workflows], bump=bump)
        for entry in compared:
            _register(engine, entry)
        register_workflows(engine, versions)
    if as_json:
        print_json(
            [
                *({**entry.said, "state": _DONE[entry.state]} for entry in compared),
                *({**version.said, "state": _DONE[version.state]} for version in versions),
            ]
        )
        return
    for entry in compared:
        tell(f"{entry.task.name}: {_DONE[entry.state]}")
        if entry.state == "differs":
            tell("\n".join(entry.diff))
    for version in versions:
        tell(f"workflow {version.name}, version {version.version}: {_DONE[version.state]}")
        if version.state == "differs":
            tell("\n".join(version.diff))
    note(f"Registered at {engine.api_url}")


def _register(engine: ConductorEngine, entry: Compared) -> None:
    """Register a task unless it is registered as declared, and verify that the server keeps it.

    Raises:
        EngineError: the server refused, did not answer, or keeps another TaskDef.
    """
    from perago.engines.conductor.taskdefs import differences
    from perago.errors import EngineError

    if entry.state == "registered":
        return
    engine.put_taskdef(entry.to_register)
    left = differences(entry.taskdef, engine.get_taskdef(entry.task.name))
    if left:
        told = "\n".join(left)
        raise EngineError(
            f"the server at {engine.api_url} accepted the TaskDef of task {entry.task.name!r} but keeps another one. "
            f"Its version may not know a field, or another client registered the task at the same time:\n{told}"
        )
