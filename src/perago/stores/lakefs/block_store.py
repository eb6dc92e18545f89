"""Uploading to the block store itself, by a URL that the server presigns, and then telling the server of it."""

from __future__ import annotations

from yarl import URL

from perago.errors import StoreError
from perago.http.faults import HttpFault
from perago.http.session import Request
from perago.names import show_name
from perago.stores.lakefs.calls_objects import transfer_seconds
from perago.stores.lakefs.checksums import is_md5
from perago.stores.lakefs.failure import DamagedObjectError, refused, unanswered
from perago.stores.lakefs.file_body import FileBody
from perago.stores.lakefs.transfer import Transfer
from perago.stores.lakefs.values import ObjectStats

MAX_PRESIGNED_BYTES = 5 * 1024**3
"""The most that S3 takes in one piece. What is larger goes through the server."""

_KEYED = ("x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-customer-algorithm")
"""Where an answer has one of these, S3's ETag is no MD5."""


async def send_to_block_store(
    transfer: Transfer, branch: str, name: str, body: FileBody, executable: bool
) -> ObjectStats:
    """Put a file on a branch without its content going through the server.

    Raises:
        LakeFSError: server or block store refuse, or cannot be reached.
        DamagedObjectError: the block store got something else than was sent.
    """
    client, repository = transfer.client, transfer.repository
    location = await client.get_physical_address(repository, branch, name)
    if location.presigned_url is None:
        raise StoreError(
            f"the server gives no URL to upload {show_name(name)} to; set the store's option presign=False"
        )
    await _put(transfer, URL(location.presigned_url, encoded=True), name, body)
    stats = ObjectStats(name, location.physical_address, body.md5, body.size, executable)
    await client.link_physical_address(repository, branch, location, stats)
    return stats


async def _put(transfer: Transfer, url: URL, name: str, body: FileBody) -> None:
    where = f"the block store at {url.host}"
    headers = {"Content-Length": str(body.size)}
    if transfer.server.blockstore == "azure":
        headers["x-ms-blob-type"] = "BlockBlob"
    request = Request("PUT", url, headers, body.chunks(), authorized=False)
    try:
        answer = await transfer.client.session.call(request, timeout=transfer_seconds(body.size))
    except HttpFault as fault:
        raise unanswered("upload", where, fault) from fault
    if answer.status not in (200, 201):
        raise refused("upload", where, answer)
    etag = answer.headers.get("ETag", "").strip('"')
    if is_md5(etag) and etag != body.md5 and not any(header in answer.headers for header in _KEYED):
        raise DamagedObjectError(
            f"the block store got {show_name(name)} with checksum {etag}, and its MD5 is {body.md5}; it was damaged on "
            f"the way. Try again"
        )
