"""A service for GET requests. The last part of the path chooses its response.

python tests/deploy/upstream.py KEY_SET      # the first line of its output is its port

fail: 500. charged: 503, which the breaker of its database has counted. broken: closes the connection.
slow: never responds. Any other: 200.
"""

from __future__ import annotations

import sys
from functools import partial

import trio

DATABASES = {"schools": b"school-database", "students": b"student-database"}


def response(path: str) -> tuple[bytes, bytes]:
    """The status and a header for a path such as /schools/fail, or /fail without the gateway's prefix."""
    service, _, what = path.rpartition("/")
    if what == "fail":
        return b"500 Internal Server Error", b""
    if what == "charged":
        origin = DATABASES.get(service.strip("/"), b"auth-database")
        return b"503 Service Unavailable", b"X-Failure-Origin: %s\r\n" % origin
    return b"200 OK", b""


async def serve(keys: bytes, stream: trio.SocketStream) -> None:
    async with stream:
        try:
            while head := await stream.receive_some():
                path = head.split(b" ", 2)[1].decode()
                what = path.rpartition("/")[2]
                if what == "broken":
                    return
                if what == "slow":
                    await stream.receive_some()
                    return
                status, fields = response(path)
                body = keys if what == "jwks.json" else b"ok"
                length = b"Content-Length: %d\r\n" % len(body)
                await stream.send_all(b"HTTP/1.1 %s\r\n%s%s\r\n%s" % (status, length, fields, body))
        except trio.BrokenResourceError:
            pass


async def main(keys: str) -> None:
    async with trio.open_nursery() as nursery:
        listen = partial(trio.serve_tcp, partial(serve, keys.encode()), 0, host="127.0.0.1")
        (listener,) = await nursery.start(listen)
        sys.stdout.write(f"{listener.socket.getsockname()[1]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
