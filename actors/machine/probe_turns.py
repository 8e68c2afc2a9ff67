"""The order of probes by source: one bad route or one impatient client doesn't keep a breaker open."""

from __future__ import annotations

from collections.abc import Hashable

from ..messages import Source

KEPT_SECONDS = 1.0
"""Seconds for which a probe is kept for other sources."""


class ProbeTurns:
    """The sources of probes during one HALF_OPEN state.

    kept_from: the route of the last probe before, if that failed; its calls wait for one of another route.
    failed_route: the route of the probe that has failed in this state.
    """

    __slots__ = ("_client", "_client_until", "_route", "_route_until", "_sources", "failed_route")

    def __init__(self, now: float, kept_from: Hashable | None) -> None:
        self.failed_route: Hashable | None = None
        self._route, self._route_until = kept_from, now + KEPT_SECONDS
        self._client: Hashable | None = None
        self._client_until = now
        # Of the running probes and of those that succeeded: both are few.
        self._sources: dict[int, Source] = {}

    def is_kept_from(self, source: Source | None, now: float) -> bool:
        """Whether the next probe is kept for other sources than `source`."""
        if source is None:
            return False
        route, client = source.route, source.client
        if route is not None and route == self._route and now < self._route_until:
            return True
        return client is not None and client == self._client and now < self._client_until

    def admitted(self, number: int, source: Source | None) -> None:
        """Note that probe `number` comes from `source`. A client that had cancelled may probe again."""
        self._client = None
        if source is not None:
            self._sources[number] = source

    def failed(self, number: int) -> None:
        """Note that probe `number` has failed."""
        source = self._sources.get(number)
        self.failed_route = None if source is None else source.route

    def cancelled(self, number: int, now: float) -> None:
        """Note that probe `number` was cancelled: the next is kept for other clients."""
        source = self._sources.pop(number, None)
        if source is not None and source.client is not None:
            self._client, self._client_until = source.client, now + KEPT_SECONDS

    def forget(self, number: int) -> None:
        """Drop probe `number`, which has decided nothing."""
        self._sources.pop(number, None)
