"""A message cut at every one of its bytes: whole, refused or broken off, never half and clean."""

import h11
import pytest
import trio
import trio.testing

from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, connect, upstream

WHOLE = {
    "length": b"HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 13\r\n\r\n0\r\n\r\n hello\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\n0\r\n\r\n\r\n7;x=y\r\n hello\n\r\n0\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\n\r\n",
    "hints": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na",
}
BODY = {
    "length": b"0\r\n\r\n hello\r\n",
    "chunked": b"0\r\n\r\n hello\n",
    "trailers": b"a",
    "hints": b"a",
}


def cutting(data, reset):
    """An upstream that cuts its n-th answer behind n bytes."""
    count = 0

    async def script(peer: Peer):
        nonlocal count
        await peer.until(b"\r\n\r\n")
        await peer.send(data[:count])
        count += 1
        if reset:
            peer.reset()

    return script


async def answer(port, version):
    """Status and body of the response, as h11 reads them, and whether it is complete."""
    peer = await connect(port)
    await peer.send(b"GET /auth/x HTTP/%b\r\nHost: g\r\nTE: trailers\r\n\r\n" % version)
    reader, status, body = h11.Connection(h11.CLIENT), 0, b""
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "g")]))
    reader.send(h11.EndOfMessage())
    with trio.fail_after(3):
        try:
            while True:
                event = reader.next_event()
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    return status, body, True
                elif event is h11.NEED_DATA:
                    reader.receive_data(await peer.stream.receive_some(65536))
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            return status, body, False
        finally:
            await peer.stream.aclose()


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("kind", WHOLE)
async def test_a_truncated_response_is_502_or_cut_and_a_failure(kind, version, reset):
    """502 as long as nothing was passed on. Afterwards the client gets no clean end."""
    data, body = WHOLE[kind], BODY[kind]
    policy = {"max_failures": 1000}
    async with (
        upstream(cutting(data, reset)) as server,
        served(auth=server.url, policy=policy) as gateway,
    ):
        for size in range(len(data) + 1):
            status, got, complete = await answer(gateway.port, version)
            if status == 502:
                assert complete, size
                assert b"SERVICE_UNAVAILABLE" in got
            else:
                # A reset may overtake the last bytes, which are then lost.
                assert complete == (size == len(data)) or (reset and not complete), size
                assert body.startswith(got), size
                assert got == body or not complete, size
        counts = await gateway.counts()
        # A call during which this machine stood still for a second isn't counted as a failure.
        stalls = int(gateway.app.extensions["loop_time"].stalled)
    assert counts["failure"] >= len(data) - stalls, (counts, stalls)
    assert sum(counts.values()) == len(data) + 1


ASKED = b"POST /auth/x HTTP/1.1\r\nHost: g\r\n"
REQUESTS = {
    "length": ASKED + b"Content-Length: 11\r\n\r\n0\r\n\r\n hello",
    "chunked": ASKED + b"Transfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n1;x\r\na\r\n0\r\nx: y\r\n\r\n",
}


def is_whole(data):
    """Whether a service would take this for a request."""
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(data)
    while (event := reader.next_event()) is not h11.NEED_DATA:
        if isinstance(event, h11.EndOfMessage):
            return True
    return False


@pytest.mark.usefixtures("clear_and_tls")
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_truncated_request_is_never_whole_to_the_service_and_no_failure(kind, reset):
    seen, data = [], REQUESTS[kind]

    async def script(peer: Peer):
        seen.append(await peer.rest())

    async with upstream(script) as server, served(auth=server.url) as gateway:
        for size in range(1, len(data)):
            peer = await connect(gateway.port)
            await peer.send(data[:size])
            await trio.testing.wait_all_tasks_blocked(0.005)
            if reset:
                peer.reset()
            else:
                await peer.stream.aclose()
        with trio.fail_after(2):
            while (await gateway.snapshot()).in_flight:  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.005)
        await trio.testing.wait_all_tasks_blocked(0.02)
        counts = await gateway.counts()
    assert set(counts) <= {"cancelled"}
    assert len(seen) == len(data) - data.index(b"\r\n\r\n") - 4
    assert not any(is_whole(one) for one in seen)
