"""A store of its own package: a directory of numbered snapshots. It is offered to Perago by an entry point alone.

DIR/lock               held by each call
DIR/snapshots/0.json   a commit: its parent, tree, stamp, author and subject; written once
DIR/content/<sha256>   what files hold
DIR/references.json    branches and staged work
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import threading
from datetime import UTC, datetime
from pathlib import Path

from perago.errors import PrefixNotFoundError, RefNotFoundError, RepositoryNotFoundError, RuntimeConfigError
from perago.ports import LogEntry, StoredFile
from perago.testing import MemoryStore
from perago.testing.commits import Blob, Commit, Commits, changed
from perago.testing.files import lay_out
from perago.values.models import AttemptIdentity, Changes, TaskExecution, staging_branch_name
from perago.values.names import FOR_IMPORT, check_object_name
from perago.values.spec import WorkspaceSpec
from perago.values.stamps import from_pairs, to_pairs
from perago.values.stores import DatasetSource, StoreSettings
from perago.workspace.patterns import Selection

KIND = "snapshots"
RUN_BRANCHES = "perago-run-"


class _Lock:
    """Locks the directory against other threads and processes; what others have written is read, and ours written."""

    def __init__(self, commits: SnapshotCommits) -> None:
        self._commits, self._lock, self._depth, self._file = commits, threading.RLock(), 0, None

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self._file = (self._commits.directory / "lock").open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._commits.read()

    def __exit__(self, *_: object) -> None:
        try:
            if self._depth == 1:
                self._commits.write()
                self._file.close()
        finally:
            self._depth -= 1
            self._lock.release()


class SnapshotCommits(Commits):
    """Commits and references on disk."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory.name)
        self.directory = directory
        self._stored = 0
        self._lock = _Lock(self)

    def read(self) -> None:
        while (path := self.snapshot(self._stored)).exists():
            made = json.loads(path.read_text())
            stamp = None if made["stamp"] is None else from_pairs(made["stamp"])
            tree = {name: self._blob(*entry) for name, entry in made["tree"].items()}
            facts = (made["author"], made["subject"], made["merged"])
            commit = Commit(made["id"], made["parent"], tree, stamp, *facts, number=self._stored)
            self._commits[commit.id] = commit
            self._stored += 1
        with contextlib.suppress(FileNotFoundError):
            references = json.loads((self.directory / "references.json").read_text())
            self._branches, self._staged = references["branches"], references["staged"]

    def write(self) -> None:
        for commit in list(self._commits.values())[self._stored :]:
            tree = {name: self._kept(blob) for name, blob in commit.tree.items()}
            stamp = None if commit.stamp is None else dict(to_pairs(commit.stamp))
            facts = {name: getattr(commit, name) for name in ("id", "parent", "merged", "author", "subject")}
            self._put(self.snapshot(self._stored), json.dumps({**facts, "tree": tree, "stamp": stamp}).encode())
            self._stored += 1
        references = {"branches": self._branches, "staged": self._staged}
        self._put(self.directory / "references.json", json.dumps(references).encode())

    def snapshot(self, number: int) -> Path:
        return self.directory / "snapshots" / f"{number}.json"

    def ids(self) -> list[str]:
        with self._lock:
            return list(self._commits)

    def times_of_staged(self) -> dict[str, datetime]:
        with self._lock:
            return {name: self.time_of(self.get(commit)) for name, commit in self._staged.items()}

    def time_of(self, commit: Commit) -> datetime:
        number = list(self._commits).index(commit.id)
        return datetime.fromtimestamp(self.snapshot(number).stat().st_mtime, UTC)

    def _blob(self, digest: str, executable: bool) -> Blob:
        return Blob((self.directory / "content" / digest).read_bytes(), executable)

    def _kept(self, blob: Blob) -> tuple[str, bool]:
        digest = hashlib.sha256(blob.content).hexdigest()
        if not (self.directory / "content" / digest).exists():
            self._put(self.directory / "content" / digest, blob.content)
        return digest, blob.executable

    @staticmethod
    def _put(path: Path, content: bytes) -> None:
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(content)
        new.replace(path)


class SnapshotStore(MemoryStore):
    """See `perago.ports.Repository`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory.name)
        for part in ("snapshots", "content"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        self._commits = SnapshotCommits(directory)

    def branch_head(self, branch: str) -> str | None:
        return self._commits.find_head(branch)

    def branches(self) -> list[str]:
        return [name for name in super().branches() if not name.startswith(RUN_BRANCHES)]

    def create_branch(self, branch: str, commit: str) -> None:
        raise NotImplementedError("snapshots have one branch")

    def resolve(self, ref: str) -> str:
        found = [name for name in self._commits.ids() if name.startswith(ref)]
        head = self.branch_head(ref)
        if head is None and len(found) != 1:
            raise RefNotFoundError(f"there is no commit {ref!r}, or more than one; give a longer one")
        return head or found[0]

    def import_directory(self, source, branch, message, *, spec=None, mirror=False):
        overlay = self._overlay(source, branch, spec or WorkspaceSpec(), mirror=mirror)
        if not overlay:
            return None
        return self._commits.commit_on(branch, overlay, stamp=None, author="someone", subject=message).id

    def compare_directory(self, source, branch, *, spec=None, mirror=False):
        spec = spec or WorkspaceSpec()
        before = self._tree_of(branch)
        overlay = self._overlay(source, branch, spec, mirror=True)
        paths = {path.removeprefix(spec.root): path for path in sorted(overlay)}
        return Changes(
            added=tuple(short for short, path in paths.items() if path not in before),
            modified=tuple(short for short, path in paths.items() if path in before and overlay[path] is not None),
            deleted=tuple(short for short, path in paths.items() if overlay[path] is None),
        )

    def export(self, ref, prefix, target):
        files = self._below(ref, prefix)
        target.mkdir(exist_ok=True)
        lay_out(files, target)
        return len(files)

    def files(self, ref, prefix):
        return sorted(self._below(ref, prefix))

    def find_file(self, ref, path):
        blob = self._commits.get(ref).tree.get(path)
        return None if blob is None else StoredFile(len(blob.content), lambda: blob.content)

    def find_files(self, ref, paths):
        return (self.find_file(ref, path) for path in paths)

    def log(self, ref, limit):
        for commit, _ in zip(self._commits.first_parents(ref), range(limit), strict=False):
            differs = changed(self._commits.parent_tree(commit), commit.tree)
            deleted = sum(blob is None for blob in differs.values())
            added = len(differs.keys() - self._commits.parent_tree(commit).keys())
            yield LogEntry(
                id=commit.id,
                parents=() if commit.parent is None else (commit.parent,),
                author=commit.author,
                time=self._commits.time_of(commit),
                subject=commit.subject,
                stamp=commit.stamp,
                added=added,
                modified=len(differs) - added - deleted,
                deleted=deleted,
            )

    def changes(self, before, after):
        old, new = self._commits.get(before).tree, self._commits.get(after).tree
        paths = sorted(changed(old, new))
        return Changes(
            added=tuple(path for path in paths if path not in old),
            modified=tuple(path for path in paths if path in old and path in new),
            deleted=tuple(path for path in paths if path not in new),
        )

    def sweep(self, older_than_seconds, *, runs_older_than_seconds=0.0):
        now = datetime.now(UTC)
        for name, time in self._commits.times_of_staged().items():
            if (now - time).total_seconds() > older_than_seconds:
                self._commits.drop_staged(name)

    def discard(self, name):
        self._commits.drop_staged(name)

    def examine(self, **_):
        return iter(())

    def _tree_of(self, branch):
        head = self.branch_head(branch)
        return {} if head is None else self._commits.get(head).tree

    def _overlay(self, source, branch, spec, *, mirror):
        selection = Selection(spec.include, spec.exclude)
        given = {str(path.relative_to(source)): path for path in source.rglob("*") if path.is_file()}
        blobs = {name: Blob(path.read_bytes(), os.access(path, os.X_OK)) for name, path in given.items()}
        overlay = {spec.root + name: blob for name, blob in blobs.items() if selection.selects(name)}
        before = self._tree_of(branch)
        for path in before if mirror else ():
            below = path.startswith(spec.root) and selection.selects(path.removeprefix(spec.root))
            if below and path not in overlay:
                overlay[path] = None
        return {path: blob for path, blob in overlay.items() if before.get(path) != blob}

    def _below(self, ref, prefix):
        root = WorkspaceSpec(prefix=prefix).root
        tree = self._commits.get(ref).tree
        below = {path.removeprefix(root): blob for path, blob in tree.items() if path.startswith(root)}
        if root and not below:
            raise PrefixNotFoundError(f"commit {ref[:12]} has no directory {prefix!r}. Give an existing prefix")
        return below


class OpenedSnapshots:
    """See `perago.stores.provider.OpenedStore`."""

    def __init__(self, path):
        self._store = SnapshotStore(Path(path))

    def for_attempt(self, observer=None, merge_seconds=None):
        return self._store

    def discard(self, attempt, execution_id, older_than_seconds):
        execution = TaskExecution(attempt=attempt, identity=AttemptIdentity.of(attempt), execution_id=execution_id)
        self._store.discard(staging_branch_name(execution))

    def sweep(self, repository, older_than_seconds, runs_older_than_seconds):
        self._store.sweep(older_than_seconds)

    def close(self):
        pass


class SnapshotAddress:
    """See `perago.stores.provider.RepositoryAddress`."""

    def __init__(self, path, host):
        self.path, self.host = path, host

    @property
    def argument(self):
        return f"{KIND}://{self.path}"

    @property
    def name(self):
        return self.path.name

    @property
    def settings(self):
        return StoreSettings(kind=KIND, values={"path": str(self.path)})

    def for_worker(self):
        return self.settings

    @property
    def runs_place(self):
        return self.path / "runs"

    @contextlib.contextmanager
    def open(self, observer=None, *, merge_seconds=None):
        if not (self.path / "snapshots").is_dir():
            raise RepositoryNotFoundError(f"there are no snapshots in {self.path}; create them with `perago import`")
        PROVIDER.prepare(self.settings, self.host)
        yield PROVIDER.open(self.settings).for_attempt(observer, merge_seconds)

    def open_fenced(self):
        raise RuntimeConfigError("snapshots have no publish fence")

    @contextlib.contextmanager
    def create(self, branch, observer, *, storage_namespace):
        PROVIDER.prepare(self.settings, self.host)
        yield PROVIDER.open(self.settings).for_attempt(observer)

    def is_to_be_made(self, branch, *, storage_namespace):
        return not (self.path / "snapshots").is_dir()

    def check_source(self, directory):
        pass

    def check_names(self, names, *, prefix):
        for name in names:
            check_object_name(name, FOR_IMPORT, prefix=prefix)


class SnapshotProvider:
    """See `perago.stores.provider.StoreProvider`."""

    address = f"{KIND}://DIRECTORY"

    def parse(self, text, host):
        return SnapshotAddress(Path(text).absolute(), host)

    def open(self, settings):
        return OpenedSnapshots(settings.values["path"])

    def prepare(self, settings, host):
        host.expect_irreplaceable(Path(settings.values["path"]), "the snapshots in")

    def queue_key(self, settings):
        return settings.values["path"], False

    def may_have(self, settings, repository):
        return repository == Path(settings.values["path"]).name

    def dataset_source(self, settings, repository):
        place = f"file://{platform.node()}{settings.values['path']}"
        return DatasetSource(f"{KIND}+{place}", place)

    @contextlib.contextmanager
    def probe(self, settings):
        snapshots = Path(settings.values["path"]) / "snapshots"
        yield lambda: f"{len(list(snapshots.iterdir()))} snapshots"

    def tidy(self, settings):
        pass


PROVIDER = SnapshotProvider()


def offer(directory: Path) -> Path:
    """Write what the installation of a package would: its one line of registration. Returns the directory."""
    installed = directory / "snapshots_store-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: snapshots-store\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[perago.stores]\n{KIND} = snapshots:PROVIDER\n")
    return directory
