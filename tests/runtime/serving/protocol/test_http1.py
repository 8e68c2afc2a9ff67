"""Responses on an HTTP/1.1 connection, byte for byte, for every kind of client."""

from __future__ import annotations

import json
import os

import pytest
import trio

from runtime.header_fields import SECURITY_FIELDS
from tests.runtime.serving.running_app import echo, respond, running

LENGTH = (b"content-length", b"2")
DATE = (b"date", b"now")


def app_of(status, fields, *pieces, trailers=None, method=None):
    """An app that answers every request so."""

    async def app(scope, receive, send):
        head = {"type": "http.response.start", "status": status, "headers": [*fields, DATE]}
        await send({**head, "trailers": trailers is not None})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})
        if trailers is not None:
            await send({"type": "http.response.trailers", "headers": trailers})

    return app


def asking(method=b"GET", version=b"1.1", *fields):
    return b"%b / HTTP/%b\r\nHost: h\r\n%b\r\n" % (method, version, b"".join(one + b"\r\n" for one in fields))


CLOSE = b"Connection: close"


@pytest.mark.parametrize(
    ("request_", "status", "fields", "pieces", "sent"),
    [
        (asking(), 200, [LENGTH], (b"o", b"k"), b"200 OK\r\ncontent-length: 2\r\ndate: now\r\n\r\nok"),
        (
            asking(),
            200,
            [],
            (b"ab", b"", b"c"),
            b"200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        ),
        (asking(b"HEAD"), 200, [LENGTH], (b"ok",), b"200 OK\r\ncontent-length: 2\r\ndate: now\r\n\r\n"),
        (asking(b"HEAD"), 200, [], (), b"200 OK\r\ndate: now\r\n\r\n"),
        (asking(), 204, [LENGTH], (), b"204 No Content\r\ndate: now\r\n\r\n"),
        (asking(), 304, [LENGTH], (), b"304 Not Modified\r\ncontent-length: 2\r\ndate: now\r\n\r\n"),
        (asking(), 299, [LENGTH], (b"ok",), b"299 \r\ncontent-length: 2\r\ndate: now\r\n\r\nok"),
        (
            asking(),
            200,
            [(b"Connection", b"keep-alive"), (b"Transfer-Encoding", b"gzip"), (b"Upgrade", b"x"), LENGTH],
            (b"ok",),
            b"200 OK\r\ncontent-length: 2\r\ndate: now\r\n\r\nok",
        ),
        (
            asking(),
            426,
            [(b"upgrade", b"HTTP/1.1"), LENGTH],
            (b"ok",),
            b"426 Upgrade Required\r\nupgrade: HTTP/1.1\r\ncontent-length: 2\r\ndate: now\r\nconnection: upgrade\r\n\r\nok",  # noqa: E501
        ),
    ],
)
async def test_a_response_is_framed_by_its_method_and_status(request_, status, fields, pieces, sent):
    """The connection goes on."""
    async with running(app_of(status, fields, *pieces)) as server:
        answer = await server.talk(request_ + request_.replace(b"Host: h", b"Host: h\r\nConnection: close"))
    first, _, last = answer[1:].partition(b"HTTP/1.1 ")
    assert b"H" + first == b"HTTP/1.1 " + sent
    closing = b"connection: close, upgrade\r\n" if status == 426 else b"connection: close\r\n"
    assert last.replace(closing, b"connection: upgrade\r\n" if status == 426 else b"") == sent


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ([], b"200 OK\r\ndate: now\r\nconnection: close\r\n\r\nabc"),
        (
            [(b"content-length", b"3")],
            b"200 OK\r\ncontent-length: 3\r\ndate: now\r\nconnection: close\r\n\r\nabc",
        ),
    ],
)
async def test_an_http_1_0_response_has_no_chunks_and_no_trailers(fields, sent):
    """The end of the connection is the end of the body."""
    async with running(app_of(200, fields, b"ab", b"c", trailers=[(b"x", b"y")])) as server:
        assert await server.talk(asking(version=b"1.0")) == b"HTTP/1.1 " + sent


async def test_trailers_end_a_chunked_body_alone():
    async with running(app_of(200, [], b"a", trailers=[(b"X", b"y")])) as server:
        assert (await server.talk(asking(b"GET", b"1.1", CLOSE))).endswith(b"1\r\na\r\n0\r\nx: y\r\n\r\n")
    async with running(app_of(200, [LENGTH], b"ok", trailers=[(b"X", b"y")])) as server:
        assert (await server.talk(asking(b"GET", b"1.1", CLOSE))).endswith(b"\r\n\r\nok")
        assert (await server.talk(asking(b"HEAD", b"1.1", CLOSE))).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("pieces", [(b"a",), (b"abc",), (b"ok", b"x")])
async def test_a_body_shorter_or_longer_than_its_length_has_no_clean_end(pieces):
    async with running(app_of(200, [LENGTH], *pieces)) as server:
        answer = await server.talk(asking())
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not answer.endswith(b"abc")
    assert b"okx" not in answer
    assert answer.startswith(b"HTTP/1.1 500 ") if pieces == (b"abc",) else answer.endswith(pieces[0])


@pytest.mark.parametrize("kind", ["twice", "no head", "behind the end"])
async def test_asgi_messages_in_a_wrong_order_are_refused(kind):
    """An app that fails before the head is a 500."""
    errors = []

    async def app(scope, receive, send):
        head = {"type": "http.response.start", "status": 200, "headers": [LENGTH]}
        body = {"type": "http.response.body", "body": b"ok"}
        messages = {"twice": [head, head], "no head": [body], "behind the end": [head, body, body]}[kind]
        for message in messages:
            try:
                await send(message)
            except RuntimeError as error:
                errors.append(str(error))
                raise

    async with running(app) as server:
        answer = await server.talk(asking(b"GET", b"1.1", CLOSE))
    if kind == "behind the end":
        assert answer.endswith(b"ok")  # the response has already ended
    else:
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert len(errors) == 1


BAD_FIELDS = [
    (b"a", b"b\r\nset-cookie: c"),
    (b"a", b"b\nc: d"),
    (b"a: b\r\nc", b"d"),
    (b"a b", b""),
    (b"", b"c"),
]


@pytest.mark.parametrize("field", BAD_FIELDS)
async def test_a_head_with_an_invalid_field_is_500(field):
    """Nothing of it is sent."""
    async with running(app_of(200, [field], b"ok")) as server:
        answer = await server.talk(asking())
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "INTERNAL_ERROR"
    assert b"set-cookie" not in answer


@pytest.mark.parametrize("kind", ["trailers", "informational"])
async def test_invalid_trailers_break_the_response_off_and_an_invalid_1xx_is_500(kind):
    async def app(scope, receive, send):
        bad = [(b"a", b"b\r\nset-cookie: c")]
        if kind == "informational":
            await send({"type": "http.response.informational", "status": 103, "headers": bad})
        head = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
        await send(head)
        await send({"type": "http.response.body", "body": b"a"})
        await send({"type": "http.response.trailers", "headers": bad})

    async with running(app) as server:
        answer = await server.talk(asking())
    assert b"set-cookie" not in answer
    assert answer.endswith(b"1\r\na\r\n") if kind == "trailers" else answer.startswith(b"HTTP/1.1 500 ")


async def test_a_response_without_a_date_gets_one():
    async def app(scope, receive, send):
        await respond(send, b"ok", 200, *([(b"Date", b"then")] if scope["path"] == "/dated" else []))

    async with running(app) as server:
        assert (await server.talk(asking(b"GET", b"1.1", CLOSE))).count(b"\r\ndate: ") == 1
        dated = await server.talk(asking(b"GET", b"1.1", CLOSE).replace(b"/ ", b"/dated ", 1))
        assert dated.count(b"\r\ndate: ") == dated.count(b"\r\ndate: then\r\n") == 1


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_small_response_is_one_write(chunked, monkeypatch):
    """Head and body, and the end of the chunks."""
    writes = []
    real = trio.SocketStream.send_all

    async def send_all(self, data):
        writes.append(bytes(data))
        await real(self, data)

    write_at_once = os.write

    def write(descriptor, data):
        if bytes(data).startswith(b"HTTP/1.1 "):
            writes.append(bytes(data))
        return write_at_once(descriptor, data)

    async def app(scope, receive, send):
        fields = [] if chunked else [LENGTH]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"ok"})

    async with running(app) as server:
        peer = await server.connect()
        monkeypatch.setattr(trio.SocketStream, "send_all", send_all)
        monkeypatch.setattr("runtime.serving.connection.os.write", write)
        for _ in range(3):
            await peer.send(asking())
            await peer.until(b"0\r\n\r\n" if chunked else b"\r\n\r\nok")
    assert [one for one in writes if not one.startswith(b"GET ")] != []
    assert sum(one.startswith(b"HTTP/1.1 ") for one in writes) == len(writes) - 3 == 3


async def test_an_app_that_returns_without_a_whole_response_is_500_or_a_break():
    async def app(scope, receive, send):
        if scope["path"] == "/half":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})

    async with running(app) as server:
        assert (await server.talk(asking())).startswith(b"HTTP/1.1 500 ")
        half = await server.talk(asking().replace(b"/ ", b"/half ", 1))
        assert half.endswith(b"1\r\na\r\n")
        peer = await server.connect()
        await peer.send(b"GET /half HTTP/1.0\r\n\r\n")
        await peer.until(b"\r\n\r\na")
        with trio.fail_after(1), pytest.raises(trio.BrokenResourceError):
            await peer.stream.receive_some()


async def test_a_refusal_of_head_has_no_body():
    async with running(echo) as server:
        answer = await server.talk(b"HEAD / HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b"\r\n\r\n")


async def test_the_servers_own_errors_are_protected():
    """A page of another origin neither frames them nor guesses their type, and no cache keeps them."""
    async with running(echo) as server:
        answer = (await server.talk(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")).lower()
        assert answer.startswith(b"http/1.1 400 ")
        for name, value in SECURITY_FIELDS.items():
            assert f"\r\n{name}: {value}\r\n".lower().encode() in answer
