"""A flag that several processes share."""

from __future__ import annotations

import mmap
import os
import tempfile


class SharedFlag:
    """One byte in a file that processes share, such as a zygote and its forks.

    Args:
        handle: of the file that holds it, owned by this process. Default: a new file.
    """

    def __init__(self, handle: int | None = None) -> None:
        if handle is None:
            with tempfile.TemporaryFile() as file:
                handle = os.dup(file.fileno())
            os.ftruncate(handle, mmap.PAGESIZE)
        self.handle = handle
        self._page = mmap.mmap(handle, mmap.PAGESIZE)

    def set(self) -> None:
        self._page[0] = 1

    def clear(self) -> None:
        self._page[0] = 0

    def close(self) -> None:
        self._page.close()
        os.close(self.handle)

    def is_set(self) -> bool:
        return self._page[0] != 0
