"""An actor: one task, one memory channel, one message at a time, and an answer to each."""

from __future__ import annotations

import contextlib
import contextvars
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import trio

from .errors import OTHER_RUN, PanelClosedError
from .messages import NEVER

Message = TypeVar("Message")

CAPACITY = 256
"""Messages that may wait. Further senders of `ask` wait in their own tasks, so nothing is lost; a larger
channel would only move the same wait. `try_send` returns False when the channel is full."""
BATCH = 64
"""Messages handled before other tasks get a turn."""
STALL = 0.25
"""If a deadline is handled this many seconds late, the process stood still."""
CATCH_UP_TURNS = 5
"""Turns of the loop in which data that has arrived is read and the calls that it ends are settled."""
UNANSWERED = object()


class Envelope(Generic[Message]):
    """A message, its sender's context, and the place for its answer."""

    __slots__ = ("_answer", "_error", "_task", "context", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        # Copying a context takes the same short time whatever is in it.
        self.context = contextvars.copy_context()
        self._answer: Any = UNANSWERED
        self._error: Exception | None = None
        self._task: trio.lowlevel.Task | None = None

    def answer(self, value: Any, error: Exception | None = None) -> None:
        """Wake the sending task, with a value or an error."""
        self._answer, self._error = value, error
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)

    async def wait(self) -> Any:
        """Return the answer. Cancellation waits for it: the actor may have counted the call already."""
        if self._answer is UNANSWERED:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(_refuse_cancel)
        if self._error is not None:
            raise self._error
        return self._answer


def _refuse_cancel(_raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


class Mailbox(Generic[Message]):
    """The only way to an actor. Made in the actor's trio.run.

    nursery: runs a task for each message that `send_soon` can't send at once.
    farewell: the message of the PanelClosedError that is raised after `close`.
    next_wakeup: when the actor wakes without a message; -inf while it is awake.
    """

    __slots__ = ("_nursery", "_receive", "_send", "_sleeper", "_token", "closed", "farewell", "next_wakeup")

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.farewell = "the panel has closed"
        self.closed = False
        self.next_wakeup = NEVER
        self._send, self._receive = trio.open_memory_channel[Envelope[Message]](CAPACITY)
        self._token = trio.lowlevel.current_trio_token()
        self._sleeper: trio.lowlevel.Task | None = None

    # For senders.

    def is_home(self) -> bool:
        """Whether the running code belongs to the actor's trio.run."""
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    def call_home(self, function: Callable[[], object]) -> None:
        """Call `function` soon in the actor's trio.run, from any thread; nothing if that has ended."""
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)

    @trio.lowlevel.enable_ki_protection
    async def ask(self, message: Message) -> Any:
        """Send a message and wait for its answer, shielded from cancellation.

        Raises PanelClosedError if the actor has ended, or ends before it answers; RuntimeError in another
        trio.run than the actor's.
        """
        if not self.is_home():
            raise RuntimeError(OTHER_RUN)
        envelope = Envelope(message)
        try:
            self._put(envelope)
        except trio.WouldBlock:
            await self._queue(envelope)
        except trio.BrokenResourceError:
            raise PanelClosedError(self.farewell) from None
        return await envelope.wait()

    def try_send(self, message: Message) -> bool:
        """Send without waiting for the answer; False if the mailbox is full or closed."""
        try:
            self._put(Envelope(message))
        except (trio.WouldBlock, trio.BrokenResourceError):
            return False
        return True

    def send_soon(self, message: Message) -> None:
        """Send without waiting. If the mailbox is full, a task of the nursery waits for room."""
        if not self.try_send(message) and not self.closed:
            self._nursery.start_soon(self.deliver, message)

    @trio.lowlevel.enable_ki_protection
    async def deliver(self, message: Message) -> None:
        """As `ask`, without the answer and without PanelClosedError.

        For a caller whose own result or exception matters more than the end of the panel.
        """
        try:
            await self.ask(message)
        except PanelClosedError:
            pass

    def wake_by(self, deadline: float, message: Message) -> None:
        """Send `message` if the actor would sleep beyond `deadline`, so that it looks at deadlines again."""
        if deadline < self.next_wakeup and self.try_send(message):
            self.next_wakeup = deadline

    def _put(self, envelope: Envelope[Message]) -> None:
        self._send.send_nowait(envelope)
        if self._sleeper is not None:
            trio.lowlevel.reschedule(self._sleeper)
            self._sleeper = None

    async def _queue(self, envelope: Envelope[Message]) -> None:
        # Never broken: `close` receives from all that queue before it ends the channel.
        with trio.CancelScope(shield=True):
            await self._send.send(envelope)

    # For the actor.

    def take(self) -> Envelope[Message] | None:
        """The next message; None if none waits."""
        try:
            return self._receive.receive_nowait()
        except trio.WouldBlock:
            return None

    async def sleep(self) -> None:
        """Wait for a message. Called only while none waits. Cancellation ends the wait.

        The channel's own `receive` does the same, but holds 900 bytes while it waits, for every actor.
        """
        self._sleeper = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort_sleep)

    def _abort_sleep(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED

    def close(self) -> None:
        """Answer every waiting message, and every later one, with PanelClosedError."""
        self.closed = True
        with contextlib.suppress(trio.ClosedResourceError):
            while (envelope := self.take()) is not None:
                envelope.answer(None, PanelClosedError(self.farewell))
        self._receive.close()


class Actor(ABC, Generic[Message]):
    """Handles its mailbox. After a crash it handles the message in hand again."""

    __slots__ = ("_in_hand", "clock", "ended", "mailbox")

    def __init__(self, mailbox: Mailbox[Message], clock: Callable[[], float]) -> None:
        self.mailbox = mailbox
        self.clock = clock
        self._in_hand: Envelope[Message] | None = None
        self.ended = False

    @abstractmethod
    def receive(self, message: Message, now: float) -> Any:
        """Handle one message; the returned value is its answer."""

    @abstractmethod
    def wake(self, now: float) -> None:
        """Handle the deadlines that have passed."""

    @abstractmethod
    def deadline(self, now: float) -> float:
        """The time at which to wake next; inf: only a message wakes the actor."""

    def may_catch_up(self, now: float) -> bool:
        """Whether what arrived while the process stood still counts as handled before the deadline."""
        return True

    @abstractmethod
    def crashed(self, crash: Exception) -> None:
        """Carry on after a crash, or raise the exception that ends the panel."""

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Handle messages until cancelled, or until one of them sets `ended`.

        One function, though it could be three: each frame of a parked task is kept, for every actor.
        """
        try:
            while not self.ended:
                try:
                    more = self._work()
                    deadline = self.mailbox.next_wakeup = self.deadline(self.clock())
                    if self.ended:
                        pass
                    elif more:
                        await trio.lowlevel.checkpoint()
                        if self.mailbox.next_wakeup <= (now := self.clock()):
                            self.wake(now)
                    elif deadline == NEVER:
                        await self.mailbox.sleep()
                    else:
                        # By the system's clock: a test's clock jumps while the process runs.
                        latest = time.monotonic() + deadline - self.clock() + STALL
                        with trio.CancelScope(deadline=deadline) as scope:
                            await self.mailbox.sleep()
                        if time.monotonic() > latest and self.may_catch_up(self.clock()):
                            await self._catch_up(deadline)
                        if scope.cancelled_caught:
                            self.wake(self.clock())
                except Exception as crash:  # noqa: BLE001 - the actor goes on after any exception
                    self.crashed(crash)
        finally:
            self.close()

    async def _catch_up(self, deadline: float) -> None:
        """Let calls end whose data arrived while the process stood still: they ended before `deadline`.

        trio handles deadlines before it looks at sockets.
        """
        for _ in range(CATCH_UP_TURNS):
            self._work(math.nextafter(deadline, -NEVER))
            await trio.lowlevel.checkpoint()

    def _work(self, latest: float = NEVER) -> bool:
        """Handle the messages that wait, up to a batch. Return whether there may be more.

        latest: a message that is handled later counts as handled at this time.
        """
        # The actor is awake, so no sender needs to wake it.
        self.mailbox.next_wakeup = -NEVER
        for _ in range(BATCH):
            envelope = None if self.ended else self._in_hand or self.mailbox.take()
            if envelope is None:
                return False
            self._handle(envelope, latest)
        return True

    def close(self) -> None:
        """Answer the message in hand, and all that wait, with PanelClosedError."""
        if self._in_hand is not None:
            self._in_hand.answer(None, PanelClosedError(self.mailbox.farewell))
        self.mailbox.close()

    def _handle(self, envelope: Envelope[Message], latest: float) -> None:
        self._in_hand = envelope
        answer = self.receive(envelope.message, min(self.clock(), latest))
        self._in_hand = None
        envelope.answer(answer)
