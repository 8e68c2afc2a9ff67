"""Where clients are received: so many at once, and who finds it full is told when to come back."""

from __future__ import annotations

from ipaddress import IPv6Address
from secrets import token_hex

import structlog
import trio

from runtime.answering import refusal
from runtime.edge import LAST_CALL, App, Connection, Limits, linger

RETRY_SECONDS = 1
TURNED_AWAY = 100
"""How many that are turned away are given time to read why."""

log = structlog.get_logger("runtime")


def neighbourhood(address: str) -> str | bytes:
    """Whose an address is: of IPv6 a client has as many as it likes, in its own /64."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address)
    return parsed.packed[:8] if parsed.ipv4_mapped is None else str(parsed.ipv4_mapped)


class Hall:
    """Serves every client that is received, `limits.connections` at once.

    When it is full, the client that has been idle longest makes room for a new one; where all are busy,
    the new one is answered 503 with Retry-After. The last tenth of the places is kept from neighbourhoods
    that hold more than a tenth of all: those can only take the places of their own idle clients.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._inside: dict[Connection, str | bytes] = {}
        self._leaving = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._inside)

    async def receive(self, stream: trio.SocketStream) -> None:
        """Serve one client until it or we close."""
        try:
            connection = Connection(self._app, stream, self._limits)
        except OSError:  # gone before it was received
            stream.socket.close()
            return
        place = neighbourhood(connection.address)
        if not self._has_room(place):
            await self._turn_away(stream)
            return
        self._inside[connection] = place
        if self._closed:
            connection.stop(LAST_CALL)
        try:
            await connection.run()
        finally:
            self._inside.pop(connection, None)

    async def close(self) -> None:
        """Let nobody ask again; requests in flight are answered."""
        self._closed = True
        for connection in self._inside:
            connection.stop(LAST_CALL)

    def _has_room(self, place: str | bytes) -> bool:
        free = self._limits.connections - len(self._inside)
        share = self._limits.connections // 10
        crowds = free <= share and sum(other == place for other in self._inside.values()) > share
        if free > 0 and not crowds:
            return True
        return self._make_room([one for one, other in self._inside.items() if not crowds or other == place])

    def _make_room(self, candidates: list[Connection]) -> bool:
        idle = [one for one in candidates if one.is_idle]
        if not idle:
            return False
        longest = min(idle, key=lambda one: one.idle_since)
        longest.stop()
        # It ends a moment later, and isn't asked to make room twice.
        del self._inside[longest]
        return True

    async def _turn_away(self, stream: trio.SocketStream) -> None:
        request_id = token_hex(16)
        log.warning("too many connections", limit=self._limits.connections, request_id=request_id)
        self._leaving += 1
        try:
            with trio.move_on_after(self._limits.head_seconds):
                await stream.send_all(refusal(503, "Too many connections", request_id, RETRY_SECONDS))
                await stream.send_eof()
            if self._leaving <= TURNED_AWAY:
                await linger(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._leaving -= 1
            stream.socket.close()
