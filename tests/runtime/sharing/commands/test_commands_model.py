"""Random commands, expiries, outages, restarts, lost data: all instances end with the last order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.sharing.store import StoreUnavailable
from runtime.sharing.commands.command import HOLDS, Command
from runtime.sharing.commands.shared_commands import SharedCommands
from runtime.sharing.commands.store import Acknowledged, Everything, Given, News, Slot
from tests.runtime.sharing.commands.memory_commands import MemoryCommands

EPOCH = 1_800_000_000_000
NAMES = ("a", "b", "c")
SETTLED = 4.0
"""Seconds within which every instance has the store's commands."""


class Link:
    """One instance's way to the store. cut: "both": nothing passes; "reply": only requests pass."""

    def __init__(self, memory: MemoryCommands) -> None:
        self.memory = memory
        self.cut = ""
        self.changed: Callable[[], None] = lambda: None
        memory.listeners.append(lambda: self.cut or self.changed())

    async def _pass(self, use: Callable[[], Any]) -> Any:
        await trio.lowlevel.checkpoint()
        if self.cut == "both":
            await trio.sleep(0.3)
            raise StoreUnavailable("cut")
        result = use()
        if self.cut == "reply":
            await trio.sleep(0.3)
            raise StoreUnavailable("the reply is lost")
        return result

    async def give(self, command: Command, age: int, deadline: int) -> Given:
        found: Given = await self._pass(lambda: self.memory.give(command, age, deadline))
        return found

    async def poll(self, instance: str, known: int, results: Mapping[str, str]) -> News:
        found: News = await self._pass(lambda: self.memory.poll(instance, known, results))
        return found

    async def synchronise(self, instance: str, known: int, slots: Sequence[Slot]) -> Everything:
        found: Everything = await self._pass(lambda: self.memory.synchronise(instance, known, slots))
        return found

    async def applied(self, command_id: str) -> Acknowledged:
        found: Acknowledged = await self._pass(lambda: self.memory.applied(command_id))
        return found

    async def leave(self, instance: str) -> None:
        await self._pass(lambda: self.memory.leave(instance))


@dataclass
class Target:
    """The effect of the commands on this instance."""

    held: str = ""
    policy: dict[str, str] = field(default_factory=dict)

    async def act(self, command: Command) -> None:
        self.held = command.id if command.do in HOLDS else ""

    async def end(self, command: Command, reason: str) -> None:
        self.held = ""

    async def change(self, changes: Mapping[str, Sequence[Command]], command: Command | None = None) -> None:
        self.policy = {key: one.id for one in changes.get("one", ()) for key in one.changes}

    async def reload(self, command: Command, changes: Mapping[str, Sequence[Command]]) -> None:
        await self.change(changes)


@dataclass
class Instance:
    name: str
    link: Link
    target: Target
    commands: SharedCommands
    scope: trio.CancelScope


class Ordered:
    """The reference: the last order. until: when it expires."""

    def __init__(self) -> None:
        self.last: tuple[Command, float] | None = None
        self.keys: dict[str, tuple[Command, float]] = {}

    def order(self, command: Command, now: float) -> None:
        until = now + (command.lasts or math.inf)
        if command.do == "configure":
            self.keys.update(dict.fromkeys(command.changes, (command, until)))
        elif command.do == "reload":
            self.keys.clear()
        else:
            self.last = command, until

    def now(self, now: float) -> tuple[str, dict[str, str]]:
        held = ""
        if self.last is not None and self.last[0].do in HOLDS and now < self.last[1]:
            held = self.last[0].id
        return held, {key: one.id for key, (one, until) in self.keys.items() if now < until}


class Fleet:
    def __init__(self, nursery: trio.Nursery) -> None:
        # Seconds by which the store's clock is ahead.
        self.ahead = 0.0
        self.memory = MemoryCommands(lambda: EPOCH + round(1000 * (trio.current_time() + self.ahead)))
        self.nursery = nursery
        self.running: dict[str, Instance] = {}
        self.ordered = Ordered()
        self.count = 0

    async def start(self, name: str) -> Instance:
        link, target = Link(self.memory), Target()
        commands = SharedCommands(target, name, link)
        scope = trio.CancelScope()

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            with scope:
                await commands.run(task_status=task_status)

        await self.nursery.start(run)
        one = self.running[name] = Instance(name, link, target, commands, scope)
        return one

    async def give(self, name: str, do: str, keys: Sequence[str], lasts: float | None) -> None:
        self.count += 1
        lasting = do in HOLDS or do == "configure"
        command = Command(
            id=str(self.count),
            do=do,
            who="o",
            reason="",
            request_id="",
            unix_time=trio.current_time(),
            breaker="" if do == "reload" else "one",
            lasts=lasts if lasting else None,
            changes=dict.fromkeys(keys, 1) if do == "configure" else {},
        )
        self.ordered.order(command, trio.current_time())
        began = trio.current_time()
        outcome = await self.running[name].commands.give(command)
        assert trio.current_time() - began < 1.0
        assert outcome.shared is not None
        if outcome.shared:
            assert name in outcome.applied_by
        await trio.sleep(0.5)  # the ages of two commands are exact to some tenths of a second

    def mend(self) -> None:
        for one in self.running.values():
            one.link.cut = ""

    def check(self) -> None:
        expected = self.ordered.now(trio.current_time())
        for one in self.running.values():
            assert (one.target.held, one.target.policy) == expected, one.name

    async def step(self, what: tuple[Any, ...]) -> None:
        match what:
            case ("give", name, do, keys, lasts):
                await self.give(name, do, keys, lasts)
            case ("cut", name, how):
                self.running[name].link.cut = how
            case ("mend", name):
                self.running[name].link.cut = ""
            case ("wait", seconds):
                await trio.sleep(seconds)
            case ("flush",):
                await self._settle()
                self.memory.flush()
            case ("restart", name):
                await self._settle()
                self.running.pop(name).scope.cancel()
                await self.start(name)
                self.check()

    async def _settle(self) -> None:
        """An instance takes unshared commands with it when it ends: let all share theirs before."""
        self.mend()
        await trio.sleep(SETTLED)
        self.check()


NAME = st.sampled_from(NAMES)
KEYS = st.lists(st.sampled_from("xyz"), min_size=1, max_size=2, unique=True)
# Odd numbers: no expiry falls on the moment of a check.
LASTS = st.sampled_from([None, None, 0.317, 2.317, 11.317])
STEPS = st.one_of(
    *2
    * [
        st.tuples(
            st.just("give"),
            NAME,
            st.sampled_from(["trip", "reset", "force_open", "disable", "configure", "reload"]),
            KEYS,
            LASTS,
        )
    ],
    st.tuples(st.just("cut"), NAME, st.sampled_from(["both", "reply"])),
    st.tuples(st.just("mend"), NAME),
    st.tuples(st.just("wait"), st.sampled_from([0.05, 1.0, 7.0])),
    st.tuples(st.just("flush")),
    st.tuples(st.just("restart"), NAME),
)
HOLD = ("give", "a", "force_open", ["x"], None)


async def _play(steps: Sequence[tuple[Any, ...]]) -> None:
    async with trio.open_nursery() as nursery:
        fleet = Fleet(nursery)
        for name in NAMES:
            await fleet.start(name)
        for what in steps:
            await fleet.step(what)
        fleet.mend()
        await trio.sleep(SETTLED)
        fleet.check()
        await fleet.start("late")
        fleet.check()
        await trio.sleep(12)
        fleet.check()
        nursery.cancel_scope.cancel()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=14))
@example([HOLD, ("cut", "b", "both"), ("give", "b", "reset", [], None), ("flush",), ("restart", "a")])
@example([("cut", "a", "both"), HOLD, ("give", "b", "reset", [], None), ("mend", "a")])
@example([("cut", "a", "reply"), HOLD, ("give", "b", "reset", [], None), ("mend", "a")])
@example([("cut", "a", "both"), HOLD, ("give", "b", "disable", [], 2.317), ("wait", 7.0), ("mend", "a")])
def test_all_instances_end_in_what_was_ordered_last(steps: list[tuple[Any, ...]]) -> None:
    trio.run(_play, steps, clock=MockClock(autojump_threshold=0))


async def test_a_refused_command_gives_way_to_the_newer_one_that_was_heard_of_before(
    autojump_clock: MockClock,
) -> None:
    """The store's clock goes back, so that a command of the outage is older than what was in force before."""
    async with trio.open_nursery() as nursery:
        fleet = Fleet(nursery)
        a = await fleet.start("a")
        await fleet.start("b")
        await fleet.give("b", "force_open", [], None)
        await trio.sleep(SETTLED)
        assert a.target.held == "1"
        a.link.cut = "both"
        await fleet.give("a", "disable", [], None)
        assert a.target.held == "2"
        fleet.ahead = -60.0
        a.link.cut = ""
        await trio.sleep(SETTLED)
        assert a.target.held == "1"
        nursery.cancel_scope.cancel()
