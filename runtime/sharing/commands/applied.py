"""Applies commands in one process: each hold and change of a policy, until it expires."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog
import trio

from runtime.sharing.commands.command import HOLDS, Command, hold_slot
from runtime.sharing.commands.in_force import CommandsInForce

HISTORY = 100

log = structlog.get_logger("admin")


class CommandTarget(Protocol):
    """What commands change in this process."""

    async def act(self, command: Command) -> Any:
        """Trip, reset or hold a breaker. Raises an exception if that can't be done."""

    async def end(self, command: Command, reason: str) -> None:
        """End a hold that `command` began."""

    async def change(self, changes: Mapping[str, Sequence[Command]], command: Command | None = None) -> None:
        """Make these the only changes of policies, by breaker, oldest first.

        command: the one that was just given. Raises ValueError if that one can't be used here.
        """

    async def reload(self, command: Command, changes: Mapping[str, Sequence[Command]]) -> Any:
        """Make these the only changes of policies, and read the file again."""


class AppliedCommands:
    """The commands in force here, and what this process has done about them."""

    def __init__(self, target: CommandTarget, clock: Callable[[], float], *, keeps_results: bool) -> None:
        self.in_force = CommandsInForce()
        self.history: deque[Command] = deque(maxlen=HISTORY)
        self._target = target
        self._clock = clock
        self._keeps_results = keeps_results
        # Commands are applied one at a time, in the order of the store.
        self._lock = trio.Lock()
        self._rescheduled = trio.Event()
        # By breaker, the hold that was applied here last.
        self._held: dict[str, Command] = {}
        # The changes of policies that the target has.
        self._changes: Mapping[str, Sequence[Command]] = {}
        # The results of commands that the store doesn't have yet, and what the target returned.
        self._unsaid: dict[str, str] = {}
        self._results: dict[str, Any] = {}

    def now(self) -> float:
        """The time by which commands expire."""
        return self._clock()

    def _remember(self, command: Command) -> None:
        if all(one.id != command.id for one in self.history):
            self.history.append(command)

    async def _adopt(self) -> None:
        """Bring this process to what is in force."""
        now = self._clock()
        holds = self.in_force.holds(now)
        for breaker, held in list(self._held.items()):
            if breaker not in holds:
                entry = self.in_force.get(hold_slot(breaker))
                if entry is None or entry.command.do in HOLDS:
                    await self._end(held)
                else:
                    await self._apply(entry.command)
        for breaker, entry in holds.items():
            if breaker not in self._held or self._held[breaker].id != entry.command.id:
                await self._apply(entry.command)
        await self._change()

    async def _apply(self, command: Command) -> None:
        """Apply a command here, and keep its result. A failure doesn't prevent the next command."""
        try:
            result = await self._do(command)
        except Exception as error:  # noqa: BLE001 - returned to the operator, and logged
            log.warning("a command could not be applied", command=command.do, reason=str(error))
            result = error
        if self._keeps_results and len(self._unsaid) < HISTORY:
            failed = isinstance(result, Exception)
            self._unsaid[command.id] = (str(result) or type(result).__name__) if failed else ""
        if command.id in self._results:
            self._results[command.id] = result

    async def _do(self, command: Command) -> Any:
        self._rescheduled.set()
        if command.do in ("configure", "reload"):
            self._changes = changes = self.in_force.changes(self._clock())
            if command.do == "reload":
                return await self._target.reload(command, changes)
            return await self._target.change(changes, command)
        self._held.pop(command.breaker, None)
        if command.do in HOLDS:
            self._held[command.breaker] = command
        return await self._target.act(command)

    async def _change(self) -> None:
        """Bring the policies to the changes in force, if others are now."""
        changes = self.in_force.changes(self._clock())
        if changes == self._changes:
            return
        self._changes = changes
        self._rescheduled.set()
        try:
            await self._target.change(changes)
        except Exception as error:  # noqa: BLE001 - a policy that can't be used here must not end the task
            log.warning("changes of policies could not be applied", reason=str(error))

    # Expiries.

    async def _expire(self) -> None:
        while True:
            self._rescheduled = trio.Event()
            async with self._lock:
                await self._end_expired()
                due = self.in_force.next_expiry(self._clock())
            with trio.move_on_after(max(0.0, min(due - self._clock(), 3600.0))):
                await self._rescheduled.wait()

    async def _end_expired(self) -> None:
        holds = self.in_force.holds(self._clock())
        with trio.CancelScope(shield=True):
            for breaker, command in list(self._held.items()):
                if breaker not in holds:
                    await self._end(command)
            await self._change()

    async def _end(self, command: Command) -> None:
        """End a hold that has expired."""
        self._held.pop(command.breaker, None)
        try:
            await self._target.end(command, "expired")
        except Exception as error:  # noqa: BLE001 - as in _apply
            log.warning("a hold could not be ended", breaker=command.breaker, reason=str(error))
