"""An upstream that records, a client that sends raw bytes, and the fields of their messages."""

import json
import re

import trio

from tests.gateway.wire import Peer, connect, ok

GET = b"GET /auth/x HTTP/1.1\r\nHost: gateway\r\n\r\n"
TRAILED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n"
    b"0\r\nx-sum: 7\r\ntransfer-encoding: gzip\r\nx-failure-origin: me\r\n\r\n"
)
"""A response with trailers: one would change its framing, another the breaker that counts it."""


def recording(seen, answer=None):
    """An upstream that records the requests it gets."""

    async def script(peer: Peer):
        while True:
            seen.append(await peer.request())
            await peer.send(ok() if answer is None else answer)

    return script


async def talk(port, data, within=3.0):
    """The answer to these bytes until the connection closes. Fails if it doesn't close."""
    peer = await connect(port)
    with trio.fail_after(within):
        await peer.send(data)
        answer = await peer.rest()
    await peer.stream.aclose()
    return answer


def fields(message, name):
    """The values of one field of a message."""
    head = message.partition(b"\r\n\r\n")[0]
    return re.findall(rb"(?im)^%b: *(.*?)\r?$" % name, head)


def error(answer):
    """Status and code of a single answer of the gateway's own."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(fields(answer, b"content-length")[0]) == len(body)
    assert fields(answer, b"content-type") == [b"application/json"]
    assert len(fields(answer, b"date")) == len(fields(answer, b"x-request-id")) == 1
    return int(head.split()[1]), json.loads(body)["error"]
