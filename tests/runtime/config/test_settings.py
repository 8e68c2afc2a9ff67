"""Settings come from the environment, and a bad one stops the start."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from runtime.config.settings import DatabaseSettings, Port, ProcessSettings, load


class Some(DatabaseSettings):
    some_port: Port = 8081
    max_bytes: int = 5


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Some.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_settings_without_an_environment_are_the_contracts_defaults() -> None:
    settings = load(Some)
    assert settings.host == "127.0.0.1"
    assert list(map(str, settings.auth_service_url)) == ["http://127.0.0.1:8081"]
    assert str(settings.mongodb_uri.get_secret_value()) == "mongodb://127.0.0.1:27017/?replicaSet=rs0"
    assert settings.some_port == 8081
    assert settings.circuit_breakers == Path("breakers.toml")


def test_a_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL loses the slash at its end."""
    monkeypatch.setenv("SOME_PORT", "1")
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://auth:1/")
    settings = load(Some)
    assert (settings.some_port, list(map(str, settings.auth_service_url))) == (1, ["http://auth:1"])


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
        ("AUTH_SERVICE_URL", "ftp://h:1"),
        ("AUTH_SERVICE_URL", "http://h:0"),
        ("AUTH_SERVICE_URL", "http://h:1?a=b"),
        ("AUTH_SERVICE_URL", "http://h:1#a"),
        ("AUTH_SERVICE_URL", "http:///h"),
        ("AUTH_SERVICE_URL", "http:h"),
        ("AUTH_SERVICE_URL", ""),
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
def test_an_invalid_value_is_printed_with_variable_and_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """The exit code is 2."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        load(Some)
    line = capsys.readouterr().err
    assert (ended.value.code, line.startswith(f"setting {name}: ")) == (2, True)
    assert f"(got {value!r})" in line


def test_urls_are_separated_by_commas_and_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://a:1/, https://b:2")
    assert list(map(str, load(Some).auth_service_url)) == ["http://a:1", "https://b:2"]


@pytest.mark.parametrize(
    ("value", "bad"), [("http://h:1,", ""), ("http://h:1/,h:2", "h:2"), (",http://h", "")]
)
def test_the_bad_one_of_several_servers_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str, bad: str
) -> None:
    monkeypatch.setenv("AUTH_SERVICE_URL", value)
    with pytest.raises(SystemExit):
        load(Some)
    assert capsys.readouterr().err == (
        "setting AUTH_SERVICE_URL: should begin with SCHEME://HOST, and have printable characters alone"
        f" (got {bad!r})\n"
    )


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
    """A service accepts no credentials, and its URL appears in logs."""
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
        ("ADMIN_TOKEN", "x" * 31),
        *(("ADMIN_TOKEN", wrong * 20) for wrong in ("two words", "pässword")),
        ("WEBHOOK_SECRET", " "),
        ("WEBHOOK_SECRET", "\udcff"),
    ],
)
def test_a_secret_that_cannot_be_sent_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """A token that no header can contain, or a URL that no client can request."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load(Some)
    assert capsys.readouterr().err.startswith(f"setting {name}: ")


@pytest.mark.parametrize(
    ("url", "requested"),
    [
        ("https://hooks.example.org/key?a=b c", "https://hooks.example.org/key?a=b%20c"),
        ("http://[::1]:9/", "http://[::1]:9/"),
        ("http://u:p@h/", "http://u:p@h/"),
    ],
)
def test_the_url_of_a_webhook_may_have_a_key_and_credentials(
    monkeypatch: pytest.MonkeyPatch, url: str, requested: str
) -> None:
    monkeypatch.setenv("WEBHOOK_URL", url)
    found = load(Some).webhook_url
    assert found is not None
    assert str(found.get_secret_value()) == requested == str(httpx.URL(url))


def test_each_invalid_value_has_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_PORT", "x")
    monkeypatch.setenv("MAX_BYTES", "y")
    with pytest.raises(SystemExit):
        load(Some)
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    "uri", ["http://u:hunter2@h", "mongodb://u:hunter2@h:port", "mongodb://u:hunter2@@h"]
)
def test_an_invalid_secret_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    monkeypatch.setenv("MONGODB_URI", uri)
    with pytest.raises(SystemExit):
        load(Some)
    line = capsys.readouterr().err
    assert "setting MONGODB_URI: " in line
    assert "hunter2" not in line


def test_an_admin_token_has_32_characters_at_least(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shorter one is named, and not shown."""
    monkeypatch.setenv("ADMIN_TOKEN", "0123456789abcdef0123456789abcdef")
    assert load(Some).admin_token is not None
    monkeypatch.setenv("ADMIN_TOKEN", "0123456789abcdef0123456789abcde")
    with pytest.raises(SystemExit):
        load(Some)
    line = capsys.readouterr().err
    assert line == "setting ADMIN_TOKEN: should have 32 characters at least (got a secret)\n"


def test_the_repr_hides_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "hunter2" * 5)
    monkeypatch.setenv("MONGODB_URI", "mongodb://u:hunter2@h")
    assert "hunter2" not in repr(load(Some))


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys"])
@pytest.mark.parametrize("rest", [":p%40ss@h:1/0", "user:pass@[::1]:6380", "h", "h/15"])
def test_a_valkey_url(monkeypatch: pytest.MonkeyPatch, scheme: str, rest: str) -> None:
    """Every scheme that the driver reads; password, port and database may be left out."""
    monkeypatch.setenv("VALKEY_URL", f"{scheme}://{rest}")
    found = load(Some).valkey_url
    assert found is not None
    host = rest if ":" in rest else rest.replace("h", "h:6379")
    assert str(found.get_secret_value()) == f"{scheme}://{host}"


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
    assert line.startswith("setting VALKEY_URL: ")
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


@pytest.mark.parametrize(
    ("uri", "hidden"),
    [
        ("mongodb://u:p%40ss-w0rd@h/?authSource=admin", {"p%40ss-w0rd", "p@ss-w0rd"}),
        ("mongodb://u:p+ss-w0rd@a,b:1/?replicaSet=rs0", {"p+ss-w0rd", "p ss-w0rd"}),
        ("mongodb+srv://u:p%2Fss-w0rd@cluster.example.org/db", {"p%2Fss-w0rd", "p/ss-w0rd"}),
        ("mongodb://h/?tls=true&tlsCertificateKeyFile=/dev/null&tlsCertificateKeyFilePassword=k3y", {"k3y"}),
    ],
)
def test_the_secrets_of_a_mongodb_uri_are_hidden(
    monkeypatch: pytest.MonkeyPatch, uri: str, hidden: set[str]
) -> None:
    """In their written form, and in the form that the driver uses and may quote."""
    monkeypatch.setenv("MONGODB_URI", uri)
    found = load(Some)
    assert hidden <= set(found.secrets())
    assert not any(one in repr(found) for one in hidden)


def test_a_process_without_a_database_reads_no_mongodb_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the gateway."""
    monkeypatch.setenv("MONGODB_URI", "no URI")
    assert not hasattr(load(ProcessSettings), "mongodb_uri")
