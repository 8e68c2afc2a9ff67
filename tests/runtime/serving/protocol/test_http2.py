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


async def test_a_request_and_its_response_are_those_of_http_1_1(pair):
    """A Date is added."""
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
async def test_a_response_that_has_no_body_gets_none(pair, method, status):
    """A body that the app sends is dropped."""

    async def app(scope, receive, send):
        await respond(send, b"ok", status)

    async with running(app, pair) as server, h2_client(server) as client:
        answer = await client.ask(b"/", method)
        assert (answer.status, bytes(answer.body), answer.ended) == (status, b"", True)
        assert ((b"content-length", b"2") in answer.fields) == (status != 204)


@pytest.mark.parametrize("body", [b"", b"hello"])
async def test_trailers_and_early_hints_reach_the_client(pair, body):
    """The connection stays usable and idle."""

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
async def test_a_bad_request_reaches_no_app(pair, head, reason):
    """It is a 4xx on its stream, or the end of the connection if h2 refuses it."""
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
async def test_an_invalid_response_field_is_500_or_a_reset(pair, fields, kind):
    """None of it is sent. The connection goes on."""

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


async def test_fields_of_an_http_1_1_connection_are_dropped(pair):
    async def app(scope, receive, send):
        await respond(send, b"ok", 200, (b"proxy-connection", b"x"), (b"keep-alive", b"x"), (b"TE", b"x"))

    async with running(app, pair) as server, h2_client(server) as client:
        answer = await client.ask()
        assert (answer.status, bytes(answer.body)) == (200, b"ok")


@pytest.mark.parametrize("moment", ["before", "within"])
async def test_a_failing_app_is_500_or_a_reset_of_its_stream(pair, moment):
    """Other streams go on."""

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


async def test_a_reset_stream_cancels_its_app_within_100_ms(pair):
    """No other app is cancelled."""
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


async def test_100_continue_is_sent_when_the_app_reads_the_body(pair):
    async with running(echo, pair) as server, h2_client(server) as client:
        stream_id = client.open(b"/", b"POST", [(b"expect", b"100-continue")], end=False)
        await client.flush()
        await client.until(lambda: client.answers[stream_id].informational)
        client.send_data(stream_id, b"hello", end=True)
        await client.flush()
        assert (await client.answer(stream_id)).body == b"POST / hello"


async def test_a_body_that_does_not_arrive_is_408_on_its_stream(pair):
    async with running(echo, pair, body_seconds=0.1) as server, h2_client(server) as client:
        slow = client.open(b"/slow", b"POST", end=False)
        client.send_data(slow, b"hel")
        await client.flush()
        assert (await client.answer(slow)).status == 408
        assert (await client.ask(b"/", b"POST", body=b"hello")).status == 200


async def test_an_early_response_ends_with_rst_stream_no_error(pair):
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


async def test_requests_in_flight_are_answered_after_a_clients_goaway(pair):
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
