"""A breaker counts no failure while its dependency is well, under any behaviour of clients.

FAULT_SEEDS says how many mixtures of clients `just test-resilience` tries. A failure names the seed of its
mixture.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreakerConfig, LastCalls, SlowCallRate, State
from runtime.config.policy_file import load_breakers
from tests.world.charging.clients import CLIENTS, REFUSALS, Client, Session, choose, sends_what_stores_refuse
from tests.world.in_process_stack import InProcessStack, open_in_process_stack
from tests.world.inline_passwords import InlinePasswords

BATCH = 50
"""Mixtures that one stack is used for."""
SEEDS = 200
MORE_SEEDS = int(os.environ.get("FAULT_SEEDS", "4000"))
MOST_CLIENTS = 8
SLOW_SECONDS = 8.0
"""More than a service takes here, less than a slow client can add to it."""


def strict(path: Path, profile: str) -> dict[str, CircuitBreakerConfig]:
    """The stack's policies, except that one call to a service that is slow by itself opens its breaker."""
    slow = SlowCallRate(rate=0.001, threshold=SLOW_SECONDS, window=LastCalls(1000), minimum_calls=1)
    return {
        name: replace(policy, trip=slow) if name.endswith("-http") else policy
        for name, policy in load_breakers(path, profile).items()
    }


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Passwords that cost nothing, and no lines in the log."""
    monkeypatch.setattr("tests.world.in_process_stack.Passwords", InlinePasswords)
    monkeypatch.setattr("tests.world.in_process_stack.load_breakers", strict)
    # The gateway looks at its limits less often: the clock jumps from one look to the next.
    monkeypatch.setattr("runtime.serving.loop_time.TICK", 0.5)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


def renew(stack: InProcessStack, rng: random.Random) -> None:
    """Empty the stores, and give each a speed of its own."""
    stack.accounts.accounts.clear()
    stack.accounts.fault = partial(trio.sleep, rng.choice([0, 0, 0.01, 0.5, 1.5]))
    for store in (stack.schools, stack.students):
        store.records.clear()
        store._last = 0
        store.faults.delay = rng.choice([0, 0, 0.01, 0.5, 1.5])
    stack.schools.refusals = REFUSALS


async def play(stack: InProcessStack, seed: int, ran: Counter[Client]) -> None:
    """Run the clients of this seed on the stack, and check that no breaker counts a failure."""
    rng = random.Random(seed)
    renew(stack, rng)
    sessions = []
    async with trio.open_nursery() as nursery:
        for number in range(rng.randint(2, MOST_CLIENTS)):
            client = choose(rng)
            ran[client] += 1
            session = Session(stack.client, random.Random(f"{seed}/{number}"), number)
            sessions.append((client, session))
            nursery.start_soon(_begin, client, session)
    await wait_all_tasks_blocked()
    for client, session in sessions:
        if client is not sends_what_stores_refuse:
            failed = [(asked, status) for asked, status in session.answers if status >= 500]
            assert not failed, f"seed {seed}: {client.__name__}"
    await assert_none_counted(stack, f"seed {seed}")


async def _begin(client: Client, session: Session) -> None:
    await trio.sleep(session.rng.choice([0, 0, session.rng.uniform(0, 3)]))
    await client(session)


async def assert_none_counted(stack: InProcessStack, where: str) -> None:
    """Every breaker of the stack is closed, has never been anything else, and has counted no failure."""
    seen = 0
    for panel in stack.panels.values():
        for name, snapshot in (await panel.snapshots()).items():
            seen += 1
            found = (snapshot.state, dict(snapshot.transitions), snapshot.in_flight)
            assert found == (State.CLOSED, {}, 0), f"{where}: {name}"
            assert snapshot.counts["failure"] == 0, f"{where}: {name}: {snapshot.last_failure}"
            assert snapshot.counts["rejected"] == 0, f"{where}: {name}"
    assert seen == 7


async def run(seeds: range) -> Counter[Client]:
    """The clients that ran, by how often."""
    ran: Counter[Client] = Counter()
    async with open_in_process_stack() as stack:
        await stack.sign_in()
        for seed in seeds:
            try:
                await play(stack, seed, ran)
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
    return ran


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
async def test_no_client_makes_a_breaker_count(first: int, autojump_clock: MockClock) -> None:
    assert set(await run(range(first, first + BATCH))) == set(CLIENTS)


@pytest.mark.resilience
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + MORE_SEEDS, BATCH))
async def test_thousands_of_mixtures_of_clients_make_no_breaker_count(
    first: int, autojump_clock: MockClock
) -> None:
    await run(range(first, first + BATCH))
