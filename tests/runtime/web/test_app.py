"""Responses that all services have in common: the envelope, its errors, reading JSON, health."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from pydantic import BaseModel, ConfigDict
from quart_trio import QuartTrio
from structlog.testing import capture_logs
from werkzeug import exceptions

from actors import CircuitBreakerConfig, Panel, open_panel
from protocols.http import STATUS, Code
from runtime.auth import BadToken, KeysUnavailable, MissingToken
from runtime.serving import serve
from runtime.web.app import reply, service_app
from runtime.web.errors import ApiError, unavailable
from runtime.web.json_body import parse_json, read_json, validated
from runtime.web.request_log import request_id


class Thing(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    inner: dict[str, Any] = {}


@pytest.fixture
async def panel() -> AsyncIterator[Panel]:
    async with open_panel() as opened:
        opened.breaker(CircuitBreakerConfig(name="one", max_failures=1))
        yield opened


@pytest.fixture
def app(panel: Panel) -> QuartTrio:
    app = service_app("test-service", panel)

    @app.post("/things")
    async def add() -> Any:
        thing = await read_json(Thing)
        return reply("Thing created", thing.model_dump(), 201, next="/things/2")

    @app.get("/raise/<kind>")
    async def fail(kind: str) -> Any:
        raise FAULTS[kind]

    @app.get("/group/<kind>")
    async def fail_in_a_nursery(kind: str) -> Any:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, kind)

    return app


FAULTS: dict[str, Exception] = {
    "api": ApiError(Code.USER_EXISTS, "there is one"),
    "status": ApiError(Code.SERVICE_UNAVAILABLE, "nobody there", status=502),
    "open": unavailable("one", "try later", 12.3),
    "forced": unavailable("one", "try later", 30.0),
    "database": ApiError(Code.DATABASE_ERROR, "database error", failure_origin="one"),
    "missing": MissingToken("no bearer token"),
    "bad": BadToken("expired"),
    "keys": KeysUnavailable("no keys yet"),
    "bug": ZeroDivisionError("secret detail"),
    "abort": exceptions.InternalServerError("secret detail"),
    "unknown": exceptions.NotImplemented("secret detail"),
}
ANSWERS = {
    "api": (409, "USER_EXISTS", {}),
    "status": (502, "SERVICE_UNAVAILABLE", {}),
    "open": (503, "SERVICE_UNAVAILABLE", {"Retry-After": "13", "X-Failure-Origin": "one"}),
    "forced": (503, "SERVICE_UNAVAILABLE", {"Retry-After": "30", "X-Failure-Origin": "one"}),
    "database": (503, "DATABASE_ERROR", {"X-Failure-Origin": "one"}),
    "missing": (401, "MISSING_TOKEN", {"WWW-Authenticate": "Bearer"}),
    "bad": (401, "INVALID_TOKEN", {"WWW-Authenticate": 'Bearer error="invalid_token"'}),
    "keys": (503, "SERVICE_UNAVAILABLE", {"Retry-After": "1"}),
    "bug": (500, "INTERNAL_ERROR", {"X-Handler-Failure": "1"}),
    "abort": (500, "INTERNAL_ERROR", {"X-Handler-Failure": "1"}),
    "unknown": (501, "INTERNAL_ERROR", {}),
}


@pytest.mark.parametrize("prefix", ["/raise", "/group"])
@pytest.mark.parametrize("kind", FAULTS)
async def test_an_error_of_a_handler_is_answered_with_the_error_body(
    app: QuartTrio, kind: str, prefix: str
) -> None:
    """Also from within a nursery."""
    response = await app.test_client().get(f"{prefix}/{kind}")
    body = await response.get_json()
    status, code, fields = ANSWERS[kind]
    assert (response.status_code, body["error"], set(body)) == (status, code, {"error", "message"})
    for name in ("Retry-After", "X-Failure-Origin", "X-Handler-Failure", "WWW-Authenticate"):
        assert response.headers.get(name) == fields.get(name)
    assert "secret" not in json.dumps(body)


async def test_an_unexpected_error_is_logged_with_its_traceback(app: QuartTrio) -> None:
    """The client gets no detail."""
    with capture_logs() as lines:
        await app.test_client().get("/raise/bug")
    [line] = [line for line in lines if line["event"] == "a handler failed"]
    assert isinstance(line["exc_info"], ZeroDivisionError)
    assert line["exc_info"].__traceback__ is not None


async def test_a_success_has_message_and_data(app: QuartTrio) -> None:
    response = await app.test_client().post("/things", data=b'{"name": "x", "more": 1}')
    assert response.status_code == 201
    assert response.content_type == "application/json"
    assert await response.get_json() == {
        "message": "Thing created",
        "data": {"name": "x", "inner": {}},
        "next": "/things/2",
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/none", 404, "NOT_FOUND"),
        ("GET", "/things/", 404, "NOT_FOUND"),
        ("GET", "/x//things", 404, "NOT_FOUND"),
        ("DELETE", "/things", 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "/things", 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_an_unknown_route_or_method_has_the_error_body(
    app: QuartTrio, method: str, path: str, status: int, code: str
) -> None:
    """Nothing is redirected."""
    response = await app.test_client().open(path, method=method)
    assert (response.status_code, (await response.get_json())["error"]) == (status, code)
    assert ("Allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    "body",
    [b"", b"nul", b"{'a': 1}", b"\xff", b'"\xed\xa0\x80"', b"-Infinity", b"[" * 100_000, b"1" * 10_000],
    ids=range(8),
)
def test_a_body_that_is_not_json_is_one_error(body: bytes) -> None:
    """Not UTF-8, too deep, or with too long a number."""
    with pytest.raises(ApiError) as raised:
        parse_json(body)
    assert raised.value.code == Code.INVALID_REQUEST


def test_a_json_body_is_parsed() -> None:
    assert parse_json(' {"a": ["\N{SNOWMAN}", 1.5, null]} '.encode()) == {"a": ["\N{SNOWMAN}", 1.5, None]}


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({}, "name: "),
        ({"name": 5}, "name: "),
        ({"name": "x", "inner": 1}, "inner: "),
    ],
)
def test_a_validation_error_names_the_field_and_repeats_no_value(value: dict[str, Any], names: str) -> None:
    with pytest.raises(ApiError) as raised:
        validated(Thing, value)
    assert raised.value.code == Code.VALIDATION_ERROR
    assert raised.value.message.startswith(names)
    raised.value.message.encode()


@pytest.mark.parametrize("name", [r"\ud800", r"x\udc00\ud800", r"\ud83d"])
async def test_a_lone_surrogate_is_refused_in_any_field(app: QuartTrio, name: str) -> None:
    """A whole pair is a character."""
    client = app.test_client()
    for body in (f'{{"name": "{name}"}}', f'{{"name": "x", "inner": {{"{name}": 1}}}}'):
        response = await client.post("/things", data=body.encode())
        assert (response.status_code, (await response.get_json())["error"]) == (400, "VALIDATION_ERROR")
    assert (await client.post("/things", data=rb'{"name": "\ud83d\ude00"}')).status_code == 201


def test_retry_after_is_whole_seconds() -> None:
    """Rounded up, and at least one."""
    waits = [0.0, 0.2, 1.0, 1.001, 59.9]
    fields = [ApiError(Code.SERVICE_UNAVAILABLE, "", retry_after=wait).headers() for wait in waits]
    assert [field["Retry-After"] for field in fields] == ["1", "1", "1", "2", "60"]


def test_every_code_has_a_status() -> None:
    """No code is answered with a made-up status."""
    assert set(STATUS) == set(Code)


@pytest.mark.parametrize("given", ["a", "x" * 128, "0f-._~:/=+"])
def test_a_valid_request_id_is_kept(given: str) -> None:
    assert request_id(given) == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\nb", "\u00e9", "a\x00"])
def test_an_invalid_request_id_is_replaced(given: str | None) -> None:
    assert re.fullmatch("[0-9a-f]{32}", request_id(given))


async def test_health_has_each_breaker_and_is_503_while_one_is_unhealthy(
    app: QuartTrio, panel: Panel
) -> None:
    """Nothing is counted."""
    client = app.test_client()
    healthy = await client.get("/health")
    body = await healthy.get_json()
    assert (healthy.status_code, body["message"]) == (200, "All services are healthy")
    assert body["data"]["one"]["status"] == "healthy"
    await panel["one"].trip("test")
    sick = await client.get("/health")
    body = await sick.get_json()
    assert (sick.status_code, body["error"]) == (503, "PARTIAL_OUTAGE")
    assert body["message"] == "Some services are unhealthy"
    assert body["data"]["one"]["status"] == "unhealthy"
    assert body["data"]["one"]["circuit_breaker"]["state"] == "OPEN"
    assert (await client.get("/livez")).status_code == (await client.get("/readyz")).status_code == 200
    counts = (await panel["one"].snapshot()).counts
    assert sum(counts.values()) == 0


@asynccontextmanager
async def on_a_socket(app: QuartTrio) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        start = partial(serve, app, host="127.0.0.1", port=0, stop=trio.sleep_forever)
        yield await nursery.start(start)
        nursery.cancel_scope.cancel()


POST = b"POST /things HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
RAW = {
    b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n": b"400",
    b"GET /%ff%00%c3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n": b"404",
    b"GET /livez HTTP/1.1\r\nHost: h\r\nX-Request-ID: \xe9\r\nConnection: close\r\n\r\n": b"200",
    b"GET /livez HTTP/1.1\r\nHost: h\r\nX-Request-Timeout-Ms: 0x5\r\nConnection: close\r\n\r\n": b"200",
    POST
    + b"Content-Type: text/a\r\nContent-Type: b\xff\r\nContent-Length: 13\r\n\r\n"
    + b'{"name": "x"}': b"201",
    POST + b"Content-Length: -1\r\n\r\n": b"400",
    POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}": b"400",
    POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n": b"400",
    POST + b"Content-Length: 99999999999\r\n\r\n": b"413",
    POST + b"Cookie: " + b"x" * 200_000 + b"\r\n\r\n": b"431",
    b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n": b"400",
}


@pytest.mark.parametrize("sent", RAW, ids=range(len(RAW)))
async def test_hostile_bytes_are_at_most_a_4xx(
    app: QuartTrio, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.web.connection.DRAIN_SECONDS", 0.05)
    with trio.fail_after(5):
        async with on_a_socket(app) as port:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(sent)
            answer = await stream.receive_some(10_000)
            assert answer.split(b" ")[1] == RAW[sent], answer
