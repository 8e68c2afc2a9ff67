"""Settings come from the environment, and a bad one stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.config.settings import Port, ProcessSettings, load, split_urls


class Some(ProcessSettings):
    some_port: Port = 8081
    max_bytes: int = 5


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Some.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_defaults() -> None:
    """Without an environment the contract's defaults hold."""
    settings = load(Some)
    assert (settings.host, settings.auth_service_url, settings.some_port) == (
        "127.0.0.1",
        "http://127.0.0.1:8081",
        8081,
    )
    assert settings.circuit_breakers == Path("breakers.toml")


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is its field's name in capitals; a URL loses the slash at its end."""
    monkeypatch.setenv("SOME_PORT", "1")
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://auth:1/")
    settings = load(Some)
    assert (settings.some_port, settings.auth_service_url) == (1, "http://auth:1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOME_PORT", "70000"),
        ("SOME_PORT", "x"),
        ("SOME_PORT", ""),
        ("HOST", " "),
        ("AUTH_SERVICE_URL", "localhost:8081"),
        ("AUTH_SERVICE_URL", "http://h:1/path"),
        ("AUTH_SERVICE_URL", "http://h:99999"),
        ("AUTH_SERVICE_URL", "http://h:1,"),
        ("AUTH_SERVICE_URL", "http://h:1,h:2"),
        ("AUTH_SERVICE_URL", "http://h:1 http://h:2"),
        ("UPSTREAM_CA_FILE", "/nowhere.pem"),
        ("UPSTREAM_CA_FILE", "/"),
        ("UPSTREAM_CA_FILE", __file__),
        ("SCHOOL_GRPC_ADDRESS", "50051"),
        ("SCHOOL_GRPC_ADDRESS", "h:0"),
        ("LOG_FORMAT", "xml"),
        ("JWKS_CACHE", "/"),
        ("CIRCUIT_BREAKER_PROFILE", ""),
    ],
)
def test_bad_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """The variable, the reason and the value are said, and the exit code is 2."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        load(Some)
    line = capsys.readouterr().err
    assert (ended.value.code, line.startswith(f"setting {name}: ")) == (2, True)
    assert f"(got {value!r})" in line


def test_several_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs are separated by commas, and by spaces besides."""
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://a:1/, https://b:2")
    assert split_urls(load(Some).auth_service_url) == ["http://a:1", "https://b:2"]


@pytest.mark.parametrize(
    "value",
    [
        "http://root:hunter2@h:1",
        "http://a:1,http://root:hunter2@h:1",
        "http://root:hunter2@h:1/path",
        "root:hunter2@h",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    """A service takes none, and its URL stands in logs."""
    monkeypatch.setenv("AUTH_SERVICE_URL", value)
    with pytest.raises(SystemExit):
        load(Some)
    line = capsys.readouterr().err
    assert "setting AUTH_SERVICE_URL: should " in line
    assert "***" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("WEBHOOK_URL", f"http://h{rest}") for rest in (":99999/", ":port/", " i/", "/\x01")),
        ("WEBHOOK_URL", "ftp://h/"),
        ("WEBHOOK_URL", "http:///path"),
        *(("ADMIN_TOKEN", token) for token in ("", "two words", "end ", "line\n", "pässword", "\udcff")),
        ("WEBHOOK_SECRET", " "),
        ("WEBHOOK_SECRET", "\udcff"),
    ],
)
def test_a_secret_that_could_never_work_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """Such as a token that no header can carry, or a URL that no client can request."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load(Some)
    assert capsys.readouterr().err.startswith(f"setting {name}: ")


@pytest.mark.parametrize("url", ["https://hooks.example.org/key?a=b c", "http://[::1]:9/", "http://u:p@h/"])
def test_a_webhook_may_be_any_url(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """With a key in its path, and credentials."""
    monkeypatch.setenv("WEBHOOK_URL", url)
    found = load(Some).webhook_url
    assert found is not None
    assert found.get_secret_value() == url


def test_several_bad_values(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each bad value has its line, so that one start shows them all."""
    monkeypatch.setenv("SOME_PORT", "x")
    monkeypatch.setenv("MAX_BYTES", "y")
    with pytest.raises(SystemExit):
        load(Some)
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    "uri", ["http://u:hunter2@h", "mongodb://u:hunter2@h:port", "mongodb://u:hunter2@@h"]
)
def test_secrets_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    """A secret that can't be used is named, not shown."""
    monkeypatch.setenv("MONGODB_URI", uri)
    with pytest.raises(SystemExit):
        load(Some)
    line = capsys.readouterr().err
    assert "setting MONGODB_URI: " in line
    assert "hunter2" not in line


def test_repr_hides_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings may be printed."""
    monkeypatch.setenv("ADMIN_TOKEN", "hunter2")
    monkeypatch.setenv("MONGODB_URI", "mongodb://u:hunter2@h")
    assert "hunter2" not in repr(load(Some))


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys"])
@pytest.mark.parametrize("rest", [":p%40ss@h:1/0", "user:pass@[::1]:6380", "h", "h/15"])
def test_a_valkey_url(monkeypatch: pytest.MonkeyPatch, scheme: str, rest: str) -> None:
    """Every scheme that the driver reads; password, port and database may be left out."""
    monkeypatch.setenv("VALKEY_URL", f"{scheme}://{rest}")
    found = load(Some).valkey_url
    assert found is not None
    assert found.get_secret_value() == f"{scheme}://{rest}"


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_valkey_url_nothing_is_shared(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    """Unset or empty: None."""
    if value is not None:
        monkeypatch.setenv("VALKEY_URL", value)
    assert load(Some).valkey_url is None
    assert load(Some).secrets() == []


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@h",
        "hunter2",
        "valkey:hunter2@h",
        "valkey://",
        "valkey://:hunter2@",
        "valkey://:a/hunter2@h",
        "valkey://:hunter2/b@h",
        "valkey://:hunter2@h:0",
        "valkey://:hunter2@h:99999",
        "valkey://:hunter2@h/first",
        "valkey://:hunter2@h#1",
        "valkey://:hunter2@h\n",
        "valkey://:hunter2@h ",
        "valkey://:hunter2\udcff@h",
        " ",
    ],
)
def test_a_valkey_url_that_could_never_work_stops_the_start_unquoted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    """Also if the password isn't escaped, and a part of it looks like a port."""
    monkeypatch.setenv("VALKEY_URL", url)
    with pytest.raises(SystemExit):
        load(Some)
    line = capsys.readouterr().err
    assert line.startswith("setting VALKEY_URL: should be redis, rediss, valkey or valkeys://")
    assert len(line.splitlines()) == 1
    assert "hunter2" not in line


def test_the_password_of_valkey_is_hidden_as_it_is_written_and_as_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The driver's errors may quote it."""
    monkeypatch.setenv("VALKEY_URL", "valkey://:p%40ss-w0rd@h")
    found = load(Some)
    assert {"p%40ss-w0rd", "p@ss-w0rd"} <= set(found.secrets())
    assert "ss-w0rd" not in repr(found)
