"""Settings of the gateway that need each other."""

from __future__ import annotations

import pytest

from gateway.settings import GatewaySettings
from runtime.config.settings import load


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
