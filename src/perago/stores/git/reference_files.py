"""The files that libgit2 writes for a reference: inside the repository, and with the modes of a shared one.

libgit2 follows links on its way to a reference and its reflog, and knows no `core.sharedRepository`. In a repository
that others may write to, one of them could plant a link between the check and the write. The user has trusted them.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

from perago.stores.git.files import RepositoryFiles
from perago.stores.git.trust import check_no_link


@contextmanager
def within_repository(files: RepositoryFiles, repository: Path, reference: str) -> Iterator[None]:
    """Around a write of a reference by libgit2.

    Args:
        repository: path, for messages.

    Raises:
        StoreError: a link is in the way; nothing was written.
        OSError: a mode cannot be set.
    """
    written = (reference, f"logs/{reference}", "packed-refs", "logs/HEAD")
    for path in written:
        _check(files, repository, path)
    yield
    for path in written:
        for part in _parts(path):
            files.share(part)


def _check(files: RepositoryFiles, repository: Path, path: str) -> None:
    for part in _parts(path):
        try:
            status = files.lstat(part)
        except FileNotFoundError:
            return
        check_no_link(repository, part, status)
        if not stat.S_ISDIR(status.st_mode):
            return


def _parts(path: str) -> Iterator[str]:
    """A path's directories from the top, and the path itself."""
    return accumulate(path.split("/"), "{}/{}".format)
