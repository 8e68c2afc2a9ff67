"""`just settings`: secrets, and the units of defaults."""

from __future__ import annotations

import pytest

from deploy import settings


def test_a_secret_is_shown_as_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Passwords in URLs are redacted."""
    for name in ("ADMIN_TOKEN", "WEBHOOK_SECRET", "WEBHOOK_URL", "MONGODB_URI", "VALKEY_URL"):
        monkeypatch.setenv(name, "hidden-1")
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://root:hidden-1@h:1")
    settings.main()
    output = capsys.readouterr().out
    assert "hidden-1" not in output
    assert output.count("(set)") == 5


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("UPSTREAM_TIMEOUT", "10 s"),
        ("SHUTDOWN_DELAY", "0 s"),
        ("MAX_BODY_BYTES", "10485760 bytes"),
        ("CLIENT_UPLOAD_RATE", "500 bytes/s"),
        ("RATE_LIMIT_PER_MINUTE", "100 requests"),
        ("GATEWAY_WORKERS", "1"),
        ("GATEWAY_INSTANCES", "1"),
        ("VALKEY_PORT", "6380"),
        ("VALKEY_URL", ""),
        ("TLS_CERT_FILE", ""),
    ],
)
def test_a_default_has_its_unit(name: str, default: str) -> None:
    assert settings.settings()[name].default == default


def test_a_setting_of_all_processes_has_all_owners() -> None:
    owners = {"api-gateway", "auth-service", "school-service", "student-service"}
    assert set(settings.settings()["LOG_FORMAT"].owners) == owners
    assert set(settings.settings()["VALKEY_URL"].owners) == owners


def test_a_setting_of_two_processes_names_each_of_them_once() -> None:
    """Their settings have a base class in common, which both modules import."""
    found = settings.settings()
    assert found["SCHOOL_GRPC_SECRET"].owners == ("school-service", "student-service")
    assert found["SCHOOL_GRPC_SECRET"].is_secret
    assert found["GRPC_REFLECTION"].owners == ("school-service",)
    assert found["TRUSTED_GATEWAYS"].owners == ("auth-service",)
    assert len(found["MONGODB_URI"].owners) == 4
