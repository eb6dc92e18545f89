"""The `--repo` argument: which store it names, and opening it. The next store plugs in here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perago.errors import RuntimeConfigError
from perago.ports import Observer, ignore

if TYPE_CHECKING:
    from perago.stores.git import GitStore

DEFAULT_BRANCH = "main"

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")

repo_option = click.option(
    "--repo", metavar="PATH", required=True, help="The repository: the path of a bare git repository."
)
branch_option = click.option("--branch", metavar="NAME", default=DEFAULT_BRANCH, show_default=True, help="The branch.")


def repository_path(argument: str) -> Path:
    """The path that a `--repo` argument names.

    Raises:
        RuntimeConfigError: it names another kind of store.
    """
    match = _SCHEME.match(argument)
    if match is None:
        return Path(argument).expanduser().absolute()
    if match["scheme"].lower() == "lakefs":
        raise RuntimeConfigError(
            f"--repo {argument!r} needs LAKECTL_SERVER_ENDPOINT_URL, LAKECTL_CREDENTIALS_ACCESS_KEY_ID, "
            f"LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY and the lakeFS store, which this version does not have yet; "
            f"give the path of a git repository"
        )
    raise RuntimeConfigError(
        f"--repo takes the path of a bare git repository, no {match['scheme']}:// address; clone it first, with "
        f"`git clone --bare`"
    )


def open_store(argument: str, observer: Observer = ignore) -> GitStore:
    """The store that a `--repo` argument names.

    Raises:
        RuntimeConfigError: it names another kind of store.
        RepositoryNotFoundError: nothing is there, or no repository.
    """
    from perago.stores.git import GitStore

    store = GitStore(repository_path(argument), observer=observer)
    store.branches()  # opens it
    return store


def repository_name(path: Path) -> str:
    """What the repository is called in messages and stamps."""
    return path.name or str(path)


def head_of(store: GitStore, branch: str) -> str:
    """Full id of the commit that a branch points at.

    Raises:
        BranchNotFoundError: there is no such branch; says which there are, and how to make one.
    """
    from perago.errors import BranchNotFoundError

    head = store.branch_head(branch)
    if head is not None:
        return head
    branches = store.branches()
    there = f"it has {', '.join(map(repr, branches))}" if branches else "it has none yet"
    raise BranchNotFoundError(
        f"repository {store.path} has no branch {branch!r}; {there}. Make it from a directory with "
        f"`perago import DIR --repo {store.path} --branch {branch}`, or from a commit with "
        f"`git -C {store.path} branch {branch} COMMIT`"
    )
