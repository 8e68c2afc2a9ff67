"""The transport itself: its settings, its inner transport, and the panel's end."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from actors import CircuitBreakerConfig, CircuitOpenError, Panel, State, open_panel
from actors.adapters.httpx import BreakerTransport
from tests.actors.adapters.httpx.transports import ScriptedTransport, body, client, snapshot_of


async def test_no_request_is_sent_after_the_panels_end() -> None:
    async with open_panel() as panel:
        asked, inner = client(panel, body(b"x"), body(b"y"))
        await asked.get("/")
        response = await asked.send(asked.build_request("GET", "/"), stream=True)
    assert await response.aread() == b"y"
    with pytest.raises(Exception, match="closed"):
        await asked.get("/")
    assert inner.asked == 2


async def test_the_inner_transport_is_opened_and_closed_with_the_client(panel: Panel) -> None:
    asked, inner = client(panel)
    async with asked:
        assert inner.open == 1
    assert inner.open == 0
    await asked._transport.aclose()
    assert inner.open == -1


async def test_a_bad_setting_is_refused(panel: Panel) -> None:
    with pytest.raises(ValueError, match="succeeds_after"):
        BreakerTransport(ScriptedTransport(), panel, succeeds_after=0)


async def test_a_breaker_that_the_panel_has_is_used_with_its_policy(panel: Panel) -> None:
    """It may have been made by other code, and an operator may have given it another policy since."""
    breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=9))
    asked, _ = client(panel, httpx.ReadError("a"), httpx.ReadError("b"), httpx.ReadError("c"))
    with pytest.raises(httpx.ReadError):
        await asked.get("/")
    await breaker.configure(replace(breaker.config, max_failures=2))
    with pytest.raises(httpx.ReadError):
        await asked.get("/")
    assert breaker.state is State.OPEN
    with pytest.raises(CircuitOpenError):
        await asked.get("/")


async def test_a_breaker_that_was_removed_is_made_anew(panel: Panel) -> None:
    transport = BreakerTransport(ScriptedTransport(body(b"one"), body(b"two")), panel)
    asked = httpx.AsyncClient(transport=transport)
    await asked.get("http://it/")
    removed = transport.breaker(httpx.URL("http://it/"))
    await panel.remove("it")
    await asked.get("http://it/")
    assert panel["it"] is transport.breaker(httpx.URL("http://it/"))
    assert panel["it"] is not removed
    assert (await snapshot_of(panel)).counts["success"] == 1


async def test_a_body_is_read_to_its_end_though_its_breaker_was_removed(panel: Panel) -> None:
    """The call is counted nowhere, not even by the breaker that has the name now."""
    transport = BreakerTransport(ScriptedTransport(body(b"one", b"two"), body(b"new")), panel)
    asked = httpx.AsyncClient(transport=transport)
    async with asked.stream("GET", "http://it/") as response:
        pieces = response.aiter_bytes()
        assert await anext(pieces) == b"one"
        await panel.remove("it")
        assert (await asked.get("http://it/")).text == "new"
        assert [piece async for piece in pieces] == [b"two"]
    counted = await snapshot_of(panel)
    assert {key: count for key, count in counted.counts.items() if count} == {"success": 1}
    assert counted.in_flight == 0
