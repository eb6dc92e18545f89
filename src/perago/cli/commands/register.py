"""`perago register`: register the tasks of modules at the Conductor server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perago.cli.failure import before_start
from perago.cli.loading import load_tasks
from perago.cli.output import json_option, note, plain_warnings, print_json, tell

if TYPE_CHECKING:
    from perago.cli.conductor import Compared
    from perago.engines.conductor import ConductorEngine

_DONE = {"missing": "new", "differs": "changed", "registered": "unchanged"}


@click.command()
@click.argument("modules", metavar="MODULE[:FUNCTION]...", nargs=-1, required=True)
@json_option
def command(modules: tuple[str, ...], as_json: bool) -> None:
    """Register the tasks of modules at the Conductor server. Tasks with the same names are replaced.

    \b
      perago register app.features app.audio:mix

    Running workflows keep the definitions they started with. CONDUCTOR_SERVER_URL names the server.
    """
    from perago.cli.conductor import compare_taskdefs, open_conductor
    from perago.settings import load_run_config

    tasks = list({id(task): task for module in modules for task in load_tasks(module)}.values())
    with open_conductor(load_run_config(modules[0], probe_workspace_root=False)) as engine:
        with plain_warnings(), before_start():
            compared = compare_taskdefs(engine, tasks)
        for entry in compared:
            _register(engine, entry)
    if as_json:
        print_json([{**entry.said, "state": _DONE[entry.state]} for entry in compared])
        return
    for entry in compared:
        tell(f"{entry.task.name}: {_DONE[entry.state]}")
        if entry.state == "differs":
            tell("\n".join(entry.diff))
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
