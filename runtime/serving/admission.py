"""Limits how many connections are served at once, in total and for each client network."""

from __future__ import annotations

import math
import ssl
from collections import Counter
from secrets import token_hex
from typing import Any

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper

from runtime.header_fields import encode_fields
from runtime.serving.connection import LINGER_SECONDS, ClientConnection
from runtime.serving.limits import Limits, client_network
from runtime.serving.protocol.error_response import error_response
from runtime.serving.protocol.request_reader import READ_SIZE

IDLE_GRACE_SECONDS = 0.5
"""Seconds for which an idle connection stays open after the stop: its next request may be on its way."""
WARN_SECONDS = 1.0
"""Seconds between two log lines about rejected connections."""
RETRY_SECONDS = 1
"""The Retry-After of a rejected connection."""
MOST_OF_THE_REST = 0.9
"""A client network's share of the places that other networks leave."""
FEWEST_SHARED = 10
"""A server for fewer connections has no shares."""
MAX_LINGERING = 100
"""Up to so many rejected connections at once get time to read their response."""

log = structlog.get_logger("runtime")


class ConnectionAdmission:
    """Serves up to `limits.connections` connections at once.

    At the limit a new connection replaces the one that has been idle longest. If none is idle, the new one is
    answered 503 with Retry-After. A client network gets at most nine tenths of the places that the others
    leave; beyond that its new connections replace idle ones of its own. So each greedy client leaves places
    for the next, however many there are.
    """

    def __init__(self, app: AppWrapper, config: Config, limits: Limits) -> None:
        self._arguments = app, config, WorkerContext(None)
        self._limits = limits
        self._admitted: dict[ClientConnection, str] = {}
        self._by_network: Counter[str] = Counter()
        self._statistics = limits.statistics
        self._rejecting = 0
        self._unlogged, self._warned_at = 0, -math.inf
        self._closed = False

    def __len__(self) -> int:
        return len(self._admitted)

    async def serve(self, stream: trio.SocketStream, context: ssl.SSLContext | None = None) -> None:
        """Serve a connection until either side closes it. context: for TLS; None: clear text."""
        secured: Any = stream
        if context is not None:
            # Without close_notify a response that ends with its connection looks truncated.
            secured = trio.SSLStream(stream, context, server_side=True)
        try:
            connection = ClientConnection(*self._arguments, secured, self._limits)
        except OSError:  # the client has disconnected already
            stream.socket.close()
            return
        network = client_network(connection.address)
        if not self._has_room(network):
            await self._reject(stream, secured=context is not None)
            return
        self._admitted[connection] = network
        self._by_network[network] += 1
        self._statistics.connections += 1
        if self._closed:
            connection.stop(IDLE_GRACE_SECONDS)
        try:
            await connection.run()
        finally:
            self._statistics.connections -= 1
            self._forget(connection)

    def close(self) -> None:
        """Finish the requests in flight, then close each connection."""
        self._closed = True
        for connection in self._admitted:
            connection.stop(IDLE_GRACE_SECONDS)

    def abort(self) -> None:
        """Reset all connections. Nothing else ends a write to a client that has stopped reading."""
        for connection in self._admitted:
            connection.abort()

    def _has_room(self, network: str) -> bool:
        free = self._limits.connections - len(self._admitted)
        over_share = self._exceeds_share(self._by_network[network], free)
        if free > 0 and not over_share:
            return True
        candidates = (one for one, other in self._admitted.items() if not over_share or other == network)
        return self._make_room([one for one in candidates if one.is_idle])

    def _make_room(self, idle: list[ClientConnection]) -> bool:
        if not idle:
            return False
        longest = min(idle, key=lambda one: one.idle_since)
        longest.close()
        # It ends a moment later, and must not be chosen again until then.
        self._forget(longest)
        return True

    def _forget(self, connection: ClientConnection) -> None:
        network = self._admitted.pop(connection, None)
        if network is None:
            return
        self._by_network[network] -= 1
        if not self._by_network[network]:
            del self._by_network[network]

    def _exceeds_share(self, own: int, free: int) -> bool:
        """Whether one more connection is too many for a network that has `own` of them."""
        if own == 0 or self._limits.connections < FEWEST_SHARED:
            return False
        return own + 1 > MOST_OF_THE_REST * (own + free)

    async def _reject(self, stream: trio.SocketStream, *, secured: bool) -> None:
        request_id = token_hex(16)
        self._statistics.note_refusal(503, reached_app=False)
        self._warn(request_id)
        self._rejecting += 1
        try:
            if not secured:
                await self._send_rejection(stream, request_id)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._rejecting -= 1
            stream.socket.close()

    def _warn(self, request_id: str) -> None:
        """Log a rejection, once a second. count: since the last line."""
        self._unlogged += 1
        if trio.current_time() < self._warned_at + WARN_SECONDS:
            return
        self._warned_at = trio.current_time()
        limit, count = self._limits.connections, self._unlogged
        log.warning("too many connections", limit=limit, count=count, request_id=request_id)
        self._unlogged = 0

    async def _send_rejection(self, stream: trio.SocketStream, request_id: str) -> None:
        fields, body = error_response(503, "Too many connections", request_id, RETRY_SECONDS)
        head = encode_fields([*fields, (b"connection", b"close")])
        with trio.move_on_after(self._limits.head_seconds):
            await stream.send_all(b"HTTP/1.1 503 Service Unavailable\r\n%b\r\n%b" % (head, body))
            await stream.send_eof()
        if self._rejecting <= MAX_LINGERING:
            # Closing with unread data in the socket would reset the connection and lose the response.
            with trio.move_on_after(LINGER_SECONDS):
                while await stream.receive_some(READ_SIZE):
                    pass
