"""When an idle breaker is removed, and events meanwhile."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreakerConfig, Panel, PanelClosedError, open_panel
from actors.commands import Remove
from actors.mailbox import Mailbox
from actors.testing import ScriptedDependency, advance
from tests.actors.panel.idle.panels import CHECK, IDLE, idle_panel, rest
from tests.actors.panel.named.functions import NAMED, doubled
from tests.actors.panel.registered import POLICY
from tests.actors.panel.removal.removed import REMOVED
from tests.actors.styles import Style, in_every_style


@in_every_style
@pytest.mark.parametrize(("used", "goes"), [(0, 100), (41, 140), (44, 140), (45, 145), (49, 145)])
async def test_an_idle_breaker_is_removed_in_the_last_twentieth_of_its_time(
    mock_clock: MockClock, call: Style, used: int, goes: int
) -> None:
    async with idle_panel() as panel:
        breaker = panel.breaker(POLICY)
        await rest(mock_clock, used)
        assert await call(breaker, ScriptedDependency()) == "ok"
        await rest(mock_clock, goes - used - 1)
        assert "it" in panel
        await rest(mock_clock, 1)
        assert "it" not in panel
        assert used + IDLE - CHECK <= goes <= used + IDLE
        with pytest.raises(PanelClosedError, match=REMOVED):
            await breaker.execute(ScriptedDependency())


async def test_a_breaker_that_was_never_called_is_removed_at_its_time(mock_clock: MockClock) -> None:
    async with idle_panel() as panel:
        panel.breaker(POLICY)
        await rest(mock_clock, 99)
        assert "it" in panel
        await rest(mock_clock, 1)
        assert "it" not in panel


async def test_a_panel_without_an_idle_time_removes_nothing(panel: Panel, mock_clock: MockClock) -> None:
    panel.breaker(POLICY)
    await advance(mock_clock, 10**7)
    assert "it" in panel


async def test_a_call_just_after_the_process_stood_still_keeps_its_breaker(mock_clock: MockClock) -> None:
    """The late check can't determine the time of the call, so it assumes the latest moment."""
    async with idle_panel() as panel:
        breaker = panel.breaker(POLICY)
        await rest(mock_clock, 7)
        mock_clock.jump(1000)
        assert await breaker.execute(ScriptedDependency()) == "ok"
        await wait_all_tasks_blocked()
        assert "it" in panel
        await rest(mock_clock, IDLE - CHECK - 1)
        assert "it" in panel
        await rest(mock_clock, CHECK + 1)
        assert "it" not in panel


@pytest.mark.parametrize("idle_timeout", [1.0, 0.3, 7.0, 33.3])
@pytest.mark.parametrize("start", [0.0, 0.1, 12345.678])
async def test_removal_is_punctual_at_times_that_no_float_hits(
    mock_clock: MockClock, idle_timeout: float, start: float
) -> None:
    mock_clock.jump(start)
    async with open_panel(idle_timeout=idle_timeout) as panel:
        panel.breaker(POLICY)
        began = trio.current_time()
        for look in range(1, 21):
            assert "it" in panel
            mock_clock.jump(began + look * idle_timeout / 20 - trio.current_time() + look * 1e-9)
            await wait_all_tasks_blocked()
        assert "it" not in panel


async def test_other_code_may_remove_idle_breakers_before_their_turn(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first breaker ends, the others are removed, and one name is taken again."""
    deliver = Mailbox.deliver
    removed: list[Mailbox[Any]] = []

    async def meddle_first(mailbox: Mailbox[Any], message: object) -> None:
        removed.append(mailbox)
        if isinstance(message, Remove) and len(removed) == 1:
            for name in ("1", "2"):
                with suppress(KeyError):
                    await panel.remove(name)
            panel.breaker(CircuitBreakerConfig(name="2", max_failures=9))
        await deliver(mailbox, message)

    monkeypatch.setattr(Mailbox, "deliver", meddle_first)
    async with idle_panel() as panel:
        for number in range(3):
            panel.breaker(CircuitBreakerConfig(name=f"{number}"))
        await rest(mock_clock, IDLE)
        assert [(breaker.name, breaker.config.max_failures) for breaker in panel] == [("2", 9)]
        assert await panel["2"].execute(ScriptedDependency()) == "ok"


@pytest.mark.parametrize("turns", range(8))
async def test_a_panel_may_close_while_it_removes_idle_breakers(mock_clock: MockClock, turns: int) -> None:
    async with idle_panel() as panel:
        for number in range(3):
            panel.breaker(CircuitBreakerConfig(name=f"{number}"))
        await rest(mock_clock, 99)
        mock_clock.jump(1)
        for _ in range(turns):
            await trio.lowlevel.checkpoint()


async def test_a_named_breaker_is_made_anew_after_its_idle_removal(mock_clock: MockClock) -> None:
    async with idle_panel() as panel:
        for _ in range(3):
            before = NAMED.find()
            assert await doubled(1) == 2
            await rest(mock_clock, 2 * IDLE)
            assert "it" not in panel
            assert await doubled(2) == 4
            assert NAMED.find() is not before


async def test_a_host_has_a_new_breaker_after_an_idle_removal(mock_clock: MockClock) -> None:
    httpx = pytest.importorskip("httpx")
    transports = pytest.importorskip("actors.adapters.httpx")
    inner = httpx.MockTransport(lambda request: httpx.Response(200, text="well"))
    async with idle_panel() as panel:
        async with httpx.AsyncClient(transport=transports.BreakerTransport(inner, panel)) as client:
            for _ in range(3):
                assert (await client.get("http://it/")).text == "well"
                assert (await panel["it"].snapshot()).counts["success"] == 1
                await rest(mock_clock, 2 * IDLE)
                assert len(panel) == 0


async def test_ten_thousand_removed_breakers_leave_no_memory_behind(mock_clock: MockClock) -> None:
    """Half are removed by hand, half because they are idle."""
    async with idle_panel() as panel:

        async def pass_by(first: int, count: int) -> None:
            for number in range(first, first + count):
                breaker = panel.breaker(CircuitBreakerConfig(name=f"tenant {number}"))
                await breaker.execute(trio.lowlevel.checkpoint)
                if number % 2:
                    await panel.remove(breaker.name)
            mock_clock.jump(2 * IDLE)
            await wait_all_tasks_blocked()
            await advance(mock_clock, 2 * IDLE)
            assert len(panel) == 0

        await pass_by(0, 1000)
        gc.collect()
        before = sys.getallocatedblocks()
        for first in range(1000, 11_000, 1000):
            await pass_by(first, 1000)
        gc.collect()
        assert sys.getallocatedblocks() - before < 1000, "a tenth of an object a name"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "60", True])
def test_an_idle_time_out_of_range_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match="idle_timeout must be a number above 0, got"):
        open_panel(idle_timeout=seconds)
