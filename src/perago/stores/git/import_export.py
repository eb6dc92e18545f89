"""A person's way in and out: a directory becomes a branch's content, a commit's content becomes a directory."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pygit2

from perago.errors import BranchNotFoundError, HeadMovedError
from perago.names import FOR_EXPORT, FOR_IMPORT, check_git_name
from perago.ports import Clock
from perago.spec import WorkspaceSpec
from perago.stores.git.commits import Identity, write_commit
from perago.stores.git.materialize import check_layout, lay_out, plan_layout
from perago.stores.git.objects import Leaf, ObjectReader
from perago.stores.git.packs import open_writer
from perago.stores.git.refs import References
from perago.stores.git.repository import Repository, translated
from perago.stores.git.trees import Overlay, edit, find, walk
from perago.stores.git.upload import Uploader
from perago.workspace.empty_directory import empty_directory
from perago.workspace.patterns import Selection
from perago.workspace.progress import Progress
from perago.workspace.reading import open_workspace
from perago.workspace.scan import scan

_SWAPS = 64
"""Times that an import begins again because the branch moved under it."""

_CONFIG = {
    # Heads of the past stay findable, whatever is done to a branch by hand.
    "core.logAllRefUpdates": "true",
    # A global setting of "now" would let gc remove what is being staged.
    "gc.pruneExpire": "2.weeks.ago",
    # Nobody drops published commits by a forced push.
    "receive.denyNonFastForwards": "true",
    # Staging references are nobody's business on the other side.
    "transfer.hideRefs": "refs/perago",
}


def create_repository(path: Path, branch: str) -> None:
    """Make a bare repository, unless there is one; `branch` is what a clone will check out.

    Raises:
        StoreError: something else is there.
    """
    check_branch_name(branch)
    if not _is_free(path):
        Repository(path).handle  # noqa: B018 - raises what is wrong with it
        return
    with translated("making the repository", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place and then renamed: others see all of it or nothing, and only one of several makes it.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as aside:
            made = Path(aside) / path.name
            repository = pygit2.init_repository(str(made), bare=True, initial_head=branch)
            for name, value in _CONFIG.items():
                repository.config[name] = value
            try:
                made.rename(path)
            except OSError:
                if _is_free(path):
                    raise
    Repository(path).handle  # noqa: B018 - as above


def _is_free(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def check_branch_name(branch: str) -> None:
    """Refuse what git could not take as a branch.

    Raises:
        BranchNotFoundError
    """
    try:
        is_valid = pygit2.reference_is_valid_name(f"refs/heads/{branch}")
    except UnicodeEncodeError:
        is_valid = False
    if not is_valid or branch.startswith("-"):
        raise BranchNotFoundError(f"{branch!r} is no name for a branch; `git check-ref-format` says what is")
    if branch == "HEAD":
        raise BranchNotFoundError("'HEAD' is git's own name for what is checked out; give the branch another name")
    if branch.startswith("refs/"):
        name = branch.removeprefix("refs/").removeprefix("heads/")
        raise BranchNotFoundError(f"{branch!r} is the name of a reference; give the branch by its name alone: {name!r}")


@dataclass(frozen=True)
class Import:
    """One directory on its way into a branch."""

    repository: Repository
    references: References
    clock: Clock

    def run(self, source: Path, branch: str, message: str, spec: WorkspaceSpec, progress: Progress) -> str | None:
        """Make the selected content below the prefix equal to the directory's, in one commit on the branch's head.

        A branch that is not there is made. If the branch moves meanwhile, the directory is compared with its new head.

        Returns:
            the commit's id, or None where the branch has that content already.

        Raises:
            WorkspaceError: the directory holds what cannot be stored; see `workspace.scan`.
            HeadMovedError: the branch moved again and again.
        """
        check_branch_name(branch)
        paths = sorted(scan(source, Selection(spec.include, spec.exclude), FOR_IMPORT).files)
        for path in paths:
            check_git_name(spec.root + path, FOR_IMPORT, prefix=spec.root)
        present = self._present(self.repository.find_branch_head(branch), spec)
        progress.total_files = len(paths)
        uploaded = self._upload(source, paths, present, progress)
        for _ in range(_SWAPS):
            with suppress(HeadMovedError):
                return self._commit(uploaded, branch, message, spec)
        raise HeadMovedError(
            f"branch {branch!r} moved {_SWAPS} times during the import; nothing was imported. Try again"
        )

    def _commit(self, files: dict[str, Leaf], branch: str, message: str, spec: WorkspaceSpec) -> str | None:
        head = self.repository.find_branch_head(branch)
        with open_writer(self.repository, 0) as writer:
            overlay = self._overlay(files, self._present(head, spec), spec)
            if head is not None and not overlay:
                return None
            tree = str(self.repository.commit(head).tree_id) if head else None
            commit_id = write_commit(
                writer,
                tree=edit(ObjectReader(self.repository), writer, tree, overlay),
                parent=head,
                identity=Identity.of(self.repository),
                message=message.strip() + "\n",
                clock=self.clock,
            )
        if head is None:
            self.references.create_branch(branch, commit_id)
        else:
            self.references.swap_branch(branch, head, commit_id, "perago: import")
        return commit_id

    def _overlay(self, files: dict[str, Leaf], present: dict[str, Leaf], spec: WorkspaceSpec) -> Overlay:
        """What has to change for the selected content to be these files."""
        gone = {spec.root + path: None for path in present.keys() - files.keys()}
        return gone | {spec.root + path: leaf for path, leaf in files.items() if present.get(path) != leaf}

    def _present(self, head: str | None, spec: WorkspaceSpec) -> dict[str, Leaf]:
        """What a commit holds at the selected paths below the prefix."""
        if head is None:
            return {}
        reader, selection = ObjectReader(self.repository), Selection(spec.include, spec.exclude)
        root = find(reader, str(self.repository.commit(head).tree_id), spec.root.rstrip("/"))
        if root is None or not root.is_directory:
            return {}
        return {path: leaf for path, leaf in walk(reader, root.id, selection.enters) if selection.selects(path)}

    def _upload(self, source: Path, paths: list[str], present: dict[str, Leaf], progress: Progress) -> dict[str, Leaf]:
        """Store the files; large ones that the branch has already are read, not written."""
        uploaded: dict[str, Leaf] = {}
        known = frozenset(leaf.id for leaf in present.values())
        with open_workspace(source, FOR_IMPORT) as files, open_writer(self.repository, len(paths), known) as writer:
            uploader = Uploader(self.repository, writer, files, progress)
            for path in paths:
                uploaded[path] = uploader.upload(path, present.get(path))
        return uploaded


def export(repository: Repository, ref: str, spec: WorkspaceSpec, target: Path, progress: Progress) -> int:
    """Lay out a commit's files below a new or empty directory; returns how many.

    Raises:
        RefNotFoundError: `ref` is no full commit id, or there is no such commit.
        PrefixNotFoundError: there is nothing below the prefix.
        ObjectNameError: a name or kind of entry that cannot be laid out.
        WorkspaceStorageError: the directory is not empty, or cannot be written.
    """
    commit = repository.input_commit(ref)
    layout = plan_layout(repository, str(commit.id), spec, may_be_missing=False, words=FOR_EXPORT)
    with empty_directory(target):
        check_layout(layout, target, FOR_EXPORT)
        progress.total_files = len(layout.files)
        lay_out(repository, layout, target.resolve(), progress, FOR_EXPORT)  # a link that is named is followed
    return len(layout.files)
