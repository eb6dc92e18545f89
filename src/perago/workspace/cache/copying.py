"""An entry that is written while its content passes, on the way to where it is needed."""

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
    """A copy under way of a file that is written or read meanwhile. Methods are for any thread.

    It fails nothing: where it cannot be written, it is dropped, and the disk has its bytes back at once.

    Args:
        path: where it is made, and nothing is.
        source: the file's descriptor, open until this is closed.
        size: bytes of the content.
        clones: nothing is written meanwhile: in the end the file is cloned, or copied if that fails.

    Attributes:
        cloned: whether it was, once it is finished.

    Raises:
        OSError: it cannot be made.
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
        """A piece of the content, and where it begins. Each byte has to pass, in any order; twice is fine."""
        with self._lock:
            if self._made is None or self._dropped:
                return
            try:
                write_all_at(self._made, piece, at)
            except OSError:
                self._drop(self._made)

    def drop(self) -> bool:
        """Give its bytes back to the disk, and write no more; whether there were any."""
        with self._lock:
            if self._made is None or self._dropped:
                return False
            self._drop(self._made)
            return True

    def finish(self, name: str, digest: str) -> None:
        """Make it an entry.

        Raises:
            DamagedEntryError: it was dropped, or the file is shorter.
            OSError: it cannot be written.
        """
        if self._made is None:
            self.cloned = copy_entry(self.path, name, self._source, self.size, digest, clones=True)
            return
        if self._dropped:
            raise DamagedEntryError
        end_entry(self._made, name, self.size, digest)

    def close(self) -> None:
        """Let go of it; what is still at its path goes."""
        made, self._made = self._made, None
        if made is not None:
            os.close(made)
        remove_file(self.path)

    def _drop(self, made: int) -> None:
        self._dropped = True
        os.ftruncate(made, 0)
