"""Uploading changed files to a branch, through the server or by a presigned URL to the block store."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from perago.files.beneath import Beneath
from perago.http.batches import Batches
from perago.http.file_range import FileRange
from perago.http.pace import Pace
from perago.http.parallel import at_pace, in_parallel, in_thread, together
from perago.stores.lakefs.api.answers import (
    DamagedObjectError,
    LakeFSAccessError,
    LakeFSError,
    ObjectStats,
)
from perago.stores.lakefs.api.objects import MAX_DELETED_AT_ONCE, MAX_WHOLE_BYTES
from perago.stores.lakefs.content.block_store import PART_MIB, OpenFile, send_in_parts, send_whole, sent_and_hashed
from perago.stores.lakefs.content.transfer import LOCAL, SMALL_BYTES, Transfer, is_md5, keeping, retried
from perago.values.names import show_name
from perago.values.redaction import mask_text
from perago.workspace.reading import open_workspace, open_workspace_file, read_sized, read_whole

NEARBY = 40
"""Small files that may wait at the server. lakeFS persists many entries together; 32 to 48 are fastest."""

LARGE_AT_ONCE = 4
DELETES_AT_ONCE = 2

PRESIGNED_BYTES = 8 * 1024 * 1024
"""Files from this size on go directly to the block store, if possible: two more calls, but no bytes for the server."""


Send = Callable[[Transfer, str, str, OpenFile], Awaitable[ObjectStats]]
"""Uploads a file to a branch under a name: (transfer, branch, name, file)."""


@dataclass
class Sent:
    """The objects of an execution's last staged commit. Staging again takes large ones from there.

    Attributes:
        commit_id: full id; "" before the first one.
        objects: by name.
        changes: how its files differ from those of the execution's input, by name: an object, or None for no object.
            None if it differs in more.
    """

    commit_id: str = ""
    objects: Mapping[str, ObjectStats] = field(default_factory=dict)
    changes: Mapping[str, ObjectStats | None] | None = None


@dataclass(frozen=True)
class Upload:
    """Uploads files of one directory to one branch.

    Attributes:
        source: the directory.
        root: the part of the names before the path below the directory.
        done: called with the size of each uploaded file.
        before: what was uploaded of the same files before.
    """

    transfer: Transfer
    branch: str
    source: Path
    root: str
    done: Callable[[int], None]
    before: Sent = field(default_factory=Sent)
    _sent: dict[tuple[str, bool], asyncio.Future[ObjectStats]] = field(default_factory=dict)
    _sizes: Counter[int] = field(default_factory=Counter)
    _files: Batches = field(default_factory=Batches)

    async def run(self, written: Sequence[str], deleted: Sequence[str]) -> dict[str, ObjectStats]:
        """Apply the directory's changes to the branch: upload some paths, remove others.

        Args:
            written, deleted: relative to the directory.

        Returns:
            the stored object for each written path.

        Raises:
            LakeFSError: the server refuses, or cannot be reached.
            DamagedObjectError: the server received different content in every try.
            WorkspaceContentError: a file is not a regular file, cannot be read, or changes during the upload.
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
            try:
                await together(
                    at_pace(small, send_small, Pace(self.transfer.connections, NEARBY), sizes.__getitem__),
                    in_parallel(large, send_large, min(LARGE_AT_ONCE, len(large))),
                )
            finally:
                await self._files.end()

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

    # ---- small files: in memory

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
            await self._files.run(partial(transfer.cache.add, transfer.key(stats), content, f"md5:{md5}"))
        return stats

    # ---- large files: streamed

    async def _send_large(self, files: Beneath, path: str, size: int) -> ObjectStats:
        known = self.before.objects.get(self.root + path)
        if known is not None and known.size == size:
            with suppress(LakeFSError):  # it is gone: send it again
                return await self._link(path, known, self.before.commit_id)
        if self._sizes[size] == 1:
            return await self._send_file(files, path)
        digest, executable = await in_thread(self._identity, files, path)
        return await self._once((digest, executable), path, lambda: self._send_file(files, path))

    @staticmethod
    def _identity(files: Beneath, path: str) -> tuple[str, bool]:
        """What identifies a file's content and mode. By SHA-256, because MD5 collisions can be made on purpose."""
        hasher = hashlib.sha256()
        with open_workspace_file(files, path) as (descriptor, state):
            for piece in read_sized(descriptor, path, state.st_size):
                hasher.update(piece)
        return hasher.hexdigest(), bool(state.st_mode & stat.S_IXUSR)

    async def _send_file(self, files: Beneath, path: str) -> ObjectStats:
        send = _way_to_block_store(self.transfer, _size_of(files, path))
        if send is not None:
            try:
                return await self._try_file(files, path, send)
            except (LakeFSError, DamagedObjectError):
                pass  # unreachable from here, or the URL has expired: use the server
        return await retried(
            lambda _tries: self._try_file(files, path, _send_to_server), (LakeFSError, DamagedObjectError)
        )

    async def _try_file(self, files: Beneath, path: str, send: Send) -> ObjectStats:
        with (
            open_workspace_file(files, path) as (descriptor, state),
            keeping(self.transfer, descriptor, state.st_size) as content,
        ):
            file = OpenFile(descriptor, path, state.st_size, bool(state.st_mode & stat.S_IXUSR), content)
            stats = await send(self.transfer, self.branch, self.root + path, file)
            await content.keep(stats)
        return stats

    # ---- equal content

    async def _once(
        self, identity: tuple[str, bool], path: str, send: Callable[[], Awaitable[ObjectStats]]
    ) -> ObjectStats:
        """Send content that several files may have. Only the first is sent; the server adds the others from it."""
        first = self._sent.get(identity)
        if first is not None:
            return await self._link(path, await first, self.branch)
        sending = self._sent[identity] = asyncio.get_running_loop().create_future()
        try:
            stats = await send()
        except BaseException:
            sending.cancel()
            raise
        sending.set_result(stats)
        return stats

    async def _link(self, path: str, first: ObjectStats, ref: str) -> ObjectStats:
        """Have the server add an object of `ref` to the branch."""
        transfer, name = self.transfer, self.root + path
        if transfer.server.blockstore != LOCAL:
            return await transfer.client.stage_object(transfer.repository, self.branch, name, first)
        copied = await transfer.client.copy_object(
            transfer.repository, self.branch, name, source_ref=ref, source=first.path, size=first.size
        )
        return copied._replace(executable=first.executable)


def _size_of(files: Beneath, path: str) -> int:
    """Bytes of a file; 0 if it is missing, which opening it will report."""
    try:
        return files.lstat(path).st_size
    except OSError:
        return 0


def _way_to_block_store(transfer: Transfer, size: int) -> Send | None:
    """How a file of this size goes to the block store itself; None if it goes through the server."""
    if not transfer.presigned or size < PRESIGNED_BYTES:
        return None
    if transfer.server.multipart and size > PART_MIB[0] << 20:
        return send_in_parts
    return send_whole if size <= MAX_WHOLE_BYTES else None


async def _send_to_server(transfer: Transfer, branch: str, name: str, file: OpenFile) -> ObjectStats:
    body = FileRange(file.descriptor, range(file.size), chunked=file.size > MAX_WHOLE_BYTES)
    sending = transfer.client.upload_object(
        transfer.repository, branch, name, body, size=file.size, executable=file.executable
    )
    stats, md5 = await sent_and_hashed(file, body, sending)
    _check(stats, file.size, md5)
    return stats._replace(executable=file.executable)


def _check(stats: ObjectStats, size: int, md5: str) -> None:
    if stats.size != size or (stats.checksum != md5 and is_md5(stats.checksum)):
        raise DamagedObjectError(
            f"the server received {stats.size} bytes of {show_name(stats.path)} with checksum {stats.checksum}, but "
            f"{size} bytes with MD5 {md5} were sent; they were damaged in transit. Try again"
        )
