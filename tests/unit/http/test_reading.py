"""Answers as servers frame them, in whatever pieces they arrive; and what is no answer."""

import pytest

from perago.http.reading import MAX_HEAD_BYTES, CutError, Incoming, read_answer

LIMIT = 1000


def incoming(data, size=None):
    """Bytes that arrive in pieces of some size; then the connection ends."""
    pieces = iter([data[at : at + size] for at in range(0, len(data), size)] if size else [data])
    return Incoming(lambda: next(pieces, b""))


@pytest.mark.parametrize("size", [1, 7, None])
@pytest.mark.parametrize(
    ("rest", "body", "keeps"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b"hello", True),
        (b"content-length:5\r\nConnection: Close\r\n\r\nhello", b"hello", False),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", b"hello", True),
        (b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", b"hello", True),
        (b"\r\nhello", b"hello", False),
        (b"Content-Length: 0\r\n\r\n", b"", True),
    ],
)
def test_a_body_is_as_its_head_says(rest, body, keeps, size):
    source = incoming(b"HTTP/1.1 200 OK\r\nRetry-After: 7\r\n" + rest, size)
    head, found = read_answer(source, "GET", LIMIT)
    assert (head.status, head.headers["retry-after"], found, head.keeps) == (200, "7", body, keeps)
    assert source.is_empty


def test_what_says_that_it_goes_on_is_passed_over():
    head, body = read_answer(incoming(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \r\n\r\n"), "POST", LIMIT)
    assert (head.status, body) == (204, b"")


def test_an_answer_to_head_has_no_body():
    head, body = read_answer(incoming(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), "HEAD", LIMIT)
    assert (head.status, body) == (200, b"")


def test_what_comes_beyond_the_answer_is_seen():
    source = incoming(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab")
    assert read_answer(source, "GET", LIMIT)[1] == b"a"
    assert not source.is_empty


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 5000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n", b"\r\n"],
    ids=["length", "chunk", "neither"],
)
def test_a_body_that_is_too_long_is_not_read_to_its_end(framing):
    _, body = read_answer(incoming(b"HTTP/1.1 200 OK\r\n" + framing + b"x" * 5000, 100), "GET", LIMIT)
    assert LIMIT < len(body) <= LIMIT + 100


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
def test_an_answer_that_is_cut_is_none(data):
    with pytest.raises(CutError):
        read_answer(incoming(data), "GET", LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 ²²² OK\r\n\r\n".encode("latin-1"),
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n : empty\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"x" * (MAX_HEAD_BYTES + 2),
    ],
)
def test_what_is_no_answer_is_refused(data):
    with pytest.raises(ValueError):
        read_answer(incoming(data), "GET", LIMIT)
