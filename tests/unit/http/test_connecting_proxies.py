"""Which proxy the environment names."""

import pytest

from perago.http.connecting import proxy_for


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def url_for(url):
    proxy = proxy_for(url)
    return proxy and proxy.url


def test_each_scheme_has_its_own(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://one:3128")
    monkeypatch.setenv("https_proxy", "two:3129")
    assert url_for("http://server") == "http://one:3128"
    assert url_for("https://server:8443") == "http://two:3129"


def test_one_for_all(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "https://[::1]:3128/")
    assert url_for("http://server") == "https://[::1]:3128"


@pytest.mark.parametrize("excepted", ["*", "server.example", ".example", "example", "server.example:8000"])
def test_no_proxy_excepts_hosts(monkeypatch, excepted):
    monkeypatch.setenv("HTTP_PROXY", "http://one:3128")
    monkeypatch.setenv("NO_PROXY", "*" if excepted == "*" else f"other, {excepted}")
    assert url_for("http://server.example:8000") is None
    assert url_for("http://elsewhere:8000") == (None if excepted == "*" else "http://one:3128")


def test_none_is_named():
    assert proxy_for("http://server") is None


def test_credentials_are_kept_from_the_url_and_from_view(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://us%40er:p%3Ass@one:3128")
    proxy = proxy_for("http://server")
    assert proxy.url == "http://one:3128"
    assert proxy.headers == {"Proxy-Authorization": "Basic dXNAZXI6cDpzcw=="}
    assert "dXNA" not in repr(proxy)


@pytest.mark.parametrize(
    "value", ["http://u:secret@", "socks5://u:secret@one", "http://u:secret@one:port", "http://u:secret@[::1"]
)
def test_what_is_no_proxy_is_refused_without_being_shown(monkeypatch, value):
    monkeypatch.setenv("HTTP_PROXY", value)
    with pytest.raises(ValueError, match="not a URL such as") as raised:
        proxy_for("http://server")
    assert "secret" not in str(raised.value)
