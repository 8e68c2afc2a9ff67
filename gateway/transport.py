"""An httpx transport over a free list of connections to one upstream.

The connection used last is used first, so that a small load keeps few of them warm. A pool that searches
all its connections for every request costs more the busier it is; this costs the same at any concurrency.
"""

from __future__ import annotations

import math

import httpx
import trio

from gateway.connection import Connection, has_body
from runtime.http1_bodies import Fields

IDLE_SECONDS = 30.0
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))


class StaleConnection(httpx.RemoteProtocolError):
    """The upstream had closed a kept connection, and the request can't be sent twice.

    It says nothing of the upstream's health.
    """


class FreeListTransport(httpx.AsyncBaseTransport):
    """Sends requests to the server at `base_url`, whatever host their URLs name.

    max_connections: more requests at once raise httpx.PoolTimeout, at once.
    idle_seconds: how long an unused connection is kept.

    A request's `target` extension is sent as it is in place of its URL's path. Its `nursery` extension, where
    there is one, runs the pump of its body, so that an answer is read while the body is still being sent;
    without it the body goes first. Its `interim` extension is awaited with the status and fields of each 1xx
    response. Time-outs are the caller's: cancelling a call closes its connection.
    """

    def __init__(
        self, base_url: str, *, max_connections: int = 1024, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._url = httpx.URL(base_url)
        self._max = max_connections
        self._idle_seconds = idle_seconds
        self._free: list[Connection] = []
        self._lent: set[Connection] = set()

    def __repr__(self) -> str:
        return f"<FreeListTransport {self._url}: {len(self._free)} idle, {len(self._lent)} in use>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response, its body still to be read. Raises httpx.TransportError.

        A kept connection that the upstream had closed: one more try on a new one, where that is harmless.
        """
        connection = self._take()
        kept = connection.is_open
        try:
            return await self._converse(connection, request)
        except (httpx.ReadError, httpx.RemoteProtocolError) as error:
            if not kept or connection.heard:
                raise
            if not _may_repeat(request):
                raise StaleConnection(str(error)) from error
        return await self._converse(self._new(), request)

    async def _converse(self, connection: Connection, request: httpx.Request) -> httpx.Response:
        answered = False
        try:
            if not connection.is_open:
                await connection.open()
            await connection.send(request)
            head = await connection.head(request.extensions.get("interim"))
            answered = True
        finally:
            if not answered:
                self.give_back(connection)
        return httpx.Response(head.status, headers=head.fields, stream=Body(self, connection))

    def _take(self) -> Connection:
        self.expire()
        while self._free:
            connection = self._free.pop()
            if not connection.is_stale():
                self._lent.add(connection)
                return connection
            connection.close()
        return self._new()

    def _new(self) -> Connection:
        if len(self._lent) >= self._max:
            raise httpx.PoolTimeout(f"all {self._max} connections to {self._url} are in use")
        connection = Connection(self._url)
        self._lent.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep the connection for the next request if it can serve one, else close it. Never waits."""
        if connection not in self._lent:
            return
        self._lent.remove(connection)
        if connection.recycle():
            connection.idle_until = trio.current_time() + self._idle_seconds
            self._free.append(connection)
        else:
            connection.close()

    def expire(self, now: float | None = None) -> None:
        """Close the connections that have idled too long: the oldest come first."""
        now = trio.current_time() if now is None else now
        fresh = next((n for n, one in enumerate(self._free) if one.idle_until > now), len(self._free))
        for connection in self._free[:fresh]:
            connection.close()
        del self._free[:fresh]

    async def aclose(self) -> None:
        """Close the idle connections; those in use end with their requests."""
        self.expire(math.inf)


class Body(httpx.AsyncByteStream):
    """A response's body. It gives its connection back at the end, or when it is closed.

    trailers: the fields behind it, once it has ended.
    """

    def __init__(self, transport: FreeListTransport, connection: Connection) -> None:
        self._transport = transport
        self._connection = connection
        self.trailers: Fields = []

    def __aiter__(self) -> Body:
        return self

    def at_hand(self) -> bytes:
        """A piece that is there without waiting; empty where none is. Raises httpx.TransportError."""
        return self._connection.at_hand()

    async def __anext__(self) -> bytes:
        piece = await self._connection.piece()
        if piece is None:
            self.trailers = self._connection.trailers
            self._transport.give_back(self._connection)
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Let go of the connection. Never waits."""
        self._transport.give_back(self._connection)


def _may_repeat(request: httpx.Request) -> bool:
    return request.method in _IDEMPOTENT and not has_body(request)
