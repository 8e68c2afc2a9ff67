"""Removal at the worst moment, and from another run."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors import CircuitBreakerConfig, open_panel
from actors.breaker_actor import BreakerActor
from actors.commands import Wake
from actors.mailbox import BATCH


async def test_a_panel_that_closes_while_it_removes_a_breaker_closes_quietly(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_panel(idle_timeout=20) as panel:
        panel.breaker(CircuitBreakerConfig(name="it"))

        def close_when_due(actor: BreakerActor) -> bool:
            """Keep the actor busy for more than a batch, so that the panel's end overtakes the removal."""
            for _ in range(BATCH + 1):
                actor.mailbox.try_send(Wake())
            panel.nursery.cancel_scope.cancel()
            return True

        monkeypatch.setattr(BreakerActor, "may_be_removed", property(close_when_due))
        await trio.sleep_forever()
    assert "it" not in panel


async def test_another_run_removes_no_breaker() -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        with pytest.raises(RuntimeError, match="belongs to the trio.run of its panel"):
            await trio.to_thread.run_sync(trio.run, panel.remove, "it")
        assert panel["it"] is breaker
