"""Settings of the gateway."""

from __future__ import annotations

import pytest

from gateway.settings import GatewaySettings
from runtime.config.settings import complaints, load


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


def test_several_workers_need_a_valkey(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names both settings, and an invalid URL has its own line alone."""
    monkeypatch.setenv("GATEWAY_WORKERS", "2")
    for url in (None, ""):
        monkeypatch.delenv("VALKEY_URL", raising=False)
        if url is not None:
            monkeypatch.setenv("VALKEY_URL", url)
        with pytest.raises(SystemExit):
            load(GatewaySettings)
        line = capsys.readouterr().err
        assert line.startswith("setting GATEWAY_WORKERS: should be 1, or VALKEY_URL should be set too")
    monkeypatch.setenv("VALKEY_URL", "valkey://:hunter2@h:1")
    assert load(GatewaySettings).gateway_workers == 2
    monkeypatch.setenv("VALKEY_URL", "http://:hunter2@h")
    with pytest.raises(SystemExit):
        load(GatewaySettings)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("setting VALKEY_URL: ")


def test_one_worker_needs_no_valkey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VALKEY_URL", raising=False)
    monkeypatch.setenv("GATEWAY_WORKERS", "1")
    assert load(GatewaySettings).valkey_url is None
