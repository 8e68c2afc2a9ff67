"""When a call ends: with its response's body, at a timeout, or by cancellation."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CallTimeout, CircuitOpenError, Panel, State, open_panel
from actors.adapters.httpx import BreakerTransport, host_policy
from actors.testing import advance
from tests.actors.adapters.httpx.transports import ScriptedBody, ScriptedTransport, body, client, snapshot_of


async def test_a_response_made_with_its_content_is_read_and_settles(panel: Panel) -> None:
    asked, _ = client(panel, httpx.Response(200, text="whole"))
    assert (await asked.get("/")).text == "whole"
    assert (await snapshot_of(panel)).counts["success"] == 1


@pytest.mark.parametrize(("status", "outcome"), [(200, "success"), (503, "failure")])
async def test_a_response_closed_early_counts_as_its_head_said(
    panel: Panel, status: int, outcome: str
) -> None:
    answer = body(b"one", b"two", status=status)
    asked, _ = client(panel, answer)
    async with asked.stream("GET", "/") as response:
        assert await anext(response.aiter_raw()) == b"one"
    assert (await snapshot_of(panel)).counts[outcome] == 1
    assert isinstance(answer.stream, ScriptedBody)
    assert answer.stream.closed


@pytest.mark.parametrize("between_pieces", [False, True])
async def test_a_reader_that_is_cancelled_counts_neither_way(
    panel: Panel, mock_clock: MockClock, between_pieces: bool
) -> None:
    answer = body(b"one", 9.0, b"two")
    asked, _ = client(panel, answer)
    mock_clock.autojump_threshold = 0
    with trio.move_on_after(1):
        async with asked.stream("GET", "/") as response:
            async for _ in response.aiter_raw():
                if between_pieces:
                    await trio.sleep(9)
    counts = (await snapshot_of(panel)).counts
    assert counts["cancelled"] == 1
    assert counts["success"] == 0
    assert counts["failure"] == 0
    assert isinstance(answer.stream, ScriptedBody)
    assert answer.stream.closed


async def test_waiting_for_a_head_can_be_cancelled(panel: Panel) -> None:
    asked, _ = client(panel, body(b"never read"))
    with trio.move_on_after(0):
        await asked.get("/")
    assert (await snapshot_of(panel)).counts["cancelled"] == 1


async def test_a_probe_is_over_when_its_body_is(panel: Panel, mock_clock: MockClock) -> None:
    asked, _ = client(panel, body(b"one", b"two"), body(b"three"))
    breaker = panel.breaker(replace(host_policy("it"), max_failures=2))
    await breaker.trip()
    await advance(mock_clock, 60)
    async with asked.stream("GET", "/") as response:
        with pytest.raises(CircuitOpenError):
            await asked.get("/")
        await response.aread()
        assert breaker.state is State.CLOSED
    assert (await asked.get("/")).text == "three"


async def test_a_probe_that_streams_a_second_after_its_head_has_passed(
    panel: Panel, mock_clock: MockClock
) -> None:
    """The stream may be longer than `half_open_timeout`."""
    asked, _ = client(panel, body(b"tick", 50.0))
    breaker = panel.breaker(replace(host_policy("it"), max_failures=2, half_open_timeout=10))
    await breaker.trip()
    await advance(mock_clock, 60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.get, "/")
        await wait_all_tasks_blocked()
        await advance(mock_clock, 0.5)
        assert breaker.state is State.HALF_OPEN
        await advance(mock_clock, 0.5)
        assert breaker.state is State.CLOSED
        await advance(mock_clock, 28)
        assert (await breaker.snapshot()).counts["success"] == 0
        await advance(mock_clock, 1)
        assert (await breaker.snapshot()).counts["success"] == 1
        await advance(mock_clock, 20)
    assert (await breaker.snapshot()).counts["success"] == 1
    assert (await breaker.snapshot()).counts["failure"] == 0


async def test_a_body_that_breaks_off_after_its_success_is_one_more_failure(
    panel: Panel, mock_clock: MockClock
) -> None:
    mock_clock.autojump_threshold = 0
    asked, _ = client(panel, body(b"tick", 40.0, httpx.ReadError("broke off")), body(b"", 20.0))
    with pytest.raises(httpx.ReadError):
        await asked.get("/")
    counted = await snapshot_of(panel)
    assert counted.counts["success"] == 1
    assert counted.counts["failure"] == 1
    assert counted.failure_count == 1
    await asked.get("/")
    assert (await snapshot_of(panel)).counts["success"] == 2
    await trio.sleep(30)
    assert (await snapshot_of(panel)).counts["success"] == 2
    assert [task.name for task in panel.nursery.child_tasks] == ["it"]


async def test_long_streams_are_watched_after_a_pause_too(panel: Panel, mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    asked, _ = client(panel, body(b"one"), body(b"two", 40.0, httpx.ReadError("broke off")))
    await asked.get("/")
    await trio.sleep(60)
    with pytest.raises(httpx.ReadError):
        await asked.get("/")
    assert (await snapshot_of(panel)).counts["success"] == 2


async def test_a_request_outlives_the_panel(mock_clock: MockClock) -> None:
    class Slow(ScriptedTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await trio.sleep(5)
            return await super().handle_async_request(request)

    got: list[str] = []

    async def ask(asked: httpx.AsyncClient) -> None:
        got.append((await asked.get("http://it/")).text)

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            asked = httpx.AsyncClient(transport=BreakerTransport(Slow(body(b"late")), panel))
            nursery.start_soon(ask, asked)
            await wait_all_tasks_blocked()
        mock_clock.jump(5)
    assert got == ["late"]


async def test_a_call_timeout_covers_the_body_too(panel: Panel, mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    slow, quick = body(b"one", 9.0, b"two"), body(b"one", 1.0, b"two")
    asked, _ = client(panel, slow, quick, call_timeout=5.0)
    with pytest.raises(CallTimeout):
        await asked.get("/")
    assert (await snapshot_of(panel)).counts["failure"] == 1
    assert isinstance(slow.stream, ScriptedBody)
    assert slow.stream.closed
    with trio.move_on_after(3):
        async with asked.stream("GET", "/") as response:
            assert (await snapshot_of(panel)).counts["success"] == 1
            assert await response.aread() == b"onetwo"
