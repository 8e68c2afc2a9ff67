"""What the services report of their health: asked for at most once a second."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from gateway.upstream.fetch import JsonReply, fetch_json, for_each_service
from gateway.upstream.upstream import Upstream

FETCH_SECONDS = 1.0
"""Seconds that each service has to report its health."""
FRESH_SECONDS = 1.0
"""Seconds from the beginning of a fetch for which its replies are used."""


class ServiceReports:
    """The replies of all services to GET /health."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._replies: dict[str, JsonReply] = {}
        self._begun = self._ended = float("-inf")
        self._fetching = trio.Lock()

    async def latest(self) -> Mapping[str, JsonReply]:
        """The replies by the service's name. Takes FETCH_SECONDS at most; bypasses the breakers.

        A request that comes during a fetch waits for its replies. Cancelling doesn't end a fetch: its
        replies are for others too.
        """
        arrived = trio.current_time()
        async with self._fetching:
            is_fresh = trio.current_time() - self._begun < FRESH_SECONDS
            if not is_fresh and self._ended < arrived:
                with trio.CancelScope(shield=True):
                    await self._fetch()
            return self._replies

    async def _fetch(self) -> None:
        async def fetch(upstream: Upstream) -> JsonReply:
            return await fetch_json(upstream, "/health", timeout=FETCH_SECONDS)

        self._begun = trio.current_time()
        self._replies = await for_each_service(self._upstreams.values(), fetch)
        self._ended = trio.current_time()
