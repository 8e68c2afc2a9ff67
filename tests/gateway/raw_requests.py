"""Requests as raw bytes, the response to one, and the calls that a breaker has counted."""

import json

import trio
import trio.testing

from tests.gateway.wire import connect

GET = b"GET /auth/x HTTP/1.1\r\nHost: gateway\r\n\r\n"


def post(length, body=b"", path=b"/auth/x"):
    return b"POST %b HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n%b" % (path, length, body)


async def ask(port, data=GET):
    """Status, head and body of the answer to these bytes, on a connection of their own."""
    peer = await connect(port)
    with trio.fail_after(3):
        await peer.send(data)
        head = await peer.until(b"\r\n\r\n")
        body = await peer.body(head)
    await peer.stream.aclose()
    return int(head.split()[1]), head, body


def envelope(body):
    found = json.loads(body)
    return found["error"], found["message"]


CUT = {
    "short": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n",
}


async def settled(gateway, name="auth-service-http", within=1.0):
    """The counts, when nothing is in flight any more."""
    with trio.fail_after(within):
        while (await gateway.snapshot(name)).in_flight:  # noqa: ASYNC110 - no event says so
            await trio.sleep(0.005)
    return await gateway.counts(name)


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n"


BIG = 20_000_000
