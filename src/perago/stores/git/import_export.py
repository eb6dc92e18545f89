"""Importing a directory into a branch, and exporting a commit into a directory."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pygit2

from perago.errors import BranchNotFoundError, HeadMovedError, WorkspaceContentError
from perago.ports import Clock
from perago.stores.git.commits import Identity, write_commit
from perago.stores.git.lfs import LfsDigests
from perago.stores.git.materialize import check_layout, lay_out, plan_layout
from perago.stores.git.objects import IdsOnly, Leaf, ObjectReader, ObjectWriter
from perago.stores.git.packs import open_writer
from perago.stores.git.refs import References
from perago.stores.git.repository import BareRepository, translated
from perago.stores.git.trees import Overlay, edit, find, walk
from perago.stores.git.upload import Uploader
from perago.values.models import Changes
from perago.values.names import FOR_EXPORT, FOR_IMPORT, check_git_name
from perago.values.spec import WorkspaceSpec
from perago.workspace.empty_directory import empty_directory
from perago.workspace.patterns import Selection
from perago.workspace.progress import TransferProgress
from perago.workspace.reading import open_workspace
from perago.workspace.scan import scan

_SWAPS = 64
"""Tries of an import if the branch moves."""

_CONFIG = {
    # Former heads stay findable, even after manual changes of a branch.
    "core.logAllRefUpdates": "true",
    # A global setting of "now" would let gc remove what is being staged.
    "gc.pruneExpire": "2.weeks.ago",
    # A forced push cannot drop published commits.
    "receive.denyNonFastForwards": "true",
    # Staging references are internal to this repository.
    "transfer.hideRefs": "refs/perago",
}


def create_repository(path: Path, branch: str) -> None:
    """Create a bare repository, unless it exists; `branch` is what a clone will check out.

    Raises:
        StoreError: something else is at the path.
    """
    check_branch_name(branch)
    if not is_free(path):
        BareRepository(path).handle  # noqa: B018 - raises if it cannot be opened
        return
    with translated("making the repository", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Created aside and then renamed: others see all of it or nothing, and only one of several processes succeeds.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as aside:
            made = Path(aside) / path.name
            repository = pygit2.init_repository(str(made), bare=True, initial_head=branch)
            for name, value in _CONFIG.items():
                repository.config[name] = value
            try:
                made.rename(path)
            except OSError:
                if is_free(path):
                    raise
    BareRepository(path).handle  # noqa: B018 - as above


def is_free(path: Path) -> bool:
    """Whether a new repository can be created at a path: there is nothing, or an empty directory."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def check_branch_name(branch: str) -> None:
    """Refuse a name that git does not allow for a branch.

    Raises:
        BranchNotFoundError
    """
    try:
        is_valid = pygit2.reference_is_valid_name(f"refs/heads/{branch}")
    except UnicodeEncodeError:
        is_valid = False
    if not is_valid or branch.startswith("-"):
        raise BranchNotFoundError(f"{branch!r} is not a branch name; `git help check-ref-format` has the rules")
    if branch == "HEAD":
        raise BranchNotFoundError("'HEAD' is git's name for the current commit; give the branch another name")
    if branch.startswith("refs/"):
        name = branch.removeprefix("refs/").removeprefix("heads/")
        raise BranchNotFoundError(f"{branch!r} is the name of a reference; give only the branch's name: {name!r}")


@dataclass(frozen=True)
class Import:
    """Import of one directory into a branch.

    Attributes:
        spec: selects files by prefix, include and exclude.
        mirror: delete selected files that the directory does not have.
    """

    repository: BareRepository
    references: References
    source: Path
    spec: WorkspaceSpec
    mirror: bool

    def run(self, branch: str, message: str, clock: Clock, progress: TransferProgress) -> str | None:
        """Put the directory's files below the prefix, in one commit on the branch's head.

        A missing branch is created. If the branch moves, the directory is compared with the new head.

        Returns:
            the commit's id, or None if nothing differs.

        Raises:
            WorkspaceError: the directory contains something that cannot be stored; see `workspace.scan`.
            WorkspaceContentError: a path is a file on one side and a directory on the other.
            HeadMovedError: the branch moved during each try.
        """
        paths = self._paths(branch)
        present = self._present(self.repository.find_branch_head(branch))
        progress.total_files = len(paths)
        known = frozenset(leaf.id for leaf in present.values())
        with (
            open_workspace(self.source, FOR_IMPORT) as files,
            open_writer(self.repository, len(paths), known) as writer,
        ):
            uploader = Uploader(self.repository, writer, files, progress)
            uploaded = {path: uploader.upload(path, present.get(path)) for path in paths}
        for _ in range(_SWAPS):
            with suppress(HeadMovedError):
                return self._commit(uploaded, branch, message, clock)
        raise HeadMovedError(f"branch {branch!r} moved during each of {_SWAPS} tries; nothing was imported. Try again")

    def compare(self, branch: str, progress: TransferProgress) -> Changes:
        """The changes that `run` would make. Writes nothing. `deleted` also lists what stays without `mirror`.

        Raises:
            WorkspaceError: as `run`.
        """
        paths = self._paths(branch)
        progress.total_files = len(paths)
        head = self.repository.find_branch_head(branch)
        present = self._present(head)
        with open_workspace(self.source, FOR_IMPORT) as source:
            uploader = Uploader(self.repository, IdsOnly(), source, progress, LfsDigests(self.repository))
            files = {path: uploader.upload(path) for path in paths}
        self._edit(IdsOnly(), head, self._overlay(files, present))
        return Changes(
            added=tuple(sorted(files.keys() - present.keys())),
            modified=tuple(sorted(path for path in files.keys() & present.keys() if files[path] != present[path])),
            deleted=tuple(sorted(present.keys() - files.keys())),
        )

    def _paths(self, branch: str) -> list[str]:
        check_branch_name(branch)
        paths = sorted(scan(self.source, self._selection, FOR_IMPORT).files)
        for path in paths:
            check_git_name(self.spec.root + path, FOR_IMPORT, prefix=self.spec.root)
        return paths

    @property
    def _selection(self) -> Selection:
        return Selection(self.spec.include, self.spec.exclude)

    def _commit(self, files: dict[str, Leaf], branch: str, message: str, clock: Clock) -> str | None:
        head = self.repository.find_branch_head(branch)
        with open_writer(self.repository, 0) as writer:
            overlay = self._overlay(files, self._present(head))
            if head is not None and not overlay:
                return None
            commit_id = write_commit(
                writer,
                tree=self._edit(writer, head, overlay),
                parents=() if head is None else (head,),
                identity=Identity.of(self.repository),
                message=message.strip() + "\n",
                clock=clock,
            )
        if head is None:
            self.references.create_branch(branch, commit_id)
        else:
            self.references.swap_branch(branch, head, commit_id, "perago: import")
        return commit_id

    def _edit(self, writer: ObjectWriter, head: str | None, overlay: Overlay) -> str:
        tree = str(self.repository.commit(head).tree_id) if head else None
        try:
            return edit(ObjectReader(self.repository), writer, tree, overlay)
        except WorkspaceContentError as exc:
            if self.mirror:
                raise
            raise WorkspaceContentError(f"{exc}; or use --mirror to delete what the directory does not have") from exc

    def _overlay(self, files: dict[str, Leaf], present: dict[str, Leaf]) -> Overlay:
        """The changes to the branch that the import needs."""
        gone = {self.spec.root + path: None for path in present.keys() - files.keys()} if self.mirror else {}
        return gone | {self.spec.root + path: leaf for path, leaf in files.items() if present.get(path) != leaf}

    def _present(self, head: str | None) -> dict[str, Leaf]:
        """A commit's entries at the selected paths below the prefix."""
        if head is None:
            return {}
        reader, selection = ObjectReader(self.repository), self._selection
        root = find(reader, str(self.repository.commit(head).tree_id), self.spec.root.rstrip("/"))
        if root is None or not root.is_directory:
            return {}
        return {path: leaf for path, leaf in walk(reader, root.id, selection.enters) if selection.selects(path)}


def export(repository: BareRepository, ref: str, spec: WorkspaceSpec, target: Path, progress: TransferProgress) -> int:
    """Lay out a commit's files below a new or empty directory. Returns the number of files.

    Raises:
        RefNotFoundError: `ref` is not a full commit id, or there is no such commit.
        PrefixNotFoundError: the commit has nothing below the prefix.
        ObjectNameError: an entry cannot be laid out.
        WorkspaceStorageError: the directory is not empty, or cannot be written.
    """
    commit = repository.input_commit(ref)
    layout = plan_layout(repository, str(commit.id), spec, may_be_missing=False, words=FOR_EXPORT)
    with empty_directory(target):
        check_layout(layout, target, FOR_EXPORT)
        progress.total_files = len(layout.files)
        lay_out(repository, layout, target.resolve(), progress, FOR_EXPORT)  # the target may be a link
    return len(layout.files)
