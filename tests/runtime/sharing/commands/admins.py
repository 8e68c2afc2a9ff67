"""Instances of one kind of process, each with a panel, an admin and its own connection to a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from actors import CircuitBreaker, CircuitBreakerConfig, Panel, open_panel
from actors.adapters.valkey import ValkeyConnection, ValkeyStore
from actors.sharing.link import SharingPolicy
from actors.sharing.shared_breakers import SharedBreakers
from runtime.admin.history import Recorder
from runtime.admin.panel_target import PanelTarget
from runtime.admin.service import AdminCommand, LocalBreakerAdmin
from runtime.config.process_policies import ProcessPolicies
from runtime.sharing.commands.shared_commands import SharedCommands
from runtime.sharing.commands.store import ValkeyCommandStore

NAME = "auth-database"


def command(reason: str = "", lasts: float | None = None, who: str = "somebody") -> AdminCommand:
    return AdminCommand(who, reason, "", "request-1", lasts)


@dataclass
class Instance:
    """One running instance."""

    name: str
    admin: LocalBreakerAdmin
    breaker: CircuitBreaker

    async def steer(self, action: str, reason: str = "", lasts: float | None = None) -> Any:
        return await self.admin.steer(NAME, action, command(reason, lasts))

    async def change(self, lasts: float | None = None, **table: Any) -> Any:
        return await self.admin.change(NAME, table, command(lasts=lasts))


@asynccontextmanager
async def instance(url: str | None, name: str, policies: Path, store: Any = None) -> AsyncIterator[Instance]:
    """An instance with one breaker; its commands and its breaker are shared. url: None: nothing is shared."""
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name=NAME, max_failures=5, reset_timeout=60))
        file = ProcessPolicies(panel, policies, None)
        target = PanelTarget(panel, file)
        async with shared_commands(url, name, panel, target) as commands, trio.open_nursery() as nursery:
            await nursery.start(commands.run)
            recorder = Recorder("auth-service", panel)
            yield Instance(name, LocalBreakerAdmin(panel, recorder, file, commands), breaker)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def shared_commands(
    url: str | None, name: str, panel: Panel, target: PanelTarget
) -> AsyncIterator[SharedCommands]:
    if url is None:
        yield SharedCommands(target)
        return
    connection = ValkeyConnection(url)
    shared = SharedBreakers(panel, ValkeyStore(connection, "school"), SharingPolicy(), name)
    store = ValkeyCommandStore(connection, "school", "auth-service")
    async with trio.open_nursery() as nursery:
        await nursery.start(connection.run)
        await nursery.start(shared.run)
        # On a busy machine a connection may take longer than a start waits for it.
        with suppress(trio.TooSlowError):
            await until(lambda: shared.status().connected)
        yield SharedCommands(target, name, store, shared.override)
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until the condition holds. Raises TooSlowError."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


Start = Callable[[str], AbstractAsyncContextManager[Instance]]
"""Starts an instance of that name."""
