"""An httpx transport that pools the connections to one server.

The most recently used connection is used first, so that a small load keeps few connections open. A request
costs the same at any concurrency, since no list of connections is searched.
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
"""Default seconds to connect."""
IDLE_SECONDS = 30.0
"""Default seconds for which a connection is kept idle."""
AGE_SECONDS = 30.0
"""Default seconds after which a connection isn't reused, so that traffic follows changes of the DNS."""
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))


class StaleConnection(httpx.RemoteProtocolError):
    """The upstream had closed a reused connection, and the request can't safely be sent again.

    It is no evidence of the upstream's health.
    """


class UpstreamTransport(httpx.AsyncBaseTransport):
    """Sends requests to the server, or servers, that it was made for, whatever host their URLs name.

    A request's extensions: `target` replaces the path of its URL. `nursery` runs the task that sends its
    body, so that the response is read meanwhile; without it the body is sent first. `interim` is awaited with
    the status and fields of each 1xx response. Apart from connecting, there are no timeouts: cancelling a
    call closes its connection.
    """

    def expire(self, now: float | None = None) -> None:
        """Close the idle connections whose time is up. now: on trio's clock. Never waits."""
        raise NotImplementedError


class ConnectionPoolTransport(UpstreamTransport):
    """Sends requests to the server at `base_url`.

    context: verifies the server's certificate; required for https. resolver: resolves its host; by default a
    new one. max_connections: with more concurrent requests, a request raises httpx.PoolTimeout at once.
    connect_timeout: seconds to connect, look-up and TLS handshake included. idle_seconds, age_seconds:
    maximum seconds for which a connection is idle, and is reused.
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
        self._idle: list[UpstreamConnection] = []
        self._in_use: set[UpstreamConnection] = set()

    def __repr__(self) -> str:
        return f"<ConnectionPoolTransport {self._url}: {len(self._idle)} idle, {len(self._in_use)} in use>"

    @property
    def url(self) -> httpx.URL:
        """The server's URL."""
        return self._url

    @property
    def in_use(self) -> int:
        """The number of requests in flight."""
        return len(self._in_use)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; return the response, its body unread. Raises httpx.TransportError.

        If the upstream had closed a reused connection, an idempotent request is sent once more on a new one.
        Cancelling closes the connection.
        """
        connection = self._acquire()
        kept = connection.is_open
        try:
            return await self._exchange(connection, request)
        except (httpx.ReadError, httpx.RemoteProtocolError) as error:
            if not kept or connection.received_any:
                raise
            if not _may_repeat(request):
                raise StaleConnection(str(error)) from error
        return await self._exchange(self._new(), request)

    async def _exchange(self, connection: UpstreamConnection, request: httpx.Request) -> httpx.Response:
        answered = False
        try:
            if not connection.is_open:
                await connection.open(self._connect_timeout)
            await connection.send(request)
            head = await connection.head(request.extensions.get("interim"))
            answered = True
        finally:
            if not answered:
                self.release(connection)
        return httpx.Response(head.status, headers=head.fields, stream=ResponseBody(self, connection, head))

    def _acquire(self) -> UpstreamConnection:
        now = trio.current_time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable_until > now and not connection.is_stale():
                self._in_use.add(connection)
                return connection
            connection.close()
        return self._new()

    def _new(self) -> UpstreamConnection:
        if len(self._in_use) >= self._max:
            raise httpx.PoolTimeout(f"all {self._max} connections to {self._url} are in use")
        connection = UpstreamConnection(self._url, self._resolver, self._context)
        self._in_use.add(connection)
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Keep the connection for the next request if it can be reused, else close it. Never waits."""
        if connection not in self._in_use:
            return
        self._in_use.remove(connection)
        now = trio.current_time()
        usable_until = min(now + self._idle_seconds, connection.opened_at + self._age_seconds)
        if usable_until > now and connection.reset_for_reuse():
            connection.usable_until = usable_until
            self._idle.append(connection)
        else:
            connection.close()

    def expire(self, now: float | None = None) -> None:
        """Close the idle connections whose time is up. now: on trio's clock. Never waits."""
        now = trio.current_time() if now is None else now
        kept = []
        for connection in self._idle:
            if connection.usable_until > now:
                kept.append(connection)
            else:
                connection.close()
        self._idle = kept

    async def aclose(self) -> None:
        """Close the idle connections. Those in use are closed after their requests."""
        self.expire(math.inf)


class ResponseBody(httpx.AsyncByteStream):
    """A response's body. Its connection is released at its end, or when it is closed.

    fields: those of the response's head, with lower-case names. trailers: set once the body has ended.
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
        """The part that has been received already; may be empty. Never waits. Raises httpx.TransportError."""
        return self._connection.buffered()

    async def __anext__(self) -> bytes:
        piece = await self._connection.piece()
        if piece is None:
            self.trailers = self._connection.trailers
            self._transport.release(self._connection)
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Release the connection. Never waits."""
        self._transport.release(self._connection)


def _may_repeat(request: httpx.Request) -> bool:
    return request.method in _IDEMPOTENT and not has_body(request)
