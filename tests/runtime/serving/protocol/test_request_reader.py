"""The reader takes the head of a request to the letter, whole or in pieces."""

from __future__ import annotations

import pytest

from runtime.serving.protocol.request_reader import READ_SIZE
from tests.runtime.serving.protocol.reading import CHUNKED, GET, HEAD_BYTES, HOST, read_in, read_one, request


def test_field_names_are_lower_case_and_values_unchanged():
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
def test_length_expectation_and_close_are_read_from_the_head(head, length, expects, close):
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
def test_an_ambiguous_request_is_refused(head, status):
    """In any pieces, also behind another request."""
    for front in (b"", GET):
        data = front + head
        for pieces in ([data], [data[:-1], data[-1:]], [bytes((byte,)) for byte in data]):
            found, reader = read_in(pieces)
            assert len(found) == bool(front)
            assert reader.error is not None
            assert reader.error.status == status


@pytest.mark.parametrize("padding", [b"x" * 100, b" " * 100])
@pytest.mark.parametrize("front", [b"", GET, b"\r\n", CHUNKED + b"0\r\n\r\n"])
def test_the_limit_of_a_head_is_exact_to_the_byte(padding, front):
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
def test_an_endless_head_is_refused_at_the_limit(beginning, status, size):
    """414 within the target, 431 behind it."""
    _, reader = read_in([beginning, *([b"a" * size] * (HEAD_BYTES // size + 1))])
    assert reader.error is not None
    assert reader.error.status == status


def test_one_empty_line_before_a_request_is_ignored_and_two_are_refused():
    for data in (b"\r\n" + GET, GET + b"\r\n" + GET, CHUNKED + b"0\r\n\r\n\r\n" + GET):
        for size in (1, 2, 3, len(data)):
            assert read_in([data[at : at + size] for at in range(0, len(data), size)])[1].error is None
    bare = [front + GET for front in (b"\r", b"\n", GET + b"\r", CHUNKED + b"0\r\n\r\n\n")]
    for data in (b"\r\n\r\n", GET + b"\r\n\r\n" + GET, *bare):
        for pieces in ([data], [bytes((byte,)) for byte in data]):
            assert read_in(pieces)[1].error is not None


def test_a_target_above_the_limit_in_a_complete_head_is_414():
    _, reader = read_in([request(b"GET /%b HTTP/1.1" % (b"a" * 200))], 200)
    assert reader.error is not None
    assert reader.error.status == 414


def test_the_method_of_an_invalid_head_request_is_read():
    """The response to HEAD has no body."""
    for data in (
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nA b\r\n\r\n",
        b"\r\nHEAD \x01 HTTP/1.1\r\n\r\n",
    ):
        _, reader = read_in([data])
        assert reader.error is not None
        assert reader.method == "HEAD"
