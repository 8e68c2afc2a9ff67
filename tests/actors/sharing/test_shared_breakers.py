"""The task that shares a panel's breakers: batches, removed breakers, a store that is gone, the end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from actors import CircuitBreakerConfig, EventsLost, Panel, State, open_panel
from actors.commands import Remove
from actors.sharing.link import SharingPolicy
from actors.sharing.requests import AcquireLease, ReleaseLease, Report
from actors.sharing.shared_breakers import BATCH, FAREWELL_SECONDS, SharedBreakers
from actors.sharing.store import StoreUnavailable
from tests.actors.sharing.fleets.memory_store import StoreConnection
from tests.actors.sharing.hooked import Sharing


@pytest.fixture
async def shared(panel: Panel) -> AsyncIterator[Sharing]:
    async with trio.open_nursery() as nursery:
        yield Sharing(panel, nursery)
        nursery.cancel_scope.cancel()


def breaker(panel: Panel, name: str = "it") -> object:
    return panel.breaker(CircuitBreakerConfig(name=name))


async def test_many_breakers_go_in_batches(autojump_clock: MockClock, shared: Sharing) -> None:
    names = [f"b{number}" for number in range(2 * BATCH + 5)]
    for name in names:
        breaker(shared.panel, name)
    await shared.start()
    await trio.sleep(0.5)
    sizes = [len(requests) for requests in shared.connection.seen]
    assert sizes == [BATCH, BATCH, 5]
    assert [name for requests in shared.connection.seen for name, _ in requests] == names


async def test_a_batch_that_fails_ends_the_round(autojump_clock: MockClock, shared: Sharing) -> None:
    for number in range(2 * BATCH):
        breaker(shared.panel, f"b{number}")
    shared.store.gone = True
    await shared.start()
    await trio.sleep(0.2)
    assert [len(requests) for requests in shared.connection.seen] == [BATCH]
    assert not shared.sharing.status().connected
    assert shared.sharing.status().news_age is None


async def test_a_breaker_that_is_made_later_is_shared_with_its_first_failure(
    autojump_clock: MockClock, shared: Sharing
) -> None:
    await shared.start()
    await trio.sleep(0.1)

    async def fails() -> None:
        raise OSError

    late = shared.panel.breaker(CircuitBreakerConfig(name="late"))
    with pytest.raises(OSError):
        await late.execute(fails)
    await trio.sleep(0.1)
    assert shared.store.records["late"].evidence["me"].share == 200_000


async def test_a_removed_breaker_is_no_longer_reported(autojump_clock: MockClock, shared: Sharing) -> None:
    breaker(shared.panel)
    await shared.start()
    shared.open_for_all("it")
    await trio.sleep(1.5)
    assert shared.sharing.shared_generation("it") > 0
    await shared.panel.remove("it")
    await trio.sleep(1.5)
    assert shared.sharing.shared_generation("it") == 0
    count = len(shared.connection.seen)
    await trio.sleep(5)
    assert len(shared.connection.seen) == count
    assert not shared.sharing.has_lease("it")


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_breaker_may_be_removed_during_an_exchange(
    autojump_clock: MockClock, shared: Sharing, side: str, fails: bool
) -> None:
    breaker(shared.panel)
    breaker(shared.panel, "other")
    shared.open_for_all("it", wait=0)
    await shared.start()
    await trio.sleep(0.5)
    assert shared.panel["it"].state is State.HALF_OPEN

    async def remove() -> None:
        if "it" in shared.sharing._links and shared.panel.get("it") is not None:
            await shared.panel.remove("it")
        if fails:
            raise StoreUnavailable("gone")

    setattr(shared.connection, side, remove)
    await trio.sleep(2)
    setattr(shared.connection, side, None)
    await trio.sleep(2)
    assert shared.sharing.status().connected
    assert {name for name, _ in shared.connection.seen[-1]} == {"other"}


async def test_a_breaker_may_be_removed_while_its_lease_is_granted(
    autojump_clock: MockClock, shared: Sharing
) -> None:
    breaker(shared.panel)
    shared.open_for_all("it", wait=0)

    async def remove() -> None:
        (_, request), *_ = shared.connection.seen[-1]
        if not isinstance(request, Report):
            await shared.panel.remove("it")

    shared.connection.after = remove
    await shared.start()
    await trio.sleep(2)
    assert shared.sharing.status().connected


async def test_a_message_for_a_breaker_that_ends_is_dropped(
    autojump_clock: MockClock, shared: Sharing
) -> None:
    one = shared.panel.breaker(CircuitBreakerConfig(name="it"))
    await shared.start()
    await trio.sleep(0.5)
    # Its panel still lists it.
    await one.mailbox.ask(Remove())
    before = len(shared.connection.seen)
    await trio.sleep(5)
    # It reports nothing more, and nothing fails.
    assert len(shared.connection.seen) == before


async def test_a_panel_is_shared_once(autojump_clock: MockClock, shared: Sharing) -> None:
    await shared.start()
    second = SharedBreakers(shared.panel, StoreConnection(shared.store), SharingPolicy(), "me too")
    with pytest.raises(ValueError, match="shared already"):
        await second.run()
    # The first goes on.
    assert shared.panel.on_change is not None


async def test_a_panel_can_be_shared_again_after_the_end(autojump_clock: MockClock, shared: Sharing) -> None:
    with trio.move_on_after(1):
        await shared.sharing.run()
    assert shared.panel.on_change is None
    await shared.start()


async def test_sharing_ends_with_the_panel(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            breaker(panel)
            shared = Sharing(panel, nursery)
            await shared.start()
            await trio.sleep(1)
        # Without a cancellation.


async def test_a_lease_is_given_back_at_the_end(autojump_clock: MockClock, shared: Sharing) -> None:
    breaker(shared.panel)
    shared.open_for_all("it", wait=0)
    with trio.move_on_after(1):
        await shared.sharing.run()
    assert isinstance(shared.connection.seen[-1][0][1], ReleaseLease)
    assert shared.store.records["it"].owner == ""


@pytest.mark.parametrize("fault", ["gone", "hangs for ever"])
async def test_the_end_does_not_wait_for_a_store_that_is_gone(
    autojump_clock: MockClock, shared: Sharing, fault: str
) -> None:
    breaker(shared.panel)
    shared.open_for_all("it", wait=0)

    async def fail() -> None:
        if isinstance(shared.connection.seen[-1][0][1], ReleaseLease):
            shared.store.gone = True
            if fault == "hangs for ever":
                await trio.sleep_forever()

    shared.connection.before = fail
    start = trio.current_time()
    with trio.move_on_after(1):
        await shared.sharing.run()
    assert shared.store.gone
    assert trio.current_time() - start <= 1 + FAREWELL_SECONDS + 0.01


async def test_status_says_how_old_the_news_is(autojump_clock: MockClock, shared: Sharing) -> None:
    breaker(shared.panel)
    await shared.start()
    await trio.sleep(1.2)
    status = shared.sharing.status()
    assert (status.instance, status.connected, status.dropped) == ("me", True, 0)
    assert status.news_age is not None
    assert status.news_age < 1.2
    shared.connection.cut = True
    await trio.sleep(10)
    status = shared.sharing.status()
    assert not status.connected
    assert status.news_age is not None
    assert status.news_age > 9


async def test_what_an_outage_of_the_store_makes_too_old_is_dropped(
    autojump_clock: MockClock, shared: Sharing
) -> None:
    one = shared.panel.breaker(CircuitBreakerConfig(name="it"))
    await shared.start()
    await trio.sleep(1.2)
    shared.connection.cut = True
    await trio.sleep(5)

    async def fails() -> None:
        raise OSError

    with pytest.raises(OSError):
        await one.execute(fails)
    await trio.sleep(1)
    assert shared.sharing.status().dropped == 1
    shared.connection.cut = False
    await trio.sleep(2)
    assert shared.store.records["it"].evidence["me"].share == 0


@pytest.mark.parametrize("hold", ["force_open", "disable"])
async def test_what_an_operator_holds_follows_nothing_and_is_no_evidence(
    autojump_clock: MockClock, shared: Sharing, hold: str
) -> None:
    one = shared.panel.breaker(CircuitBreakerConfig(name="it"))
    await getattr(one, hold)()
    held = one.state
    shared.open_for_all("it")
    await shared.start()
    await trio.sleep(2)
    assert one.state is held
    verdicts = {
        request.verdict
        for requests in shared.connection.seen
        for _, request in requests
        if isinstance(request, Report)
    }
    assert verdicts == {"-"}


async def test_an_override_opens_and_closes_for_all_and_an_unknown_name_changes_nothing(
    autojump_clock: MockClock, shared: Sharing
) -> None:
    breaker(shared.panel)
    await shared.start()
    await shared.sharing.override("it", opens=True)
    assert shared.store.records["it"].is_open
    await shared.sharing.override("it", opens=False)
    assert not shared.store.records["it"].is_open
    await shared.sharing.override("other", opens=True)
    assert "other" not in shared.store.records


async def test_a_store_that_goes_before_the_lease_is_asked_for_is_asked_again(
    autojump_clock: MockClock, shared: Sharing
) -> None:
    breaker(shared.panel)
    shared.open_for_all("it", wait=0)

    async def fail() -> None:
        shared.store.gone = isinstance(shared.connection.seen[-1][0][1], AcquireLease)

    shared.connection.before = fail
    await shared.start()
    await trio.sleep(2)
    assert not shared.sharing.has_lease("it")
    shared.connection.before = None
    shared.store.gone = False
    await trio.sleep(2)
    assert shared.sharing.has_lease("it")


async def test_lost_events_are_no_news_of_a_breaker(shared: Sharing) -> None:
    async def events() -> AsyncIterator[EventsLost]:
        yield EventsLost(3)

    scope = trio.CancelScope()
    await shared.sharing._follow(events(), scope)  # type: ignore[arg-type]
    assert scope.cancel_called
