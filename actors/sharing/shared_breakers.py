"""The task that synchronises a panel's breakers with a store that other instances use too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

from ..circuit_breaker import CircuitBreaker
from ..commands import Command, LocalEvidence, TakeEvidence
from ..errors import PanelClosedError
from ..events import Subscription
from ..messages import NEVER, Transition
from ..panel.panel import Panel
from .link import BreakerLink, SharingPolicy
from .requests import Override, Reply, Request
from .store import Store, StoreUnavailable
from .store_health import LOST_SECONDS, StoreHealth

RETRY_SECONDS = 0.25
"""Seconds between two attempts to reach the store."""
BATCH = 64
"""Breakers in one exchange with the store."""
FAREWELL_SECONDS = 0.3
"""The longest time at the end in which leases are given back, and the evidence is taken back."""


@dataclass(frozen=True, slots=True)
class SharingStatus:
    """How well breakers are shared.

    connected: the store has replied within LOST_SECONDS. news_age: seconds since its last reply; None: there
    was none yet. dropped: reports and results that were too old when the store came back.
    """

    instance: str
    connected: bool
    news_age: float | None
    dropped: int


class SharedBreakers:
    """Shares all breakers of a panel while `run` runs. No call waits for it.

    instance: this process, by a name that no other process has had. quorum and more: see SharingPolicy.
    """

    def __init__(self, panel: Panel, store: Store, policy: SharingPolicy, instance: str) -> None:
        self.instance = instance
        self._panel = panel
        self._store = store
        self._policy = policy
        self._links: dict[str, BreakerLink] = {}
        self._clock = panel.clock
        self._kick = trio.Event()
        self._health = StoreHealth()

    def status(self) -> SharingStatus:
        """How well the breakers are shared now."""
        now, health = self._clock(), self._health
        age = None if health.last_reply is None else now - health.last_reply
        return SharingStatus(self.instance, health.is_connected(now), age, health.dropped)

    def shared_generation(self, name: str) -> int:
        """The generation of a breaker's shared state as last known; 0: never opened for all, or unknown."""
        link = self._links.get(name)
        return 0 if link is None else link.generation

    def has_lease(self, name: str) -> bool:
        """Whether this instance probes the breaker `name` for all."""
        return name in self._links and self._links[name].has_lease

    async def override(self, name: str, *, opens: bool) -> None:
        """Open the breaker for all instances, for its policy's first wait, or close it for all.

        The other instances follow with their next report. An unknown name changes nothing. Raises
        StoreUnavailable.
        """
        for local in (await self._read([name])).values():
            wait = round(1000 * local.first_wait)
            await self._store.exchange([(name, Override(self.instance, opens, wait))])

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Share the breakers until cancelled; then give leases back and leave, for FAREWELL_SECONDS at most.

        Ends when the panel closes. A store that is gone raises nothing. Raises ValueError if the panel's
        breakers are shared already.
        """
        if self._panel.on_change is not None:
            raise ValueError("this panel's breakers are shared already")
        self._panel.on_change = self._changed
        try:
            async with self._panel.events() as events, trio.open_nursery() as nursery:
                nursery.start_soon(self._follow, events, nursery.cancel_scope)
                nursery.start_soon(self._store.listen, self._heard)
                task_status.started()
                await self._synchronise()
        finally:
            self._panel.on_change = None
            with trio.move_on_after(FAREWELL_SECONDS, shield=True):
                await self._leave()

    # What happens here and elsewhere.

    def _changed(self, name: str) -> None:
        self._link(name).note_change(self._clock())
        self._kick.set()

    def _heard(self, name: str | None) -> None:
        """The store has news of one breaker; None: of any."""
        for link in self._links.values() if name is None else filter(None, [self._links.get(name)]):
            link.note_news(self._clock())
        self._kick.set()

    async def _follow(self, events: Subscription, whole: trio.CancelScope) -> None:
        async for event in events:
            if isinstance(event, Transition) and event.name in self._links:
                self._links[event.name].follow(event, self._clock())
                self._kick.set()
        whole.cancel()

    def _link(self, name: str) -> BreakerLink:
        link = self._links.get(name)
        if link is None:
            link = self._links[name] = BreakerLink(self.instance, self._policy, self._clock())
        return link

    # The rounds.

    async def _synchronise(self) -> None:
        while True:
            self._kick = trio.Event()
            names = self._due(self._clock())
            for start in range(0, len(names), BATCH):
                if not await self._round(names[start : start + BATCH]):
                    break
            await self._wait()

    def _due(self, now: float) -> list[str]:
        """The names of the breakers whose report is due. Those of the panel alone are kept."""
        for name in self._links.keys() - {breaker.name for breaker in self._panel}:
            del self._links[name]
        return [name for breaker in self._panel if self._link(name := breaker.name).due <= now]

    async def _wait(self) -> None:
        """Wait until the next report is due, or something happens."""
        due = min((link.due for link in self._links.values()), default=NEVER)
        with trio.move_on_at(min(due, self._clock() + LOST_SECONDS)):
            await self._kick.wait()
        await trio.lowlevel.checkpoint()

    async def _round(self, names: Sequence[str]) -> bool:
        """Report for these breakers, and do what the replies say. False if the store can't be reached."""
        known = await self._read(names)
        now = self._clock()
        for name in self._links.keys() & (set(names) - known.keys()):
            self._links[name].due = now + RETRY_SECONDS  # it ends
        known = {name: local for name, local in known.items() if self._links[name].is_news(local, now)}
        requests = {name: self._links[name].requests(local, now) for name, local in known.items()}
        replies = await self._exchange(requests, known)
        if replies is None:
            return False
        for name, reply in replies.items():
            await self._tell(name, self._links[name].learn(reply, known[name], self._clock()))
        return await self._ask_for_leases(list(replies))

    async def _ask_for_leases(self, names: Sequence[str]) -> bool:
        open_names = [name for name in names if self._links[name].is_open]
        known = await self._read(open_names)
        asked = self._clock()
        found = {name: self._links[name].acquires(local, asked) for name, local in known.items()}
        requests: dict[str, list[Request]] = {
            name: [request] for name, request in found.items() if request is not None
        }
        replies = await self._exchange(requests, known)
        if replies is None:
            return False
        for name, reply in replies.items():
            link = self._links[name]
            await self._tell(name, link.learn_lease(reply, known[name], self._clock(), asked))
        return True

    async def _exchange(
        self, requests: Mapping[str, Sequence[Request]], known: Mapping[str, LocalEvidence]
    ) -> dict[str, Reply] | None:
        """The last reply for each breaker; None if the store can't be reached."""
        flat = [(name, request) for name, some in requests.items() for request in some]
        if not flat:
            return {}
        try:
            replies = await self._store.exchange(flat)
        except StoreUnavailable as error:
            self._failed(known, error)
            return None
        self._health.note_reply(self._clock())
        return {name: reply for (name, _), reply in zip(flat, replies, strict=True)}

    async def _read(self, names: Sequence[str]) -> dict[str, LocalEvidence]:
        known = {}
        for name in names:
            breaker = self._panel.get(name)
            if breaker is not None:
                try:
                    known[name] = await breaker.mailbox.ask(TakeEvidence())
                except PanelClosedError:
                    pass  # removed, or the panel closes: nothing to share
        return known

    async def _tell(self, name: str, messages: Sequence[Command]) -> None:
        breaker: CircuitBreaker | None = self._panel.get(name)
        if breaker is None:
            return  # removed during the exchange
        for message in messages:
            await breaker.mailbox.deliver(message)

    # A store that is gone.

    def _failed(self, known: Mapping[str, LocalEvidence], error: StoreUnavailable) -> None:
        """Repeat later; drop what would be too old by then if the store has been gone for long."""
        now = self._clock()
        self._health.note_failure(now, str(error))
        for name, local in known.items():
            self._links[name].failed(now)
            if not self._health.is_connected(now):
                self._health.dropped += self._links[name].give_up(local)
        for link in self._links.values():
            link.due = max(link.due, now + RETRY_SECONDS)

    async def _leave(self) -> None:
        requests = [(name, request) for name, link in self._links.items() for request in link.farewell()]
        if not requests:
            return
        try:
            await self._store.exchange(requests)
        except StoreUnavailable:
            pass  # the leases and the evidence end by themselves
