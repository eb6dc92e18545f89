"""Moving data through a proxy that spoils it: what can be repeated is, the rest is an error, nothing wrong stays."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from perago.errors import WorkspaceContentError, WorkspaceStorageError
from perago.http import session
from perago.http.retry import RetryPolicy
from perago.stores.lakefs.api import objects
from perago.stores.lakefs.api.answers import DamagedObjectError, LakeFSAccessError, LakeFSError
from perago.workspace.cache import ObjectCache
from servers.faults import Corrupt, CutBefore, CutRequest, CutResponse, Refuse, Repeat, Rule, Stall, Swallow, Truncate
from servers.proxy import FaultProxy
from small_disk import small_disk_at
from transfer_support import MIB, download, files_of, noise, transfer_to, upload, write_files

FILES = {f"d/{number:03}": b"%d" % number * 50 for number in range(60)} | {"large": noise(20 * MIB), "empty": b""}
READS = {"method": "GET", "path": r"/refs/[0-9a-f]+/objects\?"}
WRITES = {"method": "POST", "path": r"/branches/[^/]+/objects\?"}
BUFFERED_BYTES = 2 * session.READ_BYTES + 256 * 1024
"""What had arrived when the connection broke, and was not yet read: aiohttp drops it. It stops reading a socket when it
holds twice its `read_bufsize`; asyncio's last read brings up to 256 KiB more."""


@pytest.fixture
def spoilt(lakefs_server, lakefs_repository, tmp_path):
    """As `there`, but everything goes through a proxy; the rules come later."""
    source = tmp_path / "source"
    write_files(source, FILES)
    with (
        FaultProxy(lakefs_server.url) as proxy,
        transfer_to(proxy.url, lakefs_server, lakefs_repository.name) as transfer,
    ):
        yield SimpleNamespace(repository=lakefs_repository, transfer=transfer, source=source, proxy=proxy)


@pytest.fixture
def commit(spoilt):
    upload(spoilt.transfer, "main", spoilt.source)
    return spoilt.repository.commit("main")["id"]


PASSING = {
    "cut before": CutBefore(),
    "reset before": CutBefore(reset=True),
    "swallowed": Swallow(),
    "cut in the answer": CutResponse(3),
    "500": Refuse(500),
    "503": Refuse(503, {"Retry-After": "0"}),
    "429": Refuse(429, {"Retry-After": "0"}),
    "repeated": Repeat(),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_download_gets_over_what_passes(spoilt, commit, tmp_path, fault):
    rules = [spoilt.proxy.add(Rule(fault, **READS, skip=skip)) for skip in (0, 7, 30)]
    rules.append(spoilt.proxy.add(Rule(fault, method="GET", path="path=large")))
    rules.append(spoilt.proxy.add(Rule(fault, method="GET", path="/objects/ls")))
    download(spoilt.transfer, commit, tmp_path / "target")
    assert files_of(tmp_path / "target") == FILES
    assert sum(rule.fired for rule in rules) == len(rules)


@pytest.mark.parametrize("fault", [*PASSING.values(), CutRequest(10)], ids=[*PASSING, "cut in the request"])
def test_an_upload_gets_over_what_passes(spoilt, fault):
    rules = [spoilt.proxy.add(Rule(fault, **WRITES, skip=skip)) for skip in (0, 7, 30)]
    rules.append(spoilt.proxy.add(Rule(fault, method="POST", path="path=large")))
    rules.append(spoilt.proxy.add(Rule(fault, method="POST", path="/objects/delete")))
    upload(spoilt.transfer, "main", spoilt.source, deleted=["not there"])
    commit = spoilt.repository.commit("main")["id"]
    assert spoilt.repository.files(commit) == FILES
    assert sum(rule.fired for rule in rules) == len(rules)


@pytest.mark.parametrize("after", [0, 5 * MIB, 16 * MIB - 1], ids=lambda size: f"after {size}")
def test_a_large_file_goes_on_where_it_was_cut(spoilt, commit, tmp_path, after):
    rule = spoilt.proxy.add(Rule(CutResponse(after), method="GET", path="path=large"))
    asked = ranges_asked(spoilt.transfer)
    download(spoilt.transfer, commit, tmp_path / "target", include=["large"])
    assert files_of(tmp_path / "target") == {"large": FILES["large"]}
    assert rule.fired == 1
    *parts, again = asked
    assert sorted(parts) == [(0, 16 * MIB - 1), (16 * MIB, 20 * MIB - 1)]
    ((first, last),) = [(first, last) for first, last in parts if last == again[1]]
    cut = first + min(after, last + 1 - first)
    assert max(first, cut - BUFFERED_BYTES) <= again[0] <= cut


def ranges_asked(transfer):
    """First and last byte of each streamed request, from now on, in their order."""
    asked = []
    original = transfer.client.session.stream

    def noted(request, *, timeout):
        asked.append(tuple(map(int, request.headers["Range"].removeprefix("bytes=").split("-"))))
        return original(request, timeout=timeout)

    transfer.client.session.stream = noted
    return asked


def test_a_large_file_that_stops_coming_is_asked_for_again(spoilt, commit, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "STALL_SECONDS", 0.5)
    rule = spoilt.proxy.add(Rule(Stall(5 * MIB), method="GET", path="path=large"))
    download(spoilt.transfer, commit, tmp_path / "target", include=["large"])
    assert files_of(tmp_path / "target") == {"large": FILES["large"]}
    assert rule.fired == 1


def test_a_small_file_that_stops_coming_ends_at_its_deadline(spoilt, commit, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "CALL_SECONDS", 1.0)
    rule = spoilt.proxy.add(Rule(Stall(1), method="GET", path="path=d%2F007"))
    with pytest.raises(LakeFSError, match="no complete answer in time"):
        download(spoilt.transfer, commit, tmp_path / "target", include=["d/007"])
    assert rule.fired == 1


SPOILT = {"truncated": Truncate(10), "corrupted": Corrupt(10)}


@pytest.mark.parametrize("path", ["d/007", "large"])
@pytest.mark.parametrize("fault", SPOILT.values(), ids=SPOILT)
def test_damage_on_the_way_is_noticed_and_fetched_again(spoilt, commit, tmp_path, fault, path):
    rule = spoilt.proxy.add(Rule(fault, method="GET", path=f"objects.path={path.replace('/', '%2F')}"))
    digests = download(spoilt.transfer, commit, tmp_path / "target")
    assert files_of(tmp_path / "target") == FILES
    assert digests[path] == f"md5:{hashlib.md5(FILES[path]).hexdigest()}"
    assert rule.fired == 1


def test_of_an_answer_that_was_too_long_nothing_stays(spoilt, tmp_path):
    content = noise(2 * MIB)
    write_files(spoilt.source, {"medium": content})
    upload(spoilt.transfer, "main", spoilt.source, written=["medium"])
    commit = spoilt.repository.commit("main")["id"]
    rule = spoilt.proxy.add(Rule(Refuse(200, body=content + b"JUNK" * 100), method="GET", path="path=medium"))
    download(spoilt.transfer, commit, tmp_path / "target")
    assert files_of(tmp_path / "target") == {"medium": content}
    assert rule.fired == 1


@pytest.mark.parametrize(("fault", "path"), [(Truncate(10), "d/007"), (Corrupt(10), "d/007"), (Truncate(10), "large")])
def test_what_stays_damaged_is_an_error(spoilt, commit, tmp_path, fault, path):
    spoilt.proxy.add(Rule(fault, method="GET", path=f"objects.path={path.replace('/', '%2F')}", times=None))
    with pytest.raises(DamagedObjectError, match=path):
        download(spoilt.transfer, commit, tmp_path / "target")


def test_a_large_file_that_comes_otherwise_each_time_is_damaged(spoilt, commit, tmp_path):
    rules = [spoilt.proxy.add(Rule(Corrupt(offset), method="GET", path="path=large")) for offset in range(10)]
    with pytest.raises(DamagedObjectError, match=r"large.*does not match its checksum"):
        download(spoilt.transfer, commit, tmp_path / "target", include=["large"])
    assert sum(rule.fired for rule in rules) == len(rules)


def test_a_large_file_that_comes_the_same_twice_may_have_come_in_parts_and_is_taken(spoilt, commit, tmp_path):
    spoilt.proxy.add(Rule(Corrupt(10), method="GET", path="path=large", times=None))  # as a checksum of parts would be
    asked = ranges_asked(spoilt.transfer)
    (digest,) = download(spoilt.transfer, commit, tmp_path / "target", include=["large"]).values()
    assert digest == f"md5:{hashlib.md5((tmp_path / 'target/large').read_bytes()).hexdigest()}"
    assert sorted(asked) == [(0, 16 * MIB - 1)] * 2 + [(16 * MIB, 20 * MIB - 1)] * 2


def received(path, *, size=None):
    """The server's word that it got other content for a file than was sent."""
    size = len(FILES[path]) if size is None else size
    stats = {"path": path, "physical_address": "local://other", "checksum": "0" * 32, "size_bytes": size}
    return Refuse(201, body=json.dumps(stats).encode())


OTHERWISE = {"other bytes": None, "other size": 3}


@pytest.mark.parametrize("path", ["d/007", "large"])
@pytest.mark.parametrize("size", OTHERWISE.values(), ids=OTHERWISE)
def test_what_arrived_otherwise_is_sent_again(spoilt, size, path):
    name = f"objects.path={path.replace('/', '%2F')}"
    rule = spoilt.proxy.add(Rule(received(path, size=size), method="POST", path=name))
    upload(spoilt.transfer, "main", spoilt.source)
    assert spoilt.repository.files(spoilt.repository.commit("main")["id"]) == FILES
    assert rule.fired == 1


@pytest.mark.parametrize("path", ["d/007", "large"])
def test_what_arrives_otherwise_each_time_is_an_error(spoilt, path):
    name = f"objects.path={path.replace('/', '%2F')}"
    spoilt.proxy.add(Rule(received(path), method="POST", path=name, times=None))
    with pytest.raises(DamagedObjectError, match=f"{path}.*damaged in transit"):
        upload(spoilt.transfer, "main", spoilt.source)


def test_a_listing_that_is_no_listing_is_an_error(spoilt, commit, tmp_path):
    for fault in (Refuse(200, body=b"<html>"), Refuse(200, body=b"{}"), Refuse(200, body=b'{"results": [1]}')):
        spoilt.proxy.add(Rule(fault, method="GET", path="/objects/ls"))
        with pytest.raises(Exception, match="that of a lakeFS server"):
            download(spoilt.transfer, commit, tmp_path / "target")


def test_a_listing_that_repeats_itself_ends(spoilt, commit, tmp_path):
    page = (
        b'{"pagination": {"has_more": true, "next_offset": "a", "results": 1, "max_per_page": 1000}, "results": '
        b'[{"path": "a", "path_type": "object", "physical_address": "x", "checksum": "c", "size_bytes": 1}]}'
    )
    spoilt.proxy.add(Rule(Refuse(200, body=page), method="GET", path="/objects/ls", times=None))
    with pytest.raises(Exception, match="out of order"):
        download(spoilt.transfer, commit, tmp_path / "target")


@pytest.mark.parametrize("path", ["/objects/ls", "objects.path=large", "objects.path=d%2F033"])
def test_no_permission_to_read_is_said_at_once(spoilt, commit, tmp_path, path):
    rule = spoilt.proxy.add(Rule(Refuse(403), method="GET", path=path, times=None))
    with pytest.raises(LakeFSAccessError, match="403"):
        download(spoilt.transfer, commit, tmp_path / "target")
    assert rule.fired <= 3  # one for each part of the large file that was on its way


@pytest.mark.parametrize("path", ["objects.path=large", "objects.path=d%2F033", "/objects/delete"])
def test_no_permission_to_write_is_said_at_once(spoilt, path):
    rule = spoilt.proxy.add(Rule(Refuse(403), method="POST", path=path, times=None))
    with pytest.raises(LakeFSAccessError, match="403"):
        upload(spoilt.transfer, "main", spoilt.source, deleted=["x"])
    assert rule.fired == 1


@pytest.fixture
def soon_impatient(monkeypatch):
    """Sessions that wait for a server that is away for a second."""
    monkeypatch.setattr(session, "RetryPolicy", lambda: RetryPolicy(patience_seconds=1))


def test_a_server_that_is_gone_is_said(soon_impatient, spoilt, commit, tmp_path):
    spoilt.proxy.add(Rule(CutBefore(), path="", times=None))
    with pytest.raises(LakeFSError, match="closed before the answer was complete"):
        download(spoilt.transfer, commit, tmp_path / "target")
    spoilt.proxy.close()
    with pytest.raises(LakeFSError, match="Connection refused"):
        download(spoilt.transfer, commit, tmp_path / "target")


def test_a_file_that_changes_while_it_is_sent_is_refused(spoilt):
    large = spoilt.source / "large"
    client = spoilt.transfer.client
    original = client.session.call

    async def grow_meanwhile(request, *, timeout):
        if "path=large" in request.url.raw_query_string:
            with large.open("ab") as file:
                file.write(b"more")
        return await original(request, timeout=timeout)

    client.session.call = grow_meanwhile
    with pytest.raises(WorkspaceContentError, match="changed while it was being staged"):
        upload(spoilt.transfer, "main", spoilt.source, written=["large"])


def open_descriptors():
    return len(list(Path("/dev/fd").iterdir()))


@pytest.fixture
def small_disk(tmp_path):
    """An empty file system of 4 MiB."""
    with small_disk_at(tmp_path, "4m") as path:
        yield path


@pytest.mark.parametrize("include", [["large"], ["d", "filling/*"]], ids=["streamed", "small"])
def test_a_disk_that_fills_is_said(spoilt, small_disk, include):
    write_files(spoilt.source, {f"filling/{number:03}": noise(100_000, number) for number in range(60)})
    upload(spoilt.transfer, "main", spoilt.source)
    commit = spoilt.repository.commit("main")["id"]
    with pytest.raises(WorkspaceStorageError, match="No space left on device"):
        download(spoilt.transfer, commit, small_disk / "target", include=include)


def test_a_disk_that_has_no_room_for_file_and_cache_gets_the_file(spoilt, small_disk):
    write_files(spoilt.source, {"fits": noise(2 * MIB + 1)})
    upload(spoilt.transfer, "main", spoilt.source, written=["fits"])
    commit = spoilt.repository.commit("main")["id"]
    with ObjectCache(small_disk / "cache", 64 * MIB) as cache:
        download(replace(spoilt.transfer, cache=cache), commit, small_disk / "target", include=["fits"])
        assert files_of(small_disk / "target") == {"fits": noise(2 * MIB + 1)}
        assert cache.usage().entries == 0
        assert occupied(small_disk) < 3 * MIB


def occupied(disk):
    """Bytes that are taken on a file system."""
    state = os.statvfs(disk)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def test_what_was_damaged_or_broken_off_on_its_way_is_right_in_the_cache(spoilt, commit, tmp_path):
    for number, fault in enumerate((Corrupt(10), Truncate(10), CutResponse(5 * MIB))):
        rule = spoilt.proxy.add(Rule(fault, method="GET", path="objects.path=large"))
        with ObjectCache(tmp_path / f"cache-{number}", 1 << 30) as cache:
            transfer = replace(spoilt.transfer, cache=cache)
            download(transfer, commit, tmp_path / f"first-{number}", include=["large"])
            assert rule.fired == 1
            assert_kept(spoilt.proxy, transfer, commit, tmp_path / f"second-{number}")


@pytest.mark.parametrize("fault", [CutRequest(MIB), Swallow(), Refuse(503)], ids=["cut", "swallowed", "503"])
def test_what_was_sent_again_is_right_in_the_cache(spoilt, tmp_path, fault):
    rule = spoilt.proxy.add(Rule(fault, method="POST", path="path=large"))
    with ObjectCache(tmp_path / "cache", 1 << 30) as cache:
        transfer = replace(spoilt.transfer, cache=cache)
        upload(transfer, "main", spoilt.source, written=["large"])
        assert rule.fired == 1
        assert cache.usage().entries == 1
        assert_kept(spoilt.proxy, transfer, spoilt.repository.commit("main")["id"], tmp_path / "target")


def assert_kept(proxy, transfer, commit, target):
    """The large file comes from the cache."""
    fetched = proxy.add(Rule(Refuse(403), method="GET", path="objects.path=large", times=None))
    download(transfer, commit, target, include=["large"])
    assert files_of(target) == {"large": FILES["large"]}
    assert fetched.matched == 0
    proxy.clear()


def test_no_connection_or_descriptor_is_left_open(spoilt, commit, tmp_path):
    before = open_descriptors()
    spoilt.proxy.add(Rule(Refuse(403), method="GET", path="objects.path=large", skip=1, times=None))
    with pytest.raises(LakeFSAccessError):
        download(spoilt.transfer, commit, tmp_path / "target")
    spoilt.transfer.loop.run(spoilt.transfer.client.close())
    assert open_descriptors() <= before
