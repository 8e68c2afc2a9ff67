"""The types of ASGI: a scope, the messages, and the two callables that receive and send them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
"""Describes one connection or request."""
Message = dict[str, Any]
"""One event, from the server or from the app; its `type` names it."""
Receive = Callable[[], Awaitable[Message]]
"""Waits for the next message from the server."""
Send = Callable[[Message], Awaitable[None]]
"""Passes a message to the server; waits while the client is slow."""
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3 application."""


def peer_address(scope: Scope) -> str:
    """The address of the connection's peer."""
    return str(scope["client"][0]) if scope.get("client") else "unknown"


def without_lifespan(app: App) -> App:
    """The app for a second server, whose start and stop don't start and stop it once more."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    return wrapped
