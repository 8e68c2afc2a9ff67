"""Slow, aborting and malicious clients on real sockets make no breaker of a healthy stack count."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog
import trio

from actors import State
from runtime.serving import Limits
from tests.world.charging.clients import REFUSALS
from tests.world.charging.wire_clients import (
    LARGE,
    STALL_SECONDS,
    UPSTREAM_SECONDS,
    WireClient,
    play,
)
from tests.world.served_stack import ServedStack, open_served_stack

AT_ONCE = 5
"""Mixtures that share a stack: each waits for its clients most of its time."""
SEEDS = 20
MORE_SEEDS = int(os.environ.get("FAULT_SEEDS", "4000")) // 20


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limits that slow clients exceed within seconds, and no lines in the log."""
    # A service's answer isn't held back until the body's time is over.
    monkeypatch.setattr("runtime.web.connection.DRAIN_SECONDS", 0.05)
    monkeypatch.setattr("runtime.web.connection.SEND_SECONDS", 1.2)
    monkeypatch.setattr("gateway.proxy.forward.STALL_SECONDS", 0.3)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


async def assert_none_counted(stack: ServedStack, where: str) -> None:
    """Every breaker is closed, has never been anything else, and has counted no failure."""
    with trio.fail_after(3):
        while any(one.in_flight for one in (await stack.snapshots()).values()):  # noqa: ASYNC110
            await trio.sleep(0.01)
    snapshots = await stack.snapshots()
    assert len(snapshots) == 7
    for name, snapshot in snapshots.items():
        assert (snapshot.state, dict(snapshot.transitions)) == (State.CLOSED, {}), f"{where}: {name}"
        assert snapshot.counts["failure"] == 0, f"{where}: {name}: {snapshot.last_failure}"
        assert snapshot.counts["rejected"] == 0, f"{where}: {name}"


async def run(seeds: range) -> Counter[WireClient]:
    ran: Counter[WireClient] = Counter()
    limits = Limits(body_seconds=STALL_SECONDS)
    async with open_served_stack(limits, upstream_timeout=UPSTREAM_SECONDS) as stack:
        for number in range(LARGE):
            await stack.schools.create(
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
        stack.schools.refusals = REFUSALS
        async with trio.open_nursery() as nursery:
            for seed in seeds:
                nursery.start_soon(play, stack.port, stack.token, seed, ran)
        await assert_none_counted(stack, f"seeds {seeds.start} to {seeds.stop - 1}")
    return ran


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
async def test_no_client_on_a_socket_makes_a_breaker_count(first: int) -> None:
    await run(range(first, first + AT_ONCE))


@pytest.mark.resilience
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + MORE_SEEDS, AT_ONCE))
async def test_hundreds_of_mixtures_on_sockets_make_no_breaker_count(first: int) -> None:
    await run(range(first, first + AT_ONCE))
