"""`perago start`: start a worker for a Conductor server."""

from __future__ import annotations

import click


def _not_blank(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty domain, such as from an unset shell variable: no task has it.

    Raises:
        BadParameter
    """
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty; leave the option out to take tasks without a domain")
    return value


@click.command()
@click.argument("modules", metavar="MODULE[:FUNCTION]...", nargs=-1, required=True)
@click.option(
    "-j",
    "--jobs",
    "slots",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Attempts at a time.",
)
@click.option(
    "--execution-mode",
    type=click.Choice(["process", "thread"]),
    help="Where bodies run.  [default: PERAGO_EXECUTION_MODE, or process]",
)
@click.option("--domain", metavar="NAME", callback=_not_blank, help="Take only tasks of this domain.")
@click.option("--repo", metavar="REPO", help="Work on this repository instead of the configured lakeFS server.")
@click.option("--json", "as_json", is_flag=True, help="Print the complete log on stdout, one object per line.")
def command(
    modules: tuple[str, ...],
    slots: int,
    execution_mode: str | None,
    domain: str | None,
    repo: str | None,
    as_json: bool,
) -> int:
    """Run the tasks of modules for the Conductor server at CONDUCTOR_SERVER_URL.

    \b
      perago start app.features app.audio:mix -j 4

    The tasks must be registered there as declared (`perago register`). After SIGTERM or Ctrl-C the worker takes no new
    tasks and finishes the running ones; tasks that still run after PERAGO_SHUTDOWN_FORCE_KILL_AFTER are returned to the
    queue. A second signal stops it now. `perago status` shows the current attempt of each slot.
    """
    from perago.attempt.breakpoints import let_breakpoints_stop
    from perago.cli.start import StartArguments, run_worker

    let_breakpoints_stop(stop=False)

    return run_worker(
        StartArguments(
            modules=modules,
            slots=slots,
            execution_mode=execution_mode,
            domain=domain,
            repo=repo,
            as_json=as_json,
        )
    )
