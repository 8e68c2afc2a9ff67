"""All workers of one gateway, seen and steered through any one of them.

Each worker writes its snapshots to a file in a folder that only the workers can enter, whenever another
worker asks for that over its socket. Only what is in a file is shown. So when a worker dies, the counts that
were shown remain, and its successor in the same slot continues from them: no sum ever decreases.

The operators' commands are in one log in the same folder. All workers run them in the same order, and a
successor runs those that are still in effect.
"""

from __future__ import annotations

import json
import pickle
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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
from gateway.workers.command_log import RELOAD_POLICIES, CommandLog, CommandRecord, commands_in_effect
from gateway.workers.merge import add_counts, merge_snapshots
from gateway.workers.notifications import (
    RELOAD_CERTIFICATE,
    REPLY_SECONDS,
    RUN_COMMANDS,
    SAVE_SNAPSHOTS,
    Notification,
    notify,
    read_line,
)
from gateway.workers.slot import WorkerSlot
from runtime.config.process_policies import ProcessPolicies

log = structlog.get_logger("workers")

Snapshots = dict[str, Snapshot]
CommandHandler = Callable[[CommandRecord], Awaitable[Any]]


class WorkerCluster:
    """The breakers of all workers, in the place of one panel's (see BreakerSource).

    The other workers see this one's breakers while `run` runs. Policies are this worker's own: they are the
    same in all workers.

    slot: this worker's. overloads: this worker's, to be replaced by those that its app counts in.
    reload_certificate: called when the certificate's files are to be read again. run_command: carries out a
    command of an operator, whichever worker received it; None until the admin API is there.
    """

    def __init__(self, panel: Panel, slot: WorkerSlot, profile: str | None) -> None:
        self._panel = panel
        self._profile = profile
        self.slot = slot
        self._inherited = _read_snapshots(slot)
        self._saving = trio.Lock()
        self._shown: dict[str, State] = {}
        self._broadcaster = EventBroadcaster()
        self._commands = CommandLog(slot.commands)
        self._running_commands = trio.Lock()
        self.overloads = Overloads()
        self._inherited_overloads = _read_overloads(slot)
        self._results: dict[str, Any] = {}
        """The result of each command that this worker has appended and not returned yet, or its exception."""
        self.reload_certificate: Callable[[], None] = lambda: None
        self.reload_policies = ProcessPolicies(panel, slot.policies, profile).reload
        self.run_command: CommandHandler | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the notifications of the other workers, for ever. May be cancelled at any point."""
        await self.save()
        self.slot.socket.unlink(missing_ok=True)
        sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await sock.bind(str(self.slot.socket))
        sock.listen()
        async with trio.open_nursery() as nursery:
            # A notification of a new command waits until this worker has run the earlier ones.
            async with self._running_commands:
                await nursery.start(trio.serve_listeners, self._serve, [trio.SocketListener(sock)])
                await nursery.start(self._forward_observed)
                # The log is read before the policy file: a new file is put there before it is logged.
                records = commands_in_effect(self._commands.read_new())
                await self._reload_policies()
                await self._run(records)
            task_status.started()

    async def _reload_policies(self) -> None:
        await self.reload_policies()

    async def run_on_all(self, record: CommandRecord) -> tuple[Any, list[int]]:
        """Have all workers run a command.

        Returns its result in this worker, and the slots of the workers that have not run it within
        REPLY_SECONDS; they run it later. Raises what running it here has raised, and OSError if it could not
        be written. Cancelling takes effect afterwards: a command that is in the log is run.
        """
        number = uuid.uuid4().hex
        self._results[number] = None
        try:
            with trio.CancelScope(shield=True):
                self._commands.append({**record, "number": number})
                await self._run_new_commands()
                replied = await self.notify_others(RUN_COMMANDS)
        finally:
            result = self._results.pop(number)
        if isinstance(result, Exception):
            raise result
        behind = sorted(slot for slot, in_time in replied.items() if not in_time)
        if behind:
            log.warning("workers have not run a command yet", workers=behind, command=record["do"])
        return result, behind

    async def _run_new_commands(self) -> None:
        """Run the commands that are new in the log, of any worker. Commands that were read are always run."""
        with trio.CancelScope(shield=True):
            async with self._running_commands:
                await self._run(self._commands.read_new())

    async def _run(self, records: Sequence[CommandRecord]) -> None:
        """Run commands. One that fails doesn't prevent the next."""
        for record in records:
            number = record.get("number")
            result: Any
            try:
                result = await self._run_one(record)
            except Exception as error:  # noqa: BLE001 - returned to the operator, and logged
                log.warning("a command could not be run", command=record["do"], reason=str(error))
                result = error
            if number in self._results:
                self._results[number] = result

    async def _run_one(self, record: CommandRecord) -> Any:
        if record["do"] == RELOAD_POLICIES["do"]:
            return await self._reload_policies()
        return None if self.run_command is None else await self.run_command(record)

    async def _serve(self, stream: trio.SocketStream) -> None:
        """Carry out one notification, then reply."""
        try:
            with trio.fail_after(10 * REPLY_SECONDS):
                notification = json.loads(await read_line(stream))
            if notification == RELOAD_CERTIFICATE:
                self.reload_certificate()
            else:
                await (self._run_new_commands() if notification == RUN_COMMANDS else self.save())
            with trio.fail_after(10 * REPLY_SECONDS):
                await stream.send_all(b"done\n")
        except (trio.BrokenResourceError, trio.TooSlowError):
            pass  # the sender no longer waits for the reply; the notification was carried out
        except ValueError as error:
            log.warning("a notification could not be read", reason=str(error))
        finally:
            await trio.aclose_forcefully(stream)

    async def save(self) -> None:
        """Write this worker's files of snapshots and overloads. Raises PanelClosedError."""
        async with self._saving:
            own = await self._panel.snapshots()
            text = pickle.dumps(
                {name: add_counts(one, self._inherited.get(name)) for name, one in own.items()}
            )
            draft = self.slot.counts.with_suffix(".draft")
            draft.write_bytes(text)
            draft.replace(self.slot.counts)
            own_overloads, inherited = self.overloads.counts, self._inherited_overloads
            counts = {name: count + inherited.get(name, 0) for name, count in own_overloads.items()}
            self.slot.overloads.write_text(json.dumps(counts))

    async def snapshots(self) -> Snapshots:
        """A snapshot of each breaker: the worst of the running workers', with the counts of all workers ever.

        Raises PanelClosedError.
        """
        await self.save()
        running = {self.slot.number, *await self.notify_others(SAVE_SNAPSHOTS)}
        by_slot = {slot.number: _read_snapshots(slot) for slot in self.slot.all()}
        of_running = [by_slot[number] for number in running]
        merged = {
            name: merge_snapshots(
                [snapshots[name] for snapshots in of_running if name in snapshots],
                [snapshots[name] for snapshots in by_slot.values() if name in snapshots],
            )
            for name in by_slot[self.slot.number]
        }
        for name, one in merged.items():
            self._emit_change(one, [snapshots[name] for snapshots in of_running if name in snapshots])
        return merged

    def overload_counts(self) -> dict[str, int]:
        """The overloads of all workers ever, as of the last `snapshots`."""
        counts = [_read_overloads(slot) for slot in self.slot.all()]
        return {name: sum(one.get(name, 0) for one in counts) for name in RESOURCES}

    def _emit_change(self, merged: Snapshot, running: Sequence[Snapshot]) -> None:
        """Emit a transition if the state that is shown has changed.

        There is no checkpoint between reading the files and this.
        """
        before = self._shown.setdefault(merged.name, State.CLOSED)
        if merged.state is before:
            return
        self._shown[merged.name] = merged.state
        # Open since the first worker's breaker opened, closed since the last one's closed.
        pick = min if PLAIN[merged.state] is State.OPEN else max
        source = pick(
            (one for one in running if one.state is merged.state), key=attrgetter("unix_changed_at")
        )
        self._broadcaster.emit(
            Transition(
                name=merged.name,
                old=before,
                new=merged.state,
                reason=source.last_reason or "",
                generation=source.generation,
                time=trio.current_time(),
                unix_time=source.unix_changed_at,
                retry_after=source.retry_after,
            )
        )

    async def _forward_observed(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Emit the observed transitions of this worker's breakers: they change no state that is shown."""
        async with self._panel.events() as events:
            task_status.started()
            async for event in events:
                if isinstance(event, Transition) and event.observed:
                    self._broadcaster.emit(event)

    async def notify_others(self, notification: Notification) -> dict[int, bool]:
        """Notify every other worker; see `notify`."""
        return await notify([slot for slot in self.slot.all() if slot != self.slot], notification)

    @asynccontextmanager
    async def events(self, buffer: int = 1000) -> AsyncIterator[Subscription]:
        """The transitions of the states that `snapshots` shows; they are noticed when it is called."""
        with self._broadcaster.subscribe(buffer) as subscription:
            yield subscription

    def __getitem__(self, name: str) -> CircuitBreaker:
        """This worker's breaker."""
        return self._panel[name]


def _read_overloads(slot: WorkerSlot) -> dict[str, int]:
    try:
        counts: dict[str, int] = json.loads(slot.overloads.read_text())
    except (FileNotFoundError, ValueError):  # not written yet, or being written
        return {}
    return counts


def _read_snapshots(slot: WorkerSlot) -> Snapshots:
    try:
        # Written by this program, in a folder that only this user can enter.
        snapshots: Snapshots = pickle.loads(slot.counts.read_bytes())  # noqa: S301
    except FileNotFoundError:
        return {}
    return snapshots
