"""Messages are read to the letter, whole or in pieces."""

import pytest

from runtime.http1 import field_lines, find_head, read_request, read_response, request_bytes
from runtime.http1_bodies import CHUNK_LINE, TRAILER_BYTES, Chunked, Length, Malformed, UntilClose

HOST = b"Host: h\r\n"


def request(line=b"GET / HTTP/1.1", *fields):
    return line + b"\r\n" + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def test_a_request():
    """Names in lower case; everything else as it was."""
    head = read_request(
        b"pOsT /a%2F?  HTTP/1.1\r\n".replace(b"  ", b" ")
        + b"Host: h:80\r\nX-A: \t b  c\t\r\nx-a:\xff\r\nX-Empty:\r\nContent-Length: 007\r\n\r\n"
    )
    assert (head.method, head.target, head.version) == ("pOsT", b"/a%2F?", "1.1")
    assert head.fields == [
        (b"host", b"h:80"),
        (b"x-a", b"b  c"),
        (b"x-a", b"\xff"),
        (b"x-empty", b""),
        (b"content-length", b"007"),
    ]
    assert (head.length, head.expects, head.close) == (7, False, False)


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
    ],
)
def test_framing(head, length, expects, close):
    """How the body is delimited, whether the client waits for 100, and whether another request may follow."""
    found = read_request(head)
    assert (found.length, found.expects, found.close) == (length, expects, close)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        # the request line (RFC 9112, 3)
        (request(b"GET  / HTTP/1.1"), 400),
        (request(b"GET / HTTP/1.1 "), 400),
        (request(b" GET / HTTP/1.1"), 400),
        (request(b"GET\t/ HTTP/1.1"), 400),
        (request(b"GET /a b HTTP/1.1"), 400),
        (request(b"GET /\xe9 HTTP/1.1"), 400),
        (request(b"GET /\x7f HTTP/1.1"), 400),
        (request(b"GET / http/1.1"), 400),
        (request(b"GET / HTTP/11"), 400),
        (request(b"GET /"), 400),
        (request(b"G(T / HTTP/1.1"), 400),
        (request(b"PRI * HTTP/2.0"), 505),
        (request(b"GET / HTTP/0.9"), 505),
        # lines (2.2, 5)
        (b"GET / HTTP/1.1\n" + HOST + b"\r\n", 400),
        (request(b"GET / HTTP/1.1", b"A: b\nC: d"), 400),
        (request(b"GET / HTTP/1.1", b"A: b\rC: d"), 400),
        (request(b"GET / HTTP/1.1", b"A: b", b" folded"), 400),
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
        # Host (3.2)
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (request(b"GET / HTTP/1.1", b"Host: h"), 400),
        (request(b"GET / HTTP/1.0", b"Host: other"), 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        # the body's length (6)
        (request(b"PUT / HTTP/1.1", b"Content-Length: 3", b"Transfer-Encoding: chunked"), 400),
        (request(b"PUT / HTTP/1.1", b"Transfer-Encoding: chunked", b"Content-Length: 3"), 400),
        (request(b"PUT / HTTP/1.1", b"Content-Length: 3", b"Content-Length: 3"), 400),
        (request(b"PUT / HTTP/1.1", b"Content-Length: 3, 3"), 400),
        (request(b"PUT / HTTP/1.1", b"Content-Length: +3"), 400),
        (request(b"PUT / HTTP/1.1", b"Content-Length: -3"), 400),
        (request(b"PUT / HTTP/1.1", b"Content-Length: 0x3"), 400),
        (request(b"PUT / HTTP/1.1", b"Content-Length: 3 3"), 400),
        (request(b"PUT / HTTP/1.1", b"Content-Length: \xb2"), 400),
        (request(b"PUT / HTTP/1.1", b"Content-Length:"), 400),
        (request(b"PUT / HTTP/1.1", b"Content-Length: " + b"9" * 19), 400),
        (request(b"PUT / HTTP/1.1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
        (request(b"PUT / HTTP/1.1", b"Transfer-Encoding: chunked, chunked"), 400),
        (request(b"PUT / HTTP/1.1", b"Transfer-Encoding: chunked, identity"), 400),
        (request(b"PUT / HTTP/1.1", b"Transfer-Encoding: xchunked"), 400),
        (request(b"PUT / HTTP/1.1", b"Transfer-Encoding: \x0bchunked"), 400),
        (request(b"PUT / HTTP/1.1", b"Transfer-Encoding: 'chunked'"), 400),
        (request(b"PUT / HTTP/1.1", b"Transfer-Encoding:"), 400),
        (request(b"PUT / HTTP/1.1", b"Transfer-Encoding: , chunked"), 400),
        (request(b"PUT / HTTP/1.1", b"Transfer-Encoding: identity"), 400),
        (request(b"PUT / HTTP/1.0", b"Transfer-Encoding: chunked"), 400),
        (request(b"PUT / HTTP/1.1", b"Transfer-Encoding: gzip, chunked"), 501),
        # Expect (RFC 9110, 10.1.1)
        (request(b"PUT / HTTP/1.1", b"Content-Length: 3", b"Expect: 200-maybe"), 417),
    ],
)
def test_a_bad_request(head, status):
    """What two readers could read in two ways is refused."""
    with pytest.raises(Malformed) as caught:
        read_request(head)
    assert caught.value.status == status


def test_find_head():
    """Found wherever the pieces are cut, and refused as soon as it can't become one."""
    head = request()
    for cut in range(len(head)):
        assert find_head(head[:cut], 1000) == 0
        assert find_head(head + b"more", 1000, cut) == len(head)
    for bad in (b"GET / HTTP/1.1\n", b"GET /\rx", b"\n", b"a\r\nb\n"):
        for seen in range(len(bad) - 1):
            with pytest.raises(Malformed):
                find_head(bad, 1000, seen)
    with pytest.raises(Malformed, match="too long"):
        find_head(b"a" * 100, 100)
    with pytest.raises(Malformed, match="too long"):
        find_head(b"a" * 98 + b"\r\n\r\n", 100)


def read_all(body, data, size):
    """The body of `data`, given in pieces of `size`; and what is behind it."""
    found, rest = b"", b""
    for at in range(0, len(data), size):
        rest += data[at : at + size]
        while not body.done:
            piece, rest = body.take(rest)
            found += piece
            if not piece:
                break
    return found, rest


CHUNKS = b"3\r\nabc\r\n00A;x=y ; z\r\n0123456789\r\n1 ;q\r\n!\r\n0\r\nX-Sum: 1\r\n\r\nGET "


@pytest.mark.parametrize("size", range(1, len(CHUNKS) + 1))
def test_chunks(size):
    """The same however they are cut, and not a byte of what follows."""
    body = Chunked()
    assert read_all(body, CHUNKS, size) == (b"abc0123456789!", b"GET ")
    assert (body.done, body.trailers) == (True, [(b"x-sum", b"1")])


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_a_length(size):
    """So many bytes, and not one more."""
    body = Length(5)
    assert read_all(body, b"abcdefg", size) == (b"abcde", b"fg")
    assert body.done
    assert Length(0).done


def test_until_close():
    """Everything, and it never ends by itself."""
    body = UntilClose()
    assert (body.take(b"abc"), body.done) == ((b"abc", b""), False)


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"x",
        b"\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1\n",
        b"1\r2",
        b"1_0\r\n",
        b"1" * 17,
        b"1;a\nb\r\n",
        b"1;a\x00\r\n",
        b"1;" + b"a" * CHUNK_LINE,
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\na\r2",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nGET / HTTP/1.1\r\n\r\n",
        b"0\r\n" + b"a" * TRAILER_BYTES,
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100_000])
def test_a_bad_chunk(data, size):
    """Refused as soon as it is clear, without a wait for more."""
    with pytest.raises(Malformed):
        read_all(Chunked(), data, size)


def test_what_came_before_a_bad_chunk_is_there():
    """The bytes before the fault are given out first."""
    body = Chunked()
    piece, rest = body.take(b"3\r\nabc\r\nxyz\r\n")
    assert piece == b"abc"
    with pytest.raises(Malformed):
        body.take(rest)
    body = Chunked()
    piece, rest = body.take(b"3\r\nabc\r\n0\r\nbad\r\n\r\n")
    assert piece == b"abc"
    with pytest.raises(Malformed):
        body.take(rest)


def response(line=b"HTTP/1.1 200 OK", *fields):
    return line + b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


@pytest.mark.parametrize(
    ("head", "method", "body", "close"),
    [
        (response(b"HTTP/1.1 200 OK", b"Content-Length: 3"), "GET", Length, False),
        (response(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"), "GET", Chunked, False),
        (response(), "GET", UntilClose, True),
        (response(b"HTTP/1.1 200"), "HEAD", Length, False),
        (response(b"HTTP/1.1 200 ", b"Content-Length: 3"), "HEAD", Length, False),
        (response(b"HTTP/1.1 204 No"), "GET", Length, False),
        (response(b"HTTP/1.1 204 No", b"Content-Length: 0"), "GET", Length, False),
        (response(b"HTTP/1.1 204 No", b"Content-Length: 3"), "GET", Length, True),
        (response(b"HTTP/1.1 204 No", b"Transfer-Encoding: chunked"), "GET", Length, True),
        (response(b"HTTP/1.1 304 \xff", b"Content-Length: 3"), "GET", Length, False),
        (response(b"HTTP/1.1 103 Early"), "GET", Length, False),
        (response(b"HTTP/1.1 200 OK", b"Content-Length: 3", b"Connection: close"), "GET", Length, True),
        (response(b"HTTP/1.0 200 OK", b"Content-Length: 3"), "GET", Length, True),
        (
            response(b"HTTP/1.0 200 OK", b"Content-Length: 3", b"Connection: keep-alive"),
            "GET",
            Length,
            False,
        ),
    ],
)
def test_a_response(head, method, body, close):
    """How its body is delimited, and whether the connection can be used again."""
    found = read_response(head, method)
    assert (type(found.body), found.close) == (body, close)


@pytest.mark.parametrize(
    "head",
    [
        b"hello\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        response(b"HTTP/1.1 200 OK", b"A: \x01"),
        response(b"HTTP/1.1 200 OK", b"A: b", b" folded"),
        response(b"HTTP/1.1 200 OK", b"A : b"),
        response(b"HTTP/1.1 200 OK", b"Content-Length: 3", b"Content-Length: 4"),
        response(b"HTTP/1.1 200 OK", b"Content-Length: 3", b"Content-Length: 3"),
        response(b"HTTP/1.1 200 OK", b"Content-Length: x"),
        response(b"HTTP/1.1 200 OK", b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        response(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked"),
        response(b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip"),
    ],
)
def test_a_bad_response(head):
    """Not the head of a response."""
    with pytest.raises(Malformed):
        read_response(head, "GET")


@pytest.mark.parametrize(
    "field", [(b"a", b"b\r\nc: d"), (b"a", b"b\r\n"), (b"a: b\r\nc", b"d"), (b"a", b"\n"), (b"a b", b"")]
)
def test_no_line_is_smuggled_out(field):
    """No name or value can end its line."""
    with pytest.raises(Malformed):
        field_lines([field])
    with pytest.raises(Malformed):
        request_bytes(b"GET", b"/", [field])


@pytest.mark.parametrize(
    ("method", "target"), [(b"GET /x", b"/"), (b"GET", b"/ HTTP/1.1"), (b"GET", b"/\r\n"), (b"GET", b"")]
)
def test_no_target_is_smuggled_out(method, target):
    """Neither method nor target can end their place in the line."""
    with pytest.raises(Malformed):
        request_bytes(method, target, [])
