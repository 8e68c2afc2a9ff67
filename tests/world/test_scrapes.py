"""The samples in a scrape of each process's /metrics, in either format."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from trio.testing import MockClock

from tests.world.in_process_stack import open_in_process_stack

BREAKERS = {
    "gateway": {"auth-service-http", "school-service-http", "student-service-http"},
    "auth": {"auth-database"},
    "school": {"school-database"},
    "student": {"student-database", "student-service-grpc"},
}


@pytest.mark.parametrize("process", BREAKERS)
async def test_each_process_exports_its_breakers_in_both_formats(process: str, mock_clock: MockClock) -> None:
    async with open_in_process_stack() as stack:
        transport = None if process == "gateway" else stack.lines[process]
        client = (
            stack.client
            if transport is None
            else httpx.AsyncClient(transport=transport, base_url="http://it")
        )
        plain = await client.get("/metrics")
        openmetrics = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert openmetrics.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert (plain.headers["vary"], openmetrics.headers["vary"]) == ("Accept", "Accept")
    for families in (parse_plain(plain.text), parse_openmetrics(openmetrics.text)):
        samples = [sample for family in families for sample in family.samples]
        named = [sample.labels["service"] for sample in samples if "service" in sample.labels]
        assert set(named) == BREAKERS[process]
        nameless = [sample.name for sample in samples if not sample.labels]
        gauges = ["gateway_requests_in_flight", "gateway_connections_open"] if process == "gateway" else []
        assert nameless == ["circuit_breaker_shared_connected", *gauges]
