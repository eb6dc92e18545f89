"""`perago extract`: write a task's TaskDef to a file."""

from __future__ import annotations

from pathlib import Path

import click

from perago.cli.loading import load_named_task, module_argument
from perago.cli.output import json_option, plain_warnings, print_json, tell


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
    """Write the TaskDef of a task as JSON, for registration at a Conductor server."""
    from perago.tasks.taskdef import write_taskdef

    task = load_named_task(module)
    with plain_warnings():
        try:
            path = write_taskdef(task, output)
        except OSError as exc:
            raise click.UsageError(f"--output: {output} cannot be written: {exc.strerror}") from None
    if as_json:
        print_json({"task": task.name, "output": str(path)})
    else:
        tell(f"Wrote the TaskDef of task {task.name} to {path}")
