"""The mailbox when it is full, and an actor that never catches up."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CallTimeout, CircuitBreakerConfig, Panel, PanelClosedError, State
from actors.commands import Wake
from actors.mailbox import Actor, Mailbox
from actors.testing import ScriptedDependency, advance


def policy(**fields: object) -> CircuitBreakerConfig:
    return CircuitBreakerConfig(name="it", **fields)  # type: ignore[arg-type]


async def some_turns(number: int) -> None:
    for _ in range(number):
        await trio.lowlevel.checkpoint()


def fill(mailbox: Mailbox[Wake]) -> None:
    while mailbox.try_send(Wake()):
        pass


async def test_a_sender_that_waits_for_room_is_not_cancelled_and_gets_an_answer() -> None:
    """A message is never lost between its sender and the queue."""
    answers = []

    async def ask(mailbox: Mailbox[Wake], scope: trio.CancelScope) -> None:
        with scope:
            answers.append(await mailbox.ask(Wake()))

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        mailbox: Mailbox[Wake] = Mailbox(nursery)
        fill(mailbox)
        nursery.start_soon(ask, mailbox, scope)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        while (envelope := mailbox.take()) is not None:
            envelope.answer("heard")
    assert answers == ["heard"]


async def test_a_sender_that_waits_for_room_gets_an_error_when_the_panel_closes() -> None:
    """Senders with a queued message and later senders get the same error."""
    told = []

    async def ask(mailbox: Mailbox[Wake]) -> None:
        with pytest.raises(PanelClosedError):
            await mailbox.ask(Wake())
        told.append(1)

    async with trio.open_nursery() as nursery:
        mailbox: Mailbox[Wake] = Mailbox(nursery)
        nursery.start_soon(ask, mailbox)
        await wait_all_tasks_blocked()
        fill(mailbox)
        nursery.start_soon(ask, mailbox)
        await wait_all_tasks_blocked()
        mailbox.close()
        await ask(mailbox)
    assert told == [1, 1, 1]


@pytest.mark.parametrize("half_open", [False, True])
async def test_an_early_success_that_finds_no_room_is_settled_at_the_end(
    panel: Panel, mock_clock: MockClock, half_open: bool
) -> None:
    """A full mailbox delays the success that `succeed` reports; it is neither lost nor counted twice."""
    breaker = panel.breaker(policy())
    async with breaker.events():
        if half_open:
            await breaker.trip()
            await advance(mock_clock, 60)
        async with breaker.guard() as call:
            fill(breaker.mailbox)  # type: ignore[arg-type]
            call.succeed()
            await wait_all_tasks_blocked()
            assert breaker.state is (State.HALF_OPEN if half_open else State.CLOSED)
        snapshot = await breaker.snapshot()
    assert snapshot.state is State.CLOSED
    assert snapshot.counts["success"] == 1
    assert snapshot.in_flight == 0


async def test_other_tasks_get_a_turn_between_batches(panel: Panel) -> None:
    """The actor doesn't handle a long queue all at once."""
    mailbox = panel.breaker(policy()).mailbox
    await wait_all_tasks_blocked()
    fill(mailbox)  # type: ignore[arg-type]
    await some_turns(2)
    assert mailbox.take() is not None
    await wait_all_tasks_blocked()
    assert mailbox.take() is None


async def test_deadlines_are_kept_while_messages_never_stop(panel: Panel, mock_clock: MockClock) -> None:
    """An actor that always has more to do looks at the clock after each batch."""
    breaker = panel.breaker(policy(call_timeout=5))
    dependency = ScriptedDependency()
    dependency.holds()

    async def flood() -> None:
        while True:
            fill(breaker.mailbox)  # type: ignore[arg-type]
            await trio.lowlevel.checkpoint()

    async def call() -> None:
        with pytest.raises(CallTimeout):
            await breaker.execute(dependency)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        nursery.start_soon(flood)
        # The actor isn't asleep at the deadline.
        await some_turns(10)
        mock_clock.jump(5)
        await some_turns(100)
        pytest.fail("the call went on beyond its timeout")
    assert dependency.calls == 1


def test_an_actor_counts_what_arrived_while_the_process_stood_still_as_in_time() -> None:
    assert Actor.may_catch_up(None, 0.0)  # type: ignore[arg-type]
