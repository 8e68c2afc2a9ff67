"""The breakers of a panel as OpenTelemetry metrics: the API alone, with any SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from typing import NamedTuple
from weakref import WeakKeyDictionary

import trio
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from ..circuit_breaker import CircuitBreaker
from ..errors import CircuitBreakerError, PanelClosedError
from ..events import Subscription
from ..messages import SHADOW_STATES, Learned, Snapshot, State
from ..panel.panel import Panel
from ..policy.checks import positive_number
from .otel_counts import Counts, Total
from .tracing import NAME, REASON, STATE

OUTCOME = "circuit_breaker.outcome"
VERDICT = "circuit_breaker.verdict"


async def publish_metrics(
    panel: Panel,
    meter: Meter,
    interval: float = 5.0,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Publish every breaker of the panel through the meter until the panel closes, in the caller's nursery.

        await nursery.start(publish_metrics, panel, meter, 0.5)

    The task takes a snapshot of each breaker every `interval` seconds, the first before `start` returns. The
    SDK reads the last snapshots from its own threads: it never touches a breaker, and its errors harm none.
    Breakers may be added and removed meanwhile; the series of a removed breaker stop. A counter never goes
    back, also when another breaker takes the name of an earlier one.

    Raises ValueError for an interval out of range, and while the meter publishes another panel;
    PanelClosedError when the panel has closed already; what the meter raises when it makes the instruments.
    Cancelling ends it. Nothing is reported after its end.
    """
    positive_number("interval", interval)
    report = _report_of(meter)
    with report.claimed():
        async with panel.events(1) as events:
            report.show(await _snapshots(panel))
            task_status.started()
            try:
                while not await _closes_within(interval, events):
                    report.show(await _snapshots(panel))
            except PanelClosedError:
                pass


async def _closes_within(seconds: float, events: Subscription) -> bool:
    with trio.move_on_after(seconds):
        async for _ in events:
            pass
        return True
    return False


async def _snapshots(panel: Panel) -> list[tuple[CircuitBreaker, Snapshot]]:
    """A snapshot of each breaker. Raises PanelClosedError."""
    taken = []
    for breaker in panel:
        try:
            taken.append((breaker, await breaker.snapshot()))
        except CircuitBreakerError:
            # It was removed while the others were taken. If the panel still has it, the panel has closed.
            if any(one is breaker for one in panel):
                raise
    return taken


class _Reading(NamedTuple):
    """The values of one breaker until the next snapshot. The SDK's threads read them."""

    name: str
    state: State
    in_flight: int
    counts: Counts
    learned: Learned | None
    shadow: State | None


class _Report:
    """The instruments of one meter. The methods `observe_…` are called from the SDK's threads."""

    def __init__(self, meter: Meter) -> None:
        # Replaced as a whole and never changed, so that no thread sees half of it.
        self._readings: tuple[_Reading, ...] = ()
        self._totals: dict[str, Total] = {}
        self._is_claimed = False
        meter.create_observable_counter(
            "circuit_breaker.execution.count",
            [self.observe_executions],
            "{execution}",
            "Calls that have ended or were rejected, by outcome.",
        )
        meter.create_observable_counter(
            "circuit_breaker.state_change.count",
            [self.observe_state_changes],
            "{state_change}",
            "Changes of state, by the new state.",
        )
        meter.create_observable_up_down_counter(
            "circuit_breaker.state.current",
            [self.observe_state],
            "{circuit_breaker}",
            "1 for the state that the breaker is in, 0 for the others.",
        )
        meter.create_observable_up_down_counter(
            "circuit_breaker.active_executions",
            [self.observe_active_executions],
            "{execution}",
            "Calls admitted that have not ended.",
        )
        self._create_learned(meter)
        self._create_shadows(meter)

    def _create_learned(self, meter: Meter) -> None:
        """The instruments of adaptive breakers."""
        for name, unit, about, value in _LEARNED:
            meter.create_observable_gauge(
                f"circuit_breaker.{name}", [partial(self.observe_learned, value)], unit, about
            )

    def _create_shadows(self, meter: Meter) -> None:
        """The instruments of breakers whose policy has a shadow."""
        meter.create_observable_counter(
            "circuit_breaker.shadow.execution.count",
            [self.observe_shadow_executions],
            "{execution}",
            "Calls by what the shadow policy would have done, and by how they ended.",
        )
        meter.create_observable_counter(
            "circuit_breaker.shadow.state_change.count",
            [self.observe_shadow_changes],
            "{state_change}",
            "Changes of the shadow policy's state, by the new state.",
        )
        meter.create_observable_up_down_counter(
            "circuit_breaker.shadow.state.current",
            [self.observe_shadow_state],
            "{circuit_breaker}",
            "1 for the state that the shadow policy is in, 0 for the others.",
        )

    def observe_shadow_executions(self, _options: CallbackOptions) -> list[Observation]:
        """Each verdict and outcome of each shadow."""
        return [
            Observation(count, {NAME: one.name, VERDICT: verdict, OUTCOME: outcome})
            for one in self._readings
            for (verdict, outcome), count in one.counts.shadow_executions.items()
        ]

    def observe_shadow_changes(self, _options: CallbackOptions) -> list[Observation]:
        """Each state of each shadow."""
        return [
            Observation(count, {NAME: one.name, STATE: state.name.lower()})
            for one in self._readings
            for state, count in one.counts.shadow_changes.items()
        ]

    def observe_shadow_state(self, _options: CallbackOptions) -> list[Observation]:
        """Each state of each shadow that works: 1 for the one that it is in."""
        return [
            Observation(int(state is one.shadow), {NAME: one.name, STATE: state.name.lower()})
            for one in self._readings
            if one.shadow is not None
            for state in SHADOW_STATES
        ]

    def observe_learned(
        self, value: Callable[[Learned], float | None], _options: CallbackOptions
    ) -> list[Observation]:
        """Each adaptive breaker for which the value is known."""
        learned = [(one.name, value(one.learned)) for one in self._readings if one.learned is not None]
        return [Observation(found, {NAME: name}) for name, found in learned if found is not None]

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Report one panel for as long as the block lasts. Raises ValueError while another is reported."""
        if self._is_claimed:
            raise ValueError("the meter publishes another panel; give each panel a meter of its own")
        self._is_claimed = True
        try:
            yield
        finally:
            self._readings = ()
            self._is_claimed = False

    def show(self, taken: Sequence[tuple[CircuitBreaker, Snapshot]]) -> None:
        """Report these snapshots from now on, and no others."""
        self._readings = tuple(self._read(breaker, snapshot) for breaker, snapshot in taken)

    def _read(self, breaker: CircuitBreaker, snapshot: Snapshot) -> _Reading:
        name = snapshot.name
        total = self._totals.get(name)
        if total is None or total.breaker() is not breaker:
            total = self._totals[name] = Total(breaker, None if total is None else total.counts)
        shadow = None if snapshot.shadow is None or snapshot.shadow.stopped else snapshot.shadow.state
        return _Reading(
            name, snapshot.state, snapshot.in_flight, total.count(snapshot), snapshot.learned, shadow
        )

    def observe_executions(self, _options: CallbackOptions) -> list[Observation]:
        """Each outcome of each breaker, and each reason of a rejection."""
        return [
            Observation(count, {NAME: one.name, OUTCOME: outcome} | ({REASON: reason} if reason else {}))
            for one in self._readings
            for (outcome, reason), count in one.counts.executions.items()
        ]

    def observe_state_changes(self, _options: CallbackOptions) -> list[Observation]:
        """Each state of each breaker."""
        return [
            Observation(count, {NAME: one.name, STATE: state.name.lower()})
            for one in self._readings
            for state, count in one.counts.state_changes.items()
        ]

    def observe_state(self, _options: CallbackOptions) -> list[Observation]:
        """Each state of each breaker: 1 for the one that it is in."""
        return [
            Observation(int(state is one.state), {NAME: one.name, STATE: state.name.lower()})
            for one in self._readings
            for state in State
        ]

    def observe_active_executions(self, _options: CallbackOptions) -> list[Observation]:
        """Each breaker."""
        return [Observation(one.in_flight, {NAME: one.name}) for one in self._readings]


_LEARNED: tuple[tuple[str, str, str, Callable[[Learned], float | None]], ...] = (
    ("usual_failure_ratio", "1", "The share of calls that usually fail, as learned.", attrgetter("usual")),
    ("usual_traffic", "{call}/s", "The usual calls a second, as learned.", attrgetter("traffic")),
    ("evidence", "{failure}", "Failures that speak for opening.", attrgetter("evidence")),
    ("evidence_threshold", "{failure}", "The evidence that opens.", attrgetter("threshold")),
)

# One for each meter, for good: an SDK drops the callbacks of a second instrument of the same name.
_REPORTS: WeakKeyDictionary[Meter, _Report] = WeakKeyDictionary()


def _report_of(meter: Meter) -> _Report:
    report = _REPORTS.get(meter)
    if report is None:
        report = _REPORTS[meter] = _Report(meter)
    return report
