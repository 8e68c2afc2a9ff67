"""A server answering by itself, with no gateway in it: Hypercorn, or our own edge where EDGE is set."""

from __future__ import annotations

import os

import trio
from runtime.edge import Limits

from runtime.serving import serve, server_config

_BODY = b'{"message": "ok", "data": null}'
_HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))],
}


async def app(scope, receive, send):
    """The same small answer to everything."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    await send(_HEAD)
    # As in the gateway: the server reports the client gone from within the final send.
    with trio.CancelScope(shield=True):
        await send({"type": "http.response.body", "body": _BODY, "more_body": False})


async def main() -> None:
    """Serve on PORT."""
    limits = Limits() if "EDGE" in os.environ else None
    await serve(app, host="127.0.0.1", port=int(os.environ["PORT"]), config=server_config(), limits=limits)


if __name__ == "__main__":
    trio.run(main)
