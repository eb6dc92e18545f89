"""The attempt's directory: `<root>/<task id>-<execution id>/` with the owner marker, the manifest and `workspace/`."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from perago.errors import WorkspaceStorageError
from perago.files.private_directory import OWNER_ONLY_DIRECTORY, make_private
from perago.files.storage import storage_error, storage_errors
from perago.ports import Clock
from perago.values.models import AttemptIdentity
from perago.values.names import show_name
from perago.workspace.owner import OwnerMarker
from perago.workspace.removal import TRASH_PREFIX, discard

OWNER_FILE = "owner.json"
MANIFEST_FILE = "manifest.jsonl"
WORKSPACE_DIRECTORY = "workspace"
KEPT_DIRECTORY = "kept"
NEW_PREFIX = ".new-"

MAX_DIRECTORY_NAME_BYTES = 200
"""Bytes. Leaves room below NAME_MAX (255), and in a path of 4,096 bytes for the longest object name (1,024)."""

# Ids that can be used in a file name unchanged. No capitals, because a file system may fold them. No "-" in the second,
# so that the end of the first is clear.
_PLAIN_TASK_ID = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_PLAIN_EXECUTION_ID = re.compile(r"[a-z0-9_]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9_]+")
_READABLE_CHARACTERS = 64

ATTEMPT_DIRECTORY_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*-[a-z0-9_]+|[A-Za-z0-9_]+-[A-Za-z0-9_]+~[0-9a-f]{32}")
"""The names that `directory_name` makes and the janitor looks for."""

ASIDE_NAME = re.compile(f"(?:{re.escape(NEW_PREFIX)}|{re.escape(TRASH_PREFIX)})[0-9a-f]{{32}}")
"""Directories that are half created or half removed."""


def directory_name(task_id: str, execution_id: str) -> str:
    """The directory's name for an execution, unique for each execution.

    Plain ids are used unchanged. Others become a readable part and a digest (128 bits), because ids come from outside.
    """
    plain = f"{task_id}-{execution_id}"
    if (
        _PLAIN_TASK_ID.fullmatch(task_id)
        and _PLAIN_EXECUTION_ID.fullmatch(execution_id)
        and len(plain) <= MAX_DIRECTORY_NAME_BYTES
    ):
        return plain
    both = repr((task_id, execution_id)).encode("utf-8", "surrogatepass")
    readable = "-".join(_readable(text) for text in (task_id, execution_id))
    return f"{readable}~{hashlib.sha256(both).hexdigest()[:32]}"


def _readable(text: str) -> str:
    return _UNSAFE.sub("_", text[:_READABLE_CHARACTERS]) or "_"


@dataclass(frozen=True)
class AttemptDirectory:
    """The private directory of one execution. Its creator removes or keeps it.

    Attributes:
        path: the directory, absolute.
    """

    path: Path

    @classmethod
    def create(
        cls, root: Path, identity: AttemptIdentity, execution_id: str, worker_id: str, clock: Clock
    ) -> AttemptDirectory:
        """Create the directory, readable by its owner only, with an empty workspace.

        The owner marker is written before the directory gets its name, so that no janitor takes it for an orphan.

        Args:
            root: contains the attempt directories; created if missing, for this user only.
            execution_id: new for this execution.
            worker_id: the worker that runs it.

        Raises:
            RuntimeConfigError: another user owns the root, or can write to it.
            WorkspaceStorageError: the disk refused, or the execution already has a directory.
        """
        with storage_errors("cannot create workspace root", root):
            make_private(root, "workspace root")
            root = root.resolve(strict=True)
        marker = OwnerMarker.of_this_process(
            worker_id=worker_id, task_id=identity.task_id, execution_id=execution_id, now=clock.now()
        )
        path = root / directory_name(identity.task_id, execution_id)
        aside = root / (NEW_PREFIX + secrets.token_hex(16))
        try:
            with storage_errors("cannot create attempt directory", path):
                aside.mkdir(OWNER_ONLY_DIRECTORY)
                marker.write(aside / OWNER_FILE)
                (aside / WORKSPACE_DIRECTORY).mkdir(OWNER_ONLY_DIRECTORY)
                _appear(aside, path)
        except BaseException:
            with suppress(WorkspaceStorageError):
                discard(aside, OWNER_FILE)
            raise
        return cls(path)

    @property
    def workspace(self) -> Path:
        """The body's own directory, without files of Perago's."""
        return self.path / WORKSPACE_DIRECTORY

    @property
    def manifest_path(self) -> Path:
        return self.path / MANIFEST_FILE

    def remove(self) -> None:
        """Remove the directory, whatever the body left in it. A missing one is fine.

        Raises:
            WorkspaceStorageError: something cannot be deleted; a janitor will try again.
        """
        discard(self.path, OWNER_FILE)

    def keep(self) -> Path:
        """Move the directory to `<root>/kept/`, which no janitor touches. A person removes it.

        Returns:
            the workspace there.

        Raises:
            RuntimeConfigError: another user can change that directory.
            WorkspaceStorageError: the disk refused.
        """
        kept = self.path.parent / KEPT_DIRECTORY / self.path.name
        with storage_errors("cannot keep attempt directory", self.path):
            make_private(kept.parent, "directory of kept workspaces")
            self.path.rename(kept)
        return kept / WORKSPACE_DIRECTORY


def _appear(aside: Path, path: Path) -> None:
    """Rename a directory to its final name, unless that exists. The marker in an existing one makes the rename fail."""
    try:
        aside.rename(path)
    except (FileExistsError, NotADirectoryError) as exc:
        raise _exists(path) from exc
    except OSError as exc:
        if os.path.lexists(path):
            raise _exists(path) from exc
        raise storage_error(exc, "cannot create attempt directory", path) from exc


def _exists(path: Path) -> WorkspaceStorageError:
    return WorkspaceStorageError(
        f"attempt directory {show_name(os.fspath(path))} exists already, so this execution id was used before; give "
        f"each execution its own id"
    )
