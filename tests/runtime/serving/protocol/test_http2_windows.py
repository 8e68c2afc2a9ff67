"""HTTP/2's windows: a slow side holds up only itself, buffers are bounded, and no window is lost."""

from __future__ import annotations

import h2.errors
import pytest
import trio

from tests.runtime.serving.h2_client import h2_client
from tests.runtime.serving.running_app import body_of, echo, respond, running

KIB = 1024


async def test_a_body_that_the_app_leaves_unread_gives_its_window_back(pair):
    """After any number of requests with unread bodies, the next one can be sent."""

    async def app(scope, receive, send):
        if scope["path"] == "/unread":
            await trio.sleep(0.01)
            await respond(send, status=404)
        else:
            await echo(scope, receive, send)

    async with running(app, pair) as server, h2_client(server) as client:
        for _ in range(100):
            assert (await client.ask(b"/unread", b"POST", body=bytes(30 * KIB))).status == 404
        answer = await client.ask(b"/", b"POST", body=b"hello")
        assert answer.body == b"POST / hello"


@pytest.mark.parametrize("ending", ["reset", "padding"])
async def test_a_reset_body_and_padding_give_their_window_back(pair, ending):
    async def app(scope, receive, send):
        try:
            await body_of(receive)
        except EOFError:
            return
        await respond(send)

    async with running(app, pair) as server, h2_client(server) as client:
        for _ in range(45):
            stream_id = client.open(b"/", b"POST", end=False)
            if ending == "reset":
                client.send_data(stream_id, bytes(30 * KIB))
                client.connection.reset_stream(stream_id)
            else:
                for _ in range(140):
                    client.connection.send_data(stream_id, b"x", pad_length=200)
                client.connection.end_stream(stream_id)
            await client.flush()
            if ending == "padding":
                await client.answer(stream_id)
            else:
                client.connection.ping(b"12345678")
                await client.flush()
                await client.until(lambda: client.pongs)
                client.pongs = 0
        assert (await client.ask(b"/", b"POST", body=b"hello")).status == 200


async def test_a_stalled_upload_leaves_room_for_others(pair):
    async def app(scope, receive, send):
        if scope["path"] == "/stalled":
            await trio.sleep_forever()
        await respond(send, b"%d" % len(await body_of(receive)))

    async with running(app, pair) as server, h2_client(server) as client:
        for _ in range(3):
            stream_id = client.open(b"/stalled", b"POST", end=False)
            client.send_data(stream_id, bytes(65_000))
            await client.flush()
            await trio.sleep(0.05)
            with trio.move_on_after(0.1):
                await client.read()
        stream_id = client.open(b"/", b"POST", end=False)
        await client.upload(stream_id, 1_000_000)
        assert (await client.answer(stream_id)).body == b"1000000"


@pytest.mark.parametrize("step", [0, 1])
async def test_an_endless_response_waits_for_the_clients_window(pair, step):
    sent = 0

    async def app(scope, receive, send):
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(16 * KIB), "more_body": True})
            sent += 16 * KIB

    async with running(app, pair) as server, h2_client(server, opens_windows=False) as client:
        stream_id = client.open()
        await client.flush()
        await client.until(lambda: len(client.answers[stream_id].body) == 65535)
        for _ in range(200):
            if step:
                client.connection.increment_flow_control_window(step, stream_id)
                client.connection.increment_flow_control_window(step)
                await client.flush()
            await trio.sleep(0.002)
        assert sent < 65535 + 100 * KIB


async def test_a_stream_without_a_window_is_reset_after_write_seconds(pair):
    """Another stream of the connection goes on."""
    left = trio.Event()

    async def app(scope, receive, send):
        if scope["path"] == "/small":
            await respond(send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with trio.open_nursery() as nursery:

            async def watch():
                while (await receive())["type"] != "http.disconnect":
                    pass
                left.set()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            while True:
                await send({"type": "http.response.body", "body": bytes(16 * KIB), "more_body": True})

    async with running(app, pair, write_seconds=0.2) as server:
        async with h2_client(server, opens_windows=False) as client:
            stream_id = client.open()
            await client.flush()
            answer = await client.answer(stream_id)
            assert (answer.reset, len(answer.body)) == (h2.errors.ErrorCodes.CANCEL, 65535)
            with trio.fail_after(1):
                await left.wait()
            client.opens_windows = True
            client.connection.increment_flow_control_window(65535)
            assert (await client.ask(b"/small")).body == b"ok"


async def test_big_bodies_arrive_in_both_directions(pair):
    """In little memory."""
    size = 20_000_000

    async def app(scope, receive, send):
        if scope["method"] == "POST":
            got = 0
            while True:
                message = await receive()
                got += len(message["body"])
                if not message["more_body"]:
                    break
            await respond(send, b"%d" % got)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(size // 100_000):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        await send({"type": "http.response.body"})

    async with running(app, pair, within=30) as server, h2_client(server) as client:
        down = client.open()
        up = client.open(b"/", b"POST", end=False)
        await client.upload(up, size, within=20)
        assert (await client.answer(up)).body == b"%d" % size
        assert len((await client.answer(down, within=20)).body) == size
