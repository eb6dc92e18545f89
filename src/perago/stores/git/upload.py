"""Storing files of a directory in the repository: large ones in git-lfs layout, the others as blobs."""

from __future__ import annotations

import os

from pygit2.enums import ObjectType

from perago.files.beneath import Beneath
from perago.stores.git.lfs import LFS_THRESHOLD, LfsStore, Pointer, looks_like_pointer, parse_pointer
from perago.stores.git.objects import EXECUTABLE, FILE, Leaf, ObjectReader, ObjectWriter
from perago.stores.git.repository import BareRepository
from perago.workspace.progress import TransferProgress
from perago.workspace.reading import open_workspace_file, read_whole


class Uploader:
    """Stores files of one directory.

    Args:
        writer: takes the blobs.
        files: the directory.
        progress: gets each file, and bytes of large ones.
        lfs: takes large files. Default: the repository's own.
    """

    def __init__(
        self,
        repository: BareRepository,
        writer: ObjectWriter,
        files: Beneath,
        progress: TransferProgress,
        lfs: LfsStore | None = None,
    ) -> None:
        self._lfs = lfs or LfsStore(repository)
        self._reader = ObjectReader(repository)
        self._writer = writer
        self._files = files
        self._progress = progress

    def upload(self, path: str, present: Leaf | None = None) -> Leaf:
        """Store one file; stream a large one.

        Args:
            path: relative to the directory.
            present: the repository's current entry at this path. An equal large file is read but not written.

        Returns:
            its entry for a tree.

        Raises:
            WorkspaceContentError: it is not a regular file, cannot be read, or changes during the upload.
            WorkspaceStorageError: the disk refused.
        """
        with open_workspace_file(self._files, path) as (descriptor, state):
            if state.st_size >= LFS_THRESHOLD:
                blob = self._large(descriptor, path, state.st_size, present).encode()
            else:
                blob = read_whole(descriptor, path, state.st_size)
                if looks_like_pointer(blob):
                    blob = self._lfs.store_bytes(blob, path).encode()
        mode = EXECUTABLE if state.st_mode & 0o100 else FILE
        leaf = Leaf(mode, self._writer.write(ObjectType.BLOB, blob))
        self._progress.add(state.st_size)
        return leaf

    def _large(self, descriptor: int, path: str, size: int, present: Leaf | None) -> Pointer:
        pointer = self._pointer_at(path, present)
        if pointer is not None and pointer.size == size and self._lfs.holds(pointer):
            if self._lfs.digest(descriptor, path, size) == pointer.sha256 and self._lfs.reuse(pointer):
                return pointer
            os.lseek(descriptor, 0, os.SEEK_SET)
        return self._lfs.store(descriptor, path, size, self._progress.move)

    def _pointer_at(self, path: str, present: Leaf | None) -> Pointer | None:
        if present is None or not present.is_file:
            return None
        return parse_pointer(self._reader.blob(present.id), path)
