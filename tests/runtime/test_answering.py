"""An answer's bytes, for every kind of client."""

import json

import pytest

from runtime.answering import Answering, refusal
from runtime.http1_bodies import Malformed

OK = [(b"content-length", b"2")]


def answer(method="GET", version="1.1", close=False):
    return Answering(method, version, close=close)


def whole(one, status, fields, *pieces):
    """All bytes of an answer whose body comes in these pieces."""
    one.start(status, fields)
    sent = [one.body(piece, more=True) for piece in pieces]
    return b"".join(sent) + one.body(b"", more=False)


@pytest.mark.parametrize(
    ("one", "status", "fields", "pieces", "sent"),
    [
        (answer(), 200, OK, (b"o", b"k"), b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        (
            answer(),
            200,
            [],
            (b"ab", b"", b"c"),
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        ),
        (answer(version="1.0"), 200, [], (b"ab",), b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab"),
        (
            answer(close=True),
            200,
            OK,
            (b"ok",),
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        ),
        (answer("HEAD"), 200, OK, (b"ok",), b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"),
        (answer("HEAD"), 200, [], (), b"HTTP/1.1 200 OK\r\n\r\n"),
        (answer(), 204, OK, (), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (answer(), 304, OK, (), b"HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n"),
        (answer(), 299, OK, (b"ok",), b"HTTP/1.1 299 \r\ncontent-length: 2\r\n\r\nok"),
        (
            answer(),
            200,
            [(b"Connection", b"keep-alive"), (b"Transfer-Encoding", b"gzip"), (b"Upgrade", b"x"), *OK],
            (b"ok",),
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ),
    ],
)
def test_whole_answers(one, status, fields, pieces, sent):
    """Framed as the client's version, the method and the status have it."""
    assert whole(one, status, fields, *pieces) == sent
    assert one.ended


def test_the_head_waits_for_the_body():
    """Nothing is sent at the start; an empty piece lets the head go."""
    one = answer()
    one.start(200, [])
    assert one.began
    assert one.body(b"", more=True).endswith(b"chunked\r\n\r\n")
    assert one.body(b"", more=True) == b""
    assert not one.ended


def test_trailers():
    """They end a chunked body; elsewhere there is no place for them."""
    one = answer()
    one.start(200, [], trailers=True)
    assert one.body(b"a", more=False).endswith(b"1\r\na\r\n")
    assert not one.ended
    assert one.trailers([(b"x", b"y")]) == b"0\r\nx: y\r\n\r\n"
    assert one.ended
    other = answer(version="1.0")
    other.start(200, [], trailers=True)
    other.body(b"a", more=False)
    assert other.trailers([(b"x", b"y")]) == b""


@pytest.mark.parametrize("pieces", [(b"a",), (b"abc",), (b"ok", b"x")])
def test_a_wrong_length(pieces):
    """A body that isn't as long as its Content-Length never ends."""
    one = answer()
    with pytest.raises(RuntimeError, match="Content-Length"):
        whole(one, 200, OK, *pieces)
    assert not one.ended


def test_order():
    """One head, then the body, then nothing."""
    one = answer()
    with pytest.raises(RuntimeError):
        one.body(b"a", more=True)
    one.start(200, OK)
    with pytest.raises(RuntimeError):
        one.start(200, OK)
    one.body(b"ok", more=False)
    with pytest.raises(RuntimeError):
        one.body(b"", more=False)


def test_no_line_is_smuggled():
    """A value can't begin another line."""
    with pytest.raises(Malformed):
        answer().start(200, [(b"a", b"b\r\nset-cookie: c")])
    with pytest.raises(Malformed):
        answer().informational(103, [(b"link", b"a\nb")])


@pytest.mark.parametrize(
    ("status", "code"), [(400, "INVALID_REQUEST"), (503, "SERVICE_UNAVAILABLE"), (500, "INTERNAL_ERROR")]
)
def test_refusal(status, code):
    """The envelope, and the end of the connection."""
    head, _, body = refusal(status, "why", "my-id", 7).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nx-request-id: my-id\r\n" in head
    assert b"\r\nconnection: close\r\nretry-after: 7" in head
    assert b"\r\ncontent-length: %d\r\n" % len(body) in head
    assert json.loads(body) == {"error": code, "message": "why"}
    assert refusal(status, "why", "my-id", 7, bodiless=True) == head + b"\r\n\r\n"
