"""What an OpenTelemetry SDK reads of a panel: through a whole outage, in its own threads, and after the end.

The outage is compared with golden/otel_metrics.json. To write that file anew, and look at what has changed:

    REWRITE_GOLDEN=1 uv run pytest tests/actors/adapters/test_adapters_otel_metrics.py
    git diff tests/actors/adapters/golden
"""

from __future__ import annotations

import gc
import json
import os
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from opentelemetry.metrics import NoOpMeter
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    BulkheadFullError,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Panel,
    PanelClosedError,
    Snapshot,
    open_panel,
)
from actors.adapters.otel_metrics import publish_metrics
from actors.mailbox import Mailbox
from actors.testing import DependencyDown, ScriptedDependency, advance

GOLDEN = Path(__file__).parent / "golden" / "otel_metrics.json"
EXECUTIONS = "circuit_breaker.execution.count"
CHANGES = "circuit_breaker.state_change.count"
CURRENT = "circuit_breaker.state.current"
ACTIVE = "circuit_breaker.active_executions"

Points = dict[str, dict[str, int]]


class Telemetry:
    """A real SDK that keeps what it reads in memory."""

    def __init__(self, temporality: AggregationTemporality = AggregationTemporality.CUMULATIVE) -> None:
        self.reader = InMemoryMetricReader({ObservableCounter: temporality})
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.meter: Any = self.provider.get_meter("test")

    def metrics(self) -> list[Any]:
        read = self.reader.get_metrics_data()
        return (
            []
            if read is None
            else [m for r in read.resource_metrics for s in r.scope_metrics for m in s.metrics]
        )

    def points(self) -> Points:
        """Each metric's values by the values of its attributes, the breaker's name first."""
        return {
            m.name: {" ".join(p.attributes.values()): p.value for p in m.data.data_points}
            for m in self.metrics()
        }

    def instruments(self) -> dict[str, dict[str, Any]]:
        """What each metric is, with its attributes."""
        return {
            m.name: {
                "sum": "monotonic" if m.data.is_monotonic else "up and down",
                "unit": m.unit,
                "description": m.description,
                "attributes": sorted({key for point in m.data.data_points for key in point.attributes}),
            }
            for m in self.metrics()
        }


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@asynccontextmanager
async def published(panel: Panel, meter: Any, interval: float = 5.0) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(publish_metrics, panel, meter, interval)
        yield
        nursery.cancel_scope.cancel()


async def call(breaker: CircuitBreaker, *outcomes: Any) -> None:
    """One call for each outcome. An exception is raised by the call, and comes out of the breaker."""
    dependency = ScriptedDependency()
    dependency.then(*outcomes)
    for outcome in outcomes:
        with pytest.raises(type(outcome)) if isinstance(outcome, Exception) else nullcontext():
            await breaker.execute(dependency)


async def be_rejected(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises((CircuitOpenError, BulkheadFullError)):
            await breaker.execute(trio.sleep, 0)


async def be_cancelled(breaker: CircuitBreaker) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await breaker.execute(trio.sleep, 0)


@asynccontextmanager
async def running_call(breaker: CircuitBreaker) -> AsyncIterator[None]:
    """A call that runs as long as the block, and succeeds."""
    dependency = ScriptedDependency()
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        yield
        dependency.lets_go()


def drop(panel: Panel, breaker: CircuitBreaker) -> None:
    """The panel has it no longer."""
    del panel._entries[breaker.name]


PAYMENTS = CircuitBreakerConfig(
    name="payments", max_failures=2, reset_timeout=20, ignore=KeyError, max_concurrent=1
)
MAIL = CircuitBreakerConfig(name="mail")


async def outage(clock: MockClock, telemetry: Telemetry) -> dict[str, Points]:
    """What is read at each moment of an outage of `payments`, while an operator handles `mail`."""
    read: dict[str, Points] = {}

    async def look(moment: str, *, after: float = 5) -> None:
        await advance(clock, after)
        read[moment] = telemetry.points()

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            payments = panel.breaker(PAYMENTS)
            await nursery.start(publish_metrics, panel, telemetry.meter)
            await look("at the start", after=0)
            await call(payments, "ok", "ok", "ok", KeyError(), DependencyDown())
            await be_cancelled(payments)
            async with running_call(payments):
                await be_rejected(payments)
                await look("a call runs")
            await call(payments, DependencyDown(), DependencyDown())
            await be_rejected(payments, 3)
            mail = panel.breaker(MAIL)
            await mail.force_open()
            await be_rejected(mail, 2)
            await look("payments is open, and mail forced open")
            await advance(clock, 15)
            async with running_call(payments):
                await be_rejected(payments)
                await mail.observe()
                await look("payments is probed, and mail observing")
            await look("payments is closed")
            drop(panel, mail)
            await look("mail is removed")
            await call(panel.breaker(MAIL), "ok")
            await look("mail is there again")
        await look("the panel is closed")
    return read


async def test_an_outage_is_as_in_the_golden_file(mock_clock: MockClock, telemetry: Telemetry) -> None:
    async with open_panel() as panel:
        panel.breaker(PAYMENTS)
        async with published(panel, telemetry.meter):
            instruments = telemetry.instruments()
    told = {"instruments": instruments, "moments": await outage(mock_clock, telemetry)}
    if os.environ.get("REWRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    assert told == json.loads(GOLDEN.read_text("utf-8"))


@pytest.mark.parametrize("temporality", [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA])
async def test_a_counter_never_goes_back(temporality: AggregationTemporality, mock_clock: MockClock) -> None:
    """Neither when another breaker takes a name, nor when another panel is published. No delta is below 0."""
    telemetry = Telemetry(temporality)
    read = [await outage(mock_clock, telemetry), await outage(mock_clock, telemetry)]
    looks = [points for one in read for points in one.values() if points]
    for metric in (EXECUTIONS, CHANGES):
        series = {name for points in looks for name in points[metric]}
        for name in series:
            values = [points[metric][name] for points in looks if name in points[metric]]
            if temporality is AggregationTemporality.DELTA:
                assert min(values) == 0
            else:
                assert values == sorted(values)
    successes = [points[EXECUTIONS]["payments success"] for points in looks]
    total = sum(successes) if temporality is AggregationTemporality.DELTA else successes[-1]
    assert total == 2 * 5


async def test_a_reader_sees_the_last_snapshots_and_touches_no_breaker(
    mock_clock: MockClock, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its own thread, while the loop of the breakers stands still."""
    askers = set()
    ask = Mailbox.ask

    async def noting_ask(self: Mailbox[Any], message: Any) -> Any:
        askers.add(threading.get_ident())
        return await ask(self, message)

    monkeypatch.setattr(Mailbox, "ask", noting_ask)
    read: list[Points] = []
    async with open_panel() as panel:
        breaker = panel.breaker(PAYMENTS)
        async with published(panel, telemetry.meter):
            await call(breaker, "ok")
            reader = threading.Thread(target=lambda: read.append(telemetry.points()))
            reader.start()
            reader.join(10)
            for seconds in (4.9, 0.1):
                await advance(mock_clock, seconds)
                read.append(telemetry.points())
    assert [points[EXECUTIONS]["payments success"] for points in read] == [0, 0, 1]
    assert askers == {threading.get_ident()}


async def test_readings_under_load_are_whole(telemetry: Telemetry) -> None:
    """Whenever a thread reads: no count goes back, and one state of six is the current one."""
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=2, reset_timeout=0.001))

        async def calls() -> None:
            while True:
                with suppress(DependencyDown, CircuitOpenError):
                    await breaker.execute(dependency)
                await trio.lowlevel.checkpoint()

        dependency = ScriptedDependency()
        dependency.breaks()
        read = []
        async with published(panel, telemetry.meter, 0.001), trio.open_nursery() as nursery:
            nursery.start_soon(calls)
            for _ in range(40):
                read.append(await trio.to_thread.run_sync(telemetry.points))
                dependency.mends() if len(read) % 2 else dependency.breaks()
            nursery.cancel_scope.cancel()
    for name in read[0][EXECUTIONS]:
        values = [points[EXECUTIONS][name] for points in read]
        assert values == sorted(values)
    assert {sum(points[CURRENT].values()) for points in read} == {1}
    assert read[-1][EXECUTIONS]["it failure"] > 2


async def test_nothing_is_reported_after_the_end(panel: Panel, telemetry: Telemetry) -> None:
    """Cancelled, it takes its series with it; started again, they go on."""
    breaker = panel.breaker(PAYMENTS)
    for successes in (1, 2):
        await call(breaker, "ok")
        async with published(panel, telemetry.meter):
            assert telemetry.points()[EXECUTIONS]["payments success"] == successes
        assert telemetry.points() == {}


async def test_it_ends_with_the_panel_at_once(telemetry: Telemetry) -> None:
    """Without waiting for the interval, and also when the panel has no breakers."""
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery, open_panel() as panel:
            await nursery.start(publish_metrics, panel, telemetry.meter, 3600.0)
    assert telemetry.points() == {}


async def test_it_ends_when_the_panel_closes_while_snapshots_are_taken(
    mock_clock: MockClock, telemetry: Telemetry
) -> None:
    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            panel.breaker(PAYMENTS)
            await nursery.start(publish_metrics, panel, telemetry.meter)
            panel["payments"].mailbox.close()
            await advance(mock_clock, 5)
            assert not nursery.child_tasks
            assert telemetry.points() == {}


async def test_a_breaker_removed_while_snapshots_are_taken_is_left_out(
    panel: Panel, mock_clock: MockClock, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments, mail = panel.breaker(PAYMENTS), panel.breaker(MAIL)
    snapshot = CircuitBreaker.snapshot

    async def remove_mail(breaker: CircuitBreaker) -> Snapshot:
        if breaker is payments and MAIL.name in panel:
            drop(panel, mail)
            mail.mailbox.close()
        return await snapshot(breaker)

    async with published(panel, telemetry.meter):
        monkeypatch.setattr(CircuitBreaker, "snapshot", remove_mail)
        await advance(mock_clock, 5)
        assert telemetry.points()[ACTIVE] == {"payments": 0}


async def test_a_panel_that_has_closed_cannot_be_published(telemetry: Telemetry) -> None:
    async with open_panel() as panel:
        panel.breaker(PAYMENTS)
    with trio.fail_after(5), pytest.raises(PanelClosedError):
        await publish_metrics(panel, telemetry.meter)
    assert telemetry.points() == {}


async def test_a_meter_publishes_one_panel_at_a_time(panel: Panel, telemetry: Telemetry) -> None:
    """Two could have breakers of one name. The first goes on."""
    panel.breaker(PAYMENTS)
    async with open_panel() as other, published(panel, telemetry.meter):
        with trio.fail_after(5), pytest.raises(ValueError, match="a meter of its own"):
            await publish_metrics(other, telemetry.meter)
        assert telemetry.points()[ACTIVE] == {"payments": 0}
        another = telemetry.provider.get_meter("another")
        async with published(other, another):
            pass
    async with published(other, telemetry.meter):
        pass


@pytest.mark.parametrize("interval", [0, -1.0, float("nan"), float("inf"), True])
async def test_an_interval_is_a_time(panel: Panel, telemetry: Telemetry, interval: float) -> None:
    with trio.fail_after(5), pytest.raises(ValueError, match="interval must be a number above 0"):
        await publish_metrics(panel, telemetry.meter, interval)


async def test_a_meter_that_fails_harms_no_breaker(panel: Panel) -> None:
    class Failing(NoOpMeter):
        def create_observable_counter(self, *args: Any, **kwargs: Any) -> Any:
            raise LookupError("no more instruments")

    breaker = panel.breaker(PAYMENTS)
    with pytest.raises(LookupError):
        await publish_metrics(panel, Failing("test"))
    await call(breaker, "ok")


async def test_without_an_sdk_nothing_is_reported_and_nothing_fails(panel: Panel) -> None:
    panel.breaker(PAYMENTS)
    async with published(panel, NoOpMeter("test")):
        await call(panel["payments"], "ok")


async def test_a_removed_breaker_is_not_kept_in_memory(telemetry: Telemetry) -> None:
    async with open_panel() as panel:
        breaker = weakref.ref(panel.breaker(PAYMENTS))
        async with published(panel, telemetry.meter):
            pass
    del panel
    gc.collect()
    assert breaker() is None
    assert telemetry.points() == {}
