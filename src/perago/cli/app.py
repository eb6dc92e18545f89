"""Entry point: finds a command, runs it, and turns its result or error into an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, TextIO

import click

from perago import __version__

_COMMANDS = {
    "run": ("perago.cli.commands.run", "Run a task or a workflow on a commit of a branch, and publish the changes."),
    "runs": ("perago.cli.commands.runs", "List the runs of `perago run` and their results."),
    "start": ("perago.cli.commands.start", "Start a worker that runs tasks of a Conductor server."),
    "status": (
        "perago.cli.commands.status",
        "Show the slots of a worker, or which tasks of a workflow are up to date.",
    ),
    "check": ("perago.cli.commands.check", "Check tasks, workflows, and the settings."),
    "extract": ("perago.cli.commands.extract", "Write the definition of a task or a workflow to a file."),
    "register": ("perago.cli.commands.register", "Register tasks and workflows at the Conductor server."),
    "submit": ("perago.cli.commands.submit", "Start a workflow on the Conductor server."),
    "watch": ("perago.cli.commands.instances", "Follow a workflow on the Conductor server until it ends."),
    "retry": ("perago.cli.commands.instances", "Retry the failed tasks of a workflow on the Conductor server."),
    "rerun": ("perago.cli.commands.instances", "Rerun a workflow on the Conductor server, starting at a given task."),
    "cancel": ("perago.cli.commands.instances", "End a running workflow on the Conductor server."),
    "import": ("perago.cli.commands.importing", "Commit the files of a directory to a branch."),
    "export": ("perago.cli.commands.export", "Write the files of a commit to a directory."),
    "log": ("perago.cli.commands.log", "Show the history of a branch: tasks, inputs and results."),
    "blame": ("perago.cli.commands.lineage", "Say which commit made each file."),
    "lineage": (
        "perago.cli.commands.lineage",
        "Show which files and commits a file or commit came from, or what came from it.",
    ),
    "branch": ("perago.cli.commands.branching", "Create a branch at a commit."),
    "revert": ("perago.cli.commands.branching", "Undo what a run or a commit has changed."),
    "diff": ("perago.cli.commands.compare", "Show the files in which two commits differ."),
    "compare": ("perago.cli.commands.compare", "Show params and results of commits or runs side by side."),
    "ui": ("perago.cli.commands.ui", "Show runs, history and files as a web page on this machine."),
    "report": ("perago.cli.commands.report", "Write a report on a run or a commit to one HTML file."),
    "why": ("perago.cli.commands.why", "Say what a run of a task or workflow would compute, and why."),
    "distrust": ("perago.cli.commands.distrust", "Say that a result is wrong, so that no task takes it again."),
    "cache": ("perago.cli.commands.cache", "Show or clear this host's object cache."),
    "fence": ("perago.cli.commands.fence", "Check or install the publish fence of a lakeFS branch."),
    "allow": (
        "perago.cli.commands.allow",
        "Let Perago send your credentials to a server that .env, perago.toml or pyproject.toml names.",
    ),
    "doctor": ("perago.cli.commands.doctor", "Find leftovers and damage, and fix them."),
}

_EPILOG = """\b
Exit codes: 0 done, 1 the task failed, 2 nothing was started, 3 not published,
  because of other commits or another execution, 130 interrupted.
Settings, the first one found counts: environment, .env, perago.toml,
  [tool.perago] of pyproject.toml."""


class _LazyGroup(click.Group):
    """Group that loads only the command that is called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _ = _COMMANDS[cmd_name]
        loaded = importlib.import_module(module)
        command: click.Command = loaded.command if hasattr(loaded, "command") else getattr(loaded, cmd_name)
        command.name = cmd_name  # in a module with one command the function is named `command`
        from perago.cli.output import note_warning, settings_warnings_to

        ctx.with_resource(settings_warnings_to(note_warning))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            ctx.fail(_no_such_command(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Typed tasks on versioned workspaces.

    A task changes the files of a commit, and Perago publishes the changes on the branch exactly once, or not at all.
    """
    if context.invoked_subcommand is None:
        from perago.cli.output import say

        say(context.get_help())
        context.exit(2)
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd would import pathlib for this alone
    except OSError:
        raise click.UsageError("the current directory no longer exists; change to another one") from None


def run_program() -> NoReturn:
    """Run the command line of this process."""
    _open_standard_streams()
    try:
        code = invoke(sys.argv[1:])
    finally:
        from perago.cli.output import drop_unwritten_stderr

        drop_unwritten_stderr()
    sys.exit(code)


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code. Errors are printed on stderr."""
    try:
        code: int | None = cli.main(args=list(arguments), prog_name="perago", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - the one place where errors end
        from perago.cli.failure import report_failure

        return report_failure(exc, arguments)
    return code or 0


def _open_standard_streams() -> None:
    """Replace closed standard streams: the next opened file would get their number, and the output printed to it.

    Python sets such a stream to None, which much code does not expect. `sys.__stdout__` and the others stay None.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # a body's process needs one as well
    sys.stdin = open(os.devnull, encoding="utf-8") if sys.stdin is None else sys.stdin  # noqa: PTH123, SIM115 - as above
    sys.stdout = _nowhere() if sys.stdout is None else sys.stdout
    sys.stderr = _nowhere() if sys.stderr is None else sys.stderr


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123 - as above


def _no_such_command(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, _COMMANDS, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(_COMMANDS)}."
    return f"no such command {name!r}. {hint}"
