"""Responses are read to the letter, whole or in pieces."""

import pytest

from gateway.upstream.response_reader import HEAD_LIMIT, MalformedResponse, ResponseReader

OK = b"HTTP/1.1 200 OK"


def response(line=OK, *fields, body=b""):
    return line + b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def read(reader, data, size=100_000, method="GET"):
    """The final head and the body of `data`, given in pieces of `size`."""
    reader.begin(method)
    head, body = None, b""
    for at in range(0, len(data), size):
        reader.receive(data[at : at + size])
        while head is None and (found := reader.next_head()) is not None:
            head = found if found.status >= 200 else None
        while head is not None and (piece := reader.next_piece()):
            body += piece
    return head, body


def test_field_names_are_lower_case_and_values_unchanged():
    reader = ResponseReader()
    fields = (b"X-A: \t b  c\t ", b"x-a:\xff", b"X-Empty:", b"X-Blank:  ", b"Content-Length: 002")
    head, body = read(reader, response(b"HTTP/1.1 299 \xff", *fields, body=b"ok"))
    assert (head.status, body) == (299, b"ok")
    assert head.fields == [
        (b"x-a", b"b  c"),
        (b"x-a", b"\xff"),
        (b"x-empty", b""),
        (b"x-blank", b""),
        (b"content-length", b"002"),
    ]
    assert (reader.ended, reader.is_reusable, reader.trailers) == (True, True, [])


CHUNKED = response(
    OK,
    b"Transfer-Encoding: Chunked",
    body=b'3\r\nabc\r\n00A;x=y;z="q w"\r\n0123456789\r\n1;q\r\n!\r\n0\r\nX-Sum: 1 \r\n\r\n',
)
LENGTH = response(OK, b"Content-Length: 14", body=b"abc0123456789!")
HINTS = response(b"HTTP/1.1 103 Early Hints", b"Link: x") + response(b"HTTP/1.1 100 Continue")


@pytest.mark.parametrize("data", [CHUNKED, LENGTH, HINTS + LENGTH, HINTS + CHUNKED])
def test_responses_are_the_same_in_any_pieces(data):
    reader = ResponseReader()
    for size in range(1, len(data) + 1):
        head, body = read(reader, data, size)
        assert (head.status, body, reader.is_reusable) == (200, b"abc0123456789!", True)
        assert reader.trailers == ([(b"x-sum", b"1")] if CHUNKED in data else [])


def test_interim_heads_come_one_by_one():
    """Each 1xx with its own fields."""
    reader = ResponseReader()
    reader.receive(HINTS + LENGTH)
    heads = [reader.next_head() for _ in range(3)]
    assert [(head.status, head.fields) for head in heads[:2]] == [(103, [(b"link", b"x")]), (100, [])]
    assert heads[2].status == 200


@pytest.mark.parametrize(
    ("data", "method"),
    [
        (response(b"HTTP/1.1 200"), "HEAD"),
        (response(OK, b"Content-Length: 3"), "HEAD"),
        (response(OK, b"Transfer-Encoding: chunked"), "HEAD"),
        (response(b"HTTP/1.1 204 No"), "GET"),
        (response(b"HTTP/1.1 204 No", b"Content-Length: 0"), "GET"),
        (response(b"HTTP/1.1 304 \xff", b"Content-Length: 3"), "GET"),
        (response(b"HTTP/1.1 304 Not", b"Transfer-Encoding: chunked"), "GET"),
        (response(OK, b"Content-Length: 0"), "GET"),
        (response(b"HTTP/1.0 200 OK", b"Content-Length: 0", b"Connection: x, Keep-Alive"), "GET"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_head_204_and_304_have_no_body(data, method, size):
    """A length that they announce is ignored."""
    reader = ResponseReader()
    for _ in range(2):
        _, body = read(reader, data, size, method)
        assert (body, reader.ended, reader.is_reusable) == (b"", True, True)
    assert read(reader, LENGTH)[1] == b"abc0123456789!"
    read(reader, data + b"HTTP/1.1 ", size, method)
    assert (reader.ended, reader.is_reusable) == (True, False)


@pytest.mark.parametrize(
    "data",
    [
        response(OK, b"Content-Length: 0", b"Connection: x, Close"),
        response(OK, b"Transfer-Encoding: chunked", b"Connection: close", body=b"0\r\n\r\n"),
        response(b"HTTP/1.0 200 OK", b"Content-Length: 0"),
        response(b"HTTP/1.1 204 No", b"Content-Length: 3"),
        response(b"HTTP/1.1 204 No", b"Transfer-Encoding: chunked"),
    ],
)
def test_a_response_may_end_its_connection(data):
    reader = ResponseReader()
    head, _ = read(reader, data)
    assert (head.close, reader.ended, reader.is_reusable) == (True, True, False)


@pytest.mark.parametrize("data", [LENGTH, CHUNKED])
@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 200 OK\r\nX-Sum: 2\r\ncontent-length: 0\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 1000])
def test_surplus_bytes_are_neither_body_nor_response(data, surplus, size):
    reader = ResponseReader()
    _, body = read(reader, data + surplus, size)
    assert (body, reader.ended, reader.is_reusable) == (b"abc0123456789!", True, False)
    assert (b"x-sum", b"2") not in reader.trailers


def test_a_body_without_a_length_ends_with_the_connection():
    reader = ResponseReader()
    _, body = read(reader, response(OK, body=b"abc"))
    assert (body, reader.ended) == (b"abc", False)
    reader.end_of_stream()
    assert (reader.ended, reader.is_reusable) == (True, False)


@pytest.mark.parametrize("data", [LENGTH, CHUNKED, HINTS + LENGTH])
def test_a_stream_that_ends_within_a_message_is_an_error(data):
    for size in range(len(data)):
        reader = ResponseReader()
        read(reader, data[:size])
        with pytest.raises(MalformedResponse, match="closed the connection"):
            reader.end_of_stream()
    reader = ResponseReader()
    read(reader, data)
    reader.end_of_stream()


BAD_HEADS = [
    b"hello\r\n\r\n",
    b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/0.9 200 OK\r\n\r\n",
    b"HTTP/1.2 200 OK\r\n\r\n",
    b"RTSP/1.0 200 OK\r\n\r\n",
    b"ICE/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"HTTP/1.1 200\tOK\r\n\r\n",
    b"HTTP/1.1 200 O\0K\r\n\r\n",
    b"HTTP/1.1 200 O\x01K\r\n\r\n",
    b"HTTP/1.1 200 O\x7fK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\r\n\r\n",
    b"HTTP/1.1 200 OK\n\r\n\r\n",
    *(response(OK, b"A: b" + bytes([byte])) for byte in (0, 1, 10, 11, 12, 13, 27, 127)),
    *(response(OK, bytes([byte]) + b"A: b") for byte in (0, 9, 11, 32, 40, 58, 127, 128, 255)),
    response(OK, b"A: b", b" folded"),
    response(OK, b"A: b", b"\tfolded"),
    response(OK, b"A : b"),
    response(OK, b"A"),
    response(OK, b"Content-Length: 3", b"Content-Length: 4"),
    response(OK, b"Content-Length: 3", b"Content-Length: 3"),
    response(OK, b"Content-Length: 3, 3"),
    response(OK, b"Content-Length: +3"),
    response(OK, b"Content-Length: -3"),
    response(OK, b"Content-Length: 0x3"),
    response(OK, b"Content-Length: 3 3"),
    response(OK, b"Content-Length:"),
    response(OK, b"Content-Length: " + b"9" * 21),
    response(OK, b"Content-Length: 3", b"Transfer-Encoding: chunked"),
    response(OK, b"Transfer-Encoding: chunked", b"Content-Length: 3"),
    response(OK, b"Transfer-Encoding: gzip"),
    response(OK, b"Transfer-Encoding: gzip, chunked"),
    response(OK, b"Transfer-Encoding: chunked, chunked"),
    response(OK, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    response(OK, b"Transfer-Encoding: xchunked"),
    response(OK, b"Transfer-Encoding: , chunked"),
    response(OK, b"Transfer-Encoding: identity"),
    response(OK, b"Transfer-Encoding:"),
    response(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked"),
    response(b"HTTP/1.1 101 Switching"),
    response(b"HTTP/1.1 101 Switching", b"Upgrade: x"),
    response(b"HTTP/1.1 101 Switching", b"Upgrade: x", b"Connection: upgrade"),
    response(b"HTTP/1.1 103 Early", b"Content-Length: 3"),
    response(b"HTTP/1.1 103 Early", b"Transfer-Encoding: chunked"),
    response(OK, *[b"x-long: y"] * 7000),
    b"HTTP/1.1 200 OK\r\nx: " + b"a" * HEAD_LIMIT,
]


@pytest.mark.parametrize("head", BAD_HEADS)
@pytest.mark.parametrize("size", [3, 100_000])
def test_an_ambiguous_head_is_refused(head, size):
    with pytest.raises(MalformedResponse):
        read(ResponseReader(), head, size)


@pytest.mark.parametrize(
    "data", [b"SSH-2.0", b"HTTP/1.1 200 OK\n", b"\x16\x03\x01", b"HTTP/1.1 200 OK\r\nA: \x01"]
)
def test_garbage_is_refused_before_the_end_of_a_head(data):
    with pytest.raises(MalformedResponse):
        read(ResponseReader(), data)


@pytest.mark.parametrize(
    "data",
    [
        *(b"x\r\n", b"x", b"\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\n", b"1 \r\n", b"1\n", b"1\r2"),
        *(b"1_0\r\n", b"1" * 17, b"1;a\nb\r\n", b"1;a\x00\r\n", b"1\r\nab\r\n", b"1\r\na\n", b"1\r\na\r2"),
        b"1;" + b"a" * HEAD_LIMIT,
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nA: b\r\n folded\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nGET / HTTP/1.1\r\n\r\n",
        b"0\r\nContent-Length: 3\r\n\r\n",
        b"0\r\nA: " + b"a" * HEAD_LIMIT,
    ],
)
@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_a_bad_chunk_is_refused_at_once(data, size):
    if size == 1 and len(data) > 1000:
        size = 999
    with pytest.raises(MalformedResponse):
        read(ResponseReader(), response(OK, b"Transfer-Encoding: chunked", body=data), size)


@pytest.mark.parametrize("bad", [b"xyz\r\n", b"0\r\nbad\r\n\r\n"])
def test_bytes_before_a_bad_chunk_are_returned(bad):
    """Then the error, at each call."""
    reader = ResponseReader()
    reader.receive(response(OK, b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n" + bad))
    reader.next_head()
    assert reader.next_piece() == b"abc"
    for _ in range(2):
        with pytest.raises(MalformedResponse):
            reader.next_piece()


def test_a_body_has_no_limit():
    reader = ResponseReader()
    pieces = b"".join(b"1;" + b"a" * 1000 + b"\r\nx\r\n" for _ in range(200))
    _, body = read(reader, response(OK, b"Transfer-Encoding: chunked", body=pieces + b"0\r\n\r\n"), 5000)
    assert (body, reader.is_reusable) == (b"x" * 200, True)
