"""Pages of other origins, and services that clients see below a prefix."""

import pytest
from pydantic import ValidationError

from gateway.proxy.forwarding.rewriting import below_prefix
from gateway.settings import GatewaySettings
from tests.gateway.end_to_end.raw_http import fields, talk
from tests.gateway.running_gateway import served
from tests.gateway.wire import answering, ok, upstream

APP = b"https://app.example.org"
ORIGIN = b"Origin: https://app.example.org\r\n"
PREFLIGHT = (
    b"OPTIONS /schools HTTP/1.1\r\nHost: g\r\nConnection: close\r\n%b"
    b"Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
)
CORS = {"cors_origins": "https://app.example.org, https://other.example.org"}


def get(path=b"/auth/x", origin=ORIGIN):
    return b"GET %b HTTP/1.1\r\nHost: g\r\nConnection: close\r\n%b\r\n" % (path, origin)


async def test_a_preflight_needs_no_token_and_no_service():
    async with served(**CORS) as gateway:
        answer = await talk(gateway.port, PREFLIGHT % ORIGIN)
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert fields(answer, b"access-control-allow-origin") == [APP]
    assert fields(answer, b"access-control-allow-headers") == [b"authorization"]
    assert b"PUT" in fields(answer, b"access-control-allow-methods")[0]


async def test_a_preflight_of_another_origin_is_not_allowed():
    async with served(**CORS) as gateway:
        answer = await talk(gateway.port, PREFLIGHT % b"Origin: https://evil.example\r\n")
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert fields(answer, b"access-control-allow-origin") == []
    assert fields(answer, b"access-control-allow-methods") == []


async def test_without_origins_a_preflight_is_an_ordinary_request():
    async with served() as gateway:
        assert (await talk(gateway.port, PREFLIGHT % ORIGIN)).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(("path", "status"), [(b"/schools", 401), (b"/auth/x", 502), (b"/nowhere", 404)])
async def test_the_gateways_own_errors_have_cors_fields(path, status):
    async with served(**CORS) as gateway:
        answer = await talk(gateway.port, get(path))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert fields(answer, b"access-control-allow-origin") == [APP]
    assert b"Retry-After" in fields(answer, b"access-control-expose-headers")[0]
    assert fields(answer, b"vary") == [b"Origin"]


async def test_refusals_by_the_rate_limit_and_the_breaker_have_cors_fields():
    """A page can read when to try again, and the request's id."""
    async with served(**CORS, policy={"max_failures": 1}, rate_limit_per_minute=2) as gateway:
        for status in (502, 503, 429):
            answer = await talk(gateway.port, get())
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            assert fields(answer, b"access-control-allow-origin") == [APP]
            exposed = fields(answer, b"access-control-expose-headers")[0].split(b", ")
            assert {b"Retry-After", b"X-Request-ID"} <= set(exposed)
            assert bool(fields(answer, b"retry-after")) is (status != 502)
            assert len(fields(answer, b"x-request-id")) == 1


async def test_cors_fields_of_the_service_are_replaced():
    said = ok(b"ok", b"access-control-allow-origin: *", b"access-control-allow-credentials: true")
    async with upstream(answering(said)) as server, served(auth=server.url, **CORS) as gateway:
        answer = await talk(gateway.port, get())
    assert fields(answer, b"access-control-allow-origin") == [APP]
    assert fields(answer, b"access-control-allow-credentials") == []


async def test_without_origins_cors_fields_of_the_service_stay():
    said = ok(b"ok", b"access-control-allow-origin: *")
    async with upstream(answering(said)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, get())
    assert fields(answer, b"access-control-allow-origin") == [b"*"]
    assert fields(answer, b"vary") == []


@pytest.mark.parametrize("value", ["app.example.org", "https://", "ftp://x", "https://a/b", "null"])
def test_an_invalid_origin_is_refused(value):
    with pytest.raises(ValidationError) as caught:
        GatewaySettings(cors_origins=f"https://a,{value}")
    [problem] = caught.value.errors()
    assert (problem["loc"][0], problem["input"]) == ("cors_origins", value)


async def test_any_origin_may_be_allowed():
    async with served(cors_origins="*") as gateway:
        answer = await talk(gateway.port, PREFLIGHT % b"Origin: https://anybody.example\r\n")
    assert fields(answer, b"access-control-allow-origin") == [b"https://anybody.example"]


async def test_an_origin_is_compared_as_browsers_send_it():
    """Without the port of its scheme, its host in lower case and ASCII."""
    async with served(cors_origins="https://App.example.org:443, https://bücher.example, ") as gateway:
        for origin in (APP, b"https://xn--bcher-kva.example"):
            answer = await talk(gateway.port, PREFLIGHT % (b"Origin: %b\r\n" % origin))
            assert fields(answer, b"access-control-allow-origin") == [origin]


OWN = frozenset((b"http://auth:8081",))


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (b"/welcome?x=/y", b"/auth/welcome?x=/y"),
        (b"/", b"/auth/"),
        (b"http://auth:8081/welcome", b"/auth/welcome"),
        (b"HTTP://AUTH:8081/Welcome", b"/auth/Welcome"),
        (b"http://auth:8081", b"/auth"),
        (b"https://elsewhere.example/welcome", b"https://elsewhere.example/welcome"),
        (b"http://auth:80811/x", b"http://auth:80811/x"),
        (b"//elsewhere.example/x", b"//elsewhere.example/x"),
        (b"welcome", b"welcome"),
        (b"", b""),
    ],
)
def test_location_is_rewritten_below_a_prefix(value, seen):
    assert below_prefix([(b"location", value)], b"/auth", OWN) == [(b"location", seen)]


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (b"sid=1; Path=/session; HttpOnly", b"sid=1; Path=/auth/session; HttpOnly"),
        (b"sid=/path=/x; path = /", b"sid=/path=/x; path = /auth/"),
        (b"sid=1", b"sid=1"),
    ],
)
def test_cookies_are_rewritten_below_a_prefix(value, seen):
    assert below_prefix([(b"set-cookie", value)], b"/auth", OWN) == [(b"set-cookie", seen)]


def test_other_locations_and_cookies_are_unchanged():
    others = [(b"link", b"</next>"), (b"refresh", b"0; url=/x"), (b"content-type", b"text/plain")]
    assert below_prefix(others, b"/auth", OWN) == others
