"""Requests are read to the letter, whole or in pieces."""

from __future__ import annotations

import pytest

from runtime.serving.protocol.incoming_request import BadRequest
from runtime.serving.protocol.request_reader import READ_SIZE, TRAILER_BYTES
from tests.runtime.serving.reading import HEAD_BYTES, read_in, read_one

HOST = b"Host: h\r\n"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def request(line=b"GET / HTTP/1.1", *fields):
    return line + b"\r\n" + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def test_a_request():
    """Names in lower case; everything else as it was."""
    head = read_one(
        b"POST /a%2F? HTTP/1.1\r\n"
        b"Host: h:80\r\nX-A: \t b  c\t\r\nx-a:\xff\r\nX-Empty:\r\nContent-Length: 007\r\n\r\n"
    )
    assert (head.method, head.target, head.version) == ("POST", b"/a%2F?", "1.1")
    assert head.fields == [
        (b"host", b"h:80"),
        (b"x-a", b"b  c"),
        (b"x-a", b"\xff"),
        (b"x-empty", b""),
        (b"content-length", b"007"),
    ]
    assert (head.length, head.expects_continue, head.close) == (7, False, False)


@pytest.mark.parametrize(
    ("head", "length", "expects", "close"),
    [
        (request(), 0, False, False),
        (request(b"POST / HTTP/1.1", b"Content-Length: 5", b"Expect: 100-Continue"), 5, True, False),
        (request(b"POST / HTTP/1.1", b"Transfer-Encoding: Chunked"), None, False, False),
        (request(b"GET / HTTP/1.1", b"Expect: 100-continue"), 0, False, False),
        (request(b"GET / HTTP/1.1", b"Connection: x, Close"), 0, False, True),
        (request(b"GET / HTTP/1.1", b"Connection: keep-alive"), 0, False, False),
        (request(b"GET / HTTP/1.9"), 0, False, False),
        (request(b"GET / HTTP/1.0"), 0, False, True),
        (b"GET / HTTP/1.0\r\n\r\n", 0, False, True),
        (request(b"POST / HTTP/1.0", b"Content-Length: 5", b"Expect: 100-continue"), 5, False, True),
        (request(b"CONNECT h:80 HTTP/1.1"), 0, False, True),
        (request(b"POST / HTTP/1.1", b"Content-Length: 0" + b"5"), 5, False, False),
    ],
)
def test_framing(head, length, expects, close):
    """How the body is delimited, whether the client waits for 100, and whether another request may follow."""
    found = read_one(head)
    assert (found.length, found.expects_continue, found.close) == (length, expects, close)


BAD = [
    # the request line (RFC 9112, 3)
    (request(b"GET  / HTTP/1.1"), 400),
    (request(b"GET /  HTTP/1.1"), 400),
    (request(b"GET / HTTP/1.1 "), 400),
    (request(b" GET / HTTP/1.1"), 400),
    (request(b"GET\t/ HTTP/1.1"), 400),
    (request(b"GET /a b HTTP/1.1"), 400),
    (request(b"GET /\xe9 HTTP/1.1"), 400),
    (request(b"GET /\x7f HTTP/1.1"), 400),
    (request(b"GET / http/1.1"), 400),
    (request(b"GET / HTTP/11"), 400),
    (request(b"GET / HTTP/1.10"), 400),
    (request(b"G(T / HTTP/1.1"), 400),
    (request(b"GET / RTSP/1.1"), 400),
    (request(b"DESCRIBE / RTSP/1.1"), 400),
    (request(b"SOURCE / ICE/1.1"), 400),
    (request(b"GET / HTTP/0.9"), 505),
    (request(b"GET / HTTP/2.0"), 505),
    # HTTP/0.9
    (request(b"GET /"), 505),
    (b"GET /\r\n\r\n", 505),
    # llhttp reads the registered methods alone.
    (request(b"pOsT / HTTP/1.1"), 501),
    (request(b"FROB / HTTP/1.1"), 501),
    (request(b"GETX / HTTP/1.1"), 501),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    # lines (2.2, 5)
    (b"GET / HTTP/1.1\n" + HOST + b"\r\n", 400),
    (request(b"GET / HTTP/1.1", b"A: b\nC: d"), 400),
    (request(b"GET / HTTP/1.1", b"A: b\rC: d"), 400),
    (request(b"GET / HTTP/1.1", b"A: b", b" folded"), 400),
    (request(b"GET / HTTP/1.1", b"A:", b"\tfolded"), 400),
    (b"GET / HTTP/1.1\r\n folded\r\n" + HOST + b"\r\n", 400),
    (request(b"GET / HTTP/1.1", b"A : b"), 400),
    (request(b"GET / HTTP/1.1", b"A"), 400),
    (request(b"GET / HTTP/1.1", b": b"), 400),
    (request(b"GET / HTTP/1.1", b"A\xe9: b"), 400),
    (request(b"GET / HTTP/1.1", b"A(: b"), 400),
    (request(b"GET / HTTP/1.1", b"A: b\0"), 400),
    (request(b"GET / HTTP/1.1", b"A: b\x01"), 400),
    (request(b"GET / HTTP/1.1", b"A: b\x7f"), 400),
    (request(b"GET / HTTP/1.1", b"A: b\x0b"), 400),
    (GET[:-2] + b"\n", 400),
    (b"\r\n\r\n" + GET, 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    # Host (3.2)
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (request(b"GET / HTTP/1.1", b"Host: h"), 400),
    (request(b"GET / HTTP/1.0", b"Host: other"), 400),
    *((b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host, 400)
      for host in (b"a b", b"a@b", b"a/b", b"a,b", b"a:b", b"[::1")),
    # the body's length (6)
    *((request(b"PUT / HTTP/1.1", *fields), 400)
      for fields in (
          (b"Content-Length: 3", b"Transfer-Encoding: chunked"),
          (b"Transfer-Encoding: chunked", b"Content-Length: 3"),
          (b"Content-Length: 3", b"Content-Length: 3"),
          (b"Content-Length: 3, 3",),
          (b"Content-Length: +3",),
          (b"Content-Length: -3",),
          (b"Content-Length: 0x3",),
          (b"Content-Length: 3 3",),
          (b"Content-Length: \xb2",),
          (b"Content-Length:",),
          (b"Content-Length: " + b"9" * 20,),
          (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
          (b"Transfer-Encoding: chunked, chunked",),
          (b"Transfer-Encoding: chunked, identity",),
          (b"Transfer-Encoding: xchunked",),
          (b"Transfer-Encoding: \x0bchunked",),
          (b"Transfer-Encoding: 'chunked'",),
          (b"Transfer-Encoding: chunked;q=1",),
          (b"Transfer-Encoding:",),
          (b"Transfer-Encoding: , chunked",),
          (b"Transfer-Encoding: identity",),
      )),
    (request(b"PUT / HTTP/1.0", b"Transfer-Encoding: chunked"), 400),
    (request(b"PUT / HTTP/1.1", b"Transfer-Encoding: gzip, chunked"), 501),
    (request(b"CONNECT h:80 HTTP/1.1", b"Content-Length: 3"), 400),
    (request(b"CONNECT h:80 HTTP/1.1", b"Transfer-Encoding: chunked"), 400),
    # Expect (RFC 9110, 10.1.1)
    (request(b"PUT / HTTP/1.1", b"Content-Length: 3", b"Expect: 200-maybe"), 417),
]  # fmt: skip


@pytest.mark.parametrize(("head", "status"), BAD)
def test_a_bad_request(head, status):
    """What two readers could read in two ways is refused, however its bytes are cut, also behind another."""
    for front in (b"", GET):
        data = front + head
        for pieces in ([data], [data[:-1], data[-1:]], [bytes((byte,)) for byte in data]):
            found, reader = read_in(pieces)
            assert len(found) == bool(front)
            assert reader.error is not None
            assert reader.error.status == status


CHUNKS = b"3\r\nabc\r\n00A;x=y;z\r\n0123456789\r\n1;q\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n"


@pytest.mark.parametrize("size", range(1, len(CHUNKS) + 1))
def test_chunks(size):
    """The same however they are cut, and not a byte of what follows."""
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
def test_a_bad_chunk(data, size):
    """Refused as soon as it is clear, without a wait for more; what came before it is there."""
    data = CHUNKED + b"3\r\nabc\r\n" + data
    [found], reader = read_in([data[at : at + size] for at in range(0, len(data), size)])
    assert reader.error is not None
    assert reader.error.status == 400
    assert found.body in (b"abc", b"abca")
    assert not found.whole


@pytest.mark.parametrize("beginning", [b"1;", b"1;a=", b"0\r\nA: ", b"0\r\n"])
def test_what_never_becomes_a_body(beginning):
    """An extension, a trailer's value or name without an end are refused, and not kept."""
    pieces = [CHUNKED + b"3\r\nabc\r\n" + beginning]
    count = (TRAILER_BYTES + 2 * READ_SIZE) // 1000
    [found], reader = read_in(pieces + [b"a" * 1000] * count)
    assert reader.error is not None
    assert (found.body, found.whole) == (b"abc", False)


@pytest.mark.parametrize("size", [1, 2, 5, READ_SIZE])
def test_a_length(size):
    """So many bytes, and not one more."""
    data = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde" + GET
    [first, second], _ = read_in([data[at : at + size] for at in range(0, len(data), size)])
    assert (first.body, first.whole, second.target) == (b"abcde", True, b"/")


def test_an_error_behind_requests():
    """Those in front of it are there, whole; what is behind it isn't read."""
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
def test_behind_the_last_request(last, rest):
    """They yield neither a request nor an error."""
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
def test_an_offered_upgrade(coding, sent, offer):
    """A body stays a body, and the next request is a request, wherever the bytes are cut."""
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


@pytest.mark.parametrize("padding", [b"x" * 100, b" " * 100])
@pytest.mark.parametrize("front", [b"", GET, b"\r\n", CHUNKED + b"0\r\n\r\n"])
def test_the_limit_of_a_head(padding, front):
    """Exact to the byte, white space and what stands in front of it notwithstanding."""
    limit = 200
    lines = b"GET / HTTP/1.1\r\nHost: h\r\nA:%b\r\n\r\n"
    for size, status in ((limit, None), (limit + 1, 431)):
        head = lines % (padding + b"y" * (size - len(lines % padding)))
        assert len(head) == size
        for pieces in ([front + head], [front, head], [front + head[:100], head[100:]], [front + head + GET]):
            _, reader = read_in(pieces, limit)
            assert (reader.error and reader.error.status) == status, pieces


@pytest.mark.parametrize(
    ("beginning", "status"), [(b"GET /", 414), (b"GET / HTTP/1.1\r\nA", 431), (b"GET / HTTP/1.1\r\nA: ", 431)]
)
@pytest.mark.parametrize("size", [1000, READ_SIZE])
def test_a_head_without_an_end(beginning, status, size):
    """Refused when the limit is passed; the target's part of the line has a status of its own."""
    _, reader = read_in([beginning, *([b"a" * size] * (HEAD_BYTES // size + 1))])
    assert reader.error is not None
    assert reader.error.status == status


def test_empty_lines():
    """One is a leftover of the request before; lines without end are no request, however they come."""
    for data in (b"\r\n" + GET, GET + b"\r\n" + GET, CHUNKED + b"0\r\n\r\n\r\n" + GET):
        for size in (1, 2, 3, len(data)):
            assert read_in([data[at : at + size] for at in range(0, len(data), size)])[1].error is None
    bare = [front + GET for front in (b"\r", b"\n", GET + b"\r", CHUNKED + b"0\r\n\r\n\n")]
    for data in (b"\r\n\r\n", GET + b"\r\n\r\n" + GET, *bare):
        for pieces in ([data], [bytes((byte,)) for byte in data]):
            assert read_in(pieces)[1].error is not None


def test_a_target_that_is_too_long_in_a_complete_head():
    _, reader = read_in([request(b"GET /%b HTTP/1.1" % (b"a" * 200))], 200)
    assert reader.error is not None
    assert reader.error.status == 414


def test_the_method_of_a_request_that_cannot_be_read():
    """The answer to HEAD has no body, whatever is wrong with the rest."""
    for data in (
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nA b\r\n\r\n",
        b"\r\nHEAD \x01 HTTP/1.1\r\n\r\n",
    ):
        _, reader = read_in([data])
        assert reader.error is not None
        assert reader.method == "HEAD"
