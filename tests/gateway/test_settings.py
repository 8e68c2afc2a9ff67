"""Settings of the gateway."""

import pytest

from gateway.settings import GatewaySettings
from runtime.config.settings import complaints


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "x"),
        ("GATEWAY_PORT", "70000"),
        ("GATEWAY_WORKERS", "0"),
        ("RATE_LIMIT_PER_MINUTE", "0"),
        ("RATE_LIMIT_PER_HOUR", "many"),
        ("UPSTREAM_TIMEOUT", "0"),
        ("UPSTREAM_TIMEOUT", "nan"),
        ("UPSTREAM_IDLE_TIMEOUT", "-1"),
        ("MAX_BODY_BYTES", "0"),
        ("MAX_HEADER_BYTES", "100"),
        ("MAX_CONNECTIONS", "0"),
        ("CLIENT_HEADER_TIMEOUT", "0"),
        ("CLIENT_BODY_TIMEOUT", "-1"),
        ("CLIENT_WRITE_TIMEOUT", "x"),
        ("CLIENT_IDLE_TIMEOUT", "inf"),
        ("TRUSTED_PROXIES", "localhost"),
    ],
)
def test_an_invalid_setting_is_reported_with_its_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError) as caught:
        GatewaySettings()
    [line] = complaints(GatewaySettings, caught.value)
    assert line.startswith(f"setting {name}: ")
