"""Spans of a real gateway, sent over OTLP to a collector; and the settings that turn this on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.observability.tracing import BadTelemetry, tracing, wanted
from tests.deploy.programs import Receiver, gateway, receiver, seconds_to_end

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(tmp_path) as running:
        yield running


def test_the_collector_receives_spans_with_the_breakers_decisions(
    collector: Receiver, tmp_path: Path
) -> None:
    with gateway(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint) as (process, client):
        answer = client.post(
            "/auth/login", json={}, headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        )
        assert answer.status_code == 502
        outer, inner = sorted(
            collector.has("POST /auth", "auth-service-http", trace=TRACE), key=lambda s: s["kind"]
        )
        assert outer["process"] == "api-gateway"
        assert outer["parent"] == "b7ad6b7169203331"
        assert inner["parent"] == outer["id"]
        assert inner["events"] == ["admitted"]
        for _ in range(5):
            client.post("/auth/login", json={})
        assert seconds_to_end(process) < 3
    assert [span["events"] for span in collector.spans() if span["name"] == "auth-service-http"][-2:] == [
        ["admitted", "opened"],
        ["rejected"],
    ]
    assert TRACE in (tmp_path / "gateway.log").read_text()


def test_exemplars_lead_from_a_slow_bucket_to_its_trace(collector: Receiver, tmp_path: Path) -> None:
    with gateway(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint) as (_, client):
        client.post("/auth/login", json={}, headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
        metrics = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert metrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert f'trace_id="{TRACE}"' in metrics.text
        assert "trace_id" not in client.get("/metrics").text


def test_a_hung_collector_delays_neither_requests_nor_the_end(collector: Receiver, tmp_path: Path) -> None:
    collector.freeze()
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_MAX_QUEUE_SIZE": "20"}
    with gateway(tmp_path, **settings, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10") as (process, client):
        for _ in range(60):
            assert client.post("/auth/login", json={}).elapsed.total_seconds() < 0.5
        assert seconds_to_end(process) < 4


def test_without_settings_opentelemetry_is_not_imported(tmp_path: Path) -> None:
    code = "import sys, gateway.__main__, services.student.__main__; print('opentelemetry' in sys.modules)"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=kept, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
    ],
)
def test_opentelemetrys_variables_turn_tracing_on(environment: dict[str, str], on: bool) -> None:
    assert wanted(environment) is on


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "jaeger"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
    ],
)
def test_an_invalid_value_is_named_and_prevents_the_start(
    name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {"OTEL_TRACES_EXPORTER": "otlp", name: value}
    with pytest.raises(BadTelemetry):
        wanted(environment)
    with pytest.raises(SystemExit) as ended, tracing("x", environment):
        raise AssertionError("it started")
    assert ended.value.code == 2
    assert f"setting {name}: " in capsys.readouterr().err
