"""The official SDK's models check our shapes: they read what the server answers us, and what we send it."""

import json

import lakefs_sdk
import pytest

from perago.stores.lakefs.api.answers import ObjectStats
from servers.fixtures import repository_on
from transfer_support import transfer_to, upload, write_files

HOOK = b"""
name: veto
on:
  pre-merge:
hooks:
  - id: never
    type: lua
    properties:
      script: error("never")
"""


def model_of(method, path, status):
    """The SDK's model of an answer, by method and the last fixed words of the path."""
    table = {
        ("GET", "config", 200): lakefs_sdk.Config,
        ("GET", "repository", 200): lakefs_sdk.Repository,
        ("POST", "repositories", 201): lakefs_sdk.Repository,
        ("GET", "branches", 200): lakefs_sdk.RefList,
        ("GET", "branch", 200): lakefs_sdk.Ref,
        ("GET", "tag", 200): lakefs_sdk.Ref,
        ("GET", "commit", 200): lakefs_sdk.Commit,
        ("GET", "log", 200): lakefs_sdk.CommitList,
        ("POST", "commits", 201): lakefs_sdk.Commit,
        ("POST", "merge", 200): lakefs_sdk.MergeResult,
        ("GET", "diff", 200): lakefs_sdk.DiffList,
        ("GET", "ls", 200): lakefs_sdk.ObjectStatsList,
        ("GET", "stat", 200): lakefs_sdk.ObjectStats,
        ("POST", "objects", 201): lakefs_sdk.ObjectStats,
        ("PUT", "objects", 201): lakefs_sdk.ObjectStats,
        ("POST", "copy", 201): lakefs_sdk.ObjectStats,
        ("POST", "delete", 200): lakefs_sdk.ObjectErrorList,
        ("GET", "backing", 200): lakefs_sdk.StagingLocation,
        ("PUT", "backing", 200): lakefs_sdk.ObjectStats,
        ("POST", "pmpu", 201): lakefs_sdk.PresignMultipartUpload,
        ("PUT", "part", 200): lakefs_sdk.UploadTo,
        ("PUT", "upload", 200): lakefs_sdk.ObjectStats,
        ("GET", "hooks", 200): lakefs_sdk.HookRunList,
        ("GET", "branch_protection", 200): lakefs_sdk.BranchProtectionRule,
    }
    return table.get((method, path, status))


SENT = {
    ("POST", "repositories"): lakefs_sdk.RepositoryCreation,
    ("POST", "branches"): lakefs_sdk.BranchCreation,
    ("POST", "commits"): lakefs_sdk.CommitCreation,
    ("POST", "merge"): lakefs_sdk.Merge,
    ("PUT", "objects"): lakefs_sdk.ObjectStageCreation,
    ("POST", "copy"): lakefs_sdk.ObjectCopyCreation,
    ("POST", "delete"): lakefs_sdk.PathList,
    ("PUT", "backing"): lakefs_sdk.StagingMetadata,
    ("PUT", "part"): lakefs_sdk.UploadPartFrom,
    ("DELETE", "upload"): lakefs_sdk.AbortPresignMultipartUpload,
    ("PUT", "upload"): lakefs_sdk.CompletePresignMultipartUpload,
}


def kind_of(path):
    """What a call is about, from its path."""
    words = path.removeprefix("/api/v1/").split("/")
    if "merge" in words:
        return "merge"
    if "diff" in words:
        return "diff"
    if "pmpu" in words:
        return "pmpu" if words[-1] == "pmpu" else "part" if "parts" in words else "upload"
    if "runs" in words:
        return "output" if words[-1] == "output" else words[-1] if words[-1] in ("runs", "hooks") else "run"
    if words[:1] == ["repositories"] and len(words) == 2:
        return "repository"
    if words[-1] == "commits" and "refs" in words:
        return "log"
        return words[-2].removesuffix("s")
    if len(words) > 1 and words[-2] == "branches":
        return "branch"
    return words[-1]


def all_members(document, model):
    """Every member that we send is one that the model knows, with a value that it takes."""
    assert set(document) <= {field.alias for field in model.__fields__.values()}
    model.from_dict(document)


@pytest.fixture
def watched(lakefs_on_s3):
    """A transfer whose calls are checked, and the kinds of calls that were."""
    seen = set()
    with (
        repository_on(lakefs_on_s3) as repository,
        transfer_to(lakefs_on_s3.url, lakefs_on_s3, repository.name) as transfer,
    ):
        original = transfer.client.session.call

        async def checked(request, *, timeout):
            answer = await original(request, timeout=timeout)
            kind = kind_of(request.url.path)
            if request.headers.get("Content-Type") == "application/json":
                all_members(json.loads(request.body), SENT[request.method, kind])
                seen.add(("sent", request.method, kind))
            model = model_of(request.method, kind, answer.status)
            if model is not None:
                answered = json.loads(answer.body)
                for document in answered if isinstance(answered, list) else [answered]:
                    model.from_dict(document)
                seen.add(("got", request.method, kind))
            return answer

        transfer.client.session.call = checked
        yield repository, transfer, seen


def test_the_sdk_reads_what_we_send_and_get(watched, tmp_path):
    repository, transfer, seen = watched
    name, client, run = repository.name, transfer.client, transfer.loop.run
    repository.expect("PUT", "/settings/branch_protection", data=[{"pattern": "release"}])
    repository.commit_files("main", {"a": b"1"})
    head = repository.head("main")

    async def every_call():
        await client.get_config()
        await client.get_repository(name)
        assert await client.get_protected_branches(name) == ["release"]
        await client.create_repository(f"{name}-2", f"s3://perago/{name}-2")
        await client.create_branch(name, "stage", head, hidden=True)
        assert (await client.get_branch(name, "stage")).commit_id == head
        assert [b.id async for page in client.list_branches(name, show_hidden=True) for b in page] == ["main", "stage"]
        one = await client.upload_object(name, "stage", "one", b"one", size=3, executable=True)
        await client.stage_object(name, "stage", "two", one)
        await client.copy_object(name, "stage", "three", source_ref=head, source="a")
        location = await client.get_physical_address(name, "stage", "four", presign=False)
        await client.link_physical_address(
            name, "stage", location, ObjectStats("four", location.physical_address, "0" * 32, 3, True)
        )
        begun = await client.create_multipart(name, "stage", "five", 2)
        assert len(begun.urls) == 2
        assert await client.multipart_url(name, "stage", "five", begun, 2) != begun.urls[0]
        await client.abort_multipart(name, "stage", "five", begun, timeout=60)
        await client.upload_object(name, "stage", "_lakefs_actions/veto.yaml", HOOK, size=len(HOOK))
        await client.delete_objects(name, "stage", ["three"])
        assert (await client.stat_object(name, "stage", "two")).executable
        staged = await client.commit(name, "stage", "m", {"k": "v"}, allow_empty=False)
        again = await client.commit(name, "stage", "m", {}, source_metarange=staged.meta_range_id, allow_empty=True)
        assert again.parents == (staged.id,)
        assert [d.kind async for page in client.diff_refs(name, head, staged.id) for d in page] == ["added"] * 4
        assert [c.id async for page in client.log_commits(name, staged.id, stop_at=head) for c in page][-1] == head
        assert (await client.get_commit(name, staged.id)) == staged
        assert [o.path async for page in client.list_objects(name, staged.id) for o in page][1:] == [
            "a",
            "four",
            "one",
            "two",
        ]
        assert len((await client.list_page(name, staged.id, presign=True))[0]) == 5
        with pytest.raises(Exception, match="412"):
            await client.merge(name, staged.id, "main", message="m", metadata={"k": "v"})
        run_id = repository.expect("GET", "/actions/runs")["results"][0]["run_id"]
        hooks = await client.list_hook_runs(name, run_id)
        assert [(hook.action, hook.hook_id, hook.status) for hook in hooks] == [("veto", "never", "failed")]
        await client.delete_objects(name, "stage", ["_lakefs_actions/veto.yaml"])
        clean = await client.commit(name, "stage", "m", {})
        await client.merge(name, clean.id, "main", message="m", metadata={}, options={"allow_empty": True})
        assert [d async for page in client.diff_branch(name, "main") for d in page] == []

    run(every_call())
    assert {(method, kind) for way, method, kind in seen if way == "sent"} == set(SENT) - {("PUT", "upload")}
    assert len([kind for kind in seen if kind[0] == "got"]) == 21


def test_the_sdk_reads_what_a_transfer_sends_and_gets(watched, tmp_path):
    repository, transfer, seen = watched
    write_files(tmp_path, {"a": b"1", "b": b"1", "large": bytes(9_000_000), "larger": bytes(18_000_000)})
    upload(transfer, "main", tmp_path, deleted=["none"])
    assert {("sent", "PUT", "objects"), ("sent", "PUT", "backing"), ("sent", "POST", "delete")} <= seen
    assert {("sent", "PUT", "upload"), ("got", "PUT", "upload")} <= seen
    assert {found["path"] for found in repository.objects("main")} == {"a", "b", "large", "larger"}
