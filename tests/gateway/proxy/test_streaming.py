"""Bodies streamed through the gateway: uploads, early answers, clients that are slow or leave."""

import pytest
import trio
import trio.testing

from tests.gateway.raw_requests import CUT, GET, ask, envelope, post, settled
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, Watch, answering, connect, ok, upstream


async def silent_then_gone(peer: Peer, gone: trio.Event, begin=b""):
    await peer.request()
    await peer.send(begin)
    await peer.rest()
    gone.set()


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
    ],
    ids=["before the head", "idle event stream", "in the body"],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_leaving_cancels_the_upstream_call_within_100_ms(begin, reset):
    gone = trio.Event()
    async with (
        upstream(lambda peer: silent_then_gone(peer, gone, begin)) as server,
        served(auth=server.url) as gateway,
    ):
        peer = await connect(gateway.port)
        await peer.send(GET)
        if begin:
            await peer.until(b"\r\n\r\n")
        await trio.sleep(0.05)
        watch = Watch()
        if reset:
            peer.reset()
        else:
            await peer.stream.aclose()
        with trio.fail_after(2):
            await gone.wait()
        assert watch.seconds < 0.1
        assert await settled(gateway) == {"cancelled": 1}
        assert "0 idle, 0 in use" in repr(gateway.transports["auth"])


async def test_leaving_during_an_upload_is_no_failure():
    gone = trio.Event()

    async def script(peer: Peer):
        await peer.until(b"half")
        await peer.rest()
        gone.set()

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(post(100, b"half"))
        await trio.sleep(0.05)
        watch = Watch()
        await peer.stream.aclose()
        with trio.fail_after(2):
            await gone.wait()
        assert watch.seconds < 0.1
        assert await settled(gateway) == {"cancelled": 1}


async def test_request_and_response_are_streamed_piece_by_piece():
    first, event = trio.Event(), trio.Event()

    async def script(peer: Peer):
        await peer.until(b"one")
        first.set()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nevent\r\n")
        await event.wait()
        await peer.until(b"0\r\n\r\n")
        await peer.send(b"0\r\n\r\n")
        await peer.rest()

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        with trio.fail_after(2):
            await peer.send(
                b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
            )
            await first.wait()
            await peer.until(b"event")
            event.set()
            await peer.send(b"3\r\ntwo\r\n0\r\n\r\n")
            assert (await peer.until(b"0\r\n\r\n")).endswith(b"\r\n0\r\n\r\n")
        assert await settled(gateway) == {"success": 1}


async def test_an_early_response_reaches_a_client_that_still_uploads():
    """The breaker counts a success."""

    async def script(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
        await trio.sleep_forever()

    async with upstream(script) as server, served(auth=server.url) as gateway, trio.open_nursery() as nursery:
        peer = await connect(gateway.port)
        await peer.send(post(5_000_000))

        async def upload():
            try:
                while True:
                    await peer.stream.send_all(b"x" * 50_000)
            except trio.BrokenResourceError:
                pass

        nursery.start_soon(upload)
        with trio.fail_after(2):
            head = await peer.until(b"\r\n\r\n")
            assert await peer.body(head) == b"no"
        assert head.startswith(b"HTTP/1.1 403 ")
        nursery.cancel_scope.cancel()
        assert await gateway.counts() == {"success": 1}


async def test_the_client_may_finish_its_upload_after_an_early_response():
    """The connection serves the next request."""

    async def script(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
        await trio.sleep_forever()

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        for size in (2_000_000, 3):
            with trio.fail_after(2):
                await peer.send(post(size))
                assert (await peer.until(b"no")).startswith(b"HTTP/1.1 403 ")
                await peer.send(b"x" * size)


async def test_a_stalled_upstream_stalls_the_client():
    """The gateway buffers a bounded part of the upload."""

    async def script(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await trio.sleep_forever()

    async with upstream(script) as server, served(auth=server.url, max_body_bytes=10**9) as gateway:
        peer = await connect(gateway.port)
        await peer.send(post(10**9))
        sent = 0
        with trio.move_on_after(1):
            while True:
                await peer.stream.send_all(b"x" * 65536)
                sent += 65536
        assert sent < 30_000_000  # the kernel's buffers, mostly


async def test_upstream_timeout_stands_still_while_the_client_uploads():
    async with upstream(answering(ok())) as server, served(auth=server.url, upstream_timeout=0.1) as gateway:
        peer = await connect(gateway.port)
        await peer.send(post(4, b"ab"))
        await trio.sleep(0.3)
        await peer.send(b"cd")
        with trio.fail_after(1):
            assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_stream_is_in_flight_until_its_end_and_counts_once():
    cut = trio.Event()

    async def script(peer: Peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nevent\r\n")
        await cut.wait()

    async with upstream(script) as server, served(auth=server.url, upstream_timeout=0.1) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        await peer.until(b"event")
        await trio.sleep(0.3)
        assert await gateway.counts() == {}
        assert (await gateway.snapshot()).in_flight == 1
        cut.set()
        await peer.closed(within=1)
        assert await settled(gateway) == {"failure": 1}
        assert (await gateway.snapshot()).failure_count == 1


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n"]
)
async def test_a_body_above_the_limit_is_413_and_no_failure(framing):
    async def patient(peer: Peer):
        await peer.rest()

    async with upstream(patient) as server, served(auth=server.url, max_body_bytes=1000) as gateway:
        data = b"POST /auth/x HTTP/1.1\r\nHost: g\r\n" + framing + b"x" * 2000
        status, _, body = await ask(gateway.port, data)
        assert (status, envelope(body)[0]) == (413, "PAYLOAD_TOO_LARGE")
        assert set(await settled(gateway)) <= {"cancelled"}
        assert (await ask(gateway.port, GET.replace(b"/auth", b"")))[0] == 404


async def test_an_announced_body_above_the_limit_is_413_at_once():
    """The service gets nothing of the request."""
    async with upstream(answering(ok())) as server, served(auth=server.url, max_body_bytes=1000) as gateway:
        for expect in (b"", b"Expect: 100-continue\r\n"):
            peer = await connect(gateway.port)
            with trio.fail_after(1):
                await peer.send(post(1001)[:-2] + expect + b"\r\n")
                assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
            await peer.stream.aclose()
        assert server.connections == 0


def requests_at_work():
    """How many tasks belong to requests."""
    waiting, found = [trio.lowlevel.current_root_task()], 0
    while waiting:
        task = waiting.pop()
        found += task.name.startswith("gateway.") or task.name.endswith("RequestStream._run")
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


async def test_no_call_connection_or_task_remains_of_any_client():
    async def script(peer: Peer):
        while True:
            line, _, _ = (await peer.request()).partition(b" HTTP")
            await peer.send(ok() if line.endswith(b"ok") else CUT["short"])
            if line.endswith(b"cut"):
                return

    async def visit(port, n):
        path, end = ((b"ok", b"\r\n\r\nok"), (b"cut", b"abc"), (b"stall", b"abc"))[n % 3]
        peer = await connect(port)
        await peer.send(post(4, b"body", b"/auth/" + path) if n % 2 else GET.replace(b"x", path))
        await peer.until(end)
        if path == b"cut":
            await peer.rest()
        if path == b"stall":
            assert requests_at_work() > 0
        if n % 4:
            peer.reset()
        await peer.stream.aclose()

    policy = {"max_failures": 1000}
    async with upstream(script) as server, served(auth=server.url, policy=policy) as gateway:
        async with trio.open_nursery() as nursery:
            for n in range(120):
                nursery.start_soon(visit, gateway.port, n)
        with trio.fail_after(5):
            while requests_at_work():  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.005)
            assert (await gateway.snapshot()).in_flight == 0
            assert "0 in use" in repr(gateway.transports["auth"])
        assert await gateway.counts() == {"success": 40, "failure": 40, "cancelled": 40}
