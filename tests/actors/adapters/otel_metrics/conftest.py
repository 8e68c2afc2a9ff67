"""An OpenTelemetry SDK that keeps its readings in memory."""

from __future__ import annotations

import pytest

from tests.actors.adapters.otel_metrics.telemetry import Telemetry


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()
