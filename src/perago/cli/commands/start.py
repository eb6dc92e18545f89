"""`perago start`: a worker that runs the tasks of some modules for a Conductor server."""

from __future__ import annotations

import click


def _not_blank(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refuse what a shell's unset variable leaves: nobody's tasks have a domain without a name.

    Raises:
        BadParameter
    """
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty; leave the option out for the tasks without a domain")
    return value


@click.command()
@click.argument("modules", metavar="MODULE[:FUNCTION]...", nargs=-1, required=True)
@click.option(
    "-j", "--jobs", "slots", type=click.IntRange(1, 1024), default=1, show_default=True, help="Attempts at a time."
)
@click.option(
    "--execution-mode",
    type=click.Choice(["process", "thread"]),
    help="Where bodies run.  [default: PERAGO_EXECUTION_MODE, or process]",
)
@click.option("--domain", metavar="NAME", callback=_not_blank, help="Take tasks of this domain only.")
@click.option("--repo", metavar="PATH", help="Work on a bare git repository, instead of the lakeFS server.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole log on stdout, an object a line.")
def command(
    modules: tuple[str, ...],
    slots: int,
    execution_mode: str | None,
    domain: str | None,
    repo: str | None,
    as_json: bool,
) -> int:
    """Run the tasks of some modules, as the Conductor server at CONDUCTOR_SERVER_URL hands them out.

    \b
      perago start app.features app.audio:mix -j 4

    The tasks have to be registered there as they are declared (`perago register`). SIGTERM and Ctrl-C let what runs
    come to its end, and take no new tasks; what is not through after PERAGO_SHUTDOWN_FORCE_KILL_AFTER is given back. A
    second signal ends at once. `perago status` shows what each slot does.
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
