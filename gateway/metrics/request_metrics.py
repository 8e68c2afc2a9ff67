"""Counts the requests of one gateway process, by a fixed set of routes, methods, statuses and error codes.

It costs a request some microseconds: `just bench observing` measures them.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping

from gateway.metrics.request_counts import BOUNDS, RequestCounts
from gateway.metrics.route_names import OTHER
from protocols.http import Code
from runtime.serving.statistics import ServerStatistics

CLIENT_LEFT = 499
"""The status of a request whose client left before the response began. No client sees it."""
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"))
_REFUSALS = {408: Code.REQUEST_TIMEOUT, 500: Code.INTERNAL_ERROR, 503: Code.SERVICE_UNAVAILABLE}


class RequestMetrics:
    """The counts of one process. statistics: of its servers. rate_limited: requests refused, by the limit."""

    def __init__(
        self, statistics: ServerStatistics | None = None, rate_limited: Mapping[str, int] | None = None
    ) -> None:
        self._statistics = statistics or ServerStatistics()
        self._rate_limited = {} if rate_limited is None else rate_limited
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(BOUNDS) + 1))
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._errors: Counter[str] = Counter()
        self._in_flight = 0

    def begin(self, route: str, method: str) -> MeasuredRequest:
        """Count a request as in flight. Call `end` of the result, however the request ends.

        route: one of ROUTE_NAMES.
        """
        self._in_flight += 1
        return MeasuredRequest(self, route, method if method in METHODS else OTHER)

    def count_error(self, code: str) -> None:
        """Count a response of the gateway's own by its error code."""
        self._errors[code] += 1

    def record(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        self._in_flight -= 1
        self._requests[route, method, status] += 1
        self._buckets[route][bisect_left(BOUNDS, seconds)] += 1
        self._seconds[route] += seconds

    def snapshot(self) -> RequestCounts:
        """The counts at this moment. Those that the server has refused itself are among them."""
        requests, errors = Counter(self._requests), Counter(self._errors)
        for status, count in self._statistics.unrouted.items():
            requests[OTHER, OTHER, status] += count
        for status, count in self._statistics.refused.items():
            errors[_REFUSALS.get(status, Code.INVALID_REQUEST).value] += count
        return RequestCounts(
            requests=dict(requests),
            buckets={route: tuple(counts) for route, counts in self._buckets.items()},
            seconds=dict(self._seconds),
            errors=dict(errors),
            rate_limited=dict(self._rate_limited),
            in_flight=self._in_flight,
            connections=self._statistics.connections,
        )


class MeasuredRequest:
    """One request that is in flight. seconds: since it began."""

    __slots__ = ("_ended", "_method", "_metrics", "_route", "_started")

    def __init__(self, metrics: RequestMetrics, route: str, method: str) -> None:
        self._metrics = metrics
        self._route = route
        self._method = method
        self._started = time.monotonic()
        self._ended = False

    @property
    def seconds(self) -> float:
        """Seconds since the request began."""
        return time.monotonic() - self._started

    def end(self, status: int | None, error: str | None = None) -> None:
        """Count the request, once; later calls do nothing.

        Call it before the last byte is sent: a client that has seen the end of its response then sees its
        effect on the counts too. status: None if no response was begun. error: the code, if the response is
        the gateway's own.
        """
        if self._ended:
            return
        self._ended = True
        self._metrics.record(self._route, self._method, status or CLIENT_LEFT, self.seconds)
        if error is not None:
            self._metrics.count_error(error)
