"""Facts of lakeFS: URLs that are signed, where the block store has them."""

import hashlib
import time
import urllib.request

import pytest

from perago.stores.lakefs.content.transfer import FRESH_SECONDS
from servers.fixtures import repository_on


@pytest.fixture
def repository(lakefs_on_s3):
    with repository_on(lakefs_on_s3) as made:
        yield made


def upload(place, content):
    """Send bytes to where the server said; returns their checksum as the block store tells it."""
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(place["presigned_url"], data=content, headers=headers, method="PUT")
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.headers["ETag"].strip('"')


def test_the_server_says_whether_it_has_them(lakefs_server, lakefs_on_s3):
    with lakefs_server.api() as api:
        storage = api.expect("GET", "/config")["storage_config"]
        assert (storage["blockstore_type"], storage["pre_sign_support"]) == ("local", False)
    with lakefs_on_s3.api() as api:
        storage = api.expect("GET", "/config")["storage_config"]
        assert (storage["blockstore_type"], storage["pre_sign_support"]) == ("s3", True)


def test_a_listing_gives_urls_instead_of_addresses(repository):
    made = repository.put("main", "a", b"content")
    assert made["physical_address"].startswith("s3://")
    assert made["checksum"] == hashlib.md5(b"content").hexdigest()
    signed = repository.expect("GET", "/refs/main/objects/ls", query={"presign": True})["results"][0]
    assert signed["physical_address"].startswith("http://127.0.0.1:")
    assert {signed[name] == made[name] for name in ("path", "checksum", "size_bytes")} == {True}
    assert signed["physical_address_expiry"] > time.time() + 2 * FRESH_SECONDS
    with urllib.request.urlopen(signed["physical_address"], timeout=30) as response:
        assert response.read() == b"content"
    request = urllib.request.Request(signed["physical_address"], headers={"Range": "bytes=2-4"})
    with urllib.request.urlopen(request, timeout=30) as response:
        assert (response.status, response.read()) == (206, b"nte")


def test_a_read_is_redirected_to_the_block_store(repository):
    repository.put("main", "a", b"content")
    answer = repository.call("GET", "/refs/main/objects", query={"path": "a", "presign": True})
    assert answer.status == 302
    with urllib.request.urlopen(answer.headers["Location"], timeout=30) as response:
        assert response.read() == b"content"


def test_an_upload_straight_to_the_block_store_is_seen_when_it_is_linked(repository):
    place = repository.expect("GET", "/branches/main/staging/backing", query={"path": "a", "presign": True})
    checksum = upload(place, b"content")
    assert checksum == hashlib.md5(b"content").hexdigest()
    assert repository.objects("main") == []
    link = {"staging": place, "checksum": checksum, "size_bytes": 7, "user_metadata": {"perago-x": "1"}}
    made = repository.expect("PUT", "/branches/main/staging/backing", query={"path": "a"}, data=link)
    assert made["physical_address"] == place["physical_address"]
    assert repository.objects("main") == [made]
    assert made["metadata"] == {"perago-x": "1"}
    assert repository.get("main", "a") == b"content"


def test_what_the_client_says_of_an_upload_is_believed(repository):
    place = repository.expect("GET", "/branches/main/staging/backing", query={"path": "a", "presign": True})
    upload(place, b"content")
    link = {"staging": place, "checksum": "f" * 32, "size_bytes": 3}
    made = repository.expect("PUT", "/branches/main/staging/backing", query={"path": "a"}, data=link)
    assert (made["checksum"], made["size_bytes"]) == ("f" * 32, 3)


def test_a_place_is_given_for_one_use(repository):
    place = repository.expect("GET", "/branches/main/staging/backing", query={"path": "a", "presign": True})
    upload(place, b"content")
    link = {"staging": place, "checksum": hashlib.md5(b"content").hexdigest(), "size_bytes": 7}
    assert repository.call("PUT", "/branches/main/staging/backing", query={"path": "a"}, data=link).status == 200
    assert repository.call("PUT", "/branches/main/staging/backing", query={"path": "b"}, data=link).status == 400


def test_an_address_outside_what_was_given_is_refused(repository):
    made = repository.put("main", "a", b"content")
    link = {"staging": {"physical_address": made["physical_address"]}, "checksum": made["checksum"], "size_bytes": 7}
    answer = repository.call("PUT", "/branches/main/staging/backing", query={"path": "b"}, data=link)
    assert answer.status == 400
