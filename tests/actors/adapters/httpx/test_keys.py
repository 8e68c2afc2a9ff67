"""Which requests share a breaker: by host, or by a key of the user."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from actors import CircuitBreakerConfig, CircuitOpenError, Panel
from actors.adapters.httpx import BreakerTransport, host_key, host_policy
from tests.actors.adapters.httpx.transports import ScriptedTransport, body, client, snapshot_of


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://example.org/", "example.org"),
        ("http://EXAMPLE.org/", "example.org"),
        ("http://example.org./", "example.org"),
        ("http://example.org.:81/", "example.org:81"),
        ("http://example.org:80/", "example.org"),
        ("https://example.org:443/", "example.org"),
        ("http://example.org:443/", "example.org:443"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("http://BÜCHER。example/", "xn--bcher-kva.example"),
        ("http://www.bücher.example/", "www.xn--bcher-kva.example"),
        ("http://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
        ("http://[::1]/", "[::1]"),
        ("http://[::1]:80/", "[::1]"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("http://[::1:8080]/", "[::1:8080]"),
        ("http://[0:0:0::0001]/", "[::1]"),
        ("http://[2001:DB8::A]/", "[2001:db8::a]"),
        ("http://[FE80::1%eth0]:81/", "[fe80::1%eth0]:81"),
        ("http://[fe80::1%ETH0]/", "[fe80::1%ETH0]"),
        ("http://[fe80::1%25eth0]/", "[fe80::1%25eth0]"),
    ],
)
def test_a_host_has_one_key_and_no_other_host_has_it(url: str, key: str) -> None:
    assert host_key(httpx.Request("GET", url)) == key


def test_an_ipv4_address_within_ipv6_has_one_key() -> None:
    """Python versions differ in how they write it, so only the keys of two spellings are compared."""
    mixed, hexadecimal = (
        httpx.Request("GET", f"http://[{one}]/") for one in ("::FFFF:1.2.3.4", "::ffff:102:304")
    )
    assert host_key(mixed) == host_key(hexadecimal)


@pytest.mark.parametrize("url", ["/relative", "http:///path", "http://./"])
async def test_a_url_without_a_host_has_no_breaker(panel: Panel, url: str) -> None:
    inner = ScriptedTransport()
    with pytest.raises(ValueError, match="host of the URL"):
        await BreakerTransport(inner, panel).handle_async_request(httpx.Request("GET", url))
    assert inner.asked == 0
    assert len(panel) == 0


async def test_an_address_with_a_port_has_a_breaker_of_its_own(panel: Panel) -> None:
    """The address `::1:8080` has the same characters as the address `::1` with port 8080."""
    asked, inner = client(panel, httpx.ConnectError("a"), httpx.ConnectError("b"), body(b"well"))
    for _ in range(2):
        with pytest.raises(httpx.ConnectError):
            await asked.get("http://[::1]:8080/")
    assert (await asked.get("http://[::1:8080]/")).text == "well"
    assert [breaker.name for breaker in panel] == ["[::1]:8080", "[::1:8080]"]
    assert inner.asked == 3


def by_area(request: httpx.Request) -> str:
    return f"{host_key(request)}{'/search' if request.url.path.startswith('/search') else ''}"


async def test_a_key_decides_which_requests_share_a_breaker(panel: Panel) -> None:
    asked_for: list[str] = []

    def config_for(key: str) -> CircuitBreakerConfig:
        asked_for.append(key)
        return replace(host_policy(key), max_failures=1)

    inner = ScriptedTransport(body(status=500), body(b"found"), body(b"well"))
    transport = BreakerTransport(inner, panel, key=by_area, config_for=config_for)
    asked = httpx.AsyncClient(transport=transport, base_url="http://it")
    await asked.get("/search/1")
    with pytest.raises(CircuitOpenError) as rejected:
        await asked.get("/search/2")
    assert rejected.value.name == "it/search"
    assert (await asked.get("/other")).text == "found"
    assert (await asked.get("/another")).text == "well"
    assert asked_for == ["it/search", "it"]
    request = httpx.Request("POST", "http://it/search")
    assert transport.breaker(request) is transport.breaker(request.url) is panel["it/search"]
    assert transport.breaker(httpx.URL("http://it/")) is panel["it"]


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (None, TypeError, "key must return a str, got None"),
        (b"it", TypeError, "key must return a str, got b'it'"),
        (["it"], TypeError, "key must return a str, got \\['it'\\]"),
        ("", ValueError, "key must return a str that isn't empty, got ''"),
    ],
)
async def test_a_bad_key_sends_nothing(panel: Panel, key: Any, error: type[Exception], message: str) -> None:
    inner = ScriptedTransport(body(b"never sent"))
    asked = httpx.AsyncClient(transport=BreakerTransport(inner, panel, key=lambda _: key))
    with pytest.raises(error, match=message):
        await asked.get("http://it/")
    assert inner.asked == 0
    assert len(panel) == 0


async def test_a_key_that_raises_sends_and_counts_nothing(panel: Panel) -> None:
    inner = ScriptedTransport(body(b"first"), body(b"never sent"))
    transport = BreakerTransport(inner, panel, key=lambda request: request.headers["X-Area"])
    asked = httpx.AsyncClient(transport=transport)
    await asked.get("http://it/", headers={"X-Area": "it"})
    with pytest.raises(KeyError):
        await asked.get("http://it/")
    assert inner.asked == 1
    assert sum((await snapshot_of(panel)).counts.values()) == 1


async def test_keys_may_share_a_policy_and_so_a_breaker(panel: Panel) -> None:
    inner = ScriptedTransport(body(b"one"), body(b"two"))
    transport = BreakerTransport(inner, panel, config_for=lambda _: host_policy("both"))
    async with httpx.AsyncClient(transport=transport) as asked:
        await asked.get("http://one/")
        await asked.get("http://two/")
    assert [breaker.name for breaker in panel] == ["both"]
    assert (await panel["both"].snapshot()).counts["success"] == 2
