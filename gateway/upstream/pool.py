"""An httpx transport over the kept connections to one server.

The connection used last is used first, so that a small load keeps few of them warm. A pool that searches
all its connections for every request costs more the busier it is; this costs the same at any concurrency.
"""

from __future__ import annotations

import math
import ssl

import httpx
import trio

from gateway.upstream.addresses import Resolver
from gateway.upstream.connection import UpstreamConnection, has_body
from gateway.upstream.response_reader import ResponseHead
from runtime.header_fields import Fields

CONNECT_SECONDS = 2.0
IDLE_SECONDS = 30.0
AGE_SECONDS = 30.0
"""A busy connection is closed after that: traffic follows a name whose addresses have changed."""
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))


class StaleConnection(httpx.RemoteProtocolError):
    """The upstream had closed a kept connection, and the request can't be sent twice.

    It says nothing of the upstream's health.
    """


class UpstreamTransport(httpx.AsyncBaseTransport):
    """Sends requests to the server, or servers, that it was made for, whatever host their URLs name.

    A request's `target` extension is sent as it is in place of its URL's path. Its `nursery` extension, where
    there is one, runs the pump of its body, so that an answer is read while the body is still being sent;
    without it the body goes first. Its `interim` extension is awaited with the status and fields of each 1xx
    response. Time-outs are the caller's, but for connecting: cancelling a call closes its connection.
    """

    def expire(self, now: float | None = None) -> None:
        """Close the unused connections whose time is up. now: on trio's clock. Never waits."""
        raise NotImplementedError


class ConnectionPoolTransport(UpstreamTransport):
    """Sends requests to the server at `base_url`.

    context: verifies its certificate; needed for https. resolver: finds its addresses; None: one of its own.
    max_connections: more requests at once raise httpx.PoolTimeout, at once.
    connect_timeout: seconds to connect, look-up and TLS handshake included.
    idle_seconds, age_seconds: how long a connection is kept unused, and in all.
    """

    def __init__(
        self,
        base_url: str,
        *,
        context: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
        max_connections: int = 1024,
        connect_timeout: float = CONNECT_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        age_seconds: float = AGE_SECONDS,
    ) -> None:
        self._url = httpx.URL(base_url)
        self._context = context
        default_port = 443 if self._url.scheme == "https" else 80
        self._resolver = resolver or Resolver(self._url.host, self._url.port or default_port)
        self._max = max_connections
        self._connect_timeout = connect_timeout
        self._idle_seconds = idle_seconds
        self._age_seconds = age_seconds
        self._free: list[UpstreamConnection] = []
        self._lent: set[UpstreamConnection] = set()

    def __repr__(self) -> str:
        return f"<ConnectionPoolTransport {self._url}: {len(self._free)} idle, {len(self._lent)} in use>"

    @property
    def url(self) -> httpx.URL:
        """Where its server is."""
        return self._url

    @property
    def in_use(self) -> int:
        """Requests in flight."""
        return len(self._lent)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response, its body still to be read. Raises httpx.TransportError.

        A kept connection that the upstream had closed: one more try on a new one, where that is harmless.
        """
        connection = self._take()
        kept = connection.is_open
        try:
            return await self._converse(connection, request)
        except (httpx.ReadError, httpx.RemoteProtocolError) as error:
            if not kept or connection.received_any:
                raise
            if not _may_repeat(request):
                raise StaleConnection(str(error)) from error
        return await self._converse(self._new(), request)

    async def _converse(self, connection: UpstreamConnection, request: httpx.Request) -> httpx.Response:
        answered = False
        try:
            if not connection.is_open:
                await connection.open(self._connect_timeout)
            await connection.send(request)
            head = await connection.head(request.extensions.get("interim"))
            answered = True
        finally:
            if not answered:
                self.give_back(connection)
        return httpx.Response(head.status, headers=head.fields, stream=ResponseBody(self, connection, head))

    def _take(self) -> UpstreamConnection:
        now = trio.current_time()
        while self._free:
            connection = self._free.pop()
            if connection.usable_until > now and not connection.is_stale():
                self._lent.add(connection)
                return connection
            connection.close()
        return self._new()

    def _new(self) -> UpstreamConnection:
        if len(self._lent) >= self._max:
            raise httpx.PoolTimeout(f"all {self._max} connections to {self._url} are in use")
        connection = UpstreamConnection(self._url, self._resolver, self._context)
        self._lent.add(connection)
        return connection

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep the connection for the next request if it can serve one, else close it. Never waits."""
        if connection not in self._lent:
            return
        self._lent.remove(connection)
        now = trio.current_time()
        usable_until = min(now + self._idle_seconds, connection.opened_at + self._age_seconds)
        if usable_until > now and connection.reset_for_reuse():
            connection.usable_until = usable_until
            self._free.append(connection)
        else:
            connection.close()

    def expire(self, now: float | None = None) -> None:
        """Close the unused connections whose time is up. now: on trio's clock. Never waits."""
        now = trio.current_time() if now is None else now
        kept = []
        for connection in self._free:
            if connection.usable_until > now:
                kept.append(connection)
            else:
                connection.close()
        self._free = kept

    async def aclose(self) -> None:
        """Close the idle connections; those in use end with their requests."""
        self.expire(math.inf)


class ResponseBody(httpx.AsyncByteStream):
    """A response's body. It gives its connection back at the end, or when it is closed.

    fields: those of the response's head, with names in lower case. trailers: the fields behind the body, once
    it has ended.
    """

    def __init__(
        self, transport: ConnectionPoolTransport, connection: UpstreamConnection, head: ResponseHead
    ) -> None:
        self._transport = transport
        self._connection = connection
        self.fields = head.fields
        self.trailers: Fields = []

    def __aiter__(self) -> ResponseBody:
        return self

    def buffered(self) -> bytes:
        """A piece that is there without waiting; empty where none is. Raises httpx.TransportError."""
        return self._connection.buffered()

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
