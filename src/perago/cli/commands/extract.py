"""`perago extract`: write a task's TaskDef, or a workflow's definition, to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perago.cli.loading import declared_by, expect_no_namesakes, module_argument
from perago.cli.output import json_option, note, plain_warnings, print_json, tell

if TYPE_CHECKING:
    from perago.tasks.declare import TaskDefinition
    from perago.workflows.load import LoadedWorkflow


@click.command()
@module_argument
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write; its name ends in .json.",
)
@json_option
def command(module: str, output: Path, as_json: bool) -> None:
    """Write the TaskDef of a task, or the definition of a workflow, as JSON, for registration at a Conductor server."""
    from perago.tasks.declare import TaskDefinition

    found = declared_by(module).only()
    try:
        if isinstance(found, TaskDefinition):
            expect_no_namesakes(module, [found])
            what, name, path = _write_taskdef(found, output)
        else:
            what, name, path = _write_definition(found, output)
    except OSError as exc:
        raise click.UsageError(f"--output: {output} cannot be written: {exc.strerror}") from None
    if as_json:
        print_json({what: name, "output": str(path)})
    else:
        kind = "TaskDef" if what == "task" else "definition"
        tell(f"Wrote the {kind} of {what} {name} to {path}")
    for graph in () if isinstance(found, TaskDefinition) else found.graph.named_sub_workflows():
        note(
            f"The definition refers to workflow {graph.name}, version {graph.version}. Extract and register that "
            f"one, too"
        )


def _write_taskdef(task: TaskDefinition, output: Path) -> tuple[str, str, Path]:
    from perago.tasks.taskdef import write_taskdef

    with plain_warnings():
        return "task", task.name, write_taskdef(task, output)


def _write_definition(workflow: LoadedWorkflow, output: Path) -> tuple[str, str, Path]:
    from perago.tasks.taskdef import write_definition
    from perago.workflows.definition_json import to_json

    name = workflow.graph.name
    path = write_definition(to_json(workflow.graph), output, f"the definition of workflow {name!r}", name)
    return "workflow", name, path
