"""Events of breakers. A slow or dead subscriber doesn't affect the breaker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import trio

from .messages import CallSettled, EventsLost, ShadowTransition, Transition

if TYPE_CHECKING:
    from typing import Self

Event: TypeAlias = Transition | CallSettled | EventsLost
E = TypeVar("E")


class SubscriptionTo(Generic[E]):
    """An async iterator over events of one type, oldest first; ends when the panel closes.

    It holds `size` events at most. If the reader is slower, the oldest are dropped, and an EventsLost with
    their number takes their place.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"buffer must be at least 1, got {size!r}")
        self._events: deque[E] = deque(maxlen=size)
        self._lost = 0
        self._closed = False
        self._lot = trio.lowlevel.ParkingLot()

    def push(self, event: E) -> None:
        """Add an event; never waits."""
        self._lost += len(self._events) == self._events.maxlen
        self._events.append(event)
        self._lot.unpark()

    def close(self) -> None:
        """End the iteration after the events that are held."""
        self._closed = True
        self._lot.unpark_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E | EventsLost:
        """The next event. Cancellation loses none."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            await self._lot.park()
        if self._lost:
            lost, self._lost = self._lost, 0
            return EventsLost(lost)
        return self._events.popleft()


class Subscription(SubscriptionTo[Transition | CallSettled]):
    """The events of one breaker, or the transitions of all of a panel."""


class ShadowSubscription(SubscriptionTo[ShadowTransition]):
    """The transitions of the shadow policies of a panel."""


class BroadcasterOf(Generic[E]):
    """Hands each event to every subscription."""

    def __init__(self) -> None:
        self._subscriptions: list[SubscriptionTo[E]] = []

    def emit(self, event: E) -> None:
        """Send an event to every subscriber."""
        for subscription in self._subscriptions:
            subscription.push(event)

    @contextmanager
    def _with(self, subscription: SubscriptionTo[E]) -> Iterator[None]:
        self._subscriptions.append(subscription)
        try:
            yield
        finally:
            self._subscriptions.remove(subscription)

    @property
    def has_subscribers(self) -> bool:
        """Whether there is a subscription."""
        return bool(self._subscriptions)

    def close(self) -> None:
        """End every subscription."""
        for subscription in self._subscriptions:
            subscription.close()


class EventBroadcaster(BroadcasterOf[Transition | CallSettled]):
    """Of what breakers do."""

    @contextmanager
    def subscribe(self, size: int) -> Iterator[Subscription]:
        """A subscription for as long as the block lasts."""
        subscription = Subscription(size)
        with self._with(subscription):
            yield subscription


class ShadowBroadcaster(BroadcasterOf[ShadowTransition]):
    """Of what their shadows would do."""

    @contextmanager
    def subscribe(self, size: int) -> Iterator[ShadowSubscription]:
        """A subscription for as long as the block lasts."""
        subscription = ShadowSubscription(size)
        with self._with(subscription):
            yield subscription
