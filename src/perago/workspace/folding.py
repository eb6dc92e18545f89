"""Which names a file system treats as equal. This is tested with a file, because no system call tells."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from perago.files.storage import OWNER_ONLY, storage_errors
from perago.values.names import Folding

_COMPOSED = "\u00e9"
_DECOMPOSED = "e\u0301"
_NAME_REFUSED = (errno.EILSEQ, errno.EINVAL)


def probe_folding(root: Path) -> Folding:
    """Test what the file system at `root` folds, with a file that is created and removed at once.

    Directories of one file system can differ (ext4 and NTFS fold case per directory). Probe the directory itself, or
    one that it inherits the attribute from.

    Raises:
        WorkspaceStorageError: no file can be created there.
    """
    name = f".probe-{secrets.token_hex(8)}-"
    with storage_errors("cannot write in", root):
        case = _is_found_as(root, name + "a", name + "A")
        try:
            unicode = _is_found_as(root, name + _COMPOSED, name + _DECOMPOSED)
        except OSError as exc:
            if exc.errno not in _NAME_REFUSED:
                raise
            unicode = False  # it refuses such names, which shows when one is laid out
    return Folding(case=case, unicode=unicode)


def _is_found_as(root: Path, name: str, other: str) -> bool:
    path = root / name
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY))
    try:
        return os.path.lexists(root / other)
    finally:
        with suppress(OSError):
            path.unlink()
