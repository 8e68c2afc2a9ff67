"""The counts of requests at one moment: merged, as JSON, and as metrics for Prometheus. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from operator import add
from typing import Any, Self

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from actors import DURATION_BUCKETS

BOUNDS = DURATION_BUCKETS
"""Upper bounds of the buckets of durations, seconds."""
LIMITS = ("address", "user", "pages", "assets")
"""What a rate limit counts: every value of the label `limit`."""


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """The counts of one process, or of several together.

    requests: by route, method and status. buckets, seconds: of their durations, by route; the last bucket has
    no upper bound. errors: the gateway's own responses, by error code. rate_limited: by what was limited.
    in_flight, connections: now.
    """

    requests: Mapping[tuple[str, str, int], int] = field(default_factory=dict)
    buckets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    rate_limited: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0
    connections: int = 0

    def merge(self, other: RequestCounts) -> RequestCounts:
        """The sum of two processes' counts."""
        return replace(
            self._combined(other, add),
            in_flight=self.in_flight + other.in_flight,
            connections=self.connections + other.connections,
        )

    def at_least(self, floor: RequestCounts) -> RequestCounts:
        """These counts, none lower than that of `floor`. What is in flight and connected stays as it is."""
        return self._combined(floor, max)

    def _combined(self, other: RequestCounts, combine: Callable[[Any, Any], Any]) -> RequestCounts:
        return replace(
            self,
            requests=combined_by_key(self.requests, other.requests, combine),
            buckets={
                route: tuple(map(combine, *_both(self.buckets, other.buckets, route)))
                for route in {**self.buckets, **other.buckets}
            },
            seconds=combined_by_key(self.seconds, other.seconds, combine),
            errors=combined_by_key(self.errors, other.errors, combine),
            rate_limited=combined_by_key(self.rate_limited, other.rate_limited, combine),
        )

    def without_counts(self) -> RequestCounts:
        """Only what is in flight and connected."""
        return RequestCounts(in_flight=self.in_flight, connections=self.connections)

    def of_the_past(self) -> RequestCounts:
        """The counts of a process that has ended: nothing is in flight, no connection is open."""
        return replace(self, in_flight=0, connections=0)

    def to_json(self) -> dict[str, Any]:
        """These counts as JSON values."""
        return {
            "requests": [[*key, count] for key, count in self.requests.items()],
            "buckets": {route: list(counts) for route, counts in self.buckets.items()},
            "seconds": dict(self.seconds),
            "errors": dict(self.errors),
            "rate_limited": dict(self.rate_limited),
            "in_flight": self.in_flight,
            "connections": self.connections,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The counts that `to_json` has written. Raises KeyError, TypeError or ValueError for others."""
        return cls(
            requests={(route, method, status): count for route, method, status, count in values["requests"]},
            buckets={route: tuple(counts) for route, counts in values["buckets"].items()},
            seconds=values["seconds"],
            errors=values["errors"],
            rate_limited=values["rate_limited"],
            in_flight=values["in_flight"],
            connections=values["connections"],
        )


def combined_by_key(
    one: Mapping[Any, float], other: Mapping[Any, float], combine: Callable[[Any, Any], Any]
) -> dict[Any, Any]:
    """Counters by any key, combined one by one; a key that one of them lacks counts 0 there."""
    return {key: combine(one.get(key, 0), other.get(key, 0)) for key in {**one, **other}}


def _both(
    one: Mapping[str, tuple[int, ...]], other: Mapping[str, tuple[int, ...]], route: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    zero = (0,) * (len(BOUNDS) + 1)
    return one.get(route, zero), other.get(route, zero)


def request_families(counts: RequestCounts, routes: Iterable[str]) -> list[Metric]:
    """The metrics for Prometheus. routes: those whose histogram exists from the start."""
    requests = CounterMetricFamily(
        "gateway_requests", "Requests that have ended", labels=["route", "method", "status"]
    )
    for (route, method, status), count in sorted(counts.requests.items()):
        requests.add_metric([route, method, str(status)], count)
    errors = CounterMetricFamily(
        "gateway_own_errors", "Requests that the gateway itself answered with an error", labels=["code"]
    )
    for code, count in sorted(counts.errors.items()):
        errors.add_metric([code], count)
    limited = CounterMetricFamily(
        "gateway_rate_limited", "Requests answered 429, by the limit that they exceeded", labels=["limit"]
    )
    for limit in LIMITS:
        limited.add_metric([limit], counts.rate_limited.get(limit, 0))
    return [
        requests,
        _durations(counts, routes),
        errors,
        limited,
        GaugeMetricFamily("gateway_requests_in_flight", "Requests running now", value=counts.in_flight),
        GaugeMetricFamily("gateway_connections_open", "Clients' connections now", value=counts.connections),
    ]


def _durations(counts: RequestCounts, routes: Iterable[str]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "gateway_request_duration_seconds",
        "From a request's head to the last piece of its response",
        labels=["route"],
        unit="seconds",
    )
    names = [*map(floatToGoString, BOUNDS), "+Inf"]
    for route in dict.fromkeys((*routes, *counts.buckets)):
        buckets = counts.buckets.get(route, (0,) * (len(BOUNDS) + 1))
        found = list(zip(names, map(float, accumulate(buckets)), strict=True))
        family.add_metric([route], found, counts.seconds.get(route, 0.0))
    return family
