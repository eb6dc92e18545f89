"""Changed files of a workspace onto a staging branch, and what was deleted from it."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perago.http.parallel import in_parallel, in_thread, together
from perago.names import show_name
from perago.redaction import mask_text
from perago.stores.lakefs.block_store import MAX_PRESIGNED_BYTES, send_to_block_store
from perago.stores.lakefs.calls_objects import MAX_DELETED_AT_ONCE
from perago.stores.lakefs.checksums import is_md5
from perago.stores.lakefs.failure import DamagedObjectError, LakeFSAccessError, LakeFSError
from perago.stores.lakefs.file_body import FileBody
from perago.stores.lakefs.keeping import keeping
from perago.stores.lakefs.retrying import retried
from perago.stores.lakefs.transfer import LOCAL, SMALL_BYTES, Transfer
from perago.stores.lakefs.values import ObjectStats
from perago.workspace.beneath import Beneath
from perago.workspace.reading import open_workspace, open_workspace_file, read_sized, read_whole

SMALL_AT_ONCE = 40
"""Small files on their way at a time. lakeFS makes their entries durable many at once: 32 to 48 give the most."""

LARGE_AT_ONCE = 4
DELETES_AT_ONCE = 2

PRESIGNED_BYTES = 8 * 1024 * 1024
"""A file this large goes to the block store itself, where that may be: two calls more, and the server moves nothing."""


SendBody = Callable[[Transfer, str, str, FileBody, bool], Awaitable[ObjectStats]]
"""Puts a file on a branch under a name: (transfer, branch, name, body, executable)."""


@dataclass(frozen=True)
class Upload:
    """Files of one directory on their way to one branch.

    Attributes:
        source: the directory.
        root: what names have before the path below the directory.
        done: called with the size of each file that is there.
    """

    transfer: Transfer
    branch: str
    source: Path
    root: str
    done: Callable[[int], None]
    _sent: dict[tuple[str, bool], asyncio.Future[ObjectStats]] = field(default_factory=dict)
    _sizes: Counter[int] = field(default_factory=Counter)

    async def run(self, written: Sequence[str], deleted: Sequence[str]) -> dict[str, ObjectStats]:
        """Bring the branch to what the directory has: upload some paths, remove others.

        Args:
            written, deleted: relative to the directory.

        Returns:
            what stands at each written path, by it.

        Raises:
            LakeFSError: the server refuses, or cannot be reached.
            DamagedObjectError: the server got something else than was sent, again and again.
            WorkspaceContentError: a file is no regular one, cannot be read, or changes meanwhile.
            WorkspaceStorageError: the disk cannot read it.
        """
        starts = range(0, len(deleted), MAX_DELETED_AT_ONCE)
        batches = [deleted[start : start + MAX_DELETED_AT_ONCE] for start in starts]
        deleting = in_parallel(batches, self._delete, min(DELETES_AT_ONCE, len(batches)))
        if not written:
            await deleting
            return {}
        staged: dict[str, ObjectStats] = {}
        await together(deleting, self._send(written, staged))
        return staged

    async def _send(self, written: Sequence[str], staged: dict[str, ObjectStats]) -> None:
        with open_workspace(self.source) as files:
            sizes = {path: _size_of(files, path) for path in written}
            self._sizes.update(sizes.values())

            async def send_small(path: str) -> None:
                staged[path] = await self._send_small(files, path)
                self.done(staged[path].size)

            async def send_large(path: str) -> None:
                staged[path] = await self._send_large(files, path, sizes[path])
                self.done(staged[path].size)

            small = [path for path, size in sizes.items() if size <= SMALL_BYTES]
            large = [path for path, size in sizes.items() if size > SMALL_BYTES]
            await together(
                in_parallel(small, send_small, min(SMALL_AT_ONCE, len(small))),
                in_parallel(large, send_large, min(LARGE_AT_ONCE, len(large))),
            )

    async def _delete(self, paths: Sequence[str]) -> None:
        transfer = self.transfer
        names = [self.root + path for path in paths]
        faults = await transfer.client.delete_objects(transfer.repository, self.branch, names)
        if faults:
            first = faults[0]
            error = LakeFSAccessError if first.status in (401, 403) else LakeFSError
            what = f"{len(faults)} of {len(paths)} objects could not be deleted; the first is {show_name(first.path)}"
            raise error(
                "deleteObjects",
                f"{transfer.client.root}, repository {transfer.repository},",
                status=first.status,
                message=f"{what}: {mask_text(first.message)}",
            )

    # ---- small ones: in memory

    async def _send_small(self, files: Beneath, path: str) -> ObjectStats:
        with open_workspace_file(files, path) as (descriptor, state):
            content = read_whole(descriptor, path, state.st_size)
        executable = bool(state.st_mode & stat.S_IXUSR)

        async def send() -> ObjectStats:
            return await self._send_content(path, content, executable=executable)

        if self._sizes[len(content)] == 1 or not content:
            return await send()
        return await self._once((hashlib.sha256(content).hexdigest(), executable), path, send)

    async def _send_content(self, path: str, content: bytes, *, executable: bool) -> ObjectStats:
        transfer = self.transfer
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()

        async def attempt(_tries: int) -> ObjectStats:
            stats = await transfer.client.upload_object(
                transfer.repository,
                self.branch,
                self.root + path,
                content,
                size=len(content),
                executable=executable,
            )
            _check(stats, len(content), md5)
            return stats._replace(executable=executable)

        stats = await retried(attempt, (DamagedObjectError,))
        if transfer.cache is not None and content:
            transfer.cache.add(transfer.key(stats), content, f"md5:{md5}")
        return stats

    # ---- large ones: streamed

    async def _send_large(self, files: Beneath, path: str, size: int) -> ObjectStats:
        if self._sizes[size] == 1:
            return await self._send_file(files, path)
        digest, executable = await in_thread(self._identity, files, path)
        return await self._once((digest, executable), path, lambda: self._send_file(files, path))

    @staticmethod
    def _identity(files: Beneath, path: str) -> tuple[str, bool]:
        """What content and kind of a file are told by; SHA-256, for files with one MD5 can be made on purpose."""
        hasher = hashlib.sha256()
        with open_workspace_file(files, path) as (descriptor, state):
            for piece in read_sized(descriptor, path, state.st_size):
                hasher.update(piece)
        return hasher.hexdigest(), bool(state.st_mode & stat.S_IXUSR)

    async def _send_file(self, files: Beneath, path: str) -> ObjectStats:
        if self.transfer.presigned and PRESIGNED_BYTES <= _size_of(files, path) <= MAX_PRESIGNED_BYTES:
            try:
                return await self._try_file(files, path, send_to_block_store)
            except (LakeFSError, DamagedObjectError):
                pass  # out of reach from here, or the URL was too old: the server takes it
        return await retried(
            lambda _tries: self._try_file(files, path, _send_to_server), (LakeFSError, DamagedObjectError)
        )

    async def _try_file(self, files: Beneath, path: str, send: SendBody) -> ObjectStats:
        with (
            open_workspace_file(files, path) as (descriptor, state),
            keeping(self.transfer, descriptor, state.st_size) as content,
        ):
            body = FileBody(descriptor, path, state.st_size, content)
            executable = bool(state.st_mode & stat.S_IXUSR)
            try:
                stats = await send(self.transfer, self.branch, self.root + path, body, executable)
            except LakeFSError:
                if body.error is not None:
                    raise body.error from None  # the reason why the request broke off
                raise
            finally:
                await body.close()
            await content.keep(stats)
        return stats

    # ---- the same content twice

    async def _once(
        self, identity: tuple[str, bool], path: str, send: Callable[[], Awaitable[ObjectStats]]
    ) -> ObjectStats:
        """Send content of which there may be more: the first is sent, the others are put beside it by the server."""
        first = self._sent.get(identity)
        if first is not None:
            return await self._link(path, await first)
        sending = self._sent[identity] = asyncio.get_running_loop().create_future()
        try:
            stats = await send()
        except BaseException:
            sending.cancel()
            raise
        sending.set_result(stats)
        return stats

    async def _link(self, path: str, first: ObjectStats) -> ObjectStats:
        transfer, name = self.transfer, self.root + path
        if transfer.server.blockstore != LOCAL:
            return await transfer.client.stage_object(transfer.repository, self.branch, name, first)
        copied = await transfer.client.copy_object(
            transfer.repository, self.branch, name, source_ref=self.branch, source=first.path, size=first.size
        )
        return copied._replace(executable=first.executable)


def _size_of(files: Beneath, path: str) -> int:
    """Bytes; 0 of a file that is gone, which is found out when it is opened."""
    try:
        return files.lstat(path).st_size
    except OSError:
        return 0


async def _send_to_server(transfer: Transfer, branch: str, name: str, body: FileBody, executable: bool) -> ObjectStats:
    stats = await transfer.client.upload_object(
        transfer.repository, branch, name, body.chunks(), size=body.size, executable=executable
    )
    _check(stats, body.size, body.md5)
    return stats._replace(executable=executable)


def _check(stats: ObjectStats, size: int, md5: str) -> None:
    if stats.size != size or (stats.checksum != md5 and is_md5(stats.checksum)):
        raise DamagedObjectError(
            f"the server got {stats.size} bytes of {show_name(stats.path)} with checksum {stats.checksum}, and {size} "
            f"with MD5 {md5} were sent; they were damaged on the way. Try again"
        )
