"""`perago allow`: let credentials go to a server that a file of the current directory names."""

from __future__ import annotations

from pathlib import Path

import click

from perago.cli.output import json_option, print_json, tell


@click.command()
@click.argument("server", metavar="[URL]", required=False)
@click.option("--remove", is_flag=True, help="No longer allow this server here.")
@json_option
def command(server: str | None, remove: bool, as_json: bool) -> None:
    """Let Perago send your credentials to a server that .env, perago.toml or pyproject.toml names.

    Perago sends your credentials only to servers that you name yourself, in the environment or in ~/.lakectl.yaml. A
    server that is named by .env, perago.toml or pyproject.toml, which may be somebody else's, gets only credentials
    from the same file, until you allow it here. Allow it once for each directory. If the file names another server
    later, that one is refused again. Without URL, show which servers are allowed for the current directory.
    """
    from perago.settings.consent import allow, allowed_servers, withdraw

    here = Path.cwd()
    if server is None:
        if remove:
            raise click.UsageError("--remove needs the URL of the server")
    elif not remove:
        allow(here, server)
    elif not withdraw(here, server):
        raise click.UsageError(f"{server} is not allowed for {here}")
    servers = allowed_servers(here)
    if as_json:
        print_json({"directory": str(here), "servers": servers})
        return
    tell(f"Servers allowed for {here}: {', '.join(servers) or 'none'}")
