"""Prometheus's tools, and the rules and metrics that the tests of this folder use."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from actors import DURATION_BUCKETS, Adaptive, CircuitBreakerConfig, ShadowPolicy, open_panel
from actors.adapters.metrics import exposition
from actors.sharing.shared_breakers import SharingStatus
from gateway.metrics.request_counts import request_families
from gateway.metrics.request_metrics import RequestMetrics
from gateway.metrics.route_names import ROUTE_NAMES
from gateway.upstream.overloads import overload_metric

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "circuit_breakers.rules.yml"
INSTALL = "there is no {}: apt-get install prometheus (Debian's package has it)"


def tool(name: str) -> str:
    """The path of a program. Skips the test if it isn't installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(INSTALL.format(name))
    return found


def promtool(*arguments: object, given: bytes | None = None) -> str:
    """Run promtool and return its output. Fails the test if promtool finds an error."""
    done = subprocess.run(
        [tool("promtool"), *map(str, arguments)], input=given, capture_output=True, timeout=60, check=False
    )
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, output
    return output


def rules() -> dict[str, str]:
    """The text of each alert, by name."""
    parts = re.split(r"^ *- alert: *(\w+)$", RULES.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def gateway_families() -> list[Metric]:
    """The metrics of a gateway that has answered one request."""
    metrics = RequestMetrics(rate_limited={"user": 1})
    metrics.begin("/auth", "GET").end(503, "CIRCUIT_BREAKER_OPEN")
    return [overload_metric({}), *request_families(metrics.snapshot(), ROUTE_NAMES)]


async def exported() -> tuple[bytes, list[Metric]]:
    """The /metrics of a gateway with one breaker that is adaptive, is shared and has a shadow."""
    async with open_panel(durations=DURATION_BUCKETS) as panel:
        panel.breaker(CircuitBreakerConfig(name="it", trip=Adaptive(), shadow=ShadowPolicy(max_failures=3)))
        status = SharingStatus("me", connected=True, news_age=0.1, dropped=0)
        text = exposition((await panel.snapshots()).values(), gateway_families(), status)
    return text, list(text_string_to_metric_families(text.decode()))
