"""Counts the requests that failed because the gateway itself lacked files, memory or ports."""

from __future__ import annotations

import errno
import resource
from collections.abc import Mapping
from types import MappingProxyType

import structlog
from prometheus_client.core import CounterMetricFamily

_OTHER_FILES = 64
"""Files for listeners, logs, the shared store and idle connections."""
RESOURCES = ("files", "memory", "ports")

_RESOURCE_OF = MappingProxyType(
    {
        errno.EMFILE: "files",
        errno.ENFILE: "files",
        errno.EADDRNOTAVAIL: "ports",
        errno.EADDRINUSE: "ports",
        errno.EAGAIN: "ports",
    }
)

log = structlog.get_logger("gateway")


class Overloads:
    """Counts the requests answered GATEWAY_OVERLOADED, by the resource that was lacking."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(RESOURCES, 0)

    def note(self, error: BaseException | None) -> None:
        """Count a request. error: the system's error is among its causes."""
        number = None
        while error is not None and number is None:
            number = getattr(error, "errno", None)
            error = error.__cause__
        self.counts[_RESOURCE_OF.get(number or 0, "memory")] += 1


def warn_of_file_limit(connections: int, upstream_connections: int) -> None:
    """Log a warning if this process may open fewer files than its settings can require."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + upstream_connections + _OTHER_FILES
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        log.warning(
            "the limit on open files is lower than MAX_CONNECTIONS may need: raise it with ulimit -n",
            limit=allowed,
            needed=needed,
        )


def overload_metric(counts: Mapping[str, int]) -> CounterMetricFamily:
    """The metric for Prometheus, with a sample for each resource, zero included."""
    family = CounterMetricFamily(
        "gateway_overloaded", "Requests answered 503 for want of a resource of ours", labels=["resource"]
    )
    for name in RESOURCES:
        family.add_metric([name], counts.get(name, 0))
    return family
