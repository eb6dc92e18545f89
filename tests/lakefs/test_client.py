"""The typed calls, each against a real server."""

import asyncio

import pytest

from perago.http.loop import LoopThread
from perago.stores.lakefs.api.answers import LakeFSAccessError, LakeFSError
from perago.stores.lakefs.api.client import LakeFSClient


@pytest.fixture(scope="module")
def loop():
    thread = LoopThread("test")
    yield thread
    thread.close()


@pytest.fixture(scope="module")
def client(loop, lakefs_server):
    client = LakeFSClient.connect(lakefs_server.url, lakefs_server.access_key_id, lakefs_server.secret_access_key)
    yield client
    loop.run(client.close())


async def collect(pages):
    return [item async for page in pages for item in page]


def test_the_server_says_what_it_is(loop, client):
    facts = loop.run(client.get_config())
    assert facts.version
    assert facts.blockstore


def test_branches_come_and_go(loop, client, lakefs_repository):
    name, head = lakefs_repository.name, lakefs_repository.head("main")
    loop.run(client.create_branch(name, "perago-x", head, hidden=True))
    assert loop.run(client.get_branch(name, "perago-x")).commit_id == head
    assert [b.id for b in loop.run(collect(client.list_branches(name)))] == ["main"]
    assert [b.id for b in loop.run(collect(client.list_branches(name, prefix="perago-", show_hidden=True)))] == [
        "perago-x"
    ]
    loop.run(client.create_branch(name, "perago-x", head))
    later = lakefs_repository.commit_files("main", {"later": b"1"})
    with pytest.raises(LakeFSError) as raised:
        loop.run(client.create_branch(name, "perago-x", later))
    assert raised.value.status == 409
    assert loop.run(client.get_branch(name, "perago-x")).commit_id == head
    assert loop.run(client.delete_branch(name, "perago-x"))
    assert not loop.run(client.delete_branch(name, "perago-x"))
    assert loop.run(client.find_branch(name, "perago-x")) is None


def test_objects_are_staged_committed_and_merged(loop, client, lakefs_repository):
    name, head = lakefs_repository.name, lakefs_repository.commit_files("main", {"old": b"old"})
    loop.run(client.create_branch(name, "stage", head, hidden=True))

    async def stage():
        async def body():
            yield b"strea"
            yield b"med"

        await client.upload_object(name, "stage", "a b/ü?&=%.txt", b"hello", size=5, executable=True)
        await client.upload_object(name, "stage", "streamed", body(), size=8)
        await client.copy_object(name, "stage", "copied", source_ref=head, source="old", size=3)
        assert await client.delete_objects(name, "stage", ["old", "never there"]) == []
        return await client.commit(name, "stage", "staged", {"k": "v"})

    staged = loop.run(stage())
    assert (staged.parents, staged.metadata["k"]) == ((head,), "v")
    found = {stats.path: stats for stats in loop.run(collect(client.list_objects(name, staged.id)))}
    assert sorted(found) == ["a b/ü?&=%.txt", "copied", "streamed"]
    assert [stats.executable for stats in found.values()] == [True, False, False]
    assert loop.run(client.read_object_at(client.object_url(name, staged.id, "a b/ü?&=%.txt"), 5)) == b"hello"
    assert loop.run(client.find_object(name, staged.id, "old")) is None
    diff = loop.run(collect(client.diff_refs(name, head, staged.id)))
    assert [(entry.path, entry.kind) for entry in diff] == [
        ("a b/ü?&=%.txt", "added"),
        ("copied", "added"),
        ("old", "removed"),
        ("streamed", "added"),
    ]
    merged = loop.run(client.merge(name, staged.id, "main", message="m", metadata={"p": "q"}))
    commit = loop.run(client.get_commit(name, merged))
    assert (commit.parents, commit.meta_range_id) == ((head, staged.id), staged.meta_range_id)
    log = loop.run(collect(client.log_commits(name, "main", stop_at=head, amount=1)))
    assert [entry.id for entry in log] == [merged, head]
    with pytest.raises(LakeFSError, match="no changes") as raised:
        loop.run(client.merge(name, staged.id, "main", message="m", metadata={}))
    assert raised.value.status == 400


def test_content_can_be_put_on_another_head(loop, client, lakefs_repository):
    name = lakefs_repository.name
    first = lakefs_repository.commit_files("main", {"a": b"1"})
    second = lakefs_repository.commit_files("main", {"b": b"2"})
    meta_range = loop.run(client.get_commit(name, first)).meta_range_id
    loop.run(client.create_branch(name, "stage", second))
    made = loop.run(client.commit(name, "stage", "back", {}, source_metarange=meta_range))
    assert (made.parents, made.meta_range_id) == ((second,), meta_range)


def test_an_object_is_read_in_ranges(loop, client, lakefs_repository):
    name, head = lakefs_repository.name, lakefs_repository.commit_files("main", {"x": bytes(range(256)) * 1000})

    async def read(part):
        url = client.object_url(name, head, "x")
        async with client.open_object(url, 256_000, part) as stream:
            return b"".join([chunk async for chunk in stream.chunks()])

    assert loop.run(read(range(3, 1003))) == (bytes(range(256)) * 1000)[3:1003]
    assert loop.run(read(range(256_000))) == bytes(range(256)) * 1000


def test_listings_come_in_pages(loop, client, lakefs_repository):
    name = lakefs_repository.name

    async def fill():
        await asyncio.gather(
            *(client.upload_object(name, "main", f"d/{number:05}", b"", size=0) for number in range(1050))
        )

    loop.run(fill())
    found = loop.run(collect(client.list_objects(name, "main", prefix="d/", after="d/00003")))
    assert [stats.path for stats in found] == [f"d/{number:05}" for number in range(4, 1050)]


def test_wrong_credentials_are_said_and_not_shown(loop, lakefs_server):
    client = LakeFSClient.connect(lakefs_server.url, "AKIAWRONG", "s3cr3t-of-mine")

    async def ask():
        try:
            await client.get_repository("any")
        finally:
            await client.close()

    with pytest.raises(LakeFSAccessError, match="access key") as raised:
        loop.run(ask())
    assert "s3cr3t" not in str(raised.value)
    assert (raised.value.status, raised.value.retry_can_help) == (401, False)
