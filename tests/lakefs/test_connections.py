"""The way to the server: TLS with an own CA, proxies of the environment, deadlines, and no secret in any error."""

import inspect
import time

import pytest
from yarl import URL

from authority import Authority
from forward_proxy import ForwardProxy
from perago.errors import RuntimeConfigError
from perago.http.answer import FaultKind
from perago.http.loop import LoopThread
from perago.stores.lakefs.api.answers import (
    LakeFSAccessError,
    LakeFSError,
    MultipartUpload,
    ObjectStats,
    StagingLocation,
)
from perago.stores.lakefs.api.client import LakeFSClient
from servers.faults import CutBefore, Refuse, Repeat, Rule, Stall, Swallow
from servers.machine import slowness
from servers.proxy import FaultProxy
from transfer_support import transfer_to

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def secure(lakefs_server, authority):
    """The server behind TLS, with a certificate that our own CA signed."""
    with FaultProxy(lakefs_server.url, tls=authority.server_context()) as proxy:
        yield proxy


def refusal(url, server, match, **options):
    """The error with which the first call fails."""
    with pytest.raises(LakeFSError, match=match) as raised, transfer_to(url, server, "any", **options):
        pass
    return raised.value


def test_a_ca_of_ones_own_is_trusted_where_it_is_named(secure, authority, lakefs_server, lakefs_repository):
    with transfer_to(secure.url, lakefs_server, lakefs_repository.name, ca_file=authority.ca_file) as transfer:
        assert transfer.loop.run(transfer.client.get_repository(lakefs_repository.name)).id == lakefs_repository.name


def test_an_unknown_ca_is_refused_and_nothing_is_sent(secure, lakefs_server):
    error = refusal(secure.url, lakefs_server, r"unable to get local issuer certificate.*ca_file")
    assert error.fault is FaultKind.TLS
    assert secure.seen() == []


def test_a_certificate_for_another_host_is_refused(authority, lakefs_server):
    with FaultProxy(lakefs_server.url, tls=authority.server_context(host="127.0.0.2")) as proxy:
        refusal(proxy.url, lakefs_server, "IP address mismatch", ca_file=authority.ca_file)


def test_a_ca_file_that_is_none_is_a_mistake_of_configuration(tmp_path):
    for content in (None, b"no certificate"):
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(RuntimeConfigError, match="CA file"):
            LakeFSClient.connect("https://lakefs.example", "key", "secret", ca_file=file)


@pytest.mark.parametrize(
    "url", ["", "lakefs.example", "ftp://x", "http://", "http://x:port", "http://u:p@x", "http://x?a=b", "http://x:0"]
)
def test_an_endpoint_that_is_no_url_is_a_mistake_of_configuration(url):
    with pytest.raises(RuntimeConfigError, match="endpoint") as raised:
        LakeFSClient.connect(url, "key", "secret")
    assert "u:p" not in str(raised.value)


def test_an_endpoint_may_name_the_api(lakefs_server):
    with transfer_to(lakefs_server.url + "/api/v1/", lakefs_server, "any") as transfer:
        assert transfer.server.version


@pytest.mark.parametrize("user", [None, "u@ser"])
def test_a_proxy_of_the_environment_is_used(monkeypatch, lakefs_server, lakefs_repository, user):
    with ForwardProxy(user, "pass:word") as proxy:
        login = "" if user is None else "u%40ser:pass%3Aword@"
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", f"//{login}"))
        with transfer_to(lakefs_server.url, lakefs_server, lakefs_repository.name) as transfer:
            transfer.loop.run(transfer.client.upload_object(lakefs_repository.name, "main", "a", b"1", size=1))
        assert lakefs_repository.get("main", "a") == b"1"
        assert [method for method, _ in proxy.seen] == ["GET", "POST"]


def test_a_proxy_that_asks_for_a_login_is_said_without_it(monkeypatch, lakefs_server):
    with ForwardProxy("user", "right") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:wr0ng-password@"))
        error = refusal(lakefs_server.url, lakefs_server, "407")
    assert "wr0ng" not in whole_text(error)


def test_tls_goes_through_a_proxy(monkeypatch, secure, authority, lakefs_server):
    with ForwardProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with transfer_to(secure.url, lakefs_server, "any", ca_file=authority.ca_file) as transfer:
            assert transfer.server.version
        assert proxy.seen == [("CONNECT", secure.url.removeprefix("https://"))]


def test_no_proxy_leads_past_it(monkeypatch, lakefs_server):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with transfer_to(lakefs_server.url, lakefs_server, "any") as transfer:
        assert transfer.server.version


@pytest.mark.parametrize("value", ["http://127.0.0.1:9", "socks5://user:s3cret@x", "http://user:s3cret@:x"])
def test_a_proxy_that_cannot_be_used_is_said(monkeypatch, lakefs_server, value):
    monkeypatch.setenv("HTTP_PROXY", value)
    assert "s3cret" not in whole_text(refusal(lakefs_server.url, lakefs_server, "proxy"))


def test_a_redirect_is_not_followed_with_credentials(lakefs_server):
    with FaultProxy(lakefs_server.url) as elsewhere, FaultProxy(lakefs_server.url) as proxy:
        proxy.add(Rule(Refuse(301, {"Location": elsewhere.url + "/api/v1/config"}), times=None))
        refusal(proxy.url, lakefs_server, "301.*URL of the redirect")
        assert elsewhere.seen() == []


def test_every_call_has_a_deadline(lakefs_server, lakefs_repository):
    name = lakefs_repository.name
    with FaultProxy(lakefs_server.url) as proxy, transfer_to(proxy.url, lakefs_server, name) as transfer:
        proxy.add(Rule(Stall(0), path="merge"))
        begun = time.monotonic()
        with pytest.raises(LakeFSError, match="no complete answer in time") as raised:
            transfer.loop.run(transfer.client.merge(name, "main", "main", message="m", metadata={}, timeout=0.3))
        assert time.monotonic() - begun < 5 * slowness()
        assert raised.value.is_unclear


def test_a_merge_and_a_commit_are_never_repeated_blindly(lakefs_server, lakefs_repository):
    name, base = lakefs_repository.name, lakefs_repository.head("main")
    lakefs_repository.branch("stage", base)
    lakefs_repository.put("stage", "a", b"1")
    with FaultProxy(lakefs_server.url) as proxy, transfer_to(proxy.url, lakefs_server, name) as transfer:
        client, run = transfer.client, transfer.loop.run
        for fault in (Swallow(), CutBefore(), Refuse(500), Refuse(429)):
            rule = proxy.add(Rule(fault, method="POST", path="/commits$", times=None))
            with pytest.raises(LakeFSError) as raised:
                run(client.commit(name, "stage", "m", {}, allow_empty=True))
            assert (rule.matched, raised.value.is_unclear) == (1, True)
            proxy.clear()
        merged = proxy.add(Rule(Swallow(), path="/merge/", times=None))
        with pytest.raises(LakeFSError):
            run(client.merge(name, "stage", "main", message="m", metadata={}))
        assert merged.matched == 1


def test_a_branch_whose_creation_went_unheard_is_found(lakefs_server, lakefs_repository):
    name, head = lakefs_repository.name, lakefs_repository.head("main")
    with FaultProxy(lakefs_server.url) as proxy, transfer_to(proxy.url, lakefs_server, name) as transfer:
        for number, fault in enumerate((Swallow(), Refuse(500), CutBefore())):
            rule = proxy.add(Rule(fault, method="POST", path="/branches$"))
            transfer.loop.run(transfer.client.create_branch(name, f"b{number}", head))
            assert rule.fired == 1
        proxy.add(Rule(Repeat(), method="POST", path="/branches$"))
        transfer.loop.run(transfer.client.create_branch(name, "b3", head))
        proxy.add(Rule(Refuse(500), method="POST", path="/branches$"))
        late = proxy.add(Rule(Repeat(), method="POST", path="/branches$", skip=1))  # as if the first came in late
        transfer.loop.run(transfer.client.create_branch(name, "b4", head))
        assert late.fired == 1
        proxy.clear()
        other = lakefs_repository.commit_files("b3", {"a": b"1"})
        with pytest.raises(LakeFSError, match="409"):
            transfer.loop.run(transfer.client.create_branch(name, "b0", other))
    assert lakefs_repository.branches() == ["b0", "b1", "b2", "b3", "b4", "main"]


# ---- no secret, whatever the call and whatever goes wrong

SECRET = "s3cr3t-k3y-of-mine"
PRESIGNED = "http://127.0.0.1:9/bucket?X-Amz-Signature=s3cr3t-k3y-of-mine"
STATS = ObjectStats("p", "s3://b/k", "0" * 32, 1)
LOCATION = StagingLocation("s3://b/k", PRESIGNED)
ARGUMENTS = {
    "repository": "repo",
    "branch": "b",
    "ref": "r",
    "source": "s",
    "path": "p",
    "tag": "t",
    "commit_id": "c",
    "message": "m",
    "metadata": {},
    "left": "l",
    "right": "r",
    "run_id": "1",
    "hook_run_id": "2",
    "storage_namespace": "local://x",
    "stats": STATS,
    "location": LOCATION,
    "paths": ["p"],
    "body": b"1",
    "size": 1,
    "source_ref": "r",
    "upload": MultipartUpload("1", "s3://b/k", (PRESIGNED,)),
    "parts": 1,
    "part": 1,
    "etags": ["0" * 32],
    "executable": False,
    "timeout": 60.0,
}
NOT_CALLS = {"connect", "close", "url", "call", "get", "send", "pages", "object_url", "open_object", "read_object_at"}


def calls():
    return [name for name, _ in inspect.getmembers(LakeFSClient, inspect.isfunction) if name[0] != "_"]


async def make(client, name):
    method = getattr(client, name)
    needed = [
        parameter
        for parameter in inspect.signature(method).parameters.values()
        if parameter.default is inspect.Parameter.empty
    ]
    positional = [ARGUMENTS[p.name] for p in needed if p.kind is p.POSITIONAL_OR_KEYWORD]
    made = method(*positional, **{p.name: ARGUMENTS[p.name] for p in needed if p.kind is p.KEYWORD_ONLY})
    if inspect.isasyncgen(made):
        async for _ in made:
            pass
    else:
        await made


def whole_text(error):
    """Everything that a log of the exception would show."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


@pytest.mark.parametrize("name", sorted(set(calls()) - NOT_CALLS))
def test_no_call_shows_a_secret(lakefs_server, name):
    with FaultProxy(lakefs_server.url) as proxy:
        loop = LoopThread("secrets")
        client = LakeFSClient.connect(proxy.url, "AKIA-ID", SECRET)
        try:
            for fault in (None, Refuse(403, body=f'{{"message": "secret_key={SECRET}"}}'.encode())):
                proxy.clear()
                if fault is not None:
                    proxy.add(Rule(fault, times=None))
                with pytest.raises(LakeFSAccessError) as raised:
                    loop.run(make(client, name))
                assert SECRET not in whole_text(raised.value)
            proxy.clear()
            proxy.add(Rule(CutBefore(reset=True), times=None))
            with pytest.raises(LakeFSError) as cut:
                loop.run(make(client, name))
            assert SECRET not in whole_text(cut.value)
        finally:
            loop.run(client.close())
            loop.close()


def test_a_presigned_url_is_not_shown(lakefs_server):
    with (
        transfer_to(lakefs_server.url, lakefs_server, "any") as transfer,
        pytest.raises(LakeFSError, match=r"the block store at 127\.0\.0\.1") as raised,
    ):
        transfer.loop.run(transfer.client.read_object_at(URL(PRESIGNED), 1, ours=False))
    assert SECRET not in whole_text(raised.value)
    assert SECRET not in repr(LOCATION)


def test_the_client_shows_no_secret(lakefs_server):
    client = LakeFSClient.connect(lakefs_server.url, "AKIA-ID", SECRET)
    assert SECRET not in repr(client) + repr(client.session)
