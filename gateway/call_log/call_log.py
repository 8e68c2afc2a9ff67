"""Observes the gateway's breakers, and queues a line for each call. A slow disk delays no call.

The queue is bounded: what finds it full is dropped and counted, in the process's log and in the call log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import cast

import structlog
import trio

from actors import CallSettled, CircuitBreaker, EventsLost
from actors.events import Subscription
from gateway.call_log.log_file import CallLogFile, LoggedCall
from gateway.call_log.rejections import RejectionObserver

WAITING = 10_000
"""The number of lines that may wait for the disk, and of events that may wait for the queue."""
BATCH_SECONDS = 0.5
"""Seconds between two writes."""
LAST_SECONDS = 2.0
"""Seconds that a stopping process waits for its last write."""
REJECTED = "rejected"

log = structlog.get_logger("call_log")


class CallLog:
    """Writes the calls of breakers to `file`, which it closes at the end.

    waiting: see WAITING. clock: returns Unix seconds.
    """

    def __init__(
        self, file: CallLogFile, *, waiting: int = WAITING, clock: Callable[[], float] = time.time
    ) -> None:
        self._file = file
        self._waiting = waiting
        self._clock = clock
        self._queue: list[LoggedCall] = []
        self._dropped = 0
        self._queued = trio.Event()
        self._ended = trio.Event()
        self._fails = False
        # One thread writes at a time, and it is none of those that look names up.
        self._writer = trio.CapacityLimiter(1)

    def observed(self, breakers: Mapping[str, CircuitBreaker]) -> dict[str, CircuitBreaker]:
        """The breakers, with rejections of their guards noted: these are no events of a breaker.

        To be called through in place of the breakers. `run` notes the calls that they admit.
        """

        def observer(breaker: CircuitBreaker) -> CircuitBreaker:
            return cast(CircuitBreaker, RejectionObserver(breaker, self._note_rejection))

        return {name: observer(breaker) for name, breaker in breakers.items()}

    async def run(
        self,
        breakers: Sequence[CircuitBreaker],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Write until cancelled, and then what has been queued, for LAST_SECONDS at most."""
        writing = trio.CancelScope(shield=True)
        async with AsyncExitStack() as stack:
            events = [await stack.enter_async_context(one.events(buffer=self._waiting)) for one in breakers]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._record, events, writing)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    writing.deadline = trio.current_time() + LAST_SECONDS
                    for one in events:
                        one.close()

    async def _record(self, events: Sequence[Subscription], writing: trio.CancelScope) -> None:
        """Queue and write until the subscriptions are closed."""
        with writing:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                async with trio.open_nursery() as readers:
                    for one in events:
                        readers.start_soon(self._read, one)
                self._ended.set()
                self._queued.set()
        if writing.cancelled_caught:
            log.warning("the call log's last lines were not written", seconds=LAST_SECONDS)
        else:
            self._file.close()

    # The queue.

    async def _read(self, events: Subscription) -> None:
        async for event in events:
            if isinstance(event, CallSettled):
                ended = self._clock() - (trio.current_time() - event.time)
                self._put(LoggedCall(ended, event.name, event.outcome.value, event.duration))
            elif isinstance(event, EventsLost):
                self._dropped += event.count

    def _note_rejection(self, breaker: str) -> None:
        self._put(LoggedCall(self._clock(), breaker, REJECTED, None))

    def _put(self, call: LoggedCall) -> None:
        if len(self._queue) >= self._waiting:
            self._dropped += 1
            return
        self._queue.append(call)
        self._queued.set()

    # The disk.

    async def _write(self) -> None:
        while not self._ended.is_set():
            await self._queued.wait()
            with trio.move_on_after(BATCH_SECONDS):
                await self._ended.wait()
            self._queued = trio.Event()
            await self._write_queue()
        await self._write_queue()

    async def _write_queue(self) -> None:
        calls, self._queue = self._queue, []
        dropped, self._dropped = self._dropped, 0
        if not calls and not dropped:
            return
        try:
            await trio.to_thread.run_sync(
                self._file.append, calls, dropped, abandon_on_cancel=True, limiter=self._writer
            )
        except OSError as error:
            self._dropped += dropped + len(calls)
            if not self._fails:
                log.error(  # noqa: TRY400 - the reason says all
                    "the call log can't be written", reason=error.strerror or str(error)
                )
            self._fails = True
            return
        self._fails = False
        if dropped:
            log.warning("lines of the call log were dropped", count=dropped)
