"""A cache entry that is written while its content is moved to where it is needed."""

from __future__ import annotations

import os
import threading

from perago.workspace.cache.entries import (
    DamagedEntryError,
    begin_entry,
    copy_entry,
    end_entry,
    remove_file,
)
from perago.workspace.new_files import write_all_at


class EntryCopy:
    """A copy in progress of a file that is being written or read. Methods may be called by any thread.

    It never raises while copying: if it cannot be written, it is dropped and its disk space is released at once.

    Args:
        path: of the copy; must not exist.
        source: the file's descriptor, open until this is closed.
        size: bytes of the content.
        clones: write nothing in between; at the end, clone the file, or copy it if that fails.

    Attributes:
        cloned: whether the file was cloned; valid after `finish`.

    Raises:
        OSError: the copy cannot be created.
    """

    def __init__(self, path: str, source: int, size: int, *, clones: bool) -> None:
        self.path = path
        self.size = size
        self.cloned = False
        self._source = source
        self._lock = threading.Lock()
        self._dropped = False
        self._made = None if clones else begin_entry(path, size)

    def write(self, piece: bytes, at: int) -> None:
        """Copy a piece of the content, which begins at `at`. Pieces may come in any order, and more than once."""
        with self._lock:
            if self._made is None or self._dropped:
                return
            try:
                write_all_at(self._made, piece, at)
            except OSError:
                self._drop(self._made)

    def drop(self) -> bool:
        """Release the disk space and stop writing. Returns whether there was any."""
        with self._lock:
            if self._made is None or self._dropped:
                return False
            self._drop(self._made)
            return True

    def finish(self, name: str, digest: str) -> None:
        """Make it an entry.

        Raises:
            DamagedEntryError: it was dropped, or the file is too short.
            OSError: it cannot be written.
        """
        if self._made is None:
            self.cloned = copy_entry(self.path, name, self._source, self.size, digest, clones=True)
            return
        if self._dropped:
            raise DamagedEntryError
        end_entry(self._made, name, self.size, digest)

    def close(self) -> None:
        """Close it, and remove the file at its path if it did not become an entry."""
        made, self._made = self._made, None
        if made is not None:
            os.close(made)
        remove_file(self.path)

    def _drop(self, made: int) -> None:
        self._dropped = True
        os.ftruncate(made, 0)
