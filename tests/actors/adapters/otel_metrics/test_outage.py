"""The metrics that an OpenTelemetry SDK reads of a panel through a whole outage.

The outage is compared with golden/otel_metrics.json. To write that file anew, and look at what has changed:

    REWRITE_GOLDEN=1 uv run pytest tests/actors/adapters/otel_metrics/test_outage.py
    git diff tests/actors/adapters/otel_metrics/golden
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import trio
from opentelemetry.sdk.metrics.export import AggregationTemporality
from trio.testing import MockClock

from actors import open_panel
from actors.adapters.otel_metrics import publish_metrics
from actors.testing import DependencyDown, advance
from tests.actors.adapters.otel_metrics.telemetry import (
    CHANGES,
    EXECUTIONS,
    MAIL,
    PAYMENTS,
    Points,
    Telemetry,
    call,
    call_cancelled,
    call_rejected,
    published,
    remove_from_panel,
    running_call,
)

GOLDEN = Path(__file__).parent / "golden" / "otel_metrics.json"


async def outage(clock: MockClock, telemetry: Telemetry) -> dict[str, Points]:
    """The readings at each moment of an outage of `payments`, while an operator handles `mail`."""
    read: dict[str, Points] = {}

    async def read_after(moment: str, *, after: float = 5) -> None:
        await advance(clock, after)
        read[moment] = telemetry.points()

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            payments = panel.breaker(PAYMENTS)
            await nursery.start(publish_metrics, panel, telemetry.meter)
            await read_after("at the start", after=0)
            await call(payments, "ok", "ok", "ok", KeyError(), DependencyDown())
            await call_cancelled(payments)
            async with running_call(payments):
                await call_rejected(payments)
                await read_after("a call runs")
            await call(payments, DependencyDown(), DependencyDown())
            await call_rejected(payments, 3)
            mail = panel.breaker(MAIL)
            await mail.force_open()
            await call_rejected(mail, 2)
            await read_after("payments is open, and mail forced open")
            await advance(clock, 15)
            async with running_call(payments):
                await call_rejected(payments)
                await mail.observe()
                await read_after("payments is probed, and mail observing")
            await read_after("payments is closed")
            remove_from_panel(panel, mail)
            await read_after("mail is removed")
            await call(panel.breaker(MAIL), "ok")
            await read_after("mail is there again")
        await read_after("the panel is closed")
    return read


async def test_an_outages_readings_are_those_of_the_golden_file(
    mock_clock: MockClock, telemetry: Telemetry
) -> None:
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
async def test_a_counter_never_decreases(temporality: AggregationTemporality, mock_clock: MockClock) -> None:
    """Not when another breaker takes a name, nor when another panel is published. No delta is below 0."""
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
