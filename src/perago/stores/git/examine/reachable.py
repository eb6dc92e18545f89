"""Everything reachable from references: the large files that are needed, and damage on the way.

Reads every tree and every small file of the history once, like `git fsck`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pygit2

from perago.errors import PeragoError
from perago.stores.git.examine.damaged_references import damaged_references
from perago.stores.git.examine.stamp_check import stamp_findings
from perago.stores.git.lfs import POINTER_LIMIT, Pointer, parse_pointer
from perago.stores.git.objects import Leaf, ObjectReader
from perago.stores.git.refs import STAGING
from perago.stores.git.repository import GIT_FAULTS, BareRepository, translated
from perago.values.findings import Finding, Kind

_ANY_POINTER = re.compile(rb"oid sha256:([0-9a-f]{64})\b")
"""A pointer of any git-lfs version, even one that Perago cannot read: its file is needed."""


_LOGGED = re.compile(r"(?m)(?:^|(?<=^[0-9a-f]{40} ))[0-9a-f]{40}(?= )")
"""Both ids at the start of a reflog line: the reference's target before and after."""


@dataclass(frozen=True)
class Place:
    """The place where a large file was first found."""

    pointer: Pointer
    path: str
    commit: str


@dataclass
class Reachable:
    """The result of marking.

    Attributes:
        named: sha256 of every large file that anything refers to: references, staged commits, reflogs.
        large: those that a branch or tag refers to, by sha256.
        findings: damaged references and objects, and stamps.
        is_whole: whether everything could be read; if not, `named` may be incomplete.
    """

    named: set[str] = field(default_factory=set)
    large: dict[str, Place] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    is_whole: bool = True


def mark(repository: BareRepository) -> Reachable:
    """Read everything reachable from references and reflogs.

    Raises:
        StoreError, WorkspaceStorageError: the references cannot be read.
    """
    marking = _Marking(repository)
    marking.found.findings.extend(damaged_references(repository.path))
    marking.found.is_whole = not marking.found.findings
    published: list[str] = []
    others = _in_reflogs(repository.path)
    with translated("reading the references", repository.path):
        for name in repository.handle.references:
            with suppress(KeyError):  # an alias of a missing branch
                target = str(repository.handle.references[name].resolve().target)
                (others if name.startswith(STAGING) else published).append(target)
    for object_id in published:
        marking.follow(object_id, is_published=True)
    for object_id in others:
        marking.follow(object_id, is_published=False)
    return marking.found


def _in_reflogs(path: Path) -> list[str]:
    """Former targets of references. Not read by libgit2, which creates the reflogs that it looks up."""
    found: dict[str, None] = {}
    for log in (path / "logs").rglob("*"):
        if not log.is_file():
            continue
        with translated(f"reading {log}", path), suppress(FileNotFoundError):
            found.update(dict.fromkeys(_LOGGED.findall(log.read_text("utf-8", "replace"))))
    return list(found)


class _Marking:
    """State of a mark phase."""

    def __init__(self, repository: BareRepository) -> None:
        self.found = Reachable()
        self._repository = repository
        self._reader = ObjectReader(repository)
        self._seen: set[str] = set()

    def follow(self, object_id: str, *, is_published: bool) -> None:
        """Read a commit with its history and files, or the target of a tag.

        Args:
            is_published: a branch or tag refers to it. `git gc` may have removed what only reflogs refer to.
        """
        waiting = [object_id]
        while waiting:
            current = waiting.pop()
            if current in self._seen:
                continue
            self._seen.add(current)
            found = self._object(current, is_published=is_published)
            if isinstance(found, pygit2.Tag):
                waiting.append(str(found.target))
            elif isinstance(found, pygit2.Commit):
                waiting.extend(map(str, found.parent_ids))
                if is_published:
                    self.found.findings.extend(stamp_findings(found))
                self._tree(str(found.tree_id), current, is_published=is_published)
            elif isinstance(found, pygit2.Tree):
                self._seen.discard(current)
                self._tree(current, current, is_published=is_published)
            elif isinstance(found, pygit2.Blob):
                self._blob(current, "", current, is_published=is_published)

    def _object(self, object_id: str, *, is_published: bool) -> pygit2.Object | None:
        try:
            found: pygit2.Object | None = self._repository.handle.get(object_id)
        except GIT_FAULTS as exc:
            self._damaged(f"object {object_id}", str(exc), is_published=is_published)
            return None
        if found is None and is_published and not self._repository.handle.is_shallow:
            self._damaged(f"object {object_id}", "it is missing", is_published=True)
        return found

    def _tree(self, tree_id: str, commit: str, *, is_published: bool) -> None:
        waiting = [("", tree_id)]
        while waiting:
            root, current = waiting.pop()
            if current in self._seen:
                continue
            self._seen.add(current)
            try:
                entries = self._reader.tree(current)
            except PeragoError as exc:
                where = f"directory {root or '/'!a} of commit {commit[:12]}"
                self._damaged(where, str(exc), is_published=is_published)
                continue
            for entry in entries:
                path = root + entry.name
                if entry.is_directory:
                    waiting.append((path + "/", entry.id))
                elif Leaf(entry.mode, entry.id).is_file and entry.id not in self._seen:
                    self._seen.add(entry.id)
                    self._blob(entry.id, path, commit, is_published=is_published)

    def _blob(self, blob_id: str, path: str, commit: str, *, is_published: bool) -> None:
        try:
            data = self._reader.blob(blob_id)
        except PeragoError as exc:
            self._damaged(f"{path!a} of commit {commit[:12]}", str(exc), is_published=is_published)
            return
        if len(data) > POINTER_LIMIT or not data.startswith(b"version "):
            return
        self.found.named.update(sha256.decode() for sha256 in _ANY_POINTER.findall(data))
        pointer = _read_pointer(data, path)
        if pointer is not None and is_published:
            self.found.large.setdefault(pointer.sha256, Place(pointer, path, commit))

    def _damaged(self, what: str, why: str, *, is_published: bool) -> None:
        self.found.is_whole = False
        where = "" if is_published else ". Only a staged commit or a reflog refers to it"
        mend = f"{why.rstrip('.')}{where}. Fetch it from a clone that has it"
        self.found.findings.append(Finding(kind=Kind.DAMAGED_OBJECT, what=what, why=mend, is_note=not is_published))


def _read_pointer(data: bytes, path: str) -> Pointer | None:
    try:
        return parse_pointer(data, path)
    except PeragoError:
        return None
