"""Slow, aborting and malicious clients on real sockets make no breaker of a healthy stack count."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog
import trio

from actors import State
from runtime.serving import Limits
from tests.world.clients import REFUSALS
from tests.world.served import ServedWorld, open_served_world
from tests.world.wire_clients import (
    LARGE,
    STALL_SECONDS,
    UPSTREAM_SECONDS,
    WIRE_CLIENTS,
    WireClient,
    WireSession,
    sends_what_stores_refuse,
)

AT_ONCE = 5
"""Mixtures that share a stack: each waits for its clients most of its time."""
SEEDS = 20
MORE_SEEDS = int(os.environ.get("FAULT_SEEDS", "4000")) // 20
CLIENTS = 5


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limits that slow clients exceed within seconds, and no lines in the log."""
    # What a service answers isn't held back until the body's time is over.
    monkeypatch.setattr("runtime.connection.DRAIN_SECONDS", 0.05)
    monkeypatch.setattr("runtime.connection.SEND_SECONDS", 1.2)
    monkeypatch.setattr("gateway.exchange.STALL_SECONDS", 0.3)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


async def play(world: ServedWorld, seed: int, ran: Counter[WireClient]) -> None:
    """Let the clients of this seed loose."""
    rng = random.Random(seed)
    async with trio.open_nursery() as nursery:
        for number in range(CLIENTS):
            client = rng.choice(WIRE_CLIENTS)
            ran[client] += 1
            own = random.Random(f"{seed}/{number}")
            session = WireSession(world.port, world.token, own, f"{seed}-{number}")
            nursery.start_soon(_run, client, session, seed)


async def _run(client: WireClient, session: WireSession, seed: int) -> None:
    await trio.sleep(session.rng.uniform(0, 0.2))
    try:
        await client(session)
        if client is not sends_what_stores_refuse:
            # 501 and 505 speak of what was asked.
            assert not [one for one in session.answers if one[1] >= 500 and one[1] not in (501, 505)]
    except BaseException as error:
        error.add_note(f"seed {seed}: {client.__name__}, told {[status for _, status in session.answers]}")
        raise


async def assert_none_minded(world: ServedWorld, where: str) -> None:
    """Every breaker is closed, has never been anything else, and has counted no failure."""
    with trio.fail_after(3):
        while any(one.in_flight for one in (await world.snapshots()).values()):  # noqa: ASYNC110
            await trio.sleep(0.01)
    snapshots = await world.snapshots()
    assert len(snapshots) == 7
    for name, snapshot in snapshots.items():
        assert (snapshot.state, dict(snapshot.transitions)) == (State.CLOSED, {}), f"{where}: {name}"
        assert snapshot.counts["failure"] == 0, f"{where}: {name}: {snapshot.last_failure}"
        assert snapshot.counts["rejected"] == 0, f"{where}: {name}"


async def run(seeds: range) -> Counter[WireClient]:
    ran: Counter[WireClient] = Counter()
    limits = Limits(body_seconds=STALL_SECONDS)
    async with open_served_world(limits, upstream_timeout=UPSTREAM_SECONDS) as world:
        for number in range(LARGE):
            await world.schools.create(
                {
                    "registration_number": str(number),
                    "name": "x",
                    "address": "\N{SNOWMAN}" * 3_000,
                    "phone": None,
                    "email": None,
                    "created_at": "",
                    "updated_at": "",
                }
            )
        world.schools.refusals = REFUSALS
        async with trio.open_nursery() as nursery:
            for seed in seeds:
                nursery.start_soon(play, world, seed, ran)
        await assert_none_minded(world, f"seeds {seeds.start} to {seeds.stop - 1}")
    return ran


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
async def test_no_client_on_a_socket_makes_a_breaker_count(first: int) -> None:
    await run(range(first, first + AT_ONCE))


@pytest.mark.resilience
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + MORE_SEEDS, AT_ONCE))
async def test_nor_do_hundreds_of_mixtures(first: int) -> None:
    await run(range(first, first + AT_ONCE))
