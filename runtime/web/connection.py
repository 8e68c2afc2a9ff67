"""One HTTP request of a Quart-Trio app, with its ends made safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from quart.wrappers import Request
from quart_trio.asgi import TrioASGIHTTPConnection

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable

SEND_SECONDS = 10.0
DRAIN_SECONDS = 5.0
CLIENT_DISCONNECTED = "school.client_disconnected"
"""In the scope of a request whose client has left."""


class Connection(TrioASGIHTTPConnection):
    """What Quart-Trio does with a request, and three things more.

    A client that leaves cancels the handler, which can tell by the scope why.

    The answer is sent shielded, for at most SEND_SECONDS: the server queues the disconnect from inside the
    final send, and its cancelling of that very task would leave the connection open.

    The answer waits for the rest of an upload that nobody read, for at most DRAIN_SECONDS: the close that
    follows would otherwise reset the connection before the client has seen the answer.
    """

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle the request until it is answered or the client has left."""
        self._uploaded = trio.Event()
        await super().__call__(receive, send)

    async def handle_messages(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        """Take in the body, and end everything when the client leaves."""
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
        """Run the handler and send its answer."""
        response = await self.app.handle_request(request)
        with trio.move_on_after(DRAIN_SECONDS):
            await self._uploaded.wait()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + SEND_SECONDS):
            await self._send_response(send, response)
        nursery.cancel_scope.cancel()
