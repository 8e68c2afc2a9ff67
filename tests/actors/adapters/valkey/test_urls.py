"""The arguments of share_breakers: URLs, namespaces, panels."""

from __future__ import annotations

import pytest

from actors import CircuitBreakerConfig, Panel
from actors.adapters.valkey import ValkeyConnection, ValkeyStore, share_breakers
from tests.actors.adapters.valkey.connecting import connected
from tests.valkey import ValkeyServer


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost", "unix:///tmp/it", "redis://"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="redis://, rediss://, valkey:// or valkeys://"):
        ValkeyConnection(url)


@pytest.mark.parametrize(
    ("url", "of_coredis"),
    [("valkey://h/0", "redis://h/0"), ("valkeys://h/0", "rediss://h/0"), ("rediss://h", "rediss://h")],
)
def test_valkey_s_schemes_are_those_of_redis(url: str, of_coredis: str) -> None:
    assert ValkeyConnection(url)._url == of_coredis


@pytest.mark.parametrize("namespace", ["", "a b", "a{b}", "x" * 101, "a\n"])
def test_a_namespace_that_cannot_be_part_of_a_key_is_refused(namespace: str) -> None:
    with pytest.raises(ValueError, match="namespace must be"):
        ValkeyStore(ValkeyConnection("redis://h"), namespace)


async def test_a_wrong_url_is_refused_before_anything_starts(panel: Panel) -> None:
    with pytest.raises(ValueError, match="must begin with"):
        async with share_breakers(panel, "http://localhost"):
            pass
    assert panel.on_change is None


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
async def test_both_schemes_connect(panel: Panel, valkey: ValkeyServer, scheme: str) -> None:
    panel.breaker(CircuitBreakerConfig(name="it"))
    async with share_breakers(panel, valkey.url.replace("valkey", scheme, 1)) as sharing:
        await connected(sharing)


async def test_namespaces_keep_breakers_apart(panel: Panel, valkey: ValkeyServer) -> None:
    panel.breaker(CircuitBreakerConfig(name="it"))
    async with share_breakers(panel, valkey.url, namespace="one", instance="me") as sharing:
        await connected(sharing)
        assert sharing.instance == "me"
    keys = valkey.command("KEYS", "*")
    assert "one:1:{it}" in keys
    assert "trio-breakers" not in keys
