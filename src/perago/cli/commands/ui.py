"""`perago ui`: show runs and history as a web page on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from perago.cli.arguments import branch_option, repo_or_none_option, workspace_root_to_look_at
from perago.cli.failure import before_start
from perago.cli.output import json_option, note, print_json, tell
from perago.running.repos.address import given_repository

if TYPE_CHECKING:
    from perago.stores.provider import RepositoryAddress
    from perago.ui.conductor import ConductorRuns

MAX_PORT = 65535


@click.command()
@repo_or_none_option
@branch_option
@click.option(
    "--port",
    type=click.IntRange(0, MAX_PORT),
    default=0,
    show_default="any free one",
    help="The port on 127.0.0.1.",
)
@click.option("--conductor", "on_conductor", is_flag=True, help="Show the workflows on the Conductor server as well.")
@click.option("--no-open", "stays_closed", is_flag=True, help="Only print the address; open no browser.")
@json_option
def command(repo: str | None, branch: str, port: int, on_conductor: bool, stays_closed: bool, as_json: bool) -> None:
    """Show runs, history and files as a web page, for this user on this machine.

    Prints an address that opens the page once, in one browser. Ctrl-C ends it. The page changes nothing.

    With --conductor, the list of runs also has the workflows of this repository on the server that CONDUCTOR_SERVER_URL
    names, each with its own page. If the server cannot be reached, the page says so.

    Needs the extra `ui`.
    """
    from perago.ui import expect_extra

    with ExitStack() as stack:
        with before_start():
            expect_extra()
            from perago.ui.serve import serve
            from perago.ui.source import READ_SECONDS, Source

            address = given_repository(repo)
            server = stack.enter_context(_server(address)) if on_conductor else None
            source = Source(address, branch, workspace_root_to_look_at(None), server, read_seconds=READ_SECONDS)
            stack.callback(source.close)

        def told(page: str) -> None:
            if as_json:
                print_json({"address": page}, one_line=True)
            else:
                tell(page)
            note("This address opens the page once. Ctrl-C ends it.")

        serve(source, port=port, tell=told, opens=not stays_closed)


@contextmanager
def _server(address: RepositoryAddress | None) -> Iterator[ConductorRuns]:
    """The configured server; sends nothing yet."""
    from perago.cli.conductor import open_conductor
    from perago.settings import load_run_config

    with open_conductor(load_run_config("perago", probe_workspace_root=False)) as engine:
        from perago.ui.conductor import ConductorRuns

        yield ConductorRuns(engine, None if address is None else address.name)
