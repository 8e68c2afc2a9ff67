"""`just settings`: secrets, units, meanings, readers, and the values of the running stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import environments, settings
from deploy.config import StackConfig, StackError, stack_config
from deploy.setting_table import CREDENTIALS, SETTINGS


def test_a_secret_is_shown_as_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Passwords in URLs are redacted."""
    for name in ("ADMIN_TOKEN", "WEBHOOK_SECRET", "WEBHOOK_URL", "MONGODB_URI", "VALKEY_URL"):
        monkeypatch.setenv(name, "hidden-1")
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://root:hidden-1@h:1")
    monkeypatch.setenv("STACK_DIR", "/nowhere")
    settings.main()
    output = capsys.readouterr().out
    assert "hidden-1" not in output
    assert output.count("(set)") == 5
    assert output.startswith("The stack is down. `uv run just up` in this shell would start it with")


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


def test_every_setting_of_a_process_is_described() -> None:
    """Every described setting is read. One without a description is missing in the environment files too."""
    found = settings.settings()
    assert set(found) == set(SETTINGS)
    assert {name for name, setting in found.items() if setting.is_secret} == CREDENTIALS
    assert all(setting.owners for setting in found.values())


def test_the_services_alone_read_mongodbs_address() -> None:
    owners = settings.settings()["MONGODB_URI"].owners
    assert owners == ("auth-service", "school-service", "student-service")


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackConfig:
    """A stack that was started with other settings than this shell's."""
    settings_of_stack = {"STACK_DIR": str(tmp_path), "GATEWAY_PORT": "9080", "GATEWAY_INSTANCES": "2"}
    monkeypatch.setattr("deploy.config.find_haproxy", lambda: None)
    config = stack_config(settings_of_stack)
    given = {**settings_of_stack, "UPSTREAM_TIMEOUT": "7", "ADMIN_TOKEN": "hidden-1", "WEBHOOK_SECRET": ""}
    environments.write(config, given)
    monkeypatch.setattr(settings.StackSupervisor, "is_alive", lambda self: True)
    monkeypatch.setenv("UPSTREAM_TIMEOUT", "99")
    return config


def shown(config: StackConfig, name: str) -> list[str]:
    found = settings.running_environments(config)
    assert found is not None
    return list(settings.lines(name, settings.settings()[name], found))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPSTREAM_TIMEOUT", "7 s  (default: 10 s)"),
        ("UPSTREAM_IDLE_TIMEOUT", "300 s"),
        ("GATEWAY_PORT", "9080 (api-gateway), 9090 (api-gateway-2)  (default: 8080)"),
        ("GATEWAY_INSTANCES", "2  (default: 1)"),
        ("MONGODB_PORT", "27017  (default: 27017)"),
        ("MONGODB_URI", "(set)  (default: mongodb://127.0.0.1:27017/?replicaSet=rs0)"),
        ("VALKEY_URL", "(set)  (default: not set)"),
        ("SCHOOL_GRPC_SECRET", "(set)  (default: not set)"),
        ("ADMIN_TOKEN", "(set)  (default: not set)"),
        ("WEBHOOK_SECRET", "empty  (default: not set)"),
        ("TLS_KEY_FILE", "not set"),
    ],
)
def test_the_values_are_those_of_the_running_stack(started: StackConfig, name: str, value: str) -> None:
    assert shown(started, name)[0] == f"{name}  {value}"


def test_meaning_and_readers_stand_below_the_value(started: StackConfig) -> None:
    assert shown(started, "CLIENT_IDLE_TIMEOUT")[1] == (
        "    Longest time between two requests of a connection. Read by api-gateway."
    )
    assert shown(started, "LOG_FORMAT")[1].endswith(". Read by every process.")


def test_the_values_of_an_older_stack_are_unknown(started: StackConfig) -> None:
    started.environment_file("auth-service").unlink()
    with pytest.raises(StackError, match="an earlier version has started the stack"):
        settings.running_environments(started)
