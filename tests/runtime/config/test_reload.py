"""SIGHUP reads the policies again, in place."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from actors import CircuitBreakerConfig, open_panel
from actors.messages import State
from runtime.config import reload
from runtime.config.process_policies import ProcessPolicies
from runtime.config.reload import defer_sighup, reload_on_hangup

REFUSED = "the policies can't be used; nothing has changed"


class Down(Exception):
    """The exception that counts as a failure in this process's own code."""


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(
    ("text", "failures", "told"),
    [
        ("[breakers.auth-database]\nmax_failures = 7\n", 7, "the policies are read again"),
        ("[breakers.auth-database]\nmax_failures = 0\n", 3, REFUSED),
        ("nonsense", 3, REFUSED),
    ],
)
async def test_sighup_reloads_policies_and_keeps_states_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, failures: int, told: str, early: bool
) -> None:
    """An invalid file changes nothing. early: the signal arrives during the start, and is handled later."""
    path = tmp_path / "breakers.toml"
    path.write_text(text)
    async with open_panel() as panel, trio.open_nursery() as nursery:
        config = CircuitBreakerConfig(name="auth-database", max_failures=3, failure=Down)
        breaker = panel.breaker(config)
        await breaker.trip()
        with capture_logs() as logs:
            if early:
                monkeypatch.setattr(reload, "_deferred", [])
                defer_sighup()
                os.kill(os.getpid(), signal.SIGHUP)
            await nursery.start(reload_on_hangup, ProcessPolicies(panel, path, None).reload)
            if not early:
                os.kill(os.getpid(), signal.SIGHUP)
            with trio.fail_after(5):
                while not any(one["event"] == told for one in logs):  # noqa: ASYNC110
                    await trio.sleep(0.005)
        assert (breaker.config.max_failures, breaker.config.failure) == (failures, Down)
        assert breaker.state is State.OPEN
        nursery.cancel_scope.cancel()
