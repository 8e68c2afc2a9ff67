"""The reader takes a body to the letter, whole or in pieces, and the request behind it."""

from __future__ import annotations

import pytest

from runtime.serving.protocol.incoming_request import BadRequest
from runtime.serving.protocol.request_reader import READ_SIZE, TRAILER_BYTES
from tests.runtime.serving.protocol.reading import CHUNKED, GET, read_in

CHUNKS = b"3\r\nabc\r\n00A;x=y;z\r\n0123456789\r\n1;q\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n"


@pytest.mark.parametrize("size", range(1, len(CHUNKS) + 1))
def test_chunks_are_the_same_in_any_pieces(size):
    data = CHUNKED + CHUNKS + GET
    [first, second], reader = read_in([data[at : at + size] for at in range(0, len(data), size)])
    assert (first.body, first.whole) == (b"abc0123456789!", True)
    assert (second.method, second.whole, reader.error) == ("GET", True, None)
    assert all(name != b"x-sum" for name, _ in first.fields)


@pytest.mark.parametrize(
    "data",
    [
        *(b"x\r\n", b"x", b"\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\n", b"1 \r\n", b"1\n", b"1\r2"),
        *(b"1_0\r\n", b"1" * 17, b"1;a\nb\r\n", b"1;a\x00\r\n", b"1\r\nab\r\n", b"1\r\na\n", b"1\r\na\r2"),
        *(b"0\r\nA : b\r\n\r\n", b"0\r\n folded\r\n\r\n", b"0\r\nA: b\n\r\n", b"0\r\n\r\r\n"),
        b"0\r\nGET / HTTP/1.1\r\n\r\n",
        b"0\r\nA: " + b"a" * TRAILER_BYTES + b"\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * TRAILER_BYTES,
    ],
)
@pytest.mark.parametrize("size", [1, 3, READ_SIZE])
def test_a_bad_chunk_is_refused_at_once(data, size):
    """The body before it stays."""
    data = CHUNKED + b"3\r\nabc\r\n" + data
    [found], reader = read_in([data[at : at + size] for at in range(0, len(data), size)])
    assert reader.error is not None
    assert reader.error.status == 400
    assert found.body in (b"abc", b"abca")
    assert not found.whole


@pytest.mark.parametrize("beginning", [b"1;", b"1;a=", b"0\r\nA: ", b"0\r\n"])
def test_an_endless_extension_or_trailer_is_refused(beginning):
    pieces = [CHUNKED + b"3\r\nabc\r\n" + beginning]
    count = (TRAILER_BYTES + 2 * READ_SIZE) // 1000
    [found], reader = read_in(pieces + [b"a" * 1000] * count)
    assert reader.error is not None
    assert (found.body, found.whole) == (b"abc", False)


@pytest.mark.parametrize("size", [1, 2, 5, READ_SIZE])
def test_a_body_has_exactly_its_length(size):
    data = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde" + GET
    [first, second], _ = read_in([data[at : at + size] for at in range(0, len(data), size)])
    assert (first.body, first.whole, second.target) == (b"abcde", True, b"/")


def test_requests_before_an_error_are_whole():
    """Nothing behind the error is read."""
    found, reader = read_in(
        [GET + b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab" + b"?\r\n" + GET]
    )
    assert [(one.method, one.whole) for one in found] == [("GET", True), ("PUT", True)]
    assert isinstance(reader.error, BadRequest)
    assert [one.method for one in reader.requests] == ["GET", "PUT"]
    reader.feed(GET)
    assert len(reader.requests) == 2


@pytest.mark.parametrize(
    "last",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close, upgrade\r\nUpgrade: x\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab",
    ],
)
@pytest.mark.parametrize("rest", [GET, b"\x16\x03", b"\r\n\r\n\r\n"])
def test_bytes_behind_the_last_request_are_neither_request_nor_error(last, rest):
    for pieces in ([last + rest], [last, rest], [bytes((byte,)) for byte in last + rest]):
        [found], reader = read_in(pieces)
        assert (found.whole, reader.error) == (True, None)


@pytest.mark.parametrize(
    ("coding", "sent"),
    [
        (b"Content-Length: %d" % len(GET), GET),
        (b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(GET), GET)),
        (b"X-None: x", b""),
        (b"Content-Length: 0", b""),
    ],
)
@pytest.mark.parametrize("offer", [b"h2c", b"websocket"])
def test_a_request_that_offers_an_upgrade_keeps_its_body(coding, sent, offer):
    """In any pieces."""
    head = b"POST /u HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: %b\r\n%b\r\n\r\n" % (
        offer,
        coding,
    )
    data = head + sent + head + sent + GET
    for cut in range(len(data)):
        found, reader = read_in([data[:cut], data[cut:]])
        assert reader.error is None
        assert [one.target for one in found] == [b"/u", b"/u", b"/"]
        assert [one.body for one in found] == [GET if sent else b""] * 2 + [b""]
        assert all(one.whole for one in found)
