"""One HTTP request of a Quart-Trio app: its disconnect, and a response that reaches the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from quart.wrappers import Request
from quart_trio.asgi import TrioASGIHTTPConnection

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable

SEND_SECONDS = 10.0
"""The limit for sending a response that is shielded from cancellation."""
DRAIN_SECONDS = 5.0
"""The limit for waiting for the rest of an upload before the response."""
CLIENT_DISCONNECTED = "school.client_disconnected"
"""The key in an ASGI scope that is set when the client disconnects."""


class Connection(TrioASGIHTTPConnection):
    """Quart-Trio's connection with three additions.

    A client that disconnects cancels the handler and sets CLIENT_DISCONNECTED in the scope.

    The response is sent in a shielded scope, for at most SEND_SECONDS: the server queues the disconnect
    during the final send, and cancelling that task would leave the connection open.

    The response waits for the rest of an unread upload, for at most DRAIN_SECONDS: otherwise the close after
    it would reset the connection before the client has read the response.
    """

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle the request until the response is sent or the client disconnects."""
        self._uploaded = trio.Event()
        await super().__call__(receive, send)

    async def handle_messages(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        """Receive the body, and cancel the request when the client disconnects."""
        while True:
            message = await receive()
            if message["type"] == "http.request":
                request.body.append(message.get("body", b""))
                if not message.get("more_body", False):
                    request.body.set_complete()
                    self._uploaded.set()
            elif message["type"] == "http.disconnect":
                request.scope[CLIENT_DISCONNECTED] = True  # type: ignore[literal-required]
                nursery.cancel_scope.cancel()
                return

    async def handle_request(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, send: ASGISendCallable
    ) -> None:
        """Run the handler and send its response."""
        response = await self.app.handle_request(request)
        with trio.move_on_after(DRAIN_SECONDS):
            await self._uploaded.wait()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + SEND_SECONDS):
            await self._send_response(send, response)
        nursery.cancel_scope.cancel()
