"""Content goes to a real server and comes back: whole, checked, only once, in the names that may be."""

import hashlib
import os
import re
import shutil
from types import SimpleNamespace

import pytest
import yarl

from perago.errors import ObjectNameError, PrefixNotFoundError, WorkspaceContentError
from perago.http.pace import NEARBY
from perago.stores.lakefs.listing import list_files
from perago.values.spec import WorkspaceSpec
from perago.workspace.cache import ObjectCache
from perago.workspace.digest import algorithm_of, digest_bytes
from servers.link import Link
from transfer_support import MIB, download, files_of, noise, transfer_to, upload, write_files


@pytest.fixture
def there(lakefs_server, lakefs_repository, tmp_path):
    """A repository, a staging branch on it, and a transfer; `commit` makes what is staged a commit."""
    with transfer_to(lakefs_server.url, lakefs_server, lakefs_repository.name) as transfer:
        lakefs_repository.branch("stage", "main", hidden=True)
        source = tmp_path / "source"
        source.mkdir()
        yield SimpleNamespace(
            repository=lakefs_repository,
            transfer=transfer,
            source=source,
            commit=lambda: lakefs_repository.commit("stage")["id"],
        )


def md5(content):
    return f"md5:{hashlib.md5(content).hexdigest()}"


EVERY_SIZE = {
    "empty": b"",
    "one": b"1",
    "d/e/deep.bin": noise(5000),
    "largest in one piece": noise(512 * 1024, 2),
    "smallest streamed": noise(512 * 1024 + 1, 3),
    "whole parts": noise(32 * MIB, 4),
    "parts and a byte": noise(16 * MIB + 1, 5),
    "naïve ütf & 100% ?#+.csv": b"named",
}


def test_files_of_every_size_go_and_come_back(there, tmp_path):
    write_files(there.source, EVERY_SIZE)
    (there.source / "one").chmod(0o755)
    sent, came = [], []
    staged = upload(there.transfer, "stage", there.source, root="data/", done=sent.append)
    assert sorted(sent) == sorted(map(len, EVERY_SIZE.values()))
    commit = there.commit()
    assert there.repository.files(commit) == {f"data/{path}": content for path, content in EVERY_SIZE.items()}
    digests = download(there.transfer, commit, tmp_path / "target", prefix="data", done=came.append)
    assert files_of(tmp_path / "target") == EVERY_SIZE
    assert digests == {path: md5(content) for path, content in EVERY_SIZE.items()}
    assert sorted(came) == sorted(sent)
    assert {path for path in EVERY_SIZE if os.access(tmp_path / "target" / path, os.X_OK)} == {"one"}
    assert {path: stats.checksum for path, stats in staged.items()} == {
        path: digest.removeprefix("md5:") for path, digest in digests.items()
    }


def test_only_what_is_told_is_sent_and_removed(there):
    write_files(there.source, {f"{number:04}": b"x%d" % number for number in range(1203)})
    upload(there.transfer, "stage", there.source, root="d/")
    there.commit()
    write_files(there.source, {"new": b"new", "not told": b"stays here"})
    upload(
        there.transfer, "stage", there.source, written=["new"], root="d/", deleted=[f"{n:04}" for n in range(1, 1203)]
    )
    assert there.repository.files(there.commit()) == {"d/0000": b"x0", "d/new": b"new"}


@pytest.mark.parametrize("size", [1000, 3 * MIB], ids=["small", "streamed"])
def test_the_same_content_is_sent_once(there, tmp_path, size):
    content, other = noise(size), noise(size, 2)
    write_files(there.source, {"a": content, "b/c": content, "d": content, "same size": other, "exec": content})
    (there.source / "exec").chmod(0o755)
    sent = []
    client = there.transfer.client
    original = client.session.call

    async def watched(request, *, timeout):
        if request.method == "POST" and request.url.path.endswith("/objects"):
            sent.append(request.url.query["path"])
        return await original(request, timeout=timeout)

    client.session.call = watched
    upload(there.transfer, "stage", there.source)
    assert len(sent) == 3  # the content, with and without the executable bit, and the other one
    commit = there.commit()
    download(there.transfer, commit, tmp_path / "target")
    assert files_of(tmp_path / "target") == files_of(there.source)
    assert [path for path in files_of(there.source) if os.access(tmp_path / "target" / path, os.X_OK)] == ["exec"]


def test_what_is_kept_is_not_fetched(there, tmp_path):
    files = {"small": b"1", "large": noise(3 * MIB), "kept/small": b"2", "kept/large": noise(3 * MIB, 2)}
    commit = there.repository.commit_files("main", files)
    fetched, client = set(), there.transfer.client
    read_whole, open_object = client.read_object_at, client.open_object

    def read_and_note(url, *arguments, **options):
        fetched.add(yarl.URL(url).query["path"])
        return read_whole(url, *arguments, **options)

    def open_and_note(url, *arguments, **options):
        fetched.add(yarl.URL(url).query["path"])
        return open_object(url, *arguments, **options)

    client.read_object_at, client.open_object = read_and_note, open_and_note
    kept = {path: md5(files[path]) for path in ("kept/small", "kept/large")}
    digests = download(there.transfer, commit, tmp_path / "target", kept=kept)
    assert fetched == {"small", "large"}
    assert digests == {path: md5(content) for path, content in files.items()}


def test_include_and_exclude_say_what_is_fetched(there, tmp_path):
    names = ["a/x.csv", "a/y.txt", "a/b/z.csv", "ab/x.csv", "c/x.csv", "top.csv"]
    commit = there.repository.commit_files("main", {f"p/{name}": name.encode() for name in names})
    download(there.transfer, commit, tmp_path / "1", prefix="p", include=["a/**/*.csv", "top.csv"], exclude=["a/b"])
    assert sorted(files_of(tmp_path / "1")) == ["a/x.csv", "top.csv"]
    download(there.transfer, commit, tmp_path / "2", prefix="p", include=["a", "a/b/z.csv", "*/x.csv"])
    assert sorted(files_of(tmp_path / "2")) == ["a/b/z.csv", "a/x.csv", "a/y.txt", "ab/x.csv", "c/x.csv"]


def test_what_is_excluded_is_not_judged(there, tmp_path):
    there.repository.put("main", "../out", b"hostile")
    commit = there.repository.commit_files("main", {"fine": b"1"})
    with pytest.raises(ObjectNameError, match=r"segment '\.\.'"):
        download(there.transfer, commit, tmp_path / "1")
    assert files_of(tmp_path / "1") == {}
    download(there.transfer, commit, tmp_path / "2", include=["fine"])
    assert files_of(tmp_path / "2") == {"fine": b"1"}
    assert not (tmp_path / "out").exists()


HOSTILE = {
    "../x": "segment '..'",
    "a/../../x": "segment '..'",
    "..": "segment '..'",
    ".": "segment '.'",
    "./a": "segment '.'",
    "//x": "starts with '/'",
    "/abs": "starts with '/'",
    "/": "starts with '/'",
    "dir/": "ends with '/'",
    "a//b": "segment ''",
    "back\\slash": "backslash",
    "C:\\x": "backslash",
    "C:x": "drive",
    "nul\0": "NUL",
    "new\nline": "line break",
    "bell\a": "control",
    "bidi\u202egpj": "bidirectional",
    "s" * 256: "segment of 256 bytes",
    b"bad\xff": "U+FFFD",
}


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_refused_before_anything_is_written(there, tmp_path, name):
    there.repository.put("main", name, b"hostile")
    commit = there.repository.commit_files("main", {"fine": b"1"})
    with pytest.raises(ObjectNameError, match=re.escape(HOSTILE[name])):
        download(there.transfer, commit, tmp_path / "target")
    assert files_of(tmp_path / "target") == {}
    assert {path.name for path in tmp_path.iterdir()} == {"source", "target"}


def test_a_file_that_is_a_directory_too_is_refused(there, tmp_path):
    commit = there.repository.commit_files("main", {"dir": b"1", "dir/child": b"2"})
    with pytest.raises(ObjectNameError, match="both a file and a directory"):
        download(there.transfer, commit, tmp_path / "target")


def test_a_page_that_ends_with_invalid_utf8_is_refused_whatever_is_selected(there, tmp_path):
    write_files(there.source, {f"a{number:04}": b"" for number in range(999)})
    upload(there.transfer, "stage", there.source)
    there.repository.put("stage", b"b\xff", b"")
    commit = there.repository.commit_files("stage", {"c": b"1"})
    with pytest.raises(ObjectNameError, match="cannot list what follows it"):
        download(there.transfer, commit, tmp_path / "target", exclude=["b*", "a*"])


@pytest.mark.parametrize("names", [(b"\x80", "\u00e9"), (b"a\xfe", b"a\xff")], ids=["order", "same"])
def test_invalid_utf8_that_comes_out_of_order_is_blamed_itself_and_can_be_left_out(there, tmp_path, names):
    for name in names:
        there.repository.put("main", name, b"hostile")
    commit = there.repository.commit_files("main", {"z": b"1"})
    with pytest.raises(ObjectNameError, match=re.escape("U+FFFD")):
        download(there.transfer, commit, tmp_path / "target")
    assert list(download(there.transfer, commit, tmp_path / "target", include=["z"])) == ["z"]
    shutil.rmtree(tmp_path / "target")
    assert list(download(there.transfer, commit, tmp_path / "target", exclude=["*\ufffd*", "\u00e9"])) == ["z"]


def test_actions_of_the_server_are_no_part_of_a_workspace(there, tmp_path):
    commit = there.repository.commit_files("main", {"_lakefs_actions/hook.yaml": b"#", "_lakefs_actionsX": b"1"})
    assert list(download(there.transfer, commit, tmp_path / "target")) == ["_lakefs_actionsX"]
    with pytest.raises(PrefixNotFoundError):
        download(there.transfer, commit, tmp_path / "2", prefix="_lakefs_actions", may_be_missing=False)


def test_a_prefix_without_anything_is_refused_where_it_has_to_be_there(there, tmp_path):
    commit = there.repository.commit_files("main", {"file": b"1", "dirx": b"2"})
    with pytest.raises(PrefixNotFoundError, match="has nothing below 'dir'"):
        download(there.transfer, commit, tmp_path / "1", prefix="dir", may_be_missing=False)
    assert download(there.transfer, commit, tmp_path / "2", prefix="dir") == {}
    with pytest.raises(PrefixNotFoundError, match="'file/below'"):
        download(there.transfer, commit, tmp_path / "3", prefix="file/below")
    assert download(there.transfer, commit, tmp_path / "4", include=["none of them"], may_be_missing=False) == {}


def test_more_files_than_a_page_come_in_order(there, tmp_path):
    write_files(there.source, {f"{number % 7}/{number:05}": b"%d" % number for number in range(2500)})
    upload(there.transfer, "stage", there.source)
    commit = there.commit()
    listed = there.transfer.loop.run(list_files(there.transfer.client, there.repository.name, commit, WorkspaceSpec()))
    assert [stats.path for stats in listed] == sorted(files_of(there.source))
    download(there.transfer, commit, tmp_path / "target")
    assert files_of(tmp_path / "target") == files_of(there.source)


def test_calls_have_their_turns_in_order_however_few_connections_there_are(there, lakefs_server):
    write_files(there.source, {f"{number:03}": b"%d" % number for number in range(400)})
    done, waited = [0], []
    with transfer_to(lakefs_server.url, lakefs_server, there.repository.name, connections=3) as transfer:
        original = transfer.client.session.call

        async def counted(request, *, timeout):
            before = done[0]
            answer = await original(request, timeout=timeout)
            waited.append(done[0] - before)
            done[0] += 1
            return answer

        transfer.client.session.call = counted
        upload(transfer, "stage", there.source)
    assert len(waited) == 400
    assert max(waited) <= 50  # those 40 that were in the line before it, and some that were on their way


def test_what_the_cache_has_is_not_fetched(there, lakefs_server, tmp_path):
    with ObjectCache(tmp_path / "cache", 1 << 30) as cache:
        name = there.repository.name
        with transfer_to(lakefs_server.url, lakefs_server, name, cache=cache) as transfer:
            files = {"small": noise(1000), "large": noise(3 * MIB), "empty": b""}
            write_files(there.source, files)
            upload(transfer, "stage", there.source)
            commit = there.commit()
            fetched = []
            original = transfer.client.session.call
            transfer.client.session.call = lambda request, *, timeout: (
                fetched.append(request.url.path),
                original(request, timeout=timeout),
            )[1]
            digests = download(transfer, commit, tmp_path / "target")
            assert files_of(tmp_path / "target") == files
            assert digests == {path: digest_bytes(files[path], algorithm_of(digests[path])) for path in files}
            assert [path for path in fetched if path.endswith("/objects")] == []  # what was uploaded is in it
        other = tmp_path / "other-cache"
    with (
        ObjectCache(other, 1 << 30) as cache,
        transfer_to(lakefs_server.url, lakefs_server, name, cache=cache) as transfer,
    ):
        download(transfer, commit, tmp_path / "t1")
        assert cache.usage().entries == 2  # and what was downloaded
        (tmp_path / "t1" / "small").write_bytes(b"a body may write in place")
        for path in (other).rglob("*"):
            if path.is_file() and path.stat().st_size > 3 * MIB:
                with path.open("r+b") as file:
                    file.write(b"damage")
        download(transfer, commit, tmp_path / "t2")
        assert files_of(tmp_path / "t2") == files


def test_a_file_that_is_no_longer_what_it_was_is_refused(there):
    write_files(there.source, {"a": b"1"})
    (there.source / "link").symlink_to("a")
    os.mkfifo(there.source / "fifo")
    for path, message in {"link": "symbolic link", "fifo": "not a regular file", "gone": "cannot be read"}.items():
        with pytest.raises(WorkspaceContentError, match=message):
            upload(there.transfer, "stage", there.source, written=["a", path])


def put_in_parts(server, repository, files):
    """Upload through the S3 gateway: key -> (content, sizes of its parts)."""
    import boto3

    s3 = boto3.client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        region_name="us-east-1",
    )
    for key, (content, sizes) in files.items():
        upload_id = s3.create_multipart_upload(Bucket=repository, Key=key)["UploadId"]
        parts, at = [], 0
        for number, size in enumerate(sizes, 1):
            piece = content[at : at + size]
            made = s3.upload_part(Bucket=repository, Key=key, UploadId=upload_id, PartNumber=number, Body=piece)
            parts.append({"ETag": made["ETag"], "PartNumber": number})
            at += size
        s3.complete_multipart_upload(Bucket=repository, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts})
    s3.close()


def test_objects_that_came_in_parts_have_other_checksums_and_are_taken(there, lakefs_server, tmp_path, caplog):
    content = noise(13 * MIB)
    sizes = {"parts": (8 * MIB, 5 * MIB), "one part": (100,), "odd parts": (6 * MIB + 1, 7 * MIB - 1)}
    files = {name: content[: sum(parts)] for name, parts in sizes.items()}
    put_in_parts(
        lakefs_server, there.repository.name, {f"main/{name}": (files[name], parts) for name, parts in sizes.items()}
    )
    commit = there.repository.commit("main")["id"]
    assert there.repository.stat(commit, "parts")["checksum"] != hashlib.md5(content).hexdigest()
    with caplog.at_level("DEBUG", "perago.stores.lakefs"):
        digests = download(there.transfer, commit, tmp_path / "target")
    assert files_of(tmp_path / "target") == files
    assert digests == {name: md5(files[name]) for name in files}
    said = [record.getMessage() for record in caplog.records if record.name == "perago.stores.lakefs"]
    assert [line for line in said if "checksums of 1 objects" in line and "'odd parts'" in line] == said


@pytest.fixture
def mislabelled(there):
    """A commit with a small object whose checksum is no MD5 of it, as a block store with keys of KMS gives it."""
    address = there.repository.put("main", "a", b"content")["physical_address"]
    staged = {"physical_address": address, "checksum": "0" * 32, "size_bytes": 7}
    there.repository.expect("PUT", "/branches/main/objects", query={"path": "a"}, data=staged)
    return there.repository.commit("main")["id"]


def test_a_checksum_of_another_kind_is_taken_where_the_option_says_so(there, mislabelled, lakefs_server, tmp_path):
    from perago.stores.lakefs.api.answers import DamagedObjectError

    with pytest.raises(DamagedObjectError, match=r'PERAGO_CHECKSUMS=opaque.*checksums="opaque"'):
        download(there.transfer, mislabelled, tmp_path / "1")
    with transfer_to(lakefs_server.url, lakefs_server, there.repository.name, checksums="opaque") as transfer:
        assert download(transfer, mislabelled, tmp_path / "2") == {"a": md5(b"content")}


def test_over_a_link_more_calls_are_made_at_a_time(lakefs_server, lakefs_repository, tmp_path):
    write_files(tmp_path / "in", {f"{number:04}": noise(1024, number) for number in range(700)})
    with transfer_to(lakefs_server.url, lakefs_server, lakefs_repository.name) as transfer:
        upload(transfer, "main", tmp_path / "in")
    commit = lakefs_repository.commit("main")["id"]
    with (
        Link(lakefs_server.url, 0.1) as link,
        transfer_to(link.url, lakefs_server, lakefs_repository.name, connections=100) as transfer,
    ):
        download(transfer, commit, tmp_path / "out")
        calls = link.calls()

    assert files_of(tmp_path / "out") == files_of(tmp_path / "in")
    assert NEARBY < max(sum(one.began <= call.began < one.ended for one in calls) for call in calls) <= 100
