"""Readers in threads of their own, and the series that remain after the end."""

from __future__ import annotations

import gc
import threading
import weakref
from contextlib import suppress
from typing import Any

import pytest
import trio
from opentelemetry.metrics import NoOpMeter
from trio.testing import MockClock

from actors import (
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
from tests.actors.adapters.otel_metrics.telemetry import (
    ACTIVE,
    CURRENT,
    EXECUTIONS,
    MAIL,
    PAYMENTS,
    Points,
    Telemetry,
    call,
    published,
    remove_from_panel,
)


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
    """No count decreases from one reading to the next, and exactly one of six states is the current one."""
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
    """The series end when publishing is cancelled, and go on when it is started again."""
    breaker = panel.breaker(PAYMENTS)
    for successes in (1, 2):
        await call(breaker, "ok")
        async with published(panel, telemetry.meter):
            assert telemetry.points()[EXECUTIONS]["payments success"] == successes
        assert telemetry.points() == {}


async def test_publishing_ends_with_the_panel_at_once(telemetry: Telemetry) -> None:
    """Without waiting for the interval, and also when the panel has no breakers."""
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery, open_panel() as panel:
            await nursery.start(publish_metrics, panel, telemetry.meter, 3600.0)
    assert telemetry.points() == {}


async def test_publishing_ends_when_the_panel_closes_while_snapshots_are_taken(
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
            remove_from_panel(panel, mail)
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
    """Two panels could have breakers of one name. The first panel stays published."""
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
async def test_the_interval_must_be_a_positive_number(
    panel: Panel, telemetry: Telemetry, interval: float
) -> None:
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


async def test_publishing_without_an_sdk_does_nothing(panel: Panel) -> None:
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
