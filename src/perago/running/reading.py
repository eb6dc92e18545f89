"""`perago.log`, `perago.runs`, `perago.list_files` and `perago.read_file`: what is there, as values for notebooks."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import ValidationError

from perago.errors import PrefixNotFoundError
from perago.running.history import DEFAULT_LISTED, CommitSummary, log_of, runs_of
from perago.running.repos.address import DEFAULT_BRANCH, head_of, parse_address
from perago.running.request import RunArgumentError, configured_branch, configured_repo
from perago.stores.provider import RepositoryAddress
from perago.values.names import show_name
from perago.values.spec import WHOLE_REPOSITORY, WorkspaceSpec

if TYPE_CHECKING:
    from perago.engines.local import RunSummary
    from perago.ports import Repository

MAX_READ_BYTES = 64 * 1024 * 1024
"""Largest file that `read_file` returns unless another limit is given: it is whole in memory."""


def log(
    repo: str | os.PathLike[str] | None = None, branch: str | None = None, *, limit: int = DEFAULT_LISTED
) -> list[CommitSummary]:
    """The history of a branch, newest first, as `perago log` shows it.

    Args:
        repo: `lakefs://NAME`, or the path of a bare git repository. Default: `PERAGO_REPO`.
        branch: default: `PERAGO_BRANCH`, or `main`.
        limit: at most this many commits.

    Raises:
        TaskInputError, RuntimeConfigError: an argument or a setting is missing or wrong.
        RepositoryNotFoundError, BranchNotFoundError: it does not exist.
        StoreError: the server cannot be reached, or refused.
    """
    _check_limit(limit)
    found = log_of(_address(repo), branch or configured_branch() or DEFAULT_BRANCH, limit)
    return [CommitSummary.of(entry) for entry in found]


def runs(repo: str | os.PathLike[str] | None = None, *, limit: int = DEFAULT_LISTED) -> list[RunSummary]:
    """The recorded runs on a repository, newest first, as `perago runs` shows them.

    Args:
        repo: as in `log`. Default: `PERAGO_REPO`, or the runs of tasks without a workspace.
        limit: at most this many runs.

    Raises:
        TaskInputError, RuntimeConfigError, RepositoryNotFoundError, StoreError: as in `log`.
        EngineError: the records cannot be read.
    """
    _check_limit(limit)
    return list(itertools.islice(runs_of(configured_repo(repo)), limit))


def list_files(
    prefix: str = WHOLE_REPOSITORY,
    *,
    repo: str | os.PathLike[str] | None = None,
    branch: str | None = None,
    ref: str | None = None,
) -> list[str]:
    """The names of the files of a commit, sorted. Reads no content.

    Args:
        prefix: a directory of the repository; "/" is all of it.
        repo, branch: as in `log`; the head of the branch is listed.
        ref: the commit to list instead: an id or its beginning, or a tag.

    Raises:
        TaskInputError, RuntimeConfigError, RepositoryNotFoundError, BranchNotFoundError, StoreError: as in `log`.
        RefNotFoundError: there is no such commit.
        PrefixNotFoundError: the commit has nothing below the prefix.
    """
    try:
        spec = WorkspaceSpec(prefix=prefix)
    except ValidationError as exc:
        (fault,) = exc.errors()
        raise RunArgumentError(f"prefix={prefix!r}: {fault.get('ctx', {}).get('error', fault['msg'])}") from None
    with _opened(repo, branch, ref) as (_, repository, commit):
        return repository.files(commit, spec.prefix)


def read_file(
    path: str,
    *,
    repo: str | os.PathLike[str] | None = None,
    branch: str | None = None,
    ref: str | None = None,
    max_bytes: int = MAX_READ_BYTES,
) -> bytes:
    """The content of a file of a commit, checked against its digest.

    Args:
        path: its name in the repository, as `list_files` gives it.
        repo, branch, ref: as in `list_files`. `perago.run(...).commit` is a ref.
        max_bytes: refuse a larger file. Default: 64 MiB.

    Raises:
        TaskInputError: the file is larger than `max_bytes`; or as in `log`.
        PrefixNotFoundError: the commit has no such file.
        RuntimeConfigError, RepositoryNotFoundError, BranchNotFoundError, RefNotFoundError: as in `list_files`.
        StoreError: its content is missing or damaged; or as in `log`.
        ObjectNameError: no file can have this name.
        WorkspaceStorageError: the directory of temporary files refused; content passes through it.
    """
    with _opened(repo, branch, ref) as (address, repository, commit):
        found = repository.find_file(commit, path)
        at = f"commit {commit[:12]} of {address.argument}"
        if found is None:
            raise PrefixNotFoundError(
                f"{at} has no file {show_name(path)}. perago.list_files(ref={commit[:12]!r}, ...) lists its files"
            )
        if found.size > max_bytes:
            raise RunArgumentError(
                f"{show_name(path)} in {at} has {found.size} bytes, more than max_bytes={max_bytes}. Give a larger "
                f"max_bytes, or write its directory to disk with `{_export(address, commit, path)}`"
            )
        return found.read()


def _export(address: RepositoryAddress, commit: str, path: str) -> str:
    directory = path.rpartition("/")[0]
    prefix = ["--prefix", directory] if directory else []
    return shlex.join(["perago", "export", "DIR", "--repo", address.argument, "--ref", commit, *prefix])


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise RunArgumentError(f"limit={limit} lists nothing; give 1 or more")


def _address(repo: str | os.PathLike[str] | None) -> RepositoryAddress:
    """The given repository, or the configured one.

    Raises:
        RunArgumentError: there is none.
    """
    found = configured_repo(repo)
    if found is None:
        raise RunArgumentError("lakefs://NAME or the path of a bare git repository; or set PERAGO_REPO", missing="repo")
    return parse_address(found)


@contextmanager
def _opened(
    repo: str | os.PathLike[str] | None, branch: str | None, ref: str | None
) -> Iterator[tuple[RepositoryAddress, Repository, str]]:
    """The repository, open, and the full id of the commit to read."""
    if branch is not None and ref is not None:
        raise RunArgumentError("give branch= or ref=, not both")
    address = _address(repo)
    with address.open() as repository:
        if ref is None:
            commit = head_of(repository, branch or configured_branch() or DEFAULT_BRANCH, address)
        else:
            commit = repository.resolve(ref)
        yield address, repository, commit
