"""What the workers of one gateway know and do together, each asked through any of them.

Each worker keeps a file of its snapshots in a folder that only they can enter, and writes it anew when
another asks over the socket beside it. Nothing is shown that isn't in a file: so when a worker dies, what was
shown of its counts stays, and its successor in the same seat counts on from there. No sum ever goes down.

What operators order stands in one list for all, in the same folder: all follow in one order, and a successor
carries out what still holds.
"""

from __future__ import annotations

import json
import pickle
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any

import structlog
import trio

from actors import CircuitBreaker, Panel
from actors.adapters.health import PLAIN
from actors.events import EventBroadcaster, Subscription
from actors.messages import Snapshot, State, Transition
from gateway.upstream.overloads import RESOURCES, Overloads
from gateway.workers.command_log import AGAIN, CommandRecord, Orders, standing
from gateway.workers.merge import add_counts, merge_snapshots
from gateway.workers.slot import ASK_SECONDS, CERTIFICATE, FOLLOW, LOOK, WorkerSlot, read_line, tell
from runtime.admin.api import reload_policies

log = structlog.get_logger("workers")

Snapshots = dict[str, Snapshot]
Obey = Callable[[CommandRecord], Awaitable[Any]]


class Crew:
    """The breakers of all workers, as one panel's are seen. The others see this one's while `run` runs.

    Policies are this worker's own: all have the same.
    """

    def __init__(self, panel: Panel, seat: WorkerSlot, profile: str | None) -> None:
        self._panel = panel
        self._profile = profile
        self.seat = seat
        self._before = _read(seat)
        self._saving = trio.Lock()
        self._shown: dict[str, State] = {}
        self._hub = EventBroadcaster()
        self._orders = Orders(seat.orders)
        self._following = trio.Lock()
        self.overloads = Overloads()
        self._overloads_before = _read_overloads(seat)
        self._awaited: dict[str, Any] = {}
        """What became of this worker's own orders, by id: a result or an exception."""
        self.reload_certificate: Callable[[], None] = lambda: None
        self.obey: Obey | None = None
        """Carries out what an operator has ordered, of this worker or of another."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer the other workers, for ever. Cancelling is safe at any point."""
        await self.save()
        self.seat.socket.unlink(missing_ok=True)
        sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await sock.bind(str(self.seat.socket))
        sock.listen()
        async with trio.open_nursery() as nursery:
            # Whoever tells of a new order waits until this worker has taken up the old ones.
            async with self._following:
                await nursery.start(trio.serve_listeners, self._answer, [trio.SocketListener(sock)])
                await nursery.start(self._pass_on_observed)
                # First the list, then the file: who puts a new file there adds to the list afterwards.
                orders = standing(self._orders.new())
                await self._read_policies()
                await self._follow(orders)
            task_status.started()

    async def _read_policies(self) -> None:
        await reload_policies(self._panel, self.seat.policies, self._profile)

    async def order(self, told: CommandRecord) -> tuple[Any, list[int]]:
        """Have all workers carry out an order; what it gave here, and the seats that have not followed yet.

        Raises what carrying it out here has raised. Not cancelled: an order that is told stands.
        """
        number = uuid.uuid4().hex
        self._awaited[number] = None
        try:
            with trio.CancelScope(shield=True):
                self._orders.add({**told, "order": number})
                await self._catch_up()
                followed = await self.tell_others(FOLLOW)
        finally:
            found = self._awaited.pop(number)
        if isinstance(found, Exception):
            raise found
        behind = sorted(seat for seat, done in followed.items() if not done)
        if behind:
            log.warning("workers have not followed an order yet", workers=behind, order=told["do"])
        return found, behind

    async def _catch_up(self) -> None:
        """Carry out what is new among the orders, whoever gave it. What is read isn't cancelled any more."""
        with trio.CancelScope(shield=True):
            async with self._following:
                await self._follow(self._orders.new())

    async def _follow(self, orders: Sequence[CommandRecord]) -> None:
        """One order that can't be carried out is no reason to leave out others."""
        for told in orders:
            number = told.get("order")
            found: Any
            try:
                found = await self._carry_out(told)
            except Exception as error:  # noqa: BLE001 - whoever gave it is told
                log.warning("an order could not be carried out", order=told["do"], reason=str(error))
                found = error
            if number in self._awaited:
                self._awaited[number] = found

    async def _carry_out(self, told: CommandRecord) -> Any:
        if told["do"] == AGAIN["do"]:
            return await self._read_policies()
        return None if self.obey is None else await self.obey(told)

    async def _answer(self, stream: trio.SocketStream) -> None:
        try:
            with trio.fail_after(10 * ASK_SECONDS):
                notification = json.loads(await read_line(stream))
            if notification == CERTIFICATE:
                self.reload_certificate()
            else:
                await (self._catch_up() if notification == FOLLOW else self.save())
            with trio.fail_after(10 * ASK_SECONDS):
                await stream.send_all(b"done\n")
        except (trio.BrokenResourceError, trio.TooSlowError):
            pass  # it has waited long enough; what it told of was done all the same
        except ValueError as error:
            log.warning("another worker could not be understood", reason=str(error))
        finally:
            await trio.aclose_forcefully(stream)

    async def save(self) -> None:
        """Write this worker's file. Raises PanelClosedError."""
        async with self._saving:
            own = await self._panel.snapshots()
            text = pickle.dumps({name: add_counts(one, self._before.get(name)) for name, one in own.items()})
            draft = self.seat.counts.with_suffix(".draft")
            draft.write_bytes(text)
            draft.replace(self.seat.counts)
            lacked, before = self.overloads.counts, self._overloads_before
            counts = {name: count + before.get(name, 0) for name, count in lacked.items()}
            self.seat.overloads.write_text(json.dumps(counts))

    async def snapshots(self) -> Snapshots:
        """Of each breaker the worst that a living worker has, with the counts of all there ever were."""
        await self.save()
        living = {self.seat.number, *await self.tell_others(LOOK)}
        shares = {seat.number: _read(seat) for seat in self.seat.all()}
        alive = [shares[number] for number in living]
        whole = {
            name: merge_snapshots(
                [share[name] for share in alive if name in share],
                [share[name] for share in shares.values() if name in share],
            )
            for name in shares[self.seat.number]
        }
        for name, one in whole.items():
            self._show(one, [share[name] for share in alive if name in share])
        return whole

    def overload_counts(self) -> dict[str, int]:
        """Of all workers there ever were, as of the last `snapshots`."""
        found = [_read_overloads(seat) for seat in self.seat.all()]
        return {name: sum(one.get(name, 0) for one in found) for name in RESOURCES}

    def _show(self, whole: Snapshot, living: Sequence[Snapshot]) -> None:
        """Tell of a change of what is shown. Nothing waits between this and the reading of the files."""
        before = self._shown.setdefault(whole.name, State.CLOSED)
        if whole.state is before:
            return
        self._shown[whole.name] = whole.state
        # Open since the first of them opened, closed since the last of them closed.
        pick = min if PLAIN[whole.state] is State.OPEN else max
        teller = pick((one for one in living if one.state is whole.state), key=attrgetter("unix_changed_at"))
        self._hub.emit(
            Transition(
                name=whole.name,
                old=before,
                new=whole.state,
                reason=teller.last_reason or "",
                generation=teller.generation,
                time=trio.current_time(),
                unix_time=teller.unix_changed_at,
                retry_after=teller.retry_after,
            )
        )

    async def _pass_on_observed(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """What an observing breaker would have done changes no state: it is told as this worker's own."""
        async with self._panel.events() as events:
            task_status.started()
            async for event in events:
                if isinstance(event, Transition) and event.observed:
                    self._hub.emit(event)

    async def tell_others(self, notification: Mapping[str, Any]) -> dict[int, bool]:
        """Tell every other worker that lives; whether it has answered in time, by seat. Never raises."""
        return await tell([seat for seat in self.seat.all() if seat != self.seat], notification)

    @asynccontextmanager
    async def events(self, buffer: int = 1000) -> AsyncIterator[Subscription]:
        """The changes of what `snapshots` shows, seen when somebody asks for it."""
        with self._hub.subscribe(buffer) as subscription:
            yield subscription

    def __getitem__(self, name: str) -> CircuitBreaker:
        """This worker's breaker."""
        return self._panel[name]


def _read_overloads(seat: WorkerSlot) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(seat.overloads.read_text())
    except (FileNotFoundError, ValueError):  # not there yet, or being written
        return {}
    return found


def _read(seat: WorkerSlot) -> Snapshots:
    try:
        # Written by this program, in a folder that nobody else can enter.
        found: Snapshots = pickle.loads(seat.counts.read_bytes())  # noqa: S301
    except FileNotFoundError:
        return {}
    return found
