"""The faults of the rounds: each breaks something, checks the rules meanwhile, and mends it."""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable

import trio

from tests.actors.sharing.process.fleet import (
    END_SECONDS,
    NEXT_PROBE_SECONDS,
    RESUME_SECONDS,
    ProcessFleet,
    ProcessInstance,
)
from tests.actors.sharing.process.upstream import Mode, Probe

Round = Callable[[ProcessFleet, random.Random], Awaitable[None]]


async def outage(fleet: ProcessFleet, mode: Mode = Mode.HANGS) -> None:
    """The upstream fails for all, until all are open."""
    fleet.upstream.change(lambda instance: mode)
    await fleet.until(lambda: fleet.all_are("OPEN") or fleet.upstream.in_flight, within=8)


async def holder_of_a_lease(fleet: ProcessFleet) -> tuple[ProcessInstance, Probe]:
    await outage(fleet)
    probe = await fleet.probe()
    return fleet.instances[probe.instance], probe


async def holder_killed(fleet: ProcessFleet, dice: random.Random) -> None:
    one, probe = await holder_of_a_lease(fleet)
    await fleet.end(one, signal.SIGKILL)
    await fleet.probe(but=one.name, after=probe.at, within=NEXT_PROBE_SECONDS)
    await fleet.start()


async def holder_stopped(fleet: ProcessFleet, dice: random.Random) -> None:
    """The holder stands still beyond its lease, and comes back with a success: that closes nothing."""
    one, probe = await holder_of_a_lease(fleet)
    one.signal(signal.SIGSTOP)
    fleet.upstream.forget(one.name)
    try:
        await fleet.probe(but=one.name, after=probe.at, within=NEXT_PROBE_SECONDS)
        # The holder's probe gets an answer, all other calls a failure.
        answers = lambda name: Mode.ANSWERS if name == one.name else Mode.REFUSES  # noqa: E731
        fleet.upstream.change(answers)
        await trio.sleep(0.3)
        generation = int(fleet.record()["generation"])
        before = {other.name: len(other.transitions) for other in fleet.instances.values()}
    finally:
        one.signal(signal.SIGCONT)
    # Until it may have got a new lease, with which its success would be fresh.
    fleet.upstream.change(lambda name: Mode.REFUSES)
    await trio.sleep(1.0)
    for other in fleet.instances.values():
        closed = [event for event in other.transitions[before[other.name] :] if event["new"] == "CLOSED"]
        assert not closed, (other.name, closed)
    assert fleet.record()["is_open"] == "1"
    assert int(fleet.record()["generation"]) >= generation


async def _store_away(fleet: ProcessFleet, leave: Callable[[], None], come_back: Callable[[], None]) -> None:
    """Without the store each instance has its own breaker."""
    leave()
    try:
        await fleet.until(lambda: not any(one.status["connected"] for one in fleet.instances.values()), 5)
        before = await fleet.settled_counts()
        sick = next(iter(fleet.instances))
        fleet.upstream.change(lambda name: Mode.REFUSES if name == sick else Mode.ANSWERS)
        await fleet.until(lambda: fleet.instances[sick].state == "OPEN", within=3)
        await trio.sleep(0.5)
        after = await fleet.settled_counts()
        assert all(after[name] == before[name] for name in after if name != sick)
        last = list(fleet.instances.values())[-1]
        assert await fleet.end(last, signal.SIGTERM) <= END_SECONDS + fleet.noise
        assert last.process.returncode == 0
    finally:
        come_back()
    fleet.upstream.change(lambda name: Mode.ANSWERS)
    await fleet.until(fleet.all_connected, within=RESUME_SECONDS)
    await fleet.start()


async def store_killed(fleet: ProcessFleet, dice: random.Random) -> None:
    await _store_away(fleet, fleet.server.kill, fleet.server.start)


async def store_hung(fleet: ProcessFleet, dice: random.Random) -> None:
    await _store_away(fleet, fleet.server.freeze, fleet.server.thaw)


async def _data_lost(fleet: ProcessFleet, lose: Callable[[], None]) -> None:
    """The instances bring an opening back, with a later generation."""
    await outage(fleet, Mode.REFUSES)
    generation = int(fleet.record()["generation"])
    lose()
    await fleet.until(lambda: fleet.record().get("is_open") == "1", within=RESUME_SECONDS)
    assert int(fleet.record()["generation"]) > generation
    await trio.sleep(1)
    assert not fleet.all_are("CLOSED")


async def store_flushed(fleet: ProcessFleet, dice: random.Random) -> None:
    await _data_lost(fleet, fleet.server.flush)


async def store_restarted_empty(fleet: ProcessFleet, dice: random.Random) -> None:
    await _data_lost(fleet, fleet.server.restart)


async def _sick(fleet: ProcessFleet, dice: random.Random, count: int) -> None:
    """A minority without egress opens alone: the healthy reject nothing."""
    sick = set(dice.sample(list(fleet.instances), count))
    before = await fleet.settled_counts()
    fleet.upstream.change(lambda name: Mode.REFUSES if name in sick else Mode.ANSWERS)
    await fleet.until(lambda: all(fleet.instances[name].state == "OPEN" for name in sick), within=5)
    await trio.sleep(2)
    after = await fleet.settled_counts()
    for name, one in fleet.instances.items():
        if name not in sick:
            assert (one.state, after[name]) == ("CLOSED", before[name])


async def one_of_five_sick(fleet: ProcessFleet, dice: random.Random) -> None:
    await _sick(fleet, dice, 1)


async def two_of_five_sick(fleet: ProcessFleet, dice: random.Random) -> None:
    await _sick(fleet, dice, 2)


async def instance_joins(fleet: ProcessFleet, dice: random.Random) -> None:
    """A new instance adopts the opening before it has seen a threshold of failures."""
    await outage(fleet, Mode.REFUSES)
    late = await fleet.start()
    await fleet.until(lambda: late.state != "CLOSED" and late.transitions, within=2)
    assert "instances" in late.transitions[0]["reason"]
    await fleet.end(fleet.instances[min(fleet.instances)], signal.SIGTERM)


async def rolling_restart(fleet: ProcessFleet, dice: random.Random) -> None:
    before = await fleet.settled_counts()
    for one in list(fleet.instances.values()):
        await fleet.start()
        await fleet.settled_counts()
        await fleet.end(one, signal.SIGTERM)
        assert one.process.returncode == 0
        assert one.status["rejected"] == before[one.name]
    await trio.sleep(1)
    assert set((await fleet.settled_counts()).values()) == {0}


ROUNDS: tuple[Round, ...] = (
    holder_stopped,
    store_hung,
    two_of_five_sick,
    holder_killed,
    store_restarted_empty,
    store_killed,
    store_flushed,
    one_of_five_sick,
    instance_joins,
    rolling_restart,
)
