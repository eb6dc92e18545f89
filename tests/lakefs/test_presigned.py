"""Moving data where the server gives URLs of its block store: it goes there, with no credentials of ours."""

import logging
import re
import traceback
from types import SimpleNamespace

import pytest

from perago.stores.lakefs.api.answers import LakeFSError
from perago.workspace.cache import ObjectCache
from perago.workspace.digest import algorithm_of, digest_bytes
from servers.faults import Corrupt, CutBefore, Refuse, Rule, Truncate
from servers.fixtures import repository_on
from servers.lakefs import LakeFSServer
from servers.proxy import FaultProxy
from transfer_support import MIB, download, files_of, noise, transfer_to, upload, write_files

FILES = {f"d/{number:02}": noise(1000 + number, number) for number in range(30)} | {
    "large": noise(20 * MIB),
    "twin": noise(20 * MIB),
    "medium": noise(2 * MIB),
    "empty": b"",
}


@pytest.fixture(scope="module")
def servers(lakefs_server, s3_server):
    """A lakeFS on S3, whose presigned URLs lead through a proxy; lakefs_server: where none can be, all here skip."""
    with FaultProxy(s3_server.url) as store:
        config = s3_server.lakefs_config | {"blockstore.s3.pre_signed_endpoint": store.url}
        with LakeFSServer(config=config, storage=s3_server.storage) as server, FaultProxy(server.url) as front:
            yield SimpleNamespace(server=server, store=store, front=front)


@pytest.fixture
def there(servers, tmp_path):
    servers.store.clear()
    servers.front.clear()
    with (
        repository_on(servers.server) as repository,
        transfer_to(servers.front.url, servers.server, repository.name) as transfer,
    ):
        write_files(tmp_path / "source", FILES)
        before = len(servers.store.seen())
        front_before = len(servers.front.seen())
        yield SimpleNamespace(
            repository=repository,
            transfer=transfer,
            source=tmp_path / "source",
            servers=servers,
            at_store=lambda: servers.store.seen()[before:],
            at_server=lambda: servers.front.seen()[front_before:],
        )


def fill(there):
    upload(there.transfer, "main", there.source)
    return there.repository.commit("main")["id"]


def test_content_goes_to_and_from_the_block_store(there, tmp_path):
    commit = fill(there)
    # Large, in two parts; its twin is linked, the others are small.
    assert [seen.method for seen in there.at_store()] == ["PUT", "PUT"]
    assert there.repository.files(commit) == FILES
    addresses = {found["path"]: found["physical_address"] for found in there.repository.objects(commit)}
    assert addresses["twin"] == addresses["large"]
    asked = len(there.at_server())
    download(there.transfer, commit, tmp_path / "target")
    assert files_of(tmp_path / "target") == FILES
    reads = [seen for seen in there.at_server()[asked:] if "/objects?" in seen.target]
    assert reads == []
    assert len([seen for seen in there.at_store() if seen.method == "GET"]) >= len(FILES) - 1


def test_few_files_of_many_are_asked_for_one_by_one(there, tmp_path):
    commit = fill(there)
    with ObjectCache(tmp_path / "cache", 1 << 30) as cache:
        server, name = there.servers.server, there.repository.name
        with transfer_to(there.servers.front.url, server, name, cache=cache) as transfer:
            download(transfer, commit, tmp_path / "first", exclude=["medium", "d/07"])
            asked, taken = len(there.at_server()), len(there.at_store())
            download(transfer, commit, tmp_path / "second")
    assert files_of(tmp_path / "second") == FILES
    new = [seen.target for seen in there.at_server()[asked:]]
    assert [target for target in new if "ls?" in target and "presign" in target] == []
    assert len([target for target in new if "path=medium&presign=true" in target]) == 1
    assert len([target for target in new if "path=d%2F07" in target and "presign" not in target]) == 1
    assert len([target for target in new if "path=medium" in target]) == 1
    assert {seen.method for seen in there.at_store()[taken:]} == {"GET"}


@pytest.mark.parametrize("fault", [Refuse(403), CutBefore(), Refuse(500), Corrupt(5), Truncate(5)], ids=repr)
def test_what_the_block_store_does_not_give_comes_from_the_server(there, tmp_path, fault):
    commit = fill(there)
    rule = there.servers.store.add(Rule(fault, method="GET", times=None))
    digests = download(there.transfer, commit, tmp_path / "target", include=["d/0*", "large", "medium"])
    wanted = {path: content for path, content in FILES.items() if path.startswith("d/0") or path in ("large", "medium")}
    assert files_of(tmp_path / "target") == wanted
    assert digests == {path: digest_bytes(content, algorithm_of(digests[path])) for path, content in wanted.items()}
    assert rule.fired


JUNK = b"JUNK" * 100
TOO_LONG = {
    "medium": Refuse(200, {}, FILES["medium"] + JUNK),
    "large": Refuse(206, {}, FILES["large"][16 * MIB :] + JUNK),  # the end for both of its parts
}


@pytest.mark.parametrize(("path", "fault"), TOO_LONG.items(), ids=TOO_LONG)
def test_what_the_block_store_gives_too_much_of_comes_from_the_server(there, tmp_path, path, fault):
    commit = fill(there)
    rule = there.servers.store.add(Rule(fault, method="GET", times=None))
    asked = len(there.at_server())
    digests = download(there.transfer, commit, tmp_path / "target", include=[path])
    assert files_of(tmp_path / "target") == {path: FILES[path]}
    algorithm = f"md5-of-parts/{16 * MIB}" if path == "large" else "md5"
    assert digests == {path: digest_bytes(FILES[path], algorithm)}
    reads = [seen.target for seen in there.at_server()[asked:] if f"/objects?path={path}" in seen.target]
    parts = -(-len(FILES[path]) // (16 * MIB))
    assert len([target for target in reads if "presign=true" not in target]) == parts == rule.fired


OTHER_CONTENT = Refuse(200, {"ETag": f'"{"0" * 32}"'}, b"")


@pytest.mark.parametrize(
    "fault", [Refuse(403), CutBefore(), Refuse(500), OTHER_CONTENT], ids=["403", "cut", "500", "took it otherwise"]
)
def test_what_the_block_store_does_not_take_goes_to_the_server(there, fault):
    rule = there.servers.store.add(Rule(fault, method="PUT", times=None))
    commit = fill(there)
    assert there.repository.files(commit) == FILES
    assert rule.fired


def test_a_block_store_out_of_reach_is_not_asked_again_and_again(start_lakefs, s3_server, tmp_path):
    config = s3_server.lakefs_config | {"blockstore.s3.pre_signed_endpoint": "http://127.0.0.1:9"}
    server = start_lakefs(config=config, storage=s3_server.storage)
    with repository_on(server) as repository, transfer_to(server.url, server, repository.name) as transfer:
        write_files(tmp_path / "source", FILES)
        upload(transfer, "main", tmp_path / "source")
        commit = repository.commit("main")["id"]
        download(transfer, commit, tmp_path / "target")
        assert files_of(tmp_path / "target") == FILES


def test_it_can_be_left_off(there, tmp_path):
    server, name = there.servers.server, there.repository.name
    with transfer_to(there.servers.front.url, server, name, presign=False) as transfer:
        upload(transfer, "main", there.source)
        commit = there.repository.commit("main")["id"]
        download(transfer, commit, tmp_path / "target")
    assert files_of(tmp_path / "target") == FILES
    assert there.at_store() == []


SENT = "5f1ca9e7d0b84c63"
STORE_SAYS = (
    "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature is another one.</Message>"
    f"<SignatureProvided>{SENT}</SignatureProvided></Error>"
)
PROXY_SAYS = f'<a href="/key?X-Amz-Date=1&amp;X-Amz-Signature={SENT}">took too long</a>'


@pytest.mark.parametrize(
    "fault",
    [Refuse(403, body=STORE_SAYS.encode()), Refuse(502, body=PROXY_SAYS.encode()), CutBefore()],
    ids=["refused", "a proxy", "cut"],
)
def test_no_signature_reaches_a_log_or_an_error(there, tmp_path, caplog, fault):
    """A presigned URL is a credential, also where the block store or a proxy repeats it."""
    caplog.set_level(logging.DEBUG)
    rule = there.servers.store.add(Rule(fault, times=None))
    commit = fill(there)
    download(there.transfer, commit, tmp_path / "target")
    client, loop = there.transfer.client, there.transfer.loop
    url = loop.run(client.presigned_read_url(there.repository.name, commit, "medium"))
    with pytest.raises(LakeFSError) as caught:
        loop.run(client.read_object_at(url, len(FILES["medium"]), ours=False))
    assert rule.fired
    signatures = set(re.findall("X-Amz-Signature=([0-9a-f]+)", " ".join(seen.target for seen in there.at_store())))
    assert len(signatures) > 1
    told = caplog.text + "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert [word for word in (*signatures, SENT) if word in told] == []
