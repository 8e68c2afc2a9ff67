"""Spreads the requests to one service over several servers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import httpx
import structlog
import trio

from gateway.upstream.pool import CONNECT_SECONDS, ConnectionPoolTransport, UpstreamTransport
from runtime.serving.tls import client_context

AVOID_SECONDS = 5.0
"""Seconds for which a server that couldn't be reached is tried last."""

log = structlog.get_logger("upstream")


def service_transport(
    urls: Sequence[str], *, ca_file: Path | None = None, connect_timeout: float = CONNECT_SECONDS
) -> UpstreamTransport:
    """A transport to the service whose servers are at `urls`.

    ca_file: see `client_context`; only used for https. connect_timeout: seconds, for each server.
    Raises OSError if `ca_file` can't be read.
    """
    secure = any(url.startswith("https:") for url in urls)
    # One context for all servers: reading the certificates takes 20 ms.
    context = client_context(ca_file) if secure else None
    pools = [ConnectionPoolTransport(url, context=context, connect_timeout=connect_timeout) for url in urls]
    return pools[0] if len(pools) == 1 else LoadBalancingTransport(pools)


class LoadBalancingTransport(UpstreamTransport):
    """Sends each request to the server with the fewest requests in flight; among equals, in turn.

    pools: one for each server. If connecting to a server fails, the request goes to the next one, since
    nothing was sent. The failed server is tried last for AVOID_SECONDS; then one request tries it.
    """

    def __init__(self, pools: Sequence[ConnectionPoolTransport]) -> None:
        self._pools = list(pools)
        self._avoided_until = [float("-inf")] * len(self._pools)
        self._turn = 0

    def __repr__(self) -> str:
        return f"<LoadBalancingTransport {self._pools}>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the first server that can be reached; return the response, its body unread.

        Raises httpx.TransportError; if no server can be reached, an httpx.ConnectError that names all of
        them. Cancelling closes the connection.
        """
        reasons = []
        for number in self._order():
            pool = self._pools[number]
            try:
                response = await pool.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                reasons.append(str(error))
                self._avoid(number, str(error))
                continue
            self._avoided_until[number] = float("-inf")
            return response
        raise httpx.ConnectError("; ".join(reasons))

    def _order(self) -> list[int]:
        """The servers' numbers in the order to try them."""
        now, count = trio.current_time(), len(self._pools)
        self._turn = (self._turn + 1) % count
        turns = [(self._turn + n) % count for n in range(count)]
        order = sorted(turns, key=lambda n: (self._avoided_until[n] > now, self._pools[n].in_use))
        if self._avoided_until[order[0]] > float("-inf"):
            # It failed some time ago. Only this request tries it; the others avoid it until it has succeeded.
            self._avoided_until[order[0]] = now + AVOID_SECONDS
        return order

    def _avoid(self, number: int, reason: str) -> None:
        if self._avoided_until[number] == float("-inf"):
            log.warning("a server can't be reached", server=str(self._pools[number].url), reason=reason)
        self._avoided_until[number] = trio.current_time() + AVOID_SECONDS

    def expire(self, now: float | None = None) -> None:
        """Close the idle connections whose time is up. now: on trio's clock. Never waits."""
        for pool in self._pools:
            pool.expire(now)

    async def aclose(self) -> None:
        """Close the idle connections. Those in use are closed after their requests."""
        for pool in self._pools:
            await pool.aclose()
