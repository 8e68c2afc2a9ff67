"""One request of a client that nobody trusts, and its answer, as an ASGI app sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import trio

from runtime.answering import Answering
from runtime.http1 import RequestHead
from runtime.http1_bodies import Malformed

if TYPE_CHECKING:
    from runtime.edge import Connection

TARGET = "http.request.target"
"""The extension that holds a request's target, byte for byte."""
HUNG_UP = "http.hung_up"
"""The extension that waits until the client has left, also where it left unread bytes behind."""

Message = dict[str, Any]


class Left(Exception):
    """The client closed its connection."""


class Exchange:
    """One request and its answer, as the app's `receive` and `send`."""

    def __init__(self, connection: Connection, head: RequestHead) -> None:
        self._connection = connection
        self._head = head
        self._told_all = False
        self._told_left = False
        self._continued = not head.expects
        self._sending = trio.Lock()
        self.body = head.body()
        self.fault: Malformed | None = None
        self.answering = Answering(head.method, head.version, close=head.close or connection.stopping)

    @property
    def method(self) -> bytes:
        """The request's."""
        return self._head.method.encode()

    def scope(self, client: tuple[str, int], server: tuple[str, int]) -> Message:
        """What ASGI says of the request, and how it is extended."""
        head = self._head
        path, _, query = head.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "method": head.method,
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": head.fields,
            "client": client,
            "server": server,
            "state": {},
            "extensions": {
                TARGET: head.target,
                HUNG_UP: self._connection.hung_up,
                "http.response.informational": {},
                "http.response.trailers": {},
            },
        }

    async def receive(self) -> Message:
        """The next piece of the body, as it comes; then wait for the client to leave."""
        if not self._told_all and not self._told_left:
            try:
                return await self._piece()
            except Malformed as fault:
                self.fault = fault
            except (trio.BrokenResourceError, trio.ClosedResourceError, Left):
                pass
            self._told_left = True
        if not self._told_left:
            await self._connection.left()
            self._told_left = True
        return {"type": "http.disconnect"}

    async def _piece(self) -> Message:
        piece = b"" if self.body.done else self._connection.take(self)
        while not piece and not self.body.done:
            if not self._continued and not self.answering.began:
                await self._continue()
            await self._connection.more_body()
            piece = self._connection.take(self)
        self._told_all = self.body.done
        return {"type": "http.request", "body": piece, "more_body": not self.body.done}

    async def _continue(self) -> None:
        """The app wants the body that the client holds back."""
        self._continued = True
        await self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def discard(self) -> None:
        """Read the rest of the body, for nobody. Raises Left where it doesn't come."""
        try:
            while not self.body.done:
                self._connection.take(self)
                if not self.body.done:
                    await self._connection.more_body()
        except Malformed:
            pass

    async def send(self, message: Message) -> None:
        """Send a part of the answer. Where the client has left, nothing happens."""
        answering = self.answering
        kind = message["type"]
        if kind == "http.response.start":
            # A client that holds its body back, and isn't told to send it, may never send it.
            answering.close = answering.close or not (self._continued or self.body.done)
            answering.start(message["status"], message["headers"], bool(message.get("trailers")))
            return
        if kind == "http.response.informational":
            if answering.began or self._head.version == "1.0":
                return
            self._continued = self._continued or message["status"] == 100
            data = answering.informational(message["status"], message["headers"])
        elif kind == "http.response.trailers":
            data = answering.trailers(message["headers"])
        else:
            data = answering.body(message.get("body", b""), more=message.get("more_body", False))
        if data:
            await self._write(data)

    async def _write(self, data: bytes) -> None:
        # Two tasks may have something to say only while the client waits for 100 (Continue).
        try:
            if self._head.expects:
                async with self._sending:
                    await self._connection.write(data)
            else:
                await self._connection.write(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, Left):
            self.answering.broken = True
        except trio.Cancelled:
            self.answering.broken = True
            raise
