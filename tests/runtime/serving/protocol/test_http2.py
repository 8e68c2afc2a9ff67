"""HTTP/2 requests and responses, by a client that speaks frames."""

from __future__ import annotations

import h2.errors
import pytest
import trio
from hyperframe.frame import GoAwayFrame, RstStreamFrame

from tests.gateway.wire import Watch
from tests.runtime.serving.h2_client import h2_client
from tests.runtime.serving.running_app import body_of, echo, respond, running


async def send_head(send, status, *fields, **more):
    await send({"type": "http.response.start", "status": status, "headers": list(fields), **more})


async def test_a_request_and_its_response(pair):
    """As an HTTP/1.1 app would see them; nothing but one Date is added."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, await body_of(receive)))
        await respond(send, b"ok", 200, (b"X-A", b"b"), (b"connection", b"close"))

    async with running(app, pair) as server, h2_client(server) as client:
        fields = [(b"cookie", b"a=1"), (b"x-b", b"\xff"), (b"cookie", b"b=2")]
        answer = await client.ask(b"/a%2F?q", b"POST", fields, body=b"hello")
        ping = client.connection.ping
        ping(b"12345678")
        await client.flush()
        await client.until(lambda: client.pongs)
    [(scope, body)] = seen
    assert (scope["http_version"], scope["scheme"], scope["method"]) == ("2", "https", "POST")
    assert (scope["raw_path"], scope["query_string"], body) == (b"/a%2F", b"q", b"hello")
    assert scope["headers"] == [(b"host", b"h"), (b"x-b", b"\xff"), (b"cookie", b"a=1; b=2")]
    assert (answer.status, bytes(answer.body), answer.reset) == (200, b"ok", None)
    assert [name for name, _ in answer.fields] == [b"content-length", b"x-a", b"date"]


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_responses_without_a_body(pair, method, status):
    """None is sent, whatever the app gives."""

    async def app(scope, receive, send):
        await respond(send, b"ok", status)

    async with running(app, pair) as server, h2_client(server) as client:
        answer = await client.ask(b"/", method)
        assert (answer.status, bytes(answer.body), answer.ended) == (status, b"", True)
        assert ((b"content-length", b"2") in answer.fields) == (status != 204)


@pytest.mark.parametrize("body", [b"", b"hello"])
async def test_trailers_and_early_hints(pair, body):
    """Both reach the client; the connection is as good, and as idle, as before."""

    async def app(scope, receive, send):
        hints = {"status": 103, "headers": [(b"link", b"</a>")]}
        await send({"type": "http.response.informational", **hints})
        await send_head(send, 200, trailers=True)
        await send({"type": "http.response.body", "body": body})
        await send({"type": "http.response.trailers", "headers": [(b"X-Sum", b"7")]})

    async with running(app, pair, idle_seconds=0.3) as server, h2_client(server) as client:
        for _ in range(3):
            answer = await client.ask()
            assert answer.informational == [(103, [(b"link", b"</a>")])]
            assert (bytes(answer.body), answer.trailers, answer.reset) == (body, [(b"x-sum", b"7")], None)
        with trio.fail_after(1):
            await client.end()


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ({"path": b"/a b"}, b"target"),
        ({"path": b"/\xe9"}, b"target"),
        ({"path": b"/\x7f"}, b"target"),
        ({"path": b"a"}, b"target"),
        ({"path": b"http://other/"}, b"target"),
        ({"method": b"G(T"}, b"method"),
        ({"method": b"GET /x HTTP/1.1\r\n"}, b""),
        ({"fields": [(b"x", b"a\r\nb: c")]}, b""),
        ({"fields": [(b"x", b"a\0b")]}, b""),
        ({"fields": [(b"x\r\ny", b"a")]}, b""),
        ({"fields": [(b"x y", b"a")]}, b""),
        ({"fields": [(b"x", b"a\x01")]}, b""),
        ({"fields": [(b"content-length", b"+5")]}, b""),
        ({"fields": [(b"content-length", b"0_5")]}, b""),
        ({"fields": [(b"content-length", b" 5")]}, b""),
        ({"fields": [(b"content-length", b"5"), (b"content-length", b"5")]}, b""),
        ({"fields": [(b"expect", b"what")]}, b""),
        ({"fields": [(b"host", b"other")]}, b""),
        ({"fields": [(b"transfer-encoding", b"chunked")]}, b""),
    ],
)
async def test_bad_requests(pair, head, reason):
    """4xx for that stream alone, or the end of the connection where h2 refuses it; no app sees it."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["raw_path"])
        await echo(scope, receive, send)

    async with running(app, pair) as server, h2_client(server) as client:
        options = {"path": b"/bad", **head}
        body = None
        if any(name == b"content-length" for name, _ in options.get("fields", ())):
            body = b"hello"
            options["method"] = b"POST"
        try:
            answer = await client.ask(**options, body=body)
        except EOFError:
            assert not reason
            assert client.goaway is not None
        else:
            assert answer.reset is not None or answer.status in (400, 417)
            assert reason in answer.body
            assert (await client.ask(b"/good")).status == 200
            assert seen.pop() == b"/good"
    assert seen == []


@pytest.mark.parametrize(
    "fields",
    [[(b"a", b"b\r\nset-cookie: c")], [(b"a b", b"c")], [(b"", b"c")], [(b"a", b"\0")], [(b"a\n", b"c")]],
)
@pytest.mark.parametrize("kind", ["head", "trailers", "informational"])
async def test_no_field_is_smuggled_into_a_response(pair, fields, kind):
    """500, or a broken stream, and none of it is sent; the connection goes on."""

    async def app(scope, receive, send):
        if scope["path"] == "/good":
            await respond(send)
            return
        if kind == "informational":
            await send({"type": "http.response.informational", "status": 103, "headers": fields})
        await send_head(send, 200, *(fields if kind == "head" else []), trailers=True)
        await send({"type": "http.response.body", "body": b"a"})
        await send({"type": "http.response.trailers", "headers": fields})

    async with running(app, pair) as server, h2_client(server) as client:
        answer = await client.ask()
        if kind == "trailers":
            assert answer.reset == h2.errors.ErrorCodes.INTERNAL_ERROR
        else:
            assert (answer.status, answer.informational) == (500, [])
        assert answer.trailers == []
        assert (await client.ask(b"/good")).status == 200


async def test_fields_that_http2_does_not_have(pair):
    """What speaks of an HTTP/1.1 connection is dropped."""

    async def app(scope, receive, send):
        await respond(send, b"ok", 200, (b"proxy-connection", b"x"), (b"keep-alive", b"x"), (b"TE", b"x"))

    async with running(app, pair) as server, h2_client(server) as client:
        answer = await client.ask()
        assert (answer.status, bytes(answer.body)) == (200, b"ok")


@pytest.mark.parametrize("moment", ["before", "within"])
async def test_an_app_that_fails(pair, moment):
    """500, or a reset where the response has begun; other streams go on."""

    async def app(scope, receive, send):
        if scope["path"] == "/good":
            await respond(send)
            return
        if moment == "within":
            await send_head(send, 200)
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise ValueError("a bug")

    async with running(app, pair) as server, h2_client(server) as client:
        answer = await client.ask()
        assert (
            (answer.status == 500) if moment == "before" else (answer.reset is not None and not answer.ended)
        )
        assert (await client.ask(b"/good")).status == 200


async def test_a_stream_that_is_reset_ends_its_app(pair):
    """Within 100 ms, and no other."""
    entered, left = trio.Event(), trio.Event()

    async def app(scope, receive, send):
        if scope["path"] == "/good":
            await trio.sleep(0.2)
            await respond(send)
            return
        entered.set()
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    async with running(app, pair) as server, h2_client(server) as client:
        other = client.open(b"/good")
        stream_id = client.open()
        await client.flush()
        await entered.wait()
        watch = Watch()
        await client.frames(RstStreamFrame(stream_id, error_code=8))
        with trio.fail_after(1):
            await left.wait()
        assert watch.seconds < 0.1
        assert (await client.answer(other)).status == 200


async def test_an_expectation(pair):
    """100 (Continue) is sent when the app asks for the body."""
    async with running(echo, pair) as server, h2_client(server) as client:
        stream_id = client.open(b"/", b"POST", [(b"expect", b"100-continue")], end=False)
        await client.flush()
        await client.until(lambda: client.answers[stream_id].informational)
        client.send_data(stream_id, b"hello", end=True)
        await client.flush()
        assert (await client.answer(stream_id)).body == b"POST / hello"


async def test_a_body_that_does_not_come(pair):
    """408 for its stream; the others aren't touched."""
    async with running(echo, pair, body_seconds=0.1) as server, h2_client(server) as client:
        slow = client.open(b"/slow", b"POST", end=False)
        client.send_data(slow, b"hel")
        await client.flush()
        assert (await client.answer(slow)).status == 408
        assert (await client.ask(b"/", b"POST", body=b"hello")).status == 200


async def test_an_answer_before_the_end_of_the_body(pair):
    """RST_STREAM with NO_ERROR follows the whole response."""

    async def app(scope, receive, send):
        await respond(send, status=413)

    async with running(app, pair) as server, h2_client(server) as client:
        stream_id = client.open(b"/", b"POST", end=False)
        client.send_data(stream_id, b"hel")
        await client.flush()
        answer = client.answers[stream_id]
        await client.until(lambda: answer.reset is not None)
        assert (answer.status, answer.ended, answer.reset) == (413, True, h2.errors.ErrorCodes.NO_ERROR)
        assert (await client.ask()).status == 413


async def test_a_client_that_goes_away_gets_what_it_asked_for(pair):
    """GOAWAY without an error means no more requests; those in flight are answered, then it's the end."""
    release = trio.Event()

    async def app(scope, receive, send):
        await release.wait()
        await respond(send, bytes(200_000))

    async with running(app, pair) as server, h2_client(server) as client:
        stream_id = client.open()
        await client.frames(GoAwayFrame(0, last_stream_id=0))
        await trio.sleep(0.05)
        release.set()
        answer = await client.answer(stream_id)
        assert (len(answer.body), answer.ended) == (200_000, True)
        with trio.fail_after(1):
            await client.end()
