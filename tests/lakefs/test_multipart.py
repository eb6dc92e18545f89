"""Large files in parts: straight to the block store, each part checked and repeated by itself, nothing left behind."""

import asyncio
import filecmp
import hashlib
import os
import re
import resource
import shutil
import time
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from authority import Authority
from perago.errors import WorkspaceContentError
from perago.files.beneath import Beneath
from perago.stores.lakefs.api import objects
from perago.stores.lakefs.content import block_store
from perago.stores.lakefs.content.upload import Upload
from perago.workspace.cache import ObjectCache
from perago.workspace.digest import algorithm_of, digest_file
from servers.faults import Corrupt, CutBefore, CutRequest, Delay, Refuse, Rule, Swallow
from servers.fixtures import repository_on
from servers.lakefs import LakeFSServer
from servers.proxy import FaultProxy
from transfer_support import MIB, download, files_of, ignore, noise, transfer_to, upload, write_files

PART = 16 * MIB
LARGE = noise(2 * PART + MIB)
"""Three parts."""
CHECKSUM = hashlib.md5(
    b"".join(hashlib.md5(LARGE[first : first + PART]).digest() for first in range(0, len(LARGE), PART))
).hexdigest()
COMPLETED = r"/pmpu/[^/]+\?"


@pytest.fixture(scope="module")
def proxies(lakefs_server, s3_server):
    """As in test_presigned.py; lakefs_server: where none can be built, all here skip."""
    with FaultProxy(s3_server.url) as store:
        config = s3_server.lakefs_config | {"blockstore.s3.pre_signed_endpoint": store.url}
        with LakeFSServer(config=config, storage=s3_server.storage) as server, FaultProxy(server.url) as front:
            yield SimpleNamespace(server=server, store=store, front=front, blocks=s3_server)


@contextmanager
def transfer_through(proxies, source, **options):
    """A repository, and a transfer to it; `at_store`, `at_server` and `unfinished` tell what came since now."""

    def counter(proxy):
        before = len(proxy.seen())
        return lambda method: [seen for seen in proxy.seen()[before:] if seen.method == method]

    proxies.store.clear()
    proxies.front.clear()
    before = set(parts_in(proxies.blocks))
    write_files(source, {"large": LARGE})
    with (
        repository_on(proxies.server) as repository,
        transfer_to(proxies.front.url, proxies.server, repository.name, **options) as transfer,
    ):
        yield SimpleNamespace(
            repository=repository,
            transfer=transfer,
            source=source,
            at_store=counter(proxies.store),
            at_server=counter(proxies.front),
            unfinished=lambda: [part for part in parts_in(proxies.blocks) if part not in before],
            proxies=proxies,
        )


@pytest.fixture
def there(proxies, tmp_path):
    with transfer_through(proxies, tmp_path / "source") as made:
        yield made


def parts_in(blocks):
    """Parts that no upload has completed or dropped."""
    return [path for path in blocks.objects.rglob("*") if ".sgwtmp" in path.parts and path.is_file()]


def fill(there):
    upload(there.transfer, "main", there.source)
    return there.repository.commit("main")["id"]


def test_a_large_file_goes_in_parts_and_comes_back(there, tmp_path):
    (there.source / "large").chmod(0o755)
    with ObjectCache(tmp_path / "cache", 1 << 30) as cache:
        server, name = there.proxies.server, there.repository.name
        with transfer_to(there.proxies.front.url, server, name, cache=cache) as transfer:
            upload(transfer, "main", there.source)
            commit = there.repository.commit("main")["id"]
            assert len(there.at_store("PUT")) == 3
            assert there.repository.files(commit) == {"large": LARGE}
            assert there.repository.stat(commit, "large")["checksum"] == f"{CHECKSUM}-3"
            read = len(there.at_store("GET"))
            download(transfer, commit, tmp_path / "cached")
            assert len(there.at_store("GET")) == read
    digests = download(there.transfer, commit, tmp_path / "target")
    assert len(there.at_store("GET")) == read + 3
    for target in (tmp_path / "cached", tmp_path / "target"):
        assert files_of(target) == {"large": LARGE}
        assert os.access(target / "large", os.X_OK)
    assert digests == {"large": f"md5-of-parts/{PART}:{CHECKSUM}-3"}
    assert there.unfinished() == []


def test_damage_on_the_way_down_is_noticed_by_the_parts(there, tmp_path):
    commit = fill(there)
    rule = there.proxies.store.add(Rule(Corrupt(5), method="GET"))
    download(there.transfer, commit, tmp_path / "target")
    assert files_of(tmp_path / "target") == {"large": LARGE}
    assert rule.fired


OTHER_CONTENT = Refuse(200, {"ETag": f'"{"0" * 32}"'}, b"")
PASSING = {
    "403": Refuse(403),
    "500": Refuse(500),
    "cut before": CutBefore(),
    "cut in the request": CutRequest(5 * MIB),
    "swallowed": Swallow(),
    "took it otherwise": OTHER_CONTENT,
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_part_that_fails_costs_only_that_part(there, fault):
    rule = there.proxies.store.add(Rule(fault, method="PUT", path=r"partNumber=3\b"))
    commit = fill(there)
    assert there.repository.files(commit) == {"large": LARGE}
    assert rule.fired
    sent = Counter(re.search(r"partNumber=(\d)", seen.target)[1] for seen in there.at_store("PUT"))
    assert sent == {"1": 1, "2": 1, "3": 2}
    new_urls = [seen.target for seen in there.at_server("PUT") if "/parts/" in seen.target]
    assert all("/parts/3" in target for target in new_urls)
    if isinstance(fault, Refuse):  # on a connection that broke, the same request may go out once more
        assert len(new_urls) == 1


def test_a_url_that_has_expired_is_replaced(lakefs_server, s3_server, tmp_path):
    with FaultProxy(s3_server.url) as store:
        config = s3_server.lakefs_config | {
            "blockstore.s3.pre_signed_endpoint": store.url,
            "blockstore.s3.pre_signed_expiry": "2s",
        }
        with LakeFSServer(config=config, storage=s3_server.storage) as server, FaultProxy(server.url) as front:
            proxies = SimpleNamespace(server=server, store=store, front=front, blocks=s3_server)
            with transfer_through(proxies, tmp_path / "source") as there:
                rule = store.add(Rule(Delay(4.0), method="PUT", path=r"partNumber=2\b"))
                commit = fill(there)
                assert rule.fired
                assert there.repository.files(commit) == {"large": LARGE}
                statuses = [seen.status for seen in there.at_store("PUT")]
                assert statuses.count(200) == 3
                # The refusal may be lost, because the server hangs up without reading the part.
                assert statuses.count(None) + statuses.count(403) == len(statuses) - 3 > 0
                assert [seen for seen in front.seen() if "/parts/2" in seen.target]


def test_parts_go_over_tls(lakefs_server, s3_server, tmp_path):
    authority = Authority(tmp_path)
    with FaultProxy(s3_server.url, tls=authority.server_context()) as store:
        config = s3_server.lakefs_config | {"blockstore.s3.pre_signed_endpoint": store.url}
        with LakeFSServer(config=config, storage=s3_server.storage) as server, FaultProxy(server.url) as front:
            proxies = SimpleNamespace(server=server, store=store, front=front, blocks=s3_server)
            with transfer_through(proxies, tmp_path / "source", ca_file=authority.ca_file) as there:
                commit = fill(there)
                assert [seen.status for seen in there.at_store("PUT")] == [200] * 3
                download(there.transfer, commit, tmp_path / "target")
                assert len(there.at_store("GET")) == 3
    assert files_of(tmp_path / "target") == {"large": LARGE}


@pytest.mark.parametrize("fault", [Refuse(403), CutBefore(), OTHER_CONTENT], ids=["403", "cut", "took it otherwise"])
def test_what_the_block_store_does_not_take_goes_to_the_server_and_leaves_no_parts(there, fault, monkeypatch):
    monkeypatch.setattr(block_store, "PARTS_AT_ONCE", 1)  # a part that is on its way may arrive after the abort
    rule = there.proxies.store.add(Rule(fault, method="PUT", path=r"partNumber=2\b", times=None))
    commit = fill(there)
    assert rule.fired
    assert there.repository.files(commit) == {"large": LARGE}
    assert len(there.at_server("POST")) >= 2  # the beginning, and the upload through the server
    assert there.unfinished() == []


def test_an_answer_that_is_lost_is_looked_for(there):
    rule = there.proxies.front.add(Rule(Swallow(), method="PUT", path=COMPLETED))
    commit = fill(there)
    assert rule.fired
    assert there.repository.files(commit) == {"large": LARGE}
    assert len(there.at_store("PUT")) == 3
    assert [seen for seen in there.at_server("POST") if "/objects?" in seen.target] == []


def test_an_upload_that_is_cancelled_is_aborted(there):
    there.proxies.store.add(Rule(Delay(20.0), method="PUT", path=r"partNumber=3\b"))

    async def cancelled():
        sending = asyncio.ensure_future(Upload(there.transfer, "main", there.source, "", ignore).run(["large"], ()))
        while len(there.at_store("PUT")) < 2:  # a part that is on its way may arrive after the abort
            await asyncio.sleep(0.01)
        assert len(there.unfinished()) == 2
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    there.transfer.loop.run(cancelled())
    assert there.unfinished() == []
    assert there.repository.objects("main") == []


def test_a_file_that_changes_while_it_is_sent_is_an_error(there, monkeypatch):
    there.proxies.store.add(Rule(Delay(0.5), method="PUT", path=r"partNumber=1\b"))
    monkeypatch.setattr(block_store, "PARTS_AT_ONCE", 1)
    began = there.transfer.client.create_multipart

    async def shortened(*arguments):
        made = await began(*arguments)
        os.truncate(there.source / "large", 2 * PART)
        return made

    monkeypatch.setattr(there.transfer.client, "create_multipart", shortened)
    with pytest.raises(WorkspaceContentError, match="large changed while it was being staged"):
        fill(there)
    assert there.unfinished() == []


def test_a_file_too_large_for_one_piece_goes_through_the_server_without_its_length(there, monkeypatch):
    monkeypatch.setattr(objects, "MAX_WHOLE_BYTES", PART)
    sent = []
    call = there.transfer.client.session.call

    async def watched(request, **options):
        if request.method == "POST" and "/objects?" in str(request.url):
            sent.append(dict(request.headers))
        return await call(request, **options)

    monkeypatch.setattr(there.transfer.client.session, "call", watched)
    server, name = there.proxies.server, there.repository.name
    with transfer_to(there.proxies.front.url, server, name, presign=False) as transfer:
        monkeypatch.setattr(transfer.client.session, "call", watched)
        call = type(transfer.client.session).call.__get__(transfer.client.session)
        upload(transfer, "main", there.source)
    assert there.repository.files("main") == {"large": LARGE}
    assert [headers.get("Content-Length") for headers in sent] == [None]


def test_an_import_of_a_large_file_that_is_there_changes_nothing(make_bench, lakefs_on_s3, tmp_path):
    bench = make_bench(lakefs_on_s3)
    repository = bench.store.repository(bench.hooks.name)
    write_files(tmp_path / "source", {"large": LARGE})
    assert repository.import_directory(tmp_path / "source", "main", "the first") is not None
    assert repository.import_directory(tmp_path / "source", "main", "the same") is None
    write_files(tmp_path / "source", {"large": LARGE[:-1] + b"?"})
    assert repository.compare_directory(tmp_path / "source", "main").modified == ("large",)


SIZE_VARIABLE = "PERAGO_TEST_LARGE_GIB"
GIB = 1024 * MIB


@pytest.mark.timeout(3600)
def test_a_file_of_many_gib_up_and_down(lakefs_on_s3, tmp_path):
    """By hand with 6 GiB, which is more than S3 takes in one piece."""
    size = round(float(os.environ.get(SIZE_VARIABLE, "1")) * GIB) + 1
    needed = 3 * size  # its parts, the object and the copy
    if shutil.disk_usage(tmp_path).free < needed:  # a full disk would fail the tests beside it
        pytest.skip(f"needs {needed // GIB} GiB of free disk")
    (tmp_path / "source").mkdir()
    with (tmp_path / "source/large").open("wb") as file:  # no part is the same as another, and few take space
        for first in range(0, size, PART):
            file.seek(first)
            file.write(first.to_bytes(8, "big"))
        file.truncate(size)
    with (
        repository_on(lakefs_on_s3) as repository,
        transfer_to(lakefs_on_s3.url, lakefs_on_s3, repository.name) as transfer,
    ):
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        upload(transfer, "main", tmp_path / "source", written=["large"])
        sent = time.monotonic()
        commit = repository.commit("main")["id"]
        digests = download(transfer, commit, tmp_path / "target")
        ended, after = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\n{size} bytes: up {sent - began:.1f} s, down {ended - sent:.1f} s, memory +{(after - before) // 1024} MiB")
    assert filecmp.cmp(tmp_path / "source/large", tmp_path / "target/large", shallow=False)
    with Beneath(tmp_path / "source") as files:
        assert digests == {"large": digest_file(files, "large", algorithm_of(digests["large"]), size)}
    shutil.rmtree(tmp_path / "target")  # pytest would keep it for three more runs
    assert after - before < 150 * 1024
