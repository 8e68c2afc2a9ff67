"""A process that stood still reads data that has arrived before a deadline counts."""

import socket
import time

import pytest
import trio
import trio.testing

from actors import CallTimeout, CircuitBreakerConfig, State, open_panel
from actors.commands import AdoptOpen, GrantProbe

FROZEN = 0.8


@pytest.fixture
def wire():
    """Both ends of a connection; the first is trio's."""
    ours, theirs = socket.socketpair()
    with theirs:
        yield trio.socket.from_stdlib_socket(ours), theirs
        ours.close()


async def frozen_call(breaker, wire, *, answered):
    """A call that is under way when the process stands still; it is answered meanwhile, or never."""
    ours, theirs = wire
    result = []

    async def call():
        try:
            result.append(await breaker.execute(ours.recv, 1))
        except CallTimeout as error:
            result.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.sleep(0.1)
        if answered:
            theirs.send(b"x")
        time.sleep(FROZEN)  # noqa: ASYNC251 - the whole process stands still
        with trio.move_on_after(1):
            while not result:  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    return result


async def test_a_probe_that_was_answered_meanwhile_passes(wire):
    async with open_panel() as panel:
        config = CircuitBreakerConfig(name="it", reset_timeout=0.01, half_open_timeout=0.4)
        breaker = panel.breaker(config)
        await breaker.trip()
        await trio.sleep(0.05)
        assert await frozen_call(breaker, wire, answered=True) == [b"x"]
        assert (await breaker.snapshot()).state is State.CLOSED


async def test_a_probe_for_all_instances_that_was_answered_meanwhile_does_not_pass_after_its_lease(wire):
    async with open_panel() as panel:
        config = CircuitBreakerConfig(name="it", reset_timeout=30, call_timeout=0.3)
        breaker = panel.breaker(config)
        await breaker.mailbox.deliver(AdoptOpen(0.0, "elsewhere", 0))
        await breaker.mailbox.deliver(GrantProbe(0.5, 0))
        assert breaker.state is State.HALF_OPEN
        await frozen_call(breaker, wire, answered=True)
        snapshot = await breaker.snapshot()
        assert (snapshot.state, snapshot.late) == (State.OPEN, 1)


async def test_a_call_that_was_answered_meanwhile_has_not_timed_out(wire):
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", call_timeout=0.4))
        assert await frozen_call(breaker, wire, answered=True) == [b"x"]
        assert (await breaker.snapshot()).counts["success"] == 1


async def test_a_call_that_was_not_answered_meanwhile_has_timed_out(wire):
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", call_timeout=0.4))
        [result] = await frozen_call(breaker, wire, answered=False)
        assert isinstance(result, CallTimeout)
        assert (await breaker.snapshot()).counts["failure"] == 1


async def test_a_jump_of_a_tests_clock_is_no_stall(mock_clock):
    """A message sent after a jump is handled after the deadlines that the jump passes."""
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", reset_timeout=1))
        await breaker.trip()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(5)
        assert await breaker.execute(answer) == 1
        assert (await breaker.snapshot()).state is State.CLOSED


async def answer():
    return 1
