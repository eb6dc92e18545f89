"""The calls on objects of commits and staging branches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from yarl import URL

from perago.errors import ObjectNameError, StoreError
from perago.http.answer import Answer, HttpFault
from perago.http.session import Body, Request, Stream
from perago.stores.lakefs.api.answers import (
    EXECUTABLE_KEY,
    POSIX_EXECUTABLE,
    POSIX_KEY,
    LakeFSError,
    MultipartUpload,
    ObjectFault,
    ObjectStats,
    StagingLocation,
    refused,
    unanswered,
)
from perago.stores.lakefs.api.calls import CALL_SECONDS, PAGE, Api, page_of, read, segment
from perago.values.names import show_name

MAX_DELETED_AT_ONCE = 1000
"""Paths per bulk delete; the server's maximum."""


MAX_WHOLE_BYTES = 5 * 1024**3
"""S3's maximum for an object in one piece, and for a part."""


SLOWEST_BYTES_PER_SECOND = 128 * 1024
"""A transfer that is slower on average is ended."""


_UPLOAD_HEADERS = {"Content-Type": "application/octet-stream"}


_EXECUTABLE_HEADERS = {
    **_UPLOAD_HEADERS,
    f"X-Lakefs-Meta-{EXECUTABLE_KEY}": "true",
    POSIX_KEY.replace("::lakefs::", "X-Lakefs-Internal-"): POSIX_EXECUTABLE,
}


def transfer_seconds(size: int) -> float:
    """The deadline of a call that moves `size` bytes."""
    return CALL_SECONDS + size / SLOWEST_BYTES_PER_SECOND


class ObjectCalls(Api):
    """Objects of commits and staging branches. Every call raises `LakeFSError`. Read by full commit id."""

    # ---- listing

    async def list_objects(
        self, repository: str, ref: str, *, prefix: str = "", after: str = ""
    ) -> AsyncIterator[list[ObjectStats]]:
        """All objects below a prefix, in pages, in byte order of their names.

        Raises:
            ObjectNameError: a page ends with a name that is not valid UTF-8, so the next page cannot be requested.
            StoreError: the names are not in order, so the listing might never end. Other names that are not valid UTF-8
                contain U+FFFD; the caller judges them.
        """
        offset: str | None = after
        while offset is not None:
            page, following = await self.list_page(repository, ref, prefix=prefix, after=offset)
            _check_rising(offset, page, following)
            yield page
            offset = following

    async def list_page(
        self,
        repository: str,
        ref: str,
        *,
        prefix: str = "",
        after: str = "",
        amount: int = PAGE,
        presign: bool = False,
    ) -> tuple[list[ObjectStats], str | None]:
        """One page of `list_objects`, and the name after which the next page begins, or None for the last page."""
        query = {
            "prefix": prefix or None,
            "after": after or None,
            "amount": amount,
            "presign": True if presign else None,
        }
        url = self.url(f"{_at(repository, ref)}/ls", query)
        return await self.get("listObjects", url, lambda answer: page_of(answer, ObjectStats.of))

    async def stat_object(self, repository: str, ref: str, path: str) -> ObjectStats:
        url = self.url(f"{_at(repository, ref)}/stat", {"path": path})
        return await self.get("statObject", url, ObjectStats.of)

    async def find_object(self, repository: str, ref: str, path: str) -> ObjectStats | None:
        """The object, or None if the object, the ref or the repository does not exist."""
        try:
            return await self.stat_object(repository, ref, path)
        except LakeFSError as exc:
            if exc.status == 404:
                return None
            raise

    # ---- reading

    def object_url(self, repository: str, ref: str, path: str) -> URL:
        """The URL of an object's bytes."""
        return self.url(_at(repository, ref), {"path": path})

    async def read_object_at(self, url: URL, size: int, *, ours: bool = True) -> bytes:
        """Read the bytes at a URL into memory; `ours` as in `open_object`."""
        where = self.root if ours else _block_store(url)
        request = Request("GET", url, authorized=ours)
        try:
            answer = await self.session.call(request, timeout=transfer_seconds(size))
        except HttpFault as fault:
            raise unanswered("getObject", where, fault) from fault
        if answer.status != 200:
            raise (self._refusal if ours else refused)("getObject", where, answer)
        return answer.body

    @asynccontextmanager
    async def open_object(self, url: URL, size: int, part: range, *, ours: bool = True) -> AsyncIterator[Stream]:
        """Stream a part of an object. Not retried.

        Args:
            size: of the whole object.
            part: range of bytes.
            ours: whether the URL is the server's. A presigned one gets no credentials.
        """
        whole = len(part) == size
        headers = {} if whole else {"Range": f"bytes={part.start}-{part.stop - 1}"}
        request = Request("GET", url, headers, authorized=ours)
        where = self.root if ours else _block_store(url)
        try:
            async with self.session.stream(request, timeout=transfer_seconds(len(part))) as stream:
                if stream.status != (200 if whole else 206):
                    answer = Answer(stream.status, stream.headers, await stream.read())
                    raise (self._refusal if ours else refused)("getObject", where, answer)
                yield stream
        except HttpFault as fault:
            raise unanswered("getObject", where, fault) from fault

    async def check_bytes(self, repository: str, ref: str, stats: ObjectStats) -> None:
        """Read an object's first byte. 410: its bytes are gone, which `stat_object`, HEAD and `stage_object` do not
        notice, and `copy_object` answers with 500.
        """
        headers = {"Range": "bytes=0-0"} if stats.size else {}
        request = Request("GET", self.object_url(repository, ref, stats.path), headers)
        await self.call("getObject", request, expected=(200, 206))

    async def presigned_read_url(self, repository: str, ref: str, path: str) -> URL:
        """A URL of the block store for an object's bytes. It is a credential."""
        url = self.url(_at(repository, ref), {"path": path, "presign": True})
        answer = await self.call("getObject", Request("GET", url), expected=(302,))
        return URL(answer.headers["Location"], encoded=True)

    # ---- staging

    async def upload_object(
        self,
        repository: str,
        branch: str,
        path: str,
        body: Body,
        *,
        size: int,
        executable: bool = False,
    ) -> ObjectStats:
        """Upload an object to a branch, uncommitted. Safe to repeat.

        The length of more than `MAX_WHOLE_BYTES` must not be told (`FileRange.chunked`): the server then sends the
        object to its block store in parts.
        """
        headers = _EXECUTABLE_HEADERS if executable else _UPLOAD_HEADERS
        url = self.url(f"{_on(repository, branch)}/objects", {"path": path})
        answer = await self.call(
            "uploadObject", Request("POST", url, headers, body), expected=(201,), timeout=transfer_seconds(size)
        )
        return read("uploadObject", answer, ObjectStats.of)

    async def stage_object(self, repository: str, branch: str, path: str, stats: ObjectStats) -> ObjectStats:
        """Add an object to a branch whose bytes are already in the block store. Copies nothing.

        Do not use it with a local block store: lakeFS 1.86 lists the object at a wrong address. Use `copy_object`.

        Args:
            stats: address, checksum and size of the bytes; its `path` is ignored.
        """
        body = {
            "physical_address": stats.physical_address,
            "checksum": stats.checksum,
            "size_bytes": stats.size,
            "content_type": _UPLOAD_HEADERS["Content-Type"],
            "metadata": _metadata(stats.executable),
        }
        url = self.url(f"{_on(repository, branch)}/objects", {"path": path})
        await self.send("stageObject", ("PUT", url, body), expected=(201,), idempotent=True)
        return stats._replace(path=path)

    async def copy_object(
        self, repository: str, branch: str, path: str, *, source_ref: str, source: str, size: int = 0
    ) -> ObjectStats:
        """Copy `source` of any ref to a branch, with its user metadata. The server copies the bytes.

        Args:
            size: bytes, for the deadline.
        """
        url = self.url(f"{_on(repository, branch)}/objects/copy", {"dest_path": path})
        answer = await self.send(
            "copyObject",
            ("POST", url, {"src_path": source, "src_ref": source_ref}),
            expected=(201,),
            idempotent=True,
            timeout=transfer_seconds(size),
        )
        return read("copyObject", answer, ObjectStats.of)

    async def get_physical_address(
        self, repository: str, branch: str, path: str, *, presign: bool = True
    ) -> StagingLocation:
        """An address to which this client may upload an object itself, to link it afterwards."""
        url = self.url(f"{_on(repository, branch)}/staging/backing", {"path": path, "presign": presign})
        return await self.get("getPhysicalAddress", url, StagingLocation.of)

    async def link_physical_address(
        self, repository: str, branch: str, location: StagingLocation, stats: ObjectStats
    ) -> ObjectStats:
        """Add to a branch, at `stats.path`, what was uploaded to `location`."""
        body = {
            "staging": {"physical_address": location.physical_address},
            "checksum": stats.checksum,
            "size_bytes": stats.size,
            "content_type": _UPLOAD_HEADERS["Content-Type"],
            "user_metadata": _metadata(stats.executable),
        }
        url = self.url(f"{_on(repository, branch)}/staging/backing", {"path": stats.path})
        answer = await self.send("linkPhysicalAddress", ("PUT", url, body), expected=(200,), idempotent=True)
        return read("linkPhysicalAddress", answer, ObjectStats.of)

    async def create_multipart(self, repository: str, branch: str, path: str, parts: int) -> MultipartUpload:
        """Begin an upload of an object in so many parts. Until it is completed or aborted, its parts take space."""
        url = self.url(_multipart(repository, branch), {"path": path, "parts": parts})
        answer = await self.call("createPresignMultipartUpload", Request("POST", url), expected=(201,))
        return read("createPresignMultipartUpload", answer, MultipartUpload.of)

    async def multipart_url(self, repository: str, branch: str, path: str, upload: MultipartUpload, part: int) -> str:
        """A new URL for a part, counted from 1."""
        url = self.url(f"{_multipart(repository, branch)}/{segment(upload.id)}/parts/{part}", {"path": path})
        body = {"physical_address": upload.physical_address}
        answer = await self.send("uploadPart", ("PUT", url, body), expected=(200,), idempotent=True)
        return read("uploadPart", answer, lambda given: str(given["presigned_url"]))

    async def complete_multipart(
        self,
        repository: str,
        branch: str,
        path: str,
        upload: MultipartUpload,
        etags: Sequence[str],
        *,
        size: int,
        executable: bool,
    ) -> ObjectStats:
        """Make an object of the parts, and add it to the branch. Not repeated after an unclear answer.

        Args:
            etags: of the parts, in order, as the block store gave them.
            size: bytes, for the deadline.
        """
        url = self.url(f"{_multipart(repository, branch)}/{segment(upload.id)}", {"path": path})
        body = {
            "physical_address": upload.physical_address,
            "parts": [{"part_number": number, "etag": etag} for number, etag in enumerate(etags, 1)],
            "content_type": _UPLOAD_HEADERS["Content-Type"],
            "user_metadata": _metadata(executable),
        }
        answer = await self.send(
            "completePresignMultipartUpload",
            ("PUT", url, body),
            expected=(200,),
            idempotent=False,
            timeout=transfer_seconds(size),
        )
        stats = read("completePresignMultipartUpload", answer, ObjectStats.of)
        return stats._replace(physical_address=upload.physical_address)  # the answer has a relative one

    async def abort_multipart(
        self, repository: str, branch: str, path: str, upload: MultipartUpload, *, timeout: float
    ) -> None:
        """Drop an upload with its parts."""
        url = self.url(f"{_multipart(repository, branch)}/{segment(upload.id)}", {"path": path})
        body = {"physical_address": upload.physical_address}
        await self.send(
            "abortPresignMultipartUpload", ("DELETE", url, body), expected=(204,), idempotent=True, timeout=timeout
        )

    async def delete_objects(self, repository: str, branch: str, paths: Sequence[str]) -> list[ObjectFault]:
        """Delete up to `MAX_DELETED_AT_ONCE` objects from a branch. Returns the failures.

        A missing path is fine.
        """
        if len(paths) > MAX_DELETED_AT_ONCE:
            raise ValueError(f"{len(paths)} paths exceed the limit of {MAX_DELETED_AT_ONCE}")
        url = self.url(f"{_on(repository, branch)}/objects/delete")
        body: Mapping[str, Sequence[str]] = {"paths": list(paths)}
        answer = await self.send("deleteObjects", ("POST", url, body), expected=(200,), idempotent=True)
        return read("deleteObjects", answer, lambda done: [ObjectFault.of(item) for item in done.get("errors") or []])


def _at(repository: str, ref: str) -> str:
    return f"/repositories/{segment(repository)}/refs/{segment(ref)}/objects"


def _on(repository: str, branch: str) -> str:
    return f"/repositories/{segment(repository)}/branches/{segment(branch)}"


def _multipart(repository: str, branch: str) -> str:
    return f"{_on(repository, branch)}/staging/pmpu"


def _block_store(url: URL) -> str:
    return f"the block store at {url.host}"


def _check_rising(after: str, page: Sequence[ObjectStats], following: str | None) -> None:
    previous = after
    for stats in page:
        is_named = "\ufffd" not in stats.path and "\ufffd" not in previous  # the server sorts the original bytes
        if is_named and stats.path <= previous and previous:
            raise StoreError(
                f"listObjects returned {show_name(stats.path)} after {show_name(previous)}, which is out of order; the "
                f"server has a defect"
            )
        previous = stats.path
    if following is None:
        return
    if "\ufffd" in previous:
        raise ObjectNameError(
            f"object name {show_name(previous)} is not valid UTF-8, so the server cannot list what follows it; remove "
            f"or rename the object"
        )
    if not page or following != previous or following <= after:
        raise StoreError("listObjects does not continue where its last page ended; the server has a defect")


def _metadata(executable: bool) -> dict[str, str] | None:
    return {EXECUTABLE_KEY: "true", POSIX_KEY: POSIX_EXECUTABLE} if executable else None
