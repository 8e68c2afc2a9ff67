"""The types of URLs in settings: the values that they accept, and how they change them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from runtime.urls import BaseUrl, MongoUri, OtlpUrl, ValkeyUrl


def revealed(kind: Any, text: str) -> str:
    """A secret URL as the process uses it."""
    return str(TypeAdapter(kind).validate_python(text).get_secret_value())


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://h:1", "http://h:1"),
        ("HTTP://Host", "http://host"),
        ("https://h:443", "https://h"),
        ("http://[::1]:8081", "http://[::1]:8081"),
    ],
)
def test_a_base_url_has_no_slash_at_its_end(text: str, url: str) -> None:
    assert str(TypeAdapter(BaseUrl).validate_python(text)) == url


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://a:1,b:2/db?replicaSet=rs0",
        "mongodb://%2Ftmp%2Fmongodb-27017.sock",
        "mongodb://u:p%40%2B+@Host/",
        "mongodb+srv://cluster.example.org/?w=majority",
        "mongodb+srv://u%3A1:p%40%2F%3A%25@cluster.example.org/db?authSource=admin&retryWrites=false",
        "mongodb://u:p%40%2F%3A%25%23@a:1,b:2/?replicaSet=rs0&authSource=admin",
    ],
)
def test_a_mongodb_uri_reaches_the_driver_as_it_was_written(uri: str) -> None:
    """No port is added: neither an SRV name nor a socket can have one."""
    assert revealed(MongoUri, uri) == uri


@pytest.mark.parametrize("text", ["http://c:4318/v1/traces", "https://c"])
def test_an_otlp_url_may_have_a_path(text: str) -> None:
    assert str(TypeAdapter(OtlpUrl).validate_python(text)) == text


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("valkey://h", "valkey://h:6379"),
        ("valkeys://u:p@h:7/3", "valkeys://u:p@h:7/3"),
        ("redis://h:7/", "redis://h:7/"),
        ("rediss://[::1]", "rediss://[::1]:6379"),
    ],
)
def test_a_valkey_url_has_a_port(text: str, url: str) -> None:
    assert revealed(ValkeyUrl, text) == url


def test_an_empty_valkey_url_is_none() -> None:
    assert TypeAdapter(ValkeyUrl).validate_python("") is None


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (BaseUrl, "http://u@h:1", "should have no user and no password"),
        (BaseUrl, "http://h:1/", "should have no path, query or fragment"),
        (BaseUrl, "http://h:1?", "should have no path, query or fragment"),
        (BaseUrl, "http://h:0", "should have a port above 0"),
        (BaseUrl, "http://h:1\n", "should begin with SCHEME://HOST"),
        (BaseUrl, "http://h:99999", "invalid port number"),
        (OtlpUrl, "http://c/?key=1", "should have no query"),
        (OtlpUrl, "c:4318", "should begin with SCHEME://HOST"),
        (MongoUri, "mongodb://h:0", "should be a MongoDB connection string"),
        (MongoUri, "http://h", "URL scheme should be 'mongodb' or 'mongodb+srv'"),
        (ValkeyUrl, "http://h", "URL scheme should be 'redis', 'rediss', 'valkey' or 'valkeys'"),
        (ValkeyUrl, "redis://h:0", "should have a port above 0"),
        (ValkeyUrl, "redis://h/x", "should have no path but the number of a database"),
        (ValkeyUrl, "redis:///1", "should begin with SCHEME://HOST"),
        (ValkeyUrl, "h:6379", "should begin with SCHEME://HOST"),
    ],
)
def test_what_no_process_can_use_is_refused(kind: Any, text: str, reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(text)
    [problem] = caught.value.errors()
    assert reason in problem["msg"]
    assert text not in problem["msg"]


def test_a_mongodb_uri_with_a_missing_certificate_is_refused_unquoted() -> None:
    uri = "mongodb://u:hunter2@h/?tls=true&tlsCertificateKeyFile=/nowhere.pem"
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(MongoUri).validate_python(uri)
    [problem] = caught.value.errors(include_input=False, include_context=False)
    assert problem["msg"] == "Value error, should name readable files: No such file or directory"
