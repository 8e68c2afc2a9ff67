"""Gives operators' commands to all instances, and applies those of other instances here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
import trio

from actors.sharing.store import StoreUnavailable
from runtime.sharing.commands.applied import AppliedCommands, CommandTarget
from runtime.sharing.commands.command import HOLDS, Command
from runtime.sharing.commands.in_force import NEVER, PENDING, CommandInForce
from runtime.sharing.commands.outcome import LOOK_SECONDS, CommandOutcome, wait_for_instances
from runtime.sharing.commands.store import CommandStore, Given, Slot

POLL_SECONDS = 1.0
"""Seconds between two looks at the store when no news is announced."""
START_SECONDS = 1.0
"""The longest time for which a start waits for the store."""
DEADLINE_MS = 350
"""Milliseconds that a command has to reach the store: a frozen one carries out late what it has received."""
GONE_SECONDS = 0.5
"""Seconds after a failure in which the store isn't tried again."""

log = structlog.get_logger("admin")


@dataclass(frozen=True, slots=True)
class _Pending:
    command: Command
    given_at: float


Override = Callable[..., Awaitable[None]]


class SharedCommands(AppliedCommands):
    """The commands of one process: given by its own operators, or, through a store, by those of others.

    instance: this process's name. store: None: they are for this process alone. override: opens or closes a
    breaker's shared state (see SharedBreakers).

    Commands take effect while `run` runs or not; expiries, and the commands of others, only while it runs.
    """

    def __init__(
        self,
        target: CommandTarget,
        instance: str = "",
        store: CommandStore | None = None,
        override: Override | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        super().__init__(target, clock, keeps_results=store is not None)
        self._instance = instance
        self._store = store
        self._override = override
        self._kick = trio.Event()
        self._pending: list[_Pending] = []
        self._sequence = 0
        # The store's time at the last look, and when that was by this clock; the last failure.
        self._store_time = 0
        self._seen_at = -NEVER
        self._failed_at = -NEVER

    # Giving.

    async def give(self, command: Command) -> CommandOutcome:
        """Apply a command here, and in all other instances if the store answers.

        Raises what the target raises. Cancelling takes effect afterwards.
        """
        with trio.CancelScope(shield=True):
            async with self._lock:
                self._results[command.id] = None
                try:
                    shared = await self._share(command)
                    if not shared:
                        await self._give_here(command)
                finally:
                    result = self._results.pop(command.id)
            self._kick.set()
            if isinstance(result, Exception):
                raise result
            if self._store is not None and shared:
                return await wait_for_instances(self._store, self._instance, command, result)
        return CommandOutcome(result, shared=None if self._store is None else False)

    async def _share(self, command: Command) -> bool:
        """Give it to the store, and apply it in the store's order. False: the store is gone."""
        store = self._store
        if store is None or self._clock() - self._failed_at < GONE_SECONDS:
            return False
        try:
            if self._pending or self._clock() - self._seen_at > POLL_SECONDS:
                await self._catch_up(store)
            if self._override is not None and command.do in ("trip", "reset"):
                # First, so that no instance follows the shared state of before.
                await self._override(command.breaker, opens=command.do == "trip")
            given = await store.give(command, 0, self._deadline())
            if not given.version:
                raise StoreUnavailable("it was too slow")
        except StoreUnavailable as error:
            self._note_failure(error)
            return False
        try:
            await self._catch_up(store)
        except StoreUnavailable as error:
            self._note_failure(error)
        if command.id not in self._unsaid:
            # It isn't among the news: they could not be read, or were too many.
            await self._receive_own(command, given)
        return True

    async def _receive_own(self, command: Command, given: Given) -> None:
        entry = CommandInForce(command, given.version, self._expiry(command))
        for slot in given.accepted:
            self.in_force.merge(slot, entry)
        found = (self.in_force.get(slot) for slot in command.slots())
        if any(one is not None and one.command.id == command.id for one in found):
            self._remember(command)
            await self._apply(command)

    def _deadline(self) -> int:
        """The store's time until which it may carry out what is sent now."""
        return self._store_time + round(1000 * (self._clock() - self._seen_at)) + DEADLINE_MS

    async def _give_here(self, command: Command) -> None:
        now = self._clock()
        self.in_force.put(command, self._expiry(command))
        if self._store is not None:
            self._pending.append(_Pending(command, now))
            self._drop_superseded()
        self._remember(command)
        await self._apply(command)

    def _drop_superseded(self) -> None:
        """Keep the pending commands that hold a slot still: no more than there are slots."""
        kept = {entry.command.id for _, entry in self.in_force.entries() if entry.version == PENDING}
        self._pending = [one for one in self._pending if one.command.id in kept]

    def _expiry(self, command: Command) -> float:
        return NEVER if command.lasts is None else self._clock() + command.lasts

    # Receiving.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Apply the commands in force, for START_SECONDS at most; then those of others, and expiries.

        Until cancelled. A store that is gone raises nothing.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire)
            if self._store is None:
                task_status.started()
                await trio.sleep_forever()
                return
            await self._follow(self._store, task_status)

    async def _follow(self, store: CommandStore, task_status: trio.TaskStatus[None]) -> None:
        store.changed = self._note_news
        try:
            with trio.move_on_after(START_SECONDS):
                while not await self._look(store):  # noqa: ASYNC110
                    await trio.sleep(LOOK_SECONDS)
            task_status.started()
            while True:
                self._kick = trio.Event()
                again = await self._look(store) and bool(self._unsaid)
                if not again:
                    with trio.move_on_after(POLL_SECONDS):
                        await self._kick.wait()
        finally:
            with trio.move_on_after(0.3, shield=True):
                try:
                    await store.leave(self._instance)
                except StoreUnavailable:
                    pass

    def _note_news(self) -> None:
        self._kick.set()

    async def _look(self, store: CommandStore) -> bool:
        """Apply what is new. False: the store is gone."""
        with trio.CancelScope(shield=True):
            async with self._lock:
                try:
                    await self._catch_up(store)
                except StoreUnavailable as error:
                    self._note_failure(error)
                    return False
        return True

    def _note_failure(self, error: StoreUnavailable) -> None:
        self._failed_at = self._clock()
        log.debug("the store of commands is gone", reason=str(error))

    async def _catch_up(self, store: CommandStore) -> None:
        """Hand on what was given here alone, then apply what is new. Raises StoreUnavailable."""
        await self._hand_on(store)
        if self._sequence:
            said = dict(self._unsaid)
            news = await store.poll(self._instance, self._sequence, said)
            for number in said:
                self._unsaid.pop(number, None)
            self._note_time(news.now)
            for one in news.published:
                self._sequence = one.sequence
                await self._receive(one.command, one.version, self._local(one.remaining), one.slots)
            if not news.missed:
                return
        await self._synchronise(store)

    def _note_time(self, now: int) -> None:
        self._store_time, self._seen_at, self._failed_at = now, self._clock(), -NEVER

    def _local(self, remaining: int) -> float:
        return NEVER if remaining < 0 else self._clock() + remaining / 1000

    async def _hand_on(self, store: CommandStore) -> None:
        """Give the store what was given here while it was gone, by its age: what is newer there stays."""
        while self._pending:
            one = self._pending[0]
            # For the store's time alone: an age that arrives late would be too low.
            self._note_time((await store.poll(self._instance, self._sequence, {})).now)
            age = max(1, round(1000 * (self._clock() - one.given_at)))
            given = await store.give(one.command, age, self._deadline())
            if not given.version:
                raise StoreUnavailable("it was too slow")
            self._pending.pop(0)
            self.in_force.settle(one.command, given.version, given.accepted)
            self._unsaid.setdefault(one.command.id, "")
            if len(given.accepted) < len(one.command.slots()):
                self._sequence = 0  # read what is newer there
            if self._override is not None and one.command.do in ("trip", "reset") and given.accepted:
                await self._override(one.command.breaker, opens=one.command.do == "trip")

    async def _synchronise(self, store: CommandStore) -> None:
        """Read all that is in force, and give the store what it has lost."""
        now = self._clock()
        known = [
            Slot(
                slot,
                int(entry.version),
                -1 if entry.until == NEVER else max(0, round(1000 * (entry.until - now))),
                entry.command,
            )
            for slot, entry in self.in_force.entries()
            if 0 < entry.version < PENDING
        ]
        found = await store.synchronise(self._instance, self._sequence, known)
        self._sequence = found.sequence
        self._note_time(found.now)
        if not self.history:
            self.history.extend(reversed(found.history))
        for one in sorted(found.slots, key=lambda slot: slot.version):
            self.in_force.merge(
                one.slot, CommandInForce(one.command, one.version, self._local(one.remaining))
            )
        await self._adopt()

    async def _receive(self, command: Command, version: int, until: float, slots: Sequence[str]) -> None:
        """Apply a command of the store, unless a newer one has been applied already."""
        entry = CommandInForce(command, version, until)
        is_new = [slot for slot in slots if self.in_force.merge(slot, entry)]
        self._remember(command)
        if not is_new:
            self._unsaid.setdefault(command.id, "")
        elif command.do in HOLDS and until <= self._clock():
            if command.breaker in self._held:
                await self._end(self._held[command.breaker])
            self._unsaid[command.id] = ""
        else:
            await self._apply(command)
