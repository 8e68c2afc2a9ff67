"""Prometheus families, built at the scrape from one snapshot of each breaker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, product

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from ..messages import HistogramSnapshot, RejectReason, Snapshot, State
from ..sharing.shared_breakers import SharingStatus
from .health import PLAIN
from .shadow_metrics import shadow_families

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

MOVES = tuple(
    (old, new)
    for old, new in product(State, State)
    if old is not new and (new is not State.HALF_OPEN or old is State.OPEN)
)
"""Every possible transition: only an open breaker becomes half-open; operators may cause all others."""


def exposition(
    snapshots: Iterable[Snapshot],
    more: Iterable[Metric] = (),
    sharing: SharingStatus | None = None,
    *,
    counters: bool = True,
) -> bytes:
    """The text that Prometheus scrapes, in its older format. All children exist from the start.

    more: families of the program's own, after those of the breakers. sharing: None if nothing is shared.
    counters: False leaves out the breakers' counters and histograms, whose values aren't known.
    """
    return generate_latest(SnapshotCollector(tuple(snapshots), tuple(more), sharing, counters=counters))


def openmetrics_exposition(
    snapshots: Iterable[Snapshot],
    more: Iterable[Metric] = (),
    sharing: SharingStatus | None = None,
    *,
    counters: bool = True,
) -> bytes:
    """The same in the OpenMetrics format, which has exemplars."""
    # These names need no escaping, and the check of each character would take two fifths of the time.
    text: bytes = openmetrics.generate_latest(  # type: ignore[no-untyped-call]
        SnapshotCollector(tuple(snapshots), tuple(more), sharing, counters=counters), openmetrics.ALLOWUTF8
    )
    return text


def negotiated(
    snapshots: Iterable[Snapshot],
    accept: str | None,
    more: Iterable[Metric] = (),
    sharing: SharingStatus | None = None,
    *,
    counters: bool = True,
) -> tuple[bytes, str]:
    """The exposition that an Accept field prefers, and its Content-Type: the older one in doubt.

    more: families of the program's own, after those of the breakers. sharing: None if nothing is shared.
    counters: False leaves out the breakers' counters and histograms, whose values aren't known.
    """
    if prefers_openmetrics(accept or ""):
        return openmetrics_exposition(snapshots, more, sharing, counters=counters), OPENMETRICS_CONTENT_TYPE
    return exposition(snapshots, more, sharing, counters=counters), CONTENT_TYPE


def prefers_openmetrics(accept: str) -> bool:
    """Whether an Accept field names OpenMetrics 1.0, and doesn't prefer plain text."""
    quality = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for choice in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in choice.split(";"))
        if kind in quality and not _other_openmetrics(kind, parameters):
            quality[kind] = max(quality[kind], _quality(parameters))
    return quality["application/openmetrics-text"] > 0 and (
        quality["application/openmetrics-text"] >= quality["text/plain"]
    )


def _other_openmetrics(kind: str, parameters: list[str]) -> bool:
    versions = [one.partition("=")[2] for one in parameters if one.startswith("version=")]
    return kind != "text/plain" and any(not version.startswith("1.") for version in versions)


def _quality(parameters: list[str]) -> float:
    for one in parameters:
        if one.startswith("q="):
            try:
                return float(one[2:])
            except ValueError:
                return 0.0
    return 1.0


class SnapshotCollector(Collector):
    """Families of snapshots already taken; a sample never mixes two moments of one breaker."""

    def __init__(
        self,
        snapshots: Sequence[Snapshot],
        more: Sequence[Metric] = (),
        sharing: SharingStatus | None = None,
        *,
        counters: bool = True,
    ) -> None:
        self._snapshots = snapshots
        self._more = more
        self._sharing = sharing
        self._has_counters = counters

    def describe(self) -> list[Metric]:
        """Nothing: names are fixed, and a description would need snapshots."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family of the breakers, then the others."""
        yield from self._gauges()
        yield from self._learned()
        if self._has_counters:
            yield from self._counters()
            yield from self._histograms()
        yield from shadow_families(self._snapshots, counters=self._has_counters)
        yield from self._more

    def _gauges(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "circuit_breaker_state", "0 closed, 1 half-open, 2 open", labels=["service"]
        )
        exact = GaugeMetricFamily(
            "circuit_breaker_state_info",
            "1 for the state that the breaker is in, 0 for the others",
            labels=["service", "state"],
        )
        changed = GaugeMetricFamily(
            "circuit_breaker_last_state_change", "Unix time of the last transition", labels=["service"]
        )
        outage = GaugeMetricFamily(
            "circuit_breaker_outage_start_time_seconds",
            "Unix time when it last left closed, 0 while closed",
            labels=["service"],
            unit="seconds",
        )
        off = GaugeMetricFamily(
            "circuit_breaker_switched_off", "1 while disabled or observing, 0 otherwise", labels=["service"]
        )
        running = GaugeMetricFamily("circuit_breaker_in_flight", "Calls running now", labels=["service"])
        places = GaugeMetricFamily(
            "circuit_breaker_bulkhead_limit", "Calls that may run at once, +Inf: no limit", labels=["service"]
        )
        for snapshot in self._snapshots:
            state.add_metric([snapshot.name], PLAIN[snapshot.state])
            for one in State:
                exact.add_metric([snapshot.name, one.name.lower()], one == snapshot.state)
            changed.add_metric([snapshot.name], snapshot.unix_changed_at)
            outage.add_metric([snapshot.name], snapshot.unix_opened_at)
            off.add_metric([snapshot.name], snapshot.state in (State.DISABLED, State.OBSERVING))
            running.add_metric([snapshot.name], snapshot.in_flight)
            limit = snapshot.bulkhead_limit
            places.add_metric([snapshot.name], math.inf if limit is None else limit)
        yield from (state, exact, changed, outage, off, running, places)
        yield from _sharing_families(self._sharing, counters=self._has_counters)

    def _learned(self) -> Iterator[Metric]:
        usual = GaugeMetricFamily(
            "circuit_breaker_usual_failure_ratio",
            "The share of calls that usually fail, as an adaptive breaker has learned; NaN: not known",
            labels=["service"],
        )
        traffic = GaugeMetricFamily(
            "circuit_breaker_usual_calls_per_second",
            "The usual traffic, as an adaptive breaker has learned; NaN: not known",
            labels=["service"],
        )
        evidence = GaugeMetricFamily(
            "circuit_breaker_evidence",
            "Failures that speak for opening an adaptive breaker",
            labels=["service"],
        )
        threshold = GaugeMetricFamily(
            "circuit_breaker_evidence_threshold",
            "The evidence that opens an adaptive breaker",
            labels=["service"],
        )
        for snapshot in self._snapshots:
            if (learned := snapshot.learned) is not None:
                usual.add_metric([snapshot.name], math.nan if learned.usual is None else learned.usual)
                traffic.add_metric([snapshot.name], math.nan if learned.traffic is None else learned.traffic)
                evidence.add_metric([snapshot.name], learned.evidence)
                threshold.add_metric([snapshot.name], learned.threshold)
        yield from (usual, traffic, evidence, threshold)

    def _counters(self) -> Iterator[Metric]:
        failures = _counter("failures", "Calls that failed")
        calls = _counter("calls", "Calls by outcome", "outcome")
        rejections = _counter("rejections", "Calls not admitted, by reason", "reason")
        moves = _counter("transitions", "Transitions", "from", "to")
        late = _counter("late_results", "Results of an earlier generation")
        restarts = _counter("actor_restarts", "Crashes healed by the supervisor")
        would = _counter("would_reject", "Calls an observing breaker would have rejected")
        for snapshot in self._snapshots:
            name = snapshot.name
            failures.add_metric([name], snapshot.counts["failure"])
            late.add_metric([name], snapshot.late)
            restarts.add_metric([name], snapshot.restarts)
            would.add_metric([name], snapshot.would_reject)
            for outcome, count in snapshot.counts.items():
                calls.add_metric([name, outcome], count)
            for reason in RejectReason:
                rejections.add_metric([name, reason.value], snapshot.rejections[reason.value])
            _add_transitions(moves, snapshot)
        yield from (failures, calls, rejections, moves, late, restarts, would)

    def _histograms(self) -> Iterator[Metric]:
        recovery = HistogramMetricFamily(
            "circuit_breaker_recovery_seconds",
            "From the first OPENED to CLOSED",
            labels=["service"],
            unit="seconds",
        )
        duration = HistogramMetricFamily(
            "circuit_breaker_call_duration_seconds",
            "How long admitted calls took",
            labels=["service"],
            unit="seconds",
        )
        for snapshot in self._snapshots:
            _add_histogram(recovery, snapshot.name, snapshot.recovery)
            _add_histogram(duration, snapshot.name, snapshot.durations)
        yield from (recovery, duration)


def _sharing_families(status: SharingStatus | None, *, counters: bool) -> Iterator[Metric]:
    """Whether the store answers; and, if breakers are shared, what is lost and how old the news is."""
    connected = status is not None and status.connected
    yield GaugeMetricFamily(
        "circuit_breaker_shared_connected", "1 while the shared store answers, 0 otherwise", value=connected
    )
    if status is None:
        return
    if counters:
        yield CounterMetricFamily(
            "circuit_breaker_shared_dropped",
            "Reports and results that were too old when the store came back",
            value=status.dropped,
        )
    age = GaugeMetricFamily(
        "circuit_breaker_shared_news_age_seconds",
        "Since the shared store's last reply; absent before the first one",
        unit="seconds",
    )
    if status.news_age is not None:
        age.add_metric([], status.news_age)
    yield age


def _counter(name: str, documentation: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"circuit_breaker_{name}", documentation, labels=["service", *labels])


def _add_transitions(family: CounterMetricFamily, snapshot: Snapshot) -> None:
    for old, new in MOVES:
        count = snapshot.transitions.get((old, new), 0)
        family.add_metric([snapshot.name, old.name.lower(), new.name.lower()], count)


def _add_histogram(family: HistogramMetricFamily, name: str, histogram: HistogramSnapshot | None) -> None:
    if histogram is None:
        return
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    for place, (bound, count) in enumerate(zip(bounds, accumulate(histogram.counts), strict=True)):
        if (kept := histogram.exemplars.get(place)) is None:
            buckets.append((bound, count))
        else:
            exemplar = Exemplar(dict(kept.labels), kept.value, round(kept.unix_time, 3))
            buckets.append((bound, count, exemplar))
    family.add_metric([name], buckets, histogram.total)
