"""Facts of lakeFS: objects, what is said of them, and listings."""

import hashlib
import http.client

import pytest

from servers.faults import CutRequest, Rule
from servers.fixtures import repository_on
from servers.lakefs_api import LakeFSApi, LakeFSRepository
from servers.proxy import FaultProxy


@pytest.fixture
def repository(lakefs_repository):
    return lakefs_repository


# ---- what is said of an object


def test_an_upload_is_described_by_size_md5_and_address(repository):
    content = b"some content"
    made = repository.put("main", "a", content)
    assert made["checksum"] == hashlib.md5(content).hexdigest()
    assert made["size_bytes"] == len(content)
    assert made["path"] == "a"
    assert repository.stat("main", "a") == made
    listed = repository.objects("main")[0]
    assert listed == {name: value for name, value in made.items() if name != "metadata"}, "an empty one is left out"


def test_an_empty_object(repository):
    assert repository.put("main", "a", b"")["checksum"] == hashlib.md5(b"").hexdigest()
    assert repository.get("main", "a") == b""


def test_each_upload_has_an_address_of_its_own_and_keeps_it(repository):
    first = repository.put("main", "a", b"x")["physical_address"]
    second = repository.put("main", "a", b"x")["physical_address"]
    other = repository.put("main", "b", b"x")["physical_address"]
    assert len({first, second, other}) == 3
    commit = repository.commit("main")["id"]
    branch = repository.branch("other", commit)
    repository.commit_files(branch, {"c": b"c"})
    assert repository.merge(branch, "main").status == 200
    assert [found["physical_address"] for found in repository.objects("main")][:2] == [second, other]


def test_user_metadata_comes_back_in_lower_case_and_with_listings(repository):
    made = repository.put("main", "a", b"x", {"Perago-Executable": "true", "with.dot": "Kept"})
    assert made["metadata"]["perago-executable"] == "true"
    assert set(made["metadata"]) == {"perago-executable", "with.dot"}
    assert repository.objects("main")[0]["metadata"] == made["metadata"]
    bare = repository.expect("GET", "/refs/main/objects/ls", query={"user_metadata": False})["results"][0]
    assert "metadata" not in bare
    repository.put("main", "a", b"x")
    assert repository.stat("main", "a").get("metadata", {}) == {}, "it belongs to the upload, not to the name"


@pytest.mark.parametrize(("store", "usable"), [("lakefs_on_s3", True), ("lakefs_server", False)])
def test_content_can_get_another_name_without_a_copy_but_not_on_a_local_block_store(request, store, usable):
    server = request.getfixturevalue(store)
    if server.storage.startswith("local") == usable:
        pytest.skip("the given server has another kind of block store: leave PERAGO_TEST_LAKEFS_URL unset")
    with repository_on(server) as repository:
        first = repository.put("main", "a", b"content")
        data = {key: first[key] for key in ("physical_address", "checksum", "size_bytes")} | {"metadata": {"x": "1"}}
        assert repository.call("PUT", "/branches/main/objects", query={"path": "b"}, data=data).status == 201
        found = repository.stat("main", "b")
        assert (found["physical_address"] == first["physical_address"]) is usable
        assert found["metadata"] == {"x": "1"}
        if usable:
            repository.delete("main", "a")
            assert repository.get("main", "b") == b"content"


def test_a_copy_has_an_address_of_its_own_and_the_metadata_of_its_source(repository):
    first = repository.put("main", "a", b"content", {"perago-x": "1"})
    data = {"src_path": "a", "src_ref": repository.commit("main")["id"]}
    repository.expect("POST", "/branches/main/objects/copy", query={"dest_path": "b"}, data=data)
    found = repository.stat("main", "b")
    assert found["physical_address"] != first["physical_address"]
    assert found["checksum"] == first["checksum"]
    assert found["metadata"] == {"perago-x": "1"}
    assert repository.get("main", "b") == b"content"


# ---- reading and writing


@pytest.mark.parametrize(("asked", "status", "expected"), [
    ("bytes=0-0", 206, b"0"),
    ("bytes=3-5", 206, b"345"),
    ("bytes=7-", 206, b"789"),
    ("bytes=-2", 206, b"89"),
    ("bytes=8-99", 206, b"89"),
    ("bytes=10-", 416, None),
])  # fmt: skip
def test_ranges(repository, asked, status, expected):
    repository.put("main", "a", b"0123456789")
    answer = repository.call("GET", "/refs/main/objects", query={"path": "a"}, headers={"Range": asked})
    assert answer.status == status
    if expected is not None:
        assert answer.body == expected
        assert answer.headers["Content-Range"].endswith("/10")


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_breaks_off_is_never_seen(lakefs_server, lakefs_repository, chunked):
    lakefs_repository.put("main", "a", b"before")
    with FaultProxy(lakefs_server.url) as proxy:
        rule = proxy.add(Rule(CutRequest(after_bytes=70_000), path="/objects"))
        api = LakeFSApi(proxy.url, lakefs_server.access_key_id, lakefs_server.secret_access_key)
        cut = LakeFSRepository(api, lakefs_repository.name)
        body = iter([b"x" * 50_000] * 4) if chunked else b"x" * 200_000
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            cut.put("main", "a", body)
        assert rule.fired == 1
    assert lakefs_repository.get("main", "a") == b"before"


def test_a_chunked_upload(repository):
    made = repository.put("main", "a", iter([b"some ", b"", b"content"]))
    assert made["checksum"] == hashlib.md5(b"some content").hexdigest()
    assert repository.get("main", "a") == b"some content"


def test_nothing_is_there_under_another_name(repository):
    repository.put("main", "a", b"x")
    assert repository.call("GET", "/refs/main/objects", query={"path": "b"}).status == 404
    assert repository.call("GET", "/refs/main/objects/stat", query={"path": "b"}).status == 404


def test_up_to_a_thousand_deletions_a_call(repository):
    repository.put("main", "a", b"x")
    names = [f"missing-{number}" for number in range(999)]
    answer = repository.call("POST", "/branches/main/objects/delete", data={"paths": ["a", *names]})
    assert (answer.status, answer.json()["errors"]) == (200, [])
    assert repository.objects("main") == []
    answer = repository.call("POST", "/branches/main/objects/delete", data={"paths": ["a", "b", *names]})
    assert answer.status == 400


# ---- differences


def differences(repository, left, right):
    query = {"type": "two_dot", "include_right_stats": True}
    return repository.expect("GET", f"/refs/{left}/diff/{right}", query=query)["results"]


def addresses(repository, ref):
    return {found["path"]: found["physical_address"] for found in repository.objects(ref)}


def test_a_difference_has_no_address(repository):
    before = repository.commit_files("main", {"a": b"1", "b": b"2", "dir/": b""})
    after = repository.commit_files("main", {"a": b"other", "b": None, "c": b"3", "dir/": None})
    found = differences(repository, before, after)
    kinds = {"a": "changed", "b": "removed", "c": "added", "dir/": "removed"}
    assert {entry["path"]: entry["type"] for entry in found} == kinds
    assert [entry["path"] for entry in found] == sorted(kinds)
    assert "physical_address" not in str(found)


def test_the_same_content_is_no_difference_and_a_commit_keeps_the_address_that_it_had(repository):
    before = repository.commit_files("main", {"a": b"1", "b": b"2"})
    again = repository.put("main", "a", b"1")
    after = repository.commit_files("main", {"c": b"3"})
    assert [entry["path"] for entry in differences(repository, before, after)] == ["c"]
    assert addresses(repository, after)["a"] == addresses(repository, before)["a"] != again["physical_address"]


def test_what_was_deleted_and_uploaded_again_is_no_difference_but_has_another_address(repository):
    before = repository.commit_files("main", {"a": b"1", "b": b"2"})
    repository.commit_files("main", {"a": None, "c": b"3"})
    after = repository.commit_files("main", {"a": b"1"})
    assert [entry["path"] for entry in differences(repository, before, after)] == ["c"]
    assert addresses(repository, after)["a"] != addresses(repository, before)["a"]


# ---- listings


def test_listings_are_in_the_order_of_the_names_bytes(repository):
    names = ["a", "a/b", "a-b", "a0", "B", "\u00e9", "e\u0301", "\U0001f600", "\ufb00", "~"]
    for name in names:
        repository.put("main", name, b"x")
    expected = sorted(names, key=str.encode)
    assert [found["path"] for found in repository.objects("main")] == expected
    repository.commit("main")
    repository.put("main", "a.late", b"x")
    repository.delete("main", "B")
    expected = sorted([*names, "a.late"], key=str.encode)
    expected.remove("B")
    assert [found["path"] for found in repository.objects("main")] == expected, "uncommitted ones in between"


def test_pages_go_on_after_the_last_name(repository):
    repository.commit_files("main", {f"{number:03}": b"x" for number in range(25)} | {"z": b"z"})
    head, names, after = repository.head("main"), [], ""
    while True:
        page = _page(repository, head, after, amount=10, prefix="0")
        names.extend(found["path"] for found in page["results"])
        if not page["pagination"]["has_more"]:
            break
        assert len(page["results"]) == 10
        assert page["pagination"]["next_offset"] == names[-1]
        after = names[-1]
    assert names == [f"{number:03}" for number in range(25)]


def test_a_page_has_a_thousand_at_most(repository):
    assert repository.call("GET", "/refs/main/objects/ls", query={"amount": 1_000}).status == 200
    answer = repository.call("GET", "/refs/main/objects/ls", query={"amount": 1_001})
    assert answer.status == 400


def test_a_prefix_is_of_the_name_not_of_a_directory(repository):
    repository.commit_files("main", {"data/a": b"x", "data-b": b"x", "data": b"x", "date": b"x"})
    assert [found["path"] for found in repository.objects("main", "data")] == ["data", "data-b", "data/a"]
    assert [found["path"] for found in repository.objects("main", "data/")] == ["data/a"]
    assert repository.objects("main", "missing/") == []


def test_refs_that_are_not_there(repository):
    for path in ("/refs/gone/objects/ls", "/branches/gone", "/commits/gone", f"/commits/{'0' * 64}"):
        assert repository.call("GET", path).status == 404


def test_names_that_are_not_utf8_come_back_as_others_and_their_pages_never_end(repository):
    repository.put("main", b"bad\xff1", b"1")
    repository.put("main", b"bad\xff2", b"2")
    repository.put("main", "good", b"3")
    assert [found["path"] for found in repository.objects("main")] == ["bad�1", "bad�2", "good"]
    assert repository.call("GET", "/refs/main/objects", query={"path": "bad�1"}).status == 404
    first = _page(repository, "main", "", amount=1)
    assert first["pagination"]["next_offset"] == "bad�1"
    assert _turns_until_it_ends(repository, limit=10) is None


def _page(repository, ref, after, **query):
    return repository.expect("GET", f"/refs/{ref}/objects/ls", query={"after": after, **query})


def _turns_until_it_ends(repository, limit):
    after = ""
    for turn in range(limit):
        page = _page(repository, "main", after, amount=1)
        if not page["pagination"]["has_more"]:
            return turn
        after = page["pagination"]["next_offset"]
    return None


HOSTILE = [
    "../x", "a/../../x", ".", "..", "./a", "//x", "/abs", "/", "dir", "dir/child", "dir/", "a\\b", "C:\\", "nul\0x",
    "new\nline", "\x01", "\x7f", "\u202eb", "e\u0301", "\u00e9", "A", "a", "x" * 256 + "/y", "n" * 1024, " ", "a ",
    "a?b#c%2F&d=e+f",
]  # fmt: skip


def test_a_repository_holds_any_name(repository):
    for number, name in enumerate(HOSTILE):
        repository.put("main", name, str(number).encode())
    repository.commit("main")
    assert repository.files("main") == {name: str(number).encode() for number, name in enumerate(HOSTILE)}


def test_a_name_has_1024_bytes_at_most(repository):
    answer = repository.call("POST", "/branches/main/objects", query={"path": "é" * 512 + "a"}, body=b"x")
    assert answer.status == 400
