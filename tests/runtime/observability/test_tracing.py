"""The effect of OpenTelemetry's variables, and the warning about one that can't be used."""

from __future__ import annotations

import pytest

from runtime.observability.tracing import BadTelemetry, wanted

GENERAL, OF_TRACES = "OTEL_EXPORTER_OTLP", "OTEL_EXPORTER_OTLP_TRACES"
ON = {"OTEL_TRACES_EXPORTER": "otlp"}


@pytest.mark.parametrize(
    "environment",
    [
        {f"{GENERAL}_PROTOCOL": "grpc", f"{OF_TRACES}_PROTOCOL": "http/protobuf"},
        {f"{GENERAL}_ENDPOINT": "collector:4317", f"{OF_TRACES}_ENDPOINT": "http://collector/v1/traces"},
        {f"{GENERAL}_HEADERS": "no header", f"{OF_TRACES}_HEADERS": "api-key=1, Authorization=Basic a/b=="},
        {f"{GENERAL}_PROTOCOL": "", f"{OF_TRACES}_ENDPOINT": "", f"{GENERAL}_HEADERS": ""},
    ],
)
def test_variables_of_traces_have_priority_and_empty_ones_are_unset(environment: dict[str, str]) -> None:
    assert wanted({**ON, **environment})


def test_an_empty_endpoint_leaves_tracing_off() -> None:
    assert not wanted({f"{GENERAL}_ENDPOINT": "", f"{OF_TRACES}_ENDPOINT": ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (f"{GENERAL}_ENDPOINT", "htp://me:s3cr3t-word@collector:4318"),
        (f"{GENERAL}_ENDPOINT", "http://me:s3cr3t-word@[collector"),
        (f"{GENERAL}_ENDPOINT", "http://collector:4318?api_key=s3cr3t-word"),
        (f"{OF_TRACES}_ENDPOINT", "https://collector/v1/traces?api_key=s3cr3t-word"),
        (f"{GENERAL}_ENDPOINT", "htp://collector/s3cr3t-word"),
        (f"{GENERAL}_HEADERS", "authorization Bearer s3cr3t-word"),
        (f"{OF_TRACES}_HEADERS", "fine=1,api key=s3cr3t-word"),
        (f"{OF_TRACES}_HEADERS", "api-key=s3cr3t-word;x"),
    ],
)
def test_a_complaint_names_the_variable_and_shows_no_secret(name: str, value: str) -> None:
    """The SDK would carry on without such a header, and log it."""
    with pytest.raises(BadTelemetry, match=f"^setting {name}: ") as refused:
        wanted({**ON, name: value})
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("value", ["a=b", "a = b , c=d e", "a=", "x-y.z=%20=1", "key=a/b+c==", ",a=1,"])
def test_headers_are_read_as_by_the_sdk(value: str, caplog: pytest.LogCaptureFixture) -> None:
    from opentelemetry.util.re import parse_env_headers

    assert wanted({**ON, f"{GENERAL}_HEADERS": value})
    assert parse_env_headers(value, liberal=True)
    assert not caplog.records
